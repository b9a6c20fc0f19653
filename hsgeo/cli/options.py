"""Options that several commands share, each written once; and how reports are printed."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from hsgeo.errors import ParameterError

Output = Annotated[
    str | None,
    typer.Option("-o", "--output", help="Output; the suffix chooses the format (.tif, .img/.bsq/.dat, .zarr)."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")]
Cog = Annotated[bool, typer.Option("--cog", help="Write a cloud-optimised GeoTIFF.")]
Creation = Annotated[list[str] | None, typer.Option("--co", metavar="KEY=VALUE", help="Creation option for GDAL.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Type of the stored values [default: the input's].")]
Nodata = Annotated[float | None, typer.Option("--nodata", help="Nodata value of the output [default: the input's].")]
Bbox = Annotated[
    str | None,
    typer.Option("--bbox", metavar="LEFT,BOTTOM,RIGHT,TOP", help="Only this extent, in the CRS of the (first) input."),
]
Bands = Annotated[str | None, typer.Option("--bands", help="Only these bands: numbers 1-20,35 or range 450-900nm.")]
SensorName = Annotated[
    str | None, typer.Option("--sensor", help="Sensor: a name that `hsgeo info` lists, or a YAML file.")
]
HsiSensor = Annotated[
    str | None, typer.Option("--hsi-sensor", "--sensor", help="Sensor of the HSI (name or YAML file).")
]
MsiSensor = Annotated[str | None, typer.Option("--msi-sensor", help="Sensor of the MSI (name or YAML file).")]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE|NAME", help="Parameters from a YAML file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One parameter, over --config.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Worker processes; 0 works in this process.")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Address or file of a running dask scheduler.")]
Tile = Annotated[int | None, typer.Option("--tile", min=1, help="Tile size in output pixels [default: by memory].")]
Memory = Annotated[str, typer.Option("--memory", help="Memory that tiles may use, e.g. 4GiB.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")]
ProgressMode = Annotated[str, typer.Option("--progress", help="auto, bar, json or none.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; tracebacks of internal errors.")]


def set_up_logging(quiet: bool, verbose: bool) -> None:
    """Send hsgeo's messages to stderr; the notes among them are printed with the report, so only -v logs them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("hsgeo: %(message)s"))
    logger = logging.getLogger("hsgeo")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.ERROR if quiet or not verbose else logging.DEBUG)


def parse_bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """``left,bottom,right,top`` as numbers."""
    if text is None:
        return None
    try:
        left, bottom, right, top = (float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise ParameterError(f"--bbox {text!r}: give four numbers LEFT,BOTTOM,RIGHT,TOP.") from None
    if left >= right or bottom >= top:
        raise ParameterError(f"--bbox {text!r}: LEFT must be below RIGHT and BOTTOM below TOP.")
    return left, bottom, right, top


def progress_mode(mode: str, quiet: bool) -> str:
    """The progress mode, checked; ``-q`` silences a bar but not JSON lines that were asked for."""
    if mode not in ("auto", "bar", "json", "none"):
        raise ParameterError(f"--progress {mode!r}: one of auto, bar, json, none.")
    return "none" if quiet and mode in ("auto", "bar") else mode


def print_json(report: dict[str, Any]) -> None:
    """One JSON object on stdout; NaN and infinities become null."""
    typer.echo(json.dumps(_plain(report), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def print_rows(rows: Iterable[tuple[str, Any]]) -> None:
    """Aligned ``name  value`` lines."""
    pairs = [(name, str(value)) for name, value in rows if value not in (None, "", [])]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        typer.echo(f"{name:<{width}}  {value}")


def ranges(numbers: Iterable[int]) -> str:
    """``1-7, 58-76`` for a list of band numbers."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
