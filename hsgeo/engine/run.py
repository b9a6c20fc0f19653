"""The run: each block of a plan is worked on once, wherever that is, and kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsgeo.errors import InputError, ParameterError
from hsgeo.scene.notes import Warned, log_note

from .blend import PatchGrid
from .devices import check_device, cuda_count, gpus_for, pick_device, visible_gpus
from .dispatch import Done, Job, in_process
from .identity import full_identity
from .plan import Block, TilePlan
from .remote import on_cluster
from .store import Output, Store

__all__ = ["Output", "RunReport", "Staff", "run", "staffed"]

#: works on blocks of a job, and gives each as it is done
Staff = Callable[[Job, list[Block]], Iterator[Done]]


@dataclass
class RunReport:
    """What a run made.

    Attributes
    ----------
    arrays : dict of name to zarr.Array
        (bands, height, width), read-only; chunks are the cores of the blocks.
    done, skipped : int
        Blocks of this run, and of the run it resumed.
    seconds : float
    stats : list
        ``stats`` of all blocks that returned some, resumed ones included, in the order of the plan.
    notes : list of str
        What the user should know; also logged.
    release : callable
        Lets other runs into the store that ``keep_lock`` kept.
    """

    arrays: dict[str, Any]
    done: int = 0
    skipped: int = 0
    seconds: float = 0.0
    stats: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    release: Callable[[], None] = lambda: None


def run(
    work: Callable[..., Any],
    plan: TilePlan,
    outputs: Mapping[str, Output],
    store: str | os.PathLike[str],
    *,
    identity: Mapping[str, Any],
    resume: bool = False,
    workers: int = 0,
    scheduler: str | None = None,
    devices: str = "auto",
    progress: Any = None,
    mode: str = "crop",
    patch: int | None = None,
    overlap: int | None = None,
    batch: int = 1,
    finish: Callable[[Block, dict[str, Any]], Mapping[str, Any]] | None = None,
    threads: int = 1,
    keep_lock: bool = False,
    staff: Staff | None = None,
) -> RunReport:
    """Apply a callable to all blocks of a plan.

    Parameters
    ----------
    work : callable
        What a block is made of; picklable when it leaves this process. Mode ``crop``: ``work(block, device)`` returns
        a mapping of output names to arrays (bands, h, w) of the block's core, or of its outer window, which is then
        cropped. Mode ``blend``: ``work(windows, device)`` is given up to `batch` patch windows, which may reach outside
        the output, and returns a list with an array (bands, patch, patch), or a mapping of names to such, for
        each; NaN means unknown. A block's mapping may hold ``stats``, any JSON, which is kept.
    plan : TilePlan
    outputs : mapping of name to Output
    store : path
        Folder of the working store, beside the output. It stays when the run ends, however it ends, unless the run was
        refused (an InputError) before any block was finished.
    identity : mapping
        What makes this run another than the next, as JSON: inputs and parameters.
    resume : bool
        Go on with what the store holds. Without a store the run just starts, and a note says so. When False, a store
        that is there is deleted.
    workers : int
        Worker processes on this machine; 0 works in this process. With a GPU there is one process per GPU.
    scheduler : str, optional
        Address or scheduler file of a dask cluster that shares the file system.
    devices : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
    progress : Stage or Progress, optional
        Advanced by one for each block.
    mode : str
        ``crop`` or ``blend``.
    patch, overlap : int
        Mode ``blend``: edge of a patch, and what neighbours share at least (a quarter of the patch when None), in
        pixels. The patches lie on one grid over the whole output: the result does not depend on the tile size. A patch
        across two blocks is computed for each; a tile of several times ``patch - overlap`` keeps that small.
    batch : int
        Mode ``blend``: patches per call.
    finish : callable, optional
        Mode ``blend``: ``finish(block, arrays)`` turns the blended float32 arrays of a core into what is stored.
    threads : int
        Blocks at a time in this process. Each needs its own memory, and `work` must bear it.
    keep_lock : bool
        Keep other runs out of the store until the report's `release` is called: until the arrays have been read.
    staff : callable, optional
        Of `staffed`, for several runs one after the other; `workers`, `scheduler` and `threads` are then told there.

    Returns
    -------
    RunReport

    Raises
    ------
    ParameterError
        An option that cannot serve.
    ResumeError
        The store belongs to another run.
    OutputExistsError, OutputWriteError
        The store cannot be made or written; the disk is full.
    HsgeoError
        A block needs too much memory, or workers died again and again.
    """
    started = time.perf_counter()
    grid = _patch_grid(plan, mode, patch, overlap)
    devices = check_device(devices)
    if workers < 0 or threads < 1 or batch < 1:
        raise ParameterError("--workers must be 0 or more, threads and batch 1 or more.")
    place = Store(store, plan, outputs)
    blend = {"patch": grid.patch, "overlap": grid.overlap} if grid is not None else None
    notes = place.open(full_identity(identity, plan, outputs, blend=blend), resume)
    try:
        stats = place.finished() if resume else {}
        report = RunReport({}, skipped=len(stats), notes=notes)
        todo = [block for block in plan if (block.row, block.col) not in stats]
        job = Job(work, place, grid, batch, finish)
        with _stage(progress, len(plan)) as stage:
            if stage is not None and stats:
                getattr(stage, "skip", stage.advance)(len(stats))
            if todo:
                hired = staffed(place.path, workers, scheduler, devices, threads, notes)
                with (
                    hired if staff is None else nullcontext(staff) as able,
                    closing(able(job, todo)) as results,  # type: ignore[type-var]
                ):
                    for block, record in results:
                        stats[block.row, block.col] = record
                        report.done += 1
                        if stage is not None:
                            stage.advance(1)
        report.arrays = {name: _read_only(place, name) for name in outputs}
        if keep_lock:
            report.release = place.release
        else:
            place.release()
    except BaseException as error:
        if isinstance(error, InputError):  # refused, not interrupted
            place.discard_if_empty()
        place.release()
        raise
    finally:
        for note in notes:
            log_note(Warned(note))
    report.stats = [stats[key] for key in sorted(stats) if stats[key] is not None]
    report.seconds = time.perf_counter() - started
    return report


@contextmanager
def staffed(
    folder: Path,
    workers: int,
    scheduler: str | None,
    devices: str,
    threads: int,
    notes: list[str],
    several: bool = False,
) -> Iterator[Staff]:
    """Who works on blocks, in this process or in others, for as long as this lasts.

    Parameters
    ----------
    folder : Path
        The working store, or one that holds it; workers of a `scheduler` must see it.
    workers, scheduler, devices, threads
        As in `run`.
    notes : list of str
        Gets what the user should know.
    several : bool
        More than one run is to come: worker processes forget the job of each.
    """
    if scheduler is not None:
        from .cluster import existing_cluster, has_gpu_resource

        with existing_cluster(scheduler, folder) as client:
            notes.append(f"working on the cluster at {scheduler}, which must see the same files as this machine.")
            gpu = devices != "cpu" and has_gpu_resource(client)
            yield lambda job, todo: on_cluster(client, job, todo, devices, gpu, lasting=True)
    elif workers:
        from .cluster import local_cluster

        count = 0 if devices == "cpu" else cuda_count()
        gpus = gpus_for(devices, workers, visible_gpus(count)) if count or devices.startswith("cuda") else []
        if gpus and len(gpus) < workers:
            notes.append(f"{len(gpus)} worker processes instead of {workers}: one for each GPU.")
        device = "cuda:0" if gpus else "cpu"
        with local_cluster(workers, gpus) as client:
            yield lambda job, todo: on_cluster(client, job, todo, device, bool(gpus), lasting=several)
    else:
        device = pick_device(devices)
        yield lambda job, todo: in_process(job, todo, device, threads)


def _patch_grid(plan: TilePlan, mode: str, patch: int | None, overlap: int | None) -> PatchGrid | None:
    if mode == "crop":
        return None
    if mode != "blend":
        raise ParameterError(f"mode {mode!r}: crop or blend.")
    if patch is None:
        raise ParameterError("mode 'blend' needs the size of a patch.")
    if overlap is None:
        overlap = patch // 4 // plan.multiple * plan.multiple
    return PatchGrid(plan.height, plan.width, patch, overlap, plan.multiple)


@contextmanager
def _stage(progress: Any, total: int) -> Iterator[Any]:
    if progress is None or hasattr(progress, "advance"):
        yield progress
    else:
        with progress.stage("apply", total=total) as stage:
            yield stage


def _read_only(place: Store, name: str) -> Any:
    import zarr

    return zarr.open_array(str(place.path / "arrays" / name), mode="r")
