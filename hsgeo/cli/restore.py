"""``hsgeo restore``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import defect_rows, print_notes, print_rows, ranges


class Task(StrEnum):
    """What is to be mended."""

    denoise = "denoise"
    inpaint = "inpaint"
    destripe = "destripe"
    all = "all"
    superres = "superres"


@o.command
def restore(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    *,
    output: o.Output = None,
    task: Annotated[
        Task, typer.Option("--task", help="denoise; fill gaps; take stripes off; all three; or a finer grid.")
    ] = Task.denoise,
    method: Annotated[str, typer.Option("--method", help="subspace, or dds2m.")] = "subspace",
    residual: Annotated[str | None, typer.Option("--residual", help="Write what was removed here.")] = None,
    mask: Annotated[str | None, typer.Option("--mask", help="Raster, not 0 where the scene must not be used.")] = None,
    scale: Annotated[int | None, typer.Option("--scale", help="With superres: times finer, 2 to 4.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="dds2m: steps of the sampler.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="dds2m: runs, whose mean is taken.")] = None,
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    write: o.Writing,
    resume: o.Resume = False,
    config: o.Config = None,
    settings: o.Settings = None,
    run: o.Running,
    dry_run: o.DryRun = False,
    progress: Any,
) -> o.Said:
    """Mend a scene: noise, stripes, missing samples; or put it on a finer grid."""
    from hsgeo.errors import ParameterError
    from hsgeo.tasks import RestorationJob, RestorationOptions
    from hsgeo.tasks.options import check_target, derived_output, load_parameters

    target = output or str(derived_output(scene, "_restored"))
    writing = write.options(resume)
    options = RestorationOptions(task.value, method, bands, o.parse_bbox(bbox), sensor, scale, mask)
    own = {k: v for k, v in (("steps", steps), ("samples", samples)) if v is not None}
    if own and method == "subspace":
        raise ParameterError(f"--{next(iter(own))} is for --method dds2m; subspace has none.")
    params = load_parameters(config, settings or [], own=own)
    if not dry_run:
        check_target(target, writing)
    job = RestorationJob(scene, options, run=run.options(), params=params, progress=progress)
    if dry_run:
        more = {} if residual is None else {"residual": residual}
        return {**job.plan(target, writing), "outputs": more}, _print_plan
    return job.write(target, writing, residual=residual), _print


def _print_plan(r: dict[str, Any]) -> None:
    height, width = r["grid"]["shape"]
    print_rows(
        [
            (
                "output",
                f"{r['output']} ({r['dtype']}, {r['output_bytes'] / 1e6:.1f} MB before compression); not written",
            ),
            *((name, f"{path}; not written") for name, path in r["outputs"].items()),
            ("task", ", ".join([r["task"], r["method"], *(f"{k} {v}" for k, v in r["parameters"].items())])),
            ("grid", f"{height} x {width} pixels"),
            ("bands", f"{r['bands']}, of which {r['good_bands']} good by their flags"),
            ("tiles", f"{r['tiles']} of {r['tile']} pixels, memory {r['memory']}"),
        ]
    )
    print_notes(r)


def _print(r: dict[str, Any]) -> None:
    """What was estimated and measured, as a person reads it."""
    height, width = r["grid"]["shape"]
    finer = "misfit" in r
    how = "interpolated" if finer else "left as they are"
    dropped: dict[str, list[int]] = {}
    for band, why in r["bands"]["dropped"].items():
        dropped.setdefault(why, []).append(int(band))
    told = r["bands"]["interpolated"]
    levels = sorted(r["noise_std" if "noise_std" in r else "misfit_std"].values())
    spread = f"{levels[len(levels) // 2]:.3g} (median of the bands; {levels[0]:.3g} to {levels[-1]:.3g})"
    stages = ", ".join(f"{s['stage']} {s['seconds']:.1f} s" for s in r["stages"])
    peak = max((s.get("peak_rss_bytes") or 0 for s in r["stages"]), default=0)
    print_rows(
        [
            ("output", f"{r['output']} ({r['driver']}, {r['bytes'] / 1e6:.1f} MB)"),
            *((name, path) for name, path in r["outputs"].items()),
            ("grid", f"{height} x {width} pixels"),
            ("bands", f"{len(r['bands']['kept'])} restored"),
            *((f"  {why}", f"bands {ranges(numbers)} {how}") for why, numbers in dropped.items()),
            ("  lost", f"bands {ranges(told)} told by their neighbours in the spectrum" if told else None),
            ("noise", spread)
            if "noise_std" in r
            else ("misfit", f"{spread}: samples off the spectra that tell of others"),
            ("subspace", r.get("subspace")),
            ("mixture", r.get("passes")),
            ("networks", _networks(r)),
            *defect_rows(r.get("defects", {})),
            ("not found", _not_found(r)),
            ("filled", f"{r['filled']} of {r['missing']} missing samples" if r["missing"] else None),
            ("psf", r.get("psf")),
            ("misfit", _removed(r["misfit"])) if finer else ("removed", _removed(r["removed"])),
            ("saturated", f"{r['saturated']} values clipped to the type" if r["saturated"] else None),
            ("time", f"{stages}; peak memory {peak / 2**30:.2f} GiB"),
        ]
    )
    print_notes(r)


def _not_found(r: dict[str, Any]) -> str:
    """What the task has looked for in vain."""
    found = {name.split("_")[0] for name, each in r.get("defects", {}).items() if each}
    looked = {"all": ("stuck", "striped"), "destripe": ("stuck", "striped"), "inpaint": ("stuck",)}.get(r["task"], ())
    lacking = [f"{name} lines" for name in looked if name not in found]
    if r["task"] in ("all", "inpaint") and not r["missing"]:
        lacking.append("missing samples")
    return ", ".join(lacking)


def _networks(r: dict[str, Any]) -> str | None:
    """What networks were fitted, and what has become of them."""
    if "configuration" not in r:
        return None
    told = f"{r['configuration']}, {r['steps']} steps, {r['samples']} sample{'s' if r['samples'] > 1 else ''}"
    if r["networks"] is None:
        return told
    better = "" if r["networks"] > 0.005 else ": by noise that they have not seen they are no better"
    return f"{told}; {r['networks']:.0%} of the result, the rest subspace{better}"


def _removed(removed: dict[str, float | None]) -> str | None:
    if removed["over_noise"] is None:
        return None
    shares = [
        f"{f'{share:.1%}' if share > 0 else 'none'} of it shared by neighbouring {what}"
        for what, share in (("pixels", removed["space"]), ("bands", removed["spectrum"]))
        if share is not None
    ]
    return ", ".join([f"{removed['over_noise']:.2f} x the noise", *shares]) + " (white noise: 0 %)"
