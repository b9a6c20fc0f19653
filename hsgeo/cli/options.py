"""Options that several commands share, each written once, and what makes a command of a function."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsgeo.cli.printing import print_json, say
from hsgeo.errors import ParameterError

if TYPE_CHECKING:
    from hsgeo.engine.progress import Progress
    from hsgeo.tasks import RunOptions, WriteOptions

Output = Annotated[
    str | None,
    typer.Option("-o", "--output", help="Output; the suffix chooses the format (.tif, .img/.bsq/.dat, .zarr)."),
]
FusionMethod = Annotated[str, typer.Option("--method", help="subspace, hsr-diff, gsa, bicubic.")]
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


@dataclass(frozen=True)
class Writing:
    """How an output is written."""

    cog: Cog = False
    creation: Creation = None
    dtype: Dtype = None
    nodata: Nodata = None
    overwrite: Overwrite = False

    def options(self, resume: bool = False) -> WriteOptions:
        """As tasks take them."""
        from hsgeo.tasks.options import WriteOptions, key_values

        creation = key_values(self.creation or [], "--co")
        return WriteOptions(**{**vars(self), "resume": resume, "creation": creation})


@dataclass(frozen=True)
class Running:
    """Where and how tiles are worked on."""

    seed: Seed = 0
    device: Device = "auto"
    workers: Workers = 0
    scheduler: Scheduler = None
    tile: Tile = None
    memory: Memory = "4GiB"

    def options(self) -> RunOptions:
        """As tasks take them."""
        from hsgeo.tasks.options import RunOptions

        return RunOptions(**vars(self))


#: what the function of a command returns: its report, and what prints that for a person
Said = tuple[dict[str, Any], Callable[[dict[str, Any]], None]]


def command(work: Callable[..., Said]) -> Callable[..., None]:
    """Make a command, as typer reads it, of a function that returns its report and what prints it.

    A parameter whose type is a dataclass (`Writing`) stands for the options that are its fields; one named `progress`
    gets the progress bar that ``--progress`` asks for, one named `say` what tells a person who waits how it goes.
    ``--json``, ``-q`` and ``-v`` are added at the end.
    """

    def run(*, json: Json = False, quiet: Quiet = False, verbose: Verbose = False, **given: Any) -> None:
        set_up_logging(quiet or json, verbose)
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in _parameters(group)})
        with ExitStack() as stack:
            if "progress" in given:
                given["progress"] = stack.enter_context(_progress(given["progress"], quiet))
            if talks:
                given["say"] = (lambda text: None) if quiet else say
            report, show = work(**given)
        if json:
            print_json(report)
        elif not quiet:
            show(report)

    groups: dict[str, Callable[..., Any]] = {}
    options: list[inspect.Parameter] = []
    talks = False
    for parameter in _parameters(work):
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            options += _parameters(kind)
        elif parameter.name == "progress":
            options.append(parameter.replace(annotation=ProgressMode, default="auto"))
        elif parameter.name == "say":
            talks = True
        else:
            options.append(parameter)
    run.__name__, run.__doc__ = work.__name__, work.__doc__
    run.__signature__ = inspect.Signature([*options, *_parameters(run)])  # type: ignore[attr-defined]
    return run


def _parameters(of: Callable[..., Any]) -> list[inspect.Parameter]:
    every = inspect.signature(of, eval_str=True).parameters.values()
    return [p.replace(kind=p.KEYWORD_ONLY) for p in every if p.kind is not p.VAR_KEYWORD]


def set_up_logging(quiet: bool, verbose: bool) -> None:
    """Send hsgeo's messages to stderr; notes are not among them, since they are printed with the report."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("hsgeo: %(message)s"))
    handler.addFilter(lambda record: not getattr(record, "note", False))
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


def _progress(mode: str, quiet: bool) -> Progress:
    """The progress bar; ``-q`` silences a bar but not JSON lines that were asked for."""
    from hsgeo.engine.progress import Progress

    return Progress("none" if quiet and mode in ("auto", "bar") else mode)
