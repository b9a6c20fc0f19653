"""``hsgeo convert``."""

from __future__ import annotations

from typing import Annotated

import typer

from hsgeo.cli import options as o


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", help="Write a scene in another format (GeoTIFF, COG, ENVI, zarr) with all its metadata.")(
        convert
    )


def convert(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    output: Annotated[str, typer.Option("-o", "--output", help="Output; the suffix chooses the format.")],
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    cog: o.Cog = False,
    co: o.Creation = None,
    dtype: o.Dtype = None,
    nodata: o.Nodata = None,
    overwrite: o.Overwrite = False,
    progress: o.ProgressMode = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Convert one scene."""
    o.set_up_logging(quiet or json, verbose)
    from hsgeo.engine.progress import Progress
    from hsgeo.tasks import WriteOptions
    from hsgeo.tasks import convert as task
    from hsgeo.tasks.options import key_values

    write = WriteOptions(
        cog=cog, overwrite=overwrite, dtype=dtype, nodata=nodata, creation=key_values(co or [], "--co")
    )
    report = task(
        scene,
        output,
        sensor=sensor,
        bands=bands,
        bbox=o.parse_bbox(bbox),
        write=write,
        progress=Progress(o.progress_mode(progress, quiet)),
    )
    if json:
        o.print_json(report)
    elif not quiet:
        b, h, w = report["shape"]
        typer.echo(
            f"wrote {report['output']}: {b} bands, {h} x {w}, {report['driver']}, {report['bytes'] / 1e6:.1f} MB"
        )
        for note in report["notes"]:
            typer.echo(f"note: {note}", err=True)
        if report["saturated"]:
            typer.echo(f"{report['saturated']} values did not fit the type and were clipped", err=True)
