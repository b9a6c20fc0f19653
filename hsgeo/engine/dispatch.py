"""Where blocks are worked on: in this process, on worker processes of this machine, or on a dask cluster that exists.

Results never travel: a task writes its own block, and sends back a small dict of statistics.

In this process a plain loop does it, not a dask cluster of threads. Nine tiles of 224 x 512 x 512 with torch in them took
15 s of CPU time and 1.2 GiB in the loop, 16 s and 2.3 GiB with two threads or dask's threaded scheduler, and 23 s,
2.0 GiB and a second to start on an in-process `LocalCluster` of one thread (2 cores, torch 2.13, dask 2026.8). torch
fills the cores from within one task, and an interrupt reaches work that runs in the main thread at once.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hsgeo.errors import HsgeoError

from .blend import PatchGrid, blend
from .devices import pick_device
from .plan import Block
from .store import Store

if TYPE_CHECKING:
    from distributed import Client

#: tasks that wait on a cluster for each thread of it, the running one included
IN_FLIGHT = 2
#: seconds that a cluster may be without workers before the run gives up
PATIENCE = 60.0
LOST = "the dask scheduler can no longer be reached; what is done is kept for --resume."

Done = tuple[Block, Any]


@dataclass(frozen=True)
class Job:
    """All that a process needs to work on any block of a run; picklable.

    Attributes
    ----------
    work : callable
        ``work(block, device)``, or with a `grid` ``work(windows, device)``.
    store : Store
    grid : PatchGrid or None
        Blend patches instead of cropping.
    batch : int
        Patches per call.
    finish : callable or None
        ``finish(block, arrays)`` after a blend: turns float32 arrays into what is stored, and may add ``stats``.
    """

    work: Callable[..., Any]
    store: Store
    grid: PatchGrid | None = None
    batch: int = 1
    finish: Callable[..., Any] | None = None

    def __call__(self, block: Block, device: str) -> Any:
        """Do one block and store it; returns its statistics."""
        try:
            if self.grid is None:
                result = self.work(block, device)
            else:
                bands = {name: output.bands for name, output in self.store.outputs.items()}
                result = blend(self.work, self.grid, block.core, bands, device, self.batch)
                if self.finish is not None:
                    result = self.finish(block, result)
            return self.store.write(block, result)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
                raise HsgeoError(
                    f"a block of {block.outer.shape[0]} x {block.outer.shape[1]} pixels does not fit in the memory of "
                    f"{device}; choose a smaller --tile or --memory, or fewer --workers."
                ) from error
            if not isinstance(error, HsgeoError):
                error.add_note(f"in block {block.row}, {block.col} of the tile plan, {block.core}")
            raise


def in_process(job: Job, blocks: Iterable[Block], device: str, threads: int = 1) -> Iterator[Done]:
    """Work in this process: one block at a time in this very thread, or `threads` at a time.

    With one thread an interrupt is raised inside the work. With more it is passed on to each of them, and they are
    waited for as long as the call they are in lasts, at most ten seconds.
    """
    if threads <= 1:
        for block in blocks:
            yield block, job(block, device)
        return
    todo, lock = iter(blocks), threading.Lock()
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def loop() -> None:
        try:
            while True:
                with lock:
                    block = next(todo, None)
                if block is None:
                    break
                results.put((block, job(block, device)))
            results.put(None)
        except BaseException as error:
            results.put(error)

    team = [threading.Thread(target=loop, name=f"hsgeo-tile-{i}", daemon=True) for i in range(threads)]
    for thread in team:
        thread.start()
    running = len(team)
    try:
        while running:
            item = results.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for thread in team if running else ():
            if thread.is_alive() and thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
                )
        for thread in team:
            thread.join(timeout=10)


def on_cluster(client: Client, job: Job, blocks: Iterable[Block], device: str, gpu: bool = False) -> Iterator[Done]:
    """Work on a cluster, with a bounded number of blocks in flight.

    Parameters
    ----------
    device : str
        Device specification, resolved on the worker.
    gpu : bool
        Each task takes one of the resource ``GPU``.

    Raises
    ------
    HsgeoError
        Workers died again and again on one block, or none is left.
    """
    import cloudpickle
    from distributed import KilledWorker

    run = uuid.uuid4().hex[:12]
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    todo = iter(blocks)
    flying: dict[Any, tuple[Any, Block]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "large graph": the job goes to the scheduler once, as it must
        # the scheduler keeps it, and sends it to workers as they need it, to those that replace a killed one as well
        parcel = client.submit(_keep, run, cloudpickle.dumps(job), key=f"hsgeo-job-{run}")
    try:
        more, idle = True, 0.0
        while more or flying:
            while more and len(flying) < IN_FLIGHT * max(1, _threads(client)):
                block = next(todo, None)
                if block is None:
                    more = False
                    break
                future = client.submit(
                    _work,
                    parcel,
                    block,
                    device,
                    key=f"hsgeo-{run}-{block.row}-{block.col}",
                    resources={"GPU": 1} if gpu else None,
                )
                flying[future.key] = (future, block)
                future.add_done_callback(results.put)
            if not flying:
                break
            try:
                future = results.get(timeout=1.0)
            except queue.Empty:
                idle = 0.0 if _threads(client) else idle + 1.0
                if idle >= PATIENCE:
                    raise HsgeoError(
                        f"the cluster has had no worker for {PATIENCE:.0f} seconds; what is done is kept for --resume."
                    ) from None
                continue
            _, block = flying.pop(future.key)
            try:
                yield block, future.result()
            except CancelledError as error:
                raise HsgeoError(LOST) from error
            except KilledWorker as error:
                raise HsgeoError(
                    f"worker processes died one after the other on block {block.row}, {block.col}, most often for lack "
                    "of memory; use fewer --workers or a smaller --tile, and go on with --resume."
                ) from error
            finally:
                future.release()
    finally:
        client.cancel([future for future, _ in flying.values()])
        parcel.release()


def _threads(client: Client) -> int:
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise HsgeoError(LOST) from error


def _keep(run: str, job: bytes) -> tuple[str, bytes]:
    return run, job


@lru_cache(maxsize=8)
def _device(spec: str) -> str:
    return pick_device(spec)


_JOBS: dict[str, Job] = {}
_JOBS_LOCK = threading.Lock()


def _work(parcel: tuple[str, bytes], block: Block, device: str) -> Any:
    """One task on a worker; the job is unpickled once per process."""
    import cloudpickle

    from .cluster import limit_threads

    run, job = parcel
    with _JOBS_LOCK:
        if run not in _JOBS:
            _JOBS.clear()
            _JOBS[run] = cloudpickle.loads(job)
            limit_threads()
        ready = _JOBS[run]
    return ready(block, _device(device))
