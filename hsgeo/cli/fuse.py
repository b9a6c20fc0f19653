"""``hsgeo fuse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes, print_rows, ranges
from hsgeo.errors import ParameterError


@o.command
def fuse(
    hsi: Annotated[str, typer.Argument(help="Hyperspectral scene (many bands, coarse).")],
    msi: Annotated[
        str, typer.Argument(help="Multispectral scene (few bands, fine): a file, or a folder of band files.")
    ],
    *,
    output: o.Output = None,
    method: o.FusionMethod = "subspace",
    gsd: Annotated[
        float | None, typer.Option("--gsd", help="Pixel size wanted, in metres [default: near the MSI's].")
    ] = None,
    no_register: Annotated[bool, typer.Option("--no-register", help="Do not look for a residual shift.")] = False,
    uncertainty: Annotated[str | None, typer.Option("--uncertainty", help="Write the standard deviation here.")] = None,
    flags: Annotated[str | None, typer.Option("--flags", help="Write which image each pixel came from here.")] = None,
    hsi_mask: Annotated[
        str | None, typer.Option("--hsi-mask", help="Raster, not 0 where the HSI must not be used.")
    ] = None,
    msi_mask: Annotated[
        str | None, typer.Option("--msi-mask", help="Raster, not 0 where the MSI must not be used.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="hsr-diff: trained model [default: hsgeo's own].")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="hsr-diff: train the model on this pair first.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, help="hsr-diff: steps of the sampler [default: 1, the mean; 10 with --samples]."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="hsr-diff: from 2 on their spread is written beside OUT, as OUT_std."),
    ] = None,
    hsi_sensor: o.HsiSensor = None,
    msi_sensor: o.MsiSensor = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    write: o.Writing,
    resume: o.Resume = False,
    config: o.Config = None,
    settings: o.Settings = None,
    run: o.Running,
    dry_run: o.DryRun = False,
    progress: Any,
    say: Any,
) -> o.Said:
    """Fuse a hyperspectral scene with a finer multispectral one."""
    from hsgeo.tasks import FusionJob, FusionOptions
    from hsgeo.tasks import train as train_network
    from hsgeo.tasks.options import check_target, derived_output, load_parameters

    target = output or str(derived_output(hsi, "_fused"))
    writing, box, register = write.options(resume), o.parse_bbox(bbox), not no_register
    options = FusionOptions(method, gsd, register, bands, box, hsi_sensor, msi_sensor, hsi_mask, msi_mask)
    own = {k: v for k, v in (("model", model), ("steps", steps), ("samples", samples)) if v is not None}
    params = load_parameters(config, settings or [], own=own)
    if uncertainty is None and method == "hsr-diff" and int(params.get("samples") or 1) > 1:
        uncertainty = str(Path(target).with_name(f"{Path(target).stem}_std{Path(target).suffix}"))
    if not dry_run:
        check_target(target, writing)
    if train and method != "hsr-diff":
        raise ParameterError(f"--train: method {method} has nothing to train; add --method hsr-diff.")
    start, trained = params.get("model") or "package", Path(target).with_suffix(".safetensors")
    if train:
        params["model"] = str(trained)
    job = FusionJob(hsi, msi, options, run=run.options(), params=params, progress=progress)
    for name in own:
        if name not in job.method.Params.model_fields:
            raise ParameterError(f"--{name}: method {method} takes none; add --method hsr-diff, or leave it out.")
    if dry_run:
        more = {k: v for k, v in (("uncertainty", uncertainty), ("flags", flags)) if v is not None}
        return {**job.plan(target, writing), "outputs": more, "train": train}, _print_plan

    def train_first() -> None:
        train_network(
            [hsi, msi],
            trained,
            options=options,
            params=params.get("training", {}),
            start=start,
            seed=run.seed,
            device=run.device,
            overwrite=writing.overwrite,
            resume=resume,
            progress=progress,
            said=say,
        )

    report = job.write(target, writing, uncertainty=uncertainty, flags=flags, prepare=train_first if train else None)
    return report, print_report


def _print_plan(r: dict[str, Any]) -> None:
    g = r["grid"]
    height, width = g["shape"]
    print_rows(
        [
            (
                "output",
                f"{r['output']} ({r['dtype']}, {r['output_bytes'] / 1e6:.1f} MB before compression); not written",
            ),
            *((name, f"{path}; not written") for name, path in r["outputs"].items()),
            ("method", ", ".join([r["method"], *(f"{k} {v}" for k, v in r["parameters"].items() if k != "training")])),
            ("training", "on this pair first" if r["train"] else None),
            ("grid", f"{height} x {width} pixels of {g['gsd'][1]:g}, ratio {g['ratio']}, {g['crs'][:40]}"),
            ("bands", f"{r['bands']}, of which {r['good_bands']} good by their flags"),
            ("shift", _shift(r["shift"])),
            ("tiles", f"{r['tiles']} of {r['tile']} pixels, memory {r['memory']}"),
            ("working store", f"{r['working_bytes'] / 1e6:.1f} MB before compression, removed at the end"),
        ]
    )
    print_notes(r)


def print_report(r: dict[str, Any]) -> None:
    """What was estimated and measured, as a person reads it."""
    g = r["grid"]
    height, width = g["shape"]
    dropped: dict[str, list[int]] = {}
    for band, why in r["bands"]["dropped"].items():
        dropped.setdefault(why, []).append(int(band))
    left = len(r["bands"]["dropped"])
    pixels = r["pixels"]
    total = max(sum(pixels.values()), 1)
    c = r["consistency"]
    stages = ", ".join(f"{s['stage']} {s['seconds']:.1f} s" for s in r["stages"])
    peak = max((s.get("peak_rss_bytes") or 0 for s in r["stages"]), default=0)
    print_rows(
        [
            ("output", f"{r['output']} ({r['driver']}, {r['bytes'] / 1e6:.1f} MB)"),
            *((name, path) for name, path in r["outputs"].items()),
            ("grid", f"{height} x {width} pixels of {g['gsd'][1]:g}, ratio {g['ratio']}, {g['crs'][:40]}"),
            ("bands", f"{len(r['bands']['kept'])} fused" + (f", {left} from the HSI alone or empty" if left else "")),
            *((f"  {why}", f"bands {ranges(numbers)} not fused") for why, numbers in dropped.items()),
            ("shift", _shift(r["shift"])),
            ("response", r.get("response")),
            ("gain", r.get("gain")),
            ("PSF", r.get("psf")),
            ("noise of HSI", r.get("noise_hsi")),
            ("noise of MSI", r.get("noise_msi")),
            ("subspace", r.get("subspace")),
            ("model", _model(r)),
            ("deviation", r.get("uncertainty") if "uncertainty" in r["outputs"] else None),
            (
                "consistency",
                ", ".join(f"{k.split('_')[0].upper()} {v:.2f} x its noise" for k, v in c.items() if v is not None)
                + " (the MSI's includes its response's misfit)",
            ),
            (
                "pixels",
                "all from both images"
                if pixels["both"] == total
                else ", ".join(f"{v / total:.1%} {k.replace('_', ' ')}" for k, v in pixels.items() if v),
            ),
            ("saturated", f"{r['saturated']} values clipped to the type" if r["saturated"] else None),
            ("time", f"{stages}; peak memory {peak / 2**30:.2f} GiB"),
        ]
    )
    print_notes(r)


def _model(r: dict[str, Any]) -> str | None:
    if r.get("model") is None:
        return None
    steps = f"{r['steps']} steps" if r["steps"] > 1 else "one step"
    if r["samples"] > 1:
        steps = f"{r['samples']} samples of {steps}, their mean in one"
    return f"{r['model']}, {steps}: {r['gain_of_model']}"


def _shift(s: dict[str, Any]) -> str:
    if not s.get("reliability"):
        return str(s.get("reason") or "not looked for")
    done = "applied" if s["applied"] else "not applied"
    return (
        f"{s['dy']:+.2f}, {s['dx']:+.2f} fine pixels (y, x), reliability {s['reliability']:.2f}, {done}: {s['reason']}"
    )
