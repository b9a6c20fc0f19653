"""``hsgeo demo``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import assess, fuse
from hsgeo.cli import options as o


@o.command
def demo(
    *,
    output: Annotated[str, typer.Option("-o", "--output", help="Folder for everything.")] = "hsgeo_demo",
    size: Annotated[int, typer.Option("--size", min=12, max=2000, help="HSI pixels on a side.")] = 84,
    method: o.FusionMethod = "subspace",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    progress: Any,
) -> o.Said:
    """Make a realistic pair from code, fuse it, compare with the truth, write a report."""
    from hsgeo.tasks import demo as task

    run = o.Running(seed, device).options()
    report = task(output, size=size, seed=seed, method=method, run=run, overwrite=overwrite, progress=progress)
    return report, _print


def _print(report: dict[str, Any]) -> None:
    files = report["files"]
    typer.echo(f"Two scenes of the same ground, made from code: {files['hsi']} (30 m), {files['msi']} (10 m).")
    typer.echo("Fused as by: hsgeo fuse hyperion_like.tif sentinel2_like.tif\n")
    fuse.print_report(report["fusion"])
    before, after = report["before"], report["quality"]
    typer.echo("\nAgainst the truth, which the fusion has not seen:")
    assess.print_metrics({**after, "notes": []})
    typer.echo(
        f"\nPlain interpolation of the 30 m scene reaches {before['psnr']:.1f} dB and {before['sam']:.2f} degrees, "
        f"the fusion {after['psnr']:.1f} dB and {after['sam']:.2f} degrees."
    )
    typer.echo(
        f"Look at {files['before']}, {files['after']}, {files['true']} and {files['error']} (black is no error);"
    )
    typer.echo(f"or open {files['report']} in a browser, and {files['fused']} in QGIS.")
