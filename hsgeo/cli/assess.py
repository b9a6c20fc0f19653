"""``hsgeo assess``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o

NAMES = {
    "psnr": ("PSNR", "dB, higher is better"),
    "ssim": ("SSIM", "1 is best"),
    "sam": ("SAM", "degrees, lower is better"),
    "ergas": ("ERGAS", "lower is better"),
    "uiqi": ("UIQI", "1 is best"),
    "rmse": ("RMSE", "in the unit of the data"),
    "d_lambda": ("D_lambda", "spectral distortion, 0 is best"),
    "d_s": ("D_s", "spatial distortion, 0 is best"),
    "qnr": ("QNR", "1 is best"),
}
CONSISTENCY = {
    "hsi_sam": ("degraded, SAM to the HSI", "degrees"),
    "hsi_rmse": ("degraded, RMSE to the HSI", "in the unit of the HSI"),
    "msi_rmse": ("degraded, RMSE to the MSI", "in the unit of the MSI"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("assess", help="Measure a result against a reference, or against the two scenes it was made from.")(
        assess
    )


def assess(
    result: Annotated[str, typer.Argument(help="The scene to be measured.")],
    hsi: Annotated[str | None, typer.Option("--hsi", help="The HSI it was made from.")] = None,
    msi: Annotated[str | None, typer.Option("--msi", help="The MSI it was made from.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The truth on the same grid.")] = None,
    report: Annotated[str | None, typer.Option("--report", help="Write an HTML page here.")] = None,
    hsi_sensor: o.HsiSensor = None,
    msi_sensor: o.MsiSensor = None,
    overwrite: o.Overwrite = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Measure one result."""
    o.set_up_logging(quiet or json, verbose)
    from hsgeo.tasks import assess as task

    values = task(
        result,
        hsi=hsi,
        msi=msi,
        reference=reference,
        report=report,
        hsi_sensor=hsi_sensor,
        msi_sensor=msi_sensor,
        overwrite=overwrite,
    )
    if json:
        o.print_json(values)
    elif not quiet:
        print_metrics(values)


def print_metrics(values: dict[str, Any]) -> None:
    """The metrics as a person reads them."""
    found = values.get("consistency", {})
    rows = [(*NAMES[key], values[key]) for key in NAMES if values.get(key) is not None]
    rows += [(*CONSISTENCY[key], found[key]) for key in CONSISTENCY if found.get(key) is not None]
    for name, meaning, value in rows:
        typer.echo(f"{name:<26} {value:10.4g}  {meaning}")
    for note in values.get("notes", []):
        typer.echo(f"note: {note}", err=True)
    if "report" in values:
        typer.echo(f"report: {values['report']}")
