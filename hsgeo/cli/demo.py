"""``hsgeo demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from hsgeo.cli import options as o


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help="Make a realistic pair from code, fuse it, compare with the truth, write a report.")(demo)


def demo(
    output: Annotated[str, typer.Option("-o", "--output", help="Folder for everything.")] = "hsgeo_demo",
    size: Annotated[int, typer.Option("--size", min=12, max=2000, help="HSI pixels on a side.")] = 84,
    method: Annotated[str, typer.Option("--method", help="subspace, gsa, bicubic.")] = "subspace",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    progress: o.ProgressMode = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Run the example."""
    o.set_up_logging(quiet or json, verbose)
    from hsgeo.cli.assess import print_metrics
    from hsgeo.cli.fuse import print_report
    from hsgeo.engine.progress import Progress
    from hsgeo.tasks import RunOptions
    from hsgeo.tasks import demo as task

    with Progress(o.progress_mode(progress, quiet)) as bar:
        report = task(
            output,
            size=size,
            seed=seed,
            method=method,
            run=RunOptions(device=device, seed=seed),
            overwrite=overwrite,
            progress=bar,
        )
    if json:
        o.print_json(report)
        return
    if quiet:
        return
    files = report["files"]
    typer.echo(f"Two scenes of the same ground, made from code: {files['hsi']} (30 m), {files['msi']} (10 m).")
    typer.echo("Fused as by: hsgeo fuse hyperion_like.tif sentinel2_like.tif\n")
    print_report(report["fusion"])
    before, after = report["before"], report["quality"]
    typer.echo("\nAgainst the truth, which the fusion has not seen:")
    print_metrics({**after, "notes": []})
    typer.echo(
        f"\nPlain interpolation of the 30 m scene reaches {before['psnr']:.1f} dB and {before['sam']:.2f} degrees, "
        f"the fusion {after['psnr']:.1f} dB and {after['sam']:.2f} degrees."
    )
    typer.echo(
        f"Look at {files['before']}, {files['after']}, {files['true']} and {files['error']} (black is no error);"
    )
    typer.echo(f"or open {files['report']} in a browser, and {files['fused']} in QGIS.")
