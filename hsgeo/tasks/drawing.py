"""How tiles are drawn through the engine: the working folder, and one run after the other.

    FOLDER/identity.json        what the generation is
    FOLDER/model.safetensors    trained by it, where none was given
    FOLDER/pass_3               working store of the engine: states after step 3, or in the last one the tiles

Tiles that are cut take one pass for each step of the sampler, and a store goes once the next one is whole; all others
are drawn in one pass.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsgeo.engine.identity import read_identity, refuse_other
from hsgeo.engine.plan import TilePlan
from hsgeo.engine.store import Output, Store
from hsgeo.errors import InputError, ResumeError
from hsgeo.methods.generation.canvas import Canvas
from hsgeo.methods.generation.work import Drawing, States, Tiles
from hsgeo.scene.encode import Encoding
from hsgeo.scene.notes import Warned, log_note
from hsgeo.tasks.options import RunOptions

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud

#: name of a store before its number
PASS = "pass_"
#: of the model that was trained for the tiles
MODEL = "model.safetensors"


@dataclass
class Drawn:
    """What was drawn.

    Attributes
    ----------
    arrays : dict of zarr.Array
        ``reflectance``, ``abundances``, ``classes`` on the canvas.
    done, skipped : int
        Blocks, over all passes, of this run and of the one it resumed.
    saturated : int
        Values outside the range of the type.
    """

    arrays: dict[str, Any]
    done: int
    skipped: int
    saturated: int


@contextmanager
def working(
    folder: Path, identity: Mapping[str, Any], resume: bool, name: Path, notes: list[str]
) -> Iterator[None]:  # fmt: skip
    """The working folder of a generation, which no other run may enter meanwhile.

    It stays when the run is interrupted; where the run is refused before anything was finished it goes.

    Parameters
    ----------
    folder : Path
    identity : mapping
        For JSON.
    resume : bool
        Go on with what lies there.
    name : Path
        What to call the run.
    notes : list of str
        Gets what the user should know.
    """
    if resume:
        refuse_other(folder, identity, name=name)
    store = Store(folder, TilePlan(1, 1), {})
    opened = store.open(identity, resume)
    try:
        for text in opened:
            log_note(Warned(text))
        notes += opened
        yield
    except InputError:
        if not (folder / MODEL).exists() and not any(folder.glob(f"{PASS}*/blocks/*")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        store.release()


def draw(
    model: Hud,
    canvas: Canvas,
    drawing: Drawing,
    code: Encoding,
    folder: Path,
    identity: Mapping[str, Any],
    run: RunOptions,
    progress: Any,
    notes: list[str],
) -> Drawn:
    """All tiles, in stores in a working folder; goes on with what lies there.

    Parameters
    ----------
    model : Hud
    canvas : Canvas
    drawing : Drawing
    code : Encoding
        How reflectance is stored.
    folder : Path
    identity : mapping
        What the generation is.
    run : RunOptions
    progress : Progress
        Gets a stage ``generate``.
    notes : list of str
        Gets what the user should know.
    """
    from hsgeo.engine.run import run as run_tiles
    from hsgeo.engine.run import staffed

    plan = TilePlan(*canvas.shape, tile=canvas.block)
    kinds = np.min_scalar_type(max(model.named_kinds())).name
    tiles = {
        "reflectance": Output(model.count, code.dtype, code.nodata),
        "abundances": Output(len(model.encoding.endmembers), "float32", float("nan")),
        "classes": Output(1, kinds, 0),
    }
    states = {"states": Output(model.encoding.channels, "float32", 0)}
    last = 1 if canvas.whole else drawing.steps
    first = resumed_pass(folder, len(plan))
    done, skipped, saturated = 0, (first - 1) * len(plan), 0
    arrays, hired = dict[str, Any](), list[str]()
    with (
        progress.stage("generate", total=len(plan) * last) as stage,
        staffed(folder, run.workers, run.scheduler, run.device, 1, hired, several=last > 1) as staff,
    ):
        for text in hired:
            log_note(Warned(text))
        notes += hired
        if skipped:
            stage.skip(skipped)
        for number in range(first, last + 1):
            before = None if number == 1 else str(folder / f"{PASS}{number - 1}" / "arrays" / "states")
            work: Any = States(model, canvas, drawing, number, before)
            if number == last:
                work = Tiles(work, code, kinds)
            store = folder / f"{PASS}{number}"
            report = run_tiles(
                work,
                plan,
                tiles if number == last else states,
                store,
                identity={**identity, "pass": number},
                resume=read_identity(store) is not None,
                devices=run.device,
                progress=stage,
                staff=staff,
            )
            shutil.rmtree(folder / f"{PASS}{number - 1}", ignore_errors=True)
            arrays, done, skipped = report.arrays, done + report.done, skipped + report.skipped
            saturated = sum(stats["saturated"] for stats in report.stats)
    return Drawn(arrays, done, skipped, saturated)


def resumed_pass(folder: Path, blocks: int) -> int:
    """Number of the pass that a generation goes on with: the last one that was begun, or the first.

    Raises
    ------
    ResumeError
        It lacks blocks, and the states that these are made of are gone.
    """
    begun = [int(path.name.removeprefix(PASS)) for path in folder.glob(f"{PASS}*[0-9]") if read_identity(path)]
    number = max(begun, default=1)
    store = folder / f"{PASS}{number}"
    whole = begun and sum(1 for marker in (store / "blocks").iterdir() if marker.suffix != ".partial") >= blocks
    if number > 1 and not whole and read_identity(folder / f"{PASS}{number - 1}") is None:
        raise ResumeError(f"{folder} lacks the states before step {number}; start afresh without --resume.")
    return number
