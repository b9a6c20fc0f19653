"""``hsgeo simulate``."""

from __future__ import annotations

from typing import Annotated

import typer

from hsgeo.cli import options as o


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate", help="Degrade one scene into a pair to be fused, and keep it as the reference.")(simulate)


def simulate(
    scene: Annotated[str, typer.Argument(help="Hyperspectral scene; becomes the reference.")],
    output: Annotated[str, typer.Option("-o", "--output", help="Folder for hsi.tif, msi.tif and reference.tif.")],
    ratio: Annotated[int, typer.Option("--ratio", min=2, help="Fine pixels per coarse pixel.")],
    msi_sensor: o.MsiSensor = None,
    snr_hsi: Annotated[float, typer.Option("--snr-hsi", help="Signal to noise of the HSI in dB.")] = 35.0,
    snr_msi: Annotated[float, typer.Option("--snr-msi", help="Signal to noise of the MSI in dB.")] = 40.0,
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    cog: o.Cog = False,
    co: o.Creation = None,
    overwrite: o.Overwrite = False,
    seed: o.Seed = 0,
    progress: o.ProgressMode = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Simulate one pair."""
    o.set_up_logging(quiet or json, verbose)
    from hsgeo.engine.progress import Progress
    from hsgeo.tasks import WriteOptions
    from hsgeo.tasks import simulate as task
    from hsgeo.tasks.options import key_values

    with Progress(o.progress_mode(progress, quiet)) as bar:
        report = task(
            scene,
            output,
            ratio=ratio,
            msi_sensor=msi_sensor,
            snr_hsi=snr_hsi,
            snr_msi=snr_msi,
            sensor=sensor,
            bands=bands,
            bbox=o.parse_bbox(bbox),
            seed=seed,
            write=WriteOptions(cog=cog, overwrite=overwrite, creation=key_values(co or [], "--co")),
            progress=bar,
        )
    if json:
        o.print_json(report)
    elif not quiet:
        for name in ("hsi", "msi", "reference"):
            bands_, height, width = report[name]["shape"]
            typer.echo(f"{name:<10} {report[name]['path']}: {bands_} bands, {height} x {width}")
        for note in report["notes"]:
            typer.echo(f"note: {note}", err=True)
