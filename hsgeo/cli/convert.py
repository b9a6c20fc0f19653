"""``hsgeo convert``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes


@o.command
def convert(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    output: Annotated[str, typer.Option("-o", "--output", help="Output; the suffix chooses the format.")],
    *,
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    write: o.Writing,
    progress: Any,
) -> o.Said:
    """Write a scene in another format (GeoTIFF, COG, ENVI, zarr) with all its metadata."""
    from hsgeo.tasks import convert as task

    options, box = write.options(), o.parse_bbox(bbox)
    return task(scene, output, sensor=sensor, bands=bands, bbox=box, write=options, progress=progress), _print


def _print(r: dict[str, Any]) -> None:
    bands, height, width = r["shape"]
    typer.echo(f"wrote {r['output']}: {bands} bands, {height} x {width}, {r['driver']}, {r['bytes'] / 1e6:.1f} MB")
    print_notes(r)
    if r["saturated"]:
        typer.echo(f"{r['saturated']} values did not fit the type and were clipped", err=True)
