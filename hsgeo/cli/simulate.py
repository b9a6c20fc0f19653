"""``hsgeo simulate``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes


@o.command
def simulate(
    scene: Annotated[str, typer.Argument(help="Hyperspectral scene; becomes the reference.")],
    *,
    output: Annotated[str, typer.Option("-o", "--output", help="Folder for hsi.tif, msi.tif and reference.tif.")],
    ratio: Annotated[int, typer.Option("--ratio", help="Fine pixels per coarse pixel, 2 or more.")],
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
    progress: Any,
) -> o.Said:
    """Degrade one scene into a pair to be fused, and keep it as the reference."""
    from hsgeo.tasks import simulate as task

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
        write=o.Writing(cog, co, overwrite=overwrite).options(),
        progress=progress,
    )
    return report, _print


def _print(r: dict[str, Any]) -> None:
    for name in ("hsi", "msi", "reference"):
        bands, height, width = r[name]["shape"]
        typer.echo(f"{name:<10} {r[name]['path']}: {bands} bands, {height} x {width}")
    print_notes(r)
