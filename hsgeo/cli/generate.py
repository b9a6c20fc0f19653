"""``hsgeo generate``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes, print_rows


@o.command
def generate(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    *,
    output: o.Output = None,
    method: Annotated[Literal["hud"], typer.Option("--method", help="Of the generator.")] = "hud",
    model: Annotated[str | None, typer.Option("--model", help="Of hsgeo train hud [default: trained now].")] = None,
    count: Annotated[int, typer.Option("--count", help="Tiles.")] = 1,
    size: Annotated[int, typer.Option("--size", help="Side of a tile, pixels.")] = 128,
    wanted: Annotated[str | None, typer.Option("--class", help="Of which tiles are full, by name or number.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Raster of classes whose middle tiles are laid out by.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Of the sampler.")] = 50,
    eta: Annotated[
        float, typer.Option("--eta", help="Noise drawn at each step: 1 as published (ancestral), 0 none (DDIM).")
    ] = 0.0,
    no_variability: Annotated[
        bool, typer.Option("--no-variability", help="Spectra are mixtures of the endmembers alone.")
    ] = False,
    no_noise: Annotated[bool, typer.Option("--no-noise", help="Without the sensor's noise.")] = False,
    format: Annotated[
        Literal["tif", "zarr"], typer.Option("--format", help="GeoTIFFs of each tile, or one zarr store of all.")
    ] = "tif",
    split: Annotated[
        str, typer.Option("--split", help="Shares of the tiles that are marked train/val, or train/val/test.")
    ] = "0.8/0.2",
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    cog: o.Cog = False,
    co: o.Creation = None,
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    config: o.Config = None,
    settings: o.Settings = None,
    run: o.Running,
    dry_run: o.DryRun = False,
    progress: Any,
) -> o.Said:
    """Draw tiles that look like a scene, with their abundances and classes."""
    from hsgeo.tasks import GenerationJob, GenerationOptions
    from hsgeo.tasks.generation import check_generated
    from hsgeo.tasks.options import derived_output, load_parameters

    target = output or str(derived_output(scene, "_generated", ""))
    writing = o.Writing(cog, co, overwrite=overwrite).options(resume)
    options = GenerationOptions(
        count, size, steps, not no_variability, not no_noise, wanted, labels, format, method, split, eta
    )
    if not dry_run:
        check_generated(scene, target, options, writing)
    job = GenerationJob(
        scene,
        options,
        model=model,
        subset={"sensor": sensor, "bands": bands, "bbox": o.parse_bbox(bbox)},
        run=run.options(),
        params=load_parameters(config, settings or []),
        progress=progress,
    )
    return (job.plan(target, writing), _print_plan) if dry_run else (job.write(target, writing), _print)


def model_rows(r: dict[str, Any]) -> list[tuple[str, Any]]:
    """What is told of a generator."""
    return [
        ("endmembers", f"{r['endmembers']} ({r['criterion']}), {r['directions']} directions about their mixtures"),
        ("spectra", f"mean cosine {r['cosine']:.5f} of the scene's pixels and what these make of them"),
        (
            "classes",
            f"{', '.join(r['classes'])}; right of {r['class_accuracy']:.0%} of labelled pixels held back"
            if r["classes"]
            else None,
        ),
        ("network", f"{r['parameters']} parameters, {r['trained']} steps, loss {r['loss']:.3f}"),
    ]


def print_stages(r: dict[str, Any]) -> None:
    """Seconds and memory."""
    stages = ", ".join(f"{s['stage']} {s['seconds']:.1f} s" for s in r["stages"])
    peak = max((s.get("peak_rss_bytes") or 0 for s in r["stages"]), default=0)
    print_rows([("time", f"{stages}; peak memory {peak / 2**30:.2f} GiB")])


def _tiles(r: dict[str, Any]) -> str:
    splits = ", ".join(f"{count} {name}" for name, count in r["splits"].items())
    return f"{r['tiles']} of {r['size']} pixels, {r['steps']} steps, from seed {r['seed']}: {splits}"


def _print_plan(r: dict[str, Any]) -> None:
    parts, model = r["parts"], r["model"] or "trained by the run"
    whole, cut = (
        f"{parts['count']} task{'s' * (parts['count'] != 1)} of whole tiles",
        f"{parts['count']} part{'s' * (parts['count'] != 1)} of {parts['size']} pixels, {parts['passes']} times",
    )
    print_rows(
        [
            (
                "output",
                f"{r['output']} ({r['format']}, {r['output_bytes'] / 1e6:.1f} MB before compression); not written",
            ),
            ("model", ", ".join([model, *(f"{k} {v}" for k, v in r["parameters"].items())])),
            ("tiles", _tiles(r)),
            ("bands", f"{r['bands']}, of which {r['good_bands']} good by their flags, as {r['dtype']}"),
            ("work", f"{cut if parts['passes'] > 1 else whole}, memory {r['memory']}"),
        ]
    )
    print_notes(r)


def _print(r: dict[str, Any]) -> None:
    print_rows(
        [
            ("output", f"{r['output']} ({r['format']}, {r['bytes'] / 1e6:.1f} MB)"),
            ("tiles", _tiles(r)),
            *model_rows(r),
        ]
    )
    print_stages(r)
    print_notes(r)
