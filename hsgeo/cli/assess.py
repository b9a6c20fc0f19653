"""``hsgeo assess``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes

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


@o.command
def assess(
    result: Annotated[str, typer.Argument(help="The scene to be measured.")],
    *,
    hsi: Annotated[str | None, typer.Option("--hsi", help="The HSI it was made from.")] = None,
    msi: Annotated[str | None, typer.Option("--msi", help="The MSI it was made from.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The truth on the same grid.")] = None,
    report: Annotated[str | None, typer.Option("--report", help="Write an HTML page here.")] = None,
    hsi_sensor: o.HsiSensor = None,
    msi_sensor: o.MsiSensor = None,
    overwrite: o.Overwrite = False,
) -> o.Said:
    """Measure a result against a reference, or against the two scenes it was made from."""
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
    return values, print_metrics


def print_metrics(values: dict[str, Any]) -> None:
    """The metrics as a person reads them."""
    found = values.get("consistency", {})
    rows = [(*NAMES[key], values[key]) for key in NAMES if values.get(key) is not None]
    rows += [(*CONSISTENCY[key], found[key]) for key in CONSISTENCY if found.get(key) is not None]
    for name, meaning, value in rows:
        typer.echo(f"{name:<26} {value:10.4g}  {meaning}")
    print_notes(values)
    if "report" in values:
        typer.echo(f"report: {values['report']}")
