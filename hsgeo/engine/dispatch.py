"""The job of a run, and its blocks worked on in this process.

In this process a plain loop does it, not a dask cluster of threads. Nine tiles of 224 x 512 x 512 with torch took
15 s of CPU time and 1.2 GiB in the loop, 16 s and 2.3 GiB with two threads or dask's threaded scheduler, and 23 s,
2.0 GiB and a second to start on an in-process `LocalCluster` of one thread (2 cores, torch 2.13, dask 2026.8). torch
fills the cores from within one task, and an interrupt reaches work that runs in the main thread at once.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hsgeo.errors import HsgeoError

from .blend import PatchGrid, blend
from .plan import Block
from .store import Store

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
