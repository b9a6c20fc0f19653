"""``hsgeo unmix``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes, print_rows, ranges


@o.command
def unmix(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    *,
    output: o.Output = None,
    method: Annotated[str, typer.Option("--method", help="fcls (none below 0, sum 1), or linear.")] = "fcls",
    endmembers: Annotated[int | None, typer.Option("--endmembers", help="How many [default: counted].")] = None,
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
    """Find the pure spectra of a scene, and how much of each is in every pixel."""
    from hsgeo.tasks import UnmixingJob, UnmixingOptions
    from hsgeo.tasks.options import derived_output, load_parameters
    from hsgeo.tasks.unmixing import check_unmixed

    target = output or str(derived_output(scene, "_abundances"))
    writing = o.Writing(cog, co, overwrite=overwrite).options(resume)
    options = UnmixingOptions(method, bands, o.parse_bbox(bbox), sensor)
    params = load_parameters(config, settings or [], own={"endmembers": endmembers})
    if not dry_run:
        check_unmixed(target, writing)
    job = UnmixingJob(scene, options, run=run.options(), params=params, progress=progress)
    return (job.plan(target, writing), _print_plan) if dry_run else (job.write(target, writing), _print)


def _print_plan(r: dict[str, Any]) -> None:
    height, width = r["grid"]["shape"]
    size = "" if r["output_bytes"] is None else f", {r['output_bytes'] / 1e6:.1f} MB before compression"
    count = "counted by the run" if r["endmembers"] == "auto" else r["endmembers"]
    print_rows(
        [
            ("output", f"{r['output']} ({r['dtype']}{size}); not written"),
            *((name, f"{path}; not written") for name, path in r["outputs"].items()),
            ("method", ", ".join([r["method"], *(f"{k} {v}" for k, v in r["parameters"].items())])),
            ("number", count),
            ("grid", f"{height} x {width} pixels"),
            ("bands", f"{r['bands']}, of which {r['good_bands']} good by their flags"),
            ("tiles", f"{r['tiles']} of {r['tile']} pixels, memory {r['memory']}"),
        ]
    )
    print_notes(r)


def _print(r: dict[str, Any]) -> None:
    """What was found and measured, as a person reads it."""
    height, width = r["grid"]["shape"]
    dropped: dict[str, list[int]] = {}
    for band, why in r["bands"]["dropped"].items():
        dropped.setdefault(why, []).append(int(band))
    stages = ", ".join(f"{s['stage']} {s['seconds']:.1f} s" for s in r["stages"])
    peak = max((s.get("peak_rss_bytes") or 0 for s in r["stages"]), default=0)
    off = None if r["rmse"] is None else f"RMSE {r['rmse']:.3g}" + (f", {r['sam']:.2f} degrees" if r["sam"] else "")
    shares = ", ".join(f"{share:.1%}" for share in r["mean_abundances"] or [])
    print_rows(
        [
            ("output", f"{r['output']} ({r['driver']}, {r['bytes'] / 1e6:.1f} MB)"),
            *((name, path) for name, path in r["outputs"].items()),
            ("grid", f"{height} x {width} pixels"),
            ("bands", f"{len(r['bands']['kept'])} used"),
            *((f"  {why}", f"bands {ranges(numbers)} left out") for why, numbers in dropped.items()),
            ("number", f"{r['endmembers']} ({r['criterion']})"),
            ("found", f"VCA {r['projection']}, each {_mean_of(r['averaged'])}"),
            ("mixtures", f"{off} off the pixels" if off else None),
            ("shares", shares),
            ("time", f"{stages}; peak memory {peak / 2**30:.2f} GiB"),
        ]
    )
    print_notes(r)


def _mean_of(pixels: int) -> str:
    return "one pixel" if pixels == 1 else f"the mean of up to {pixels} pixels"
