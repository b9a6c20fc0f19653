"""Blocks worked on by a dask cluster: worker processes of this machine, or a cluster that exists.

Results never travel: a task writes its own block and its statistics into the working store. What is lost with a worker
that dies is the block it was at, which another one then does.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hsgeo.errors import HsgeoError

from .devices import pick_device
from .dispatch import Done, Job
from .plan import Block

if TYPE_CHECKING:
    from distributed import Client

#: tasks that wait on a cluster for each thread of it, the running one included
IN_FLIGHT = 2
#: seconds between two looks at the workers
LOOK = 2.0
#: seconds that a cluster may be without workers before the run gives up
PATIENCE = 90.0
#: seconds to wait for the result of a finished task whose marker is not to be seen yet
FETCH = 30.0


def on_cluster(
    client: Client, job: Job, blocks: Iterable[Block], device: str, gpu: bool = False, lasting: bool = False
) -> Iterator[Done]:
    """Work on a cluster, with a bounded number of blocks in flight.

    Parameters
    ----------
    device : str
        Device specification, resolved on the worker.
    gpu : bool
        Each task takes one of the resource ``GPU``.
    lasting : bool
        The cluster outlives the run: the job is taken away from its workers at the end.

    Raises
    ------
    HsgeoError
        Workers died again and again on one block, none is left, or the scheduler is gone.
    """
    from distributed import KilledWorker

    from .delivery import Delivery

    run = uuid.uuid4().hex[:12]
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    todo = deque(blocks)
    flying: dict[Any, tuple[Any, Block]] = {}
    delivery = Delivery(run, job)
    client.register_plugin(delivery)
    crew, submitted = _Crew(client), 0
    try:
        while todo or flying:
            threads = crew.threads()
            while todo and len(flying) < IN_FLIGHT * max(1, threads):
                block = todo.popleft()
                key = f"hsgeo-{run}-{block.row}-{block.col}-{submitted}"
                future = client.submit(
                    _work, run, block, device, key=key, resources={"GPU": 1} if gpu else None, pure=False
                )
                flying[key] = (future, block)
                submitted += 1
                future.add_done_callback(results.put)
            try:
                future = results.get(timeout=LOOK)
            except queue.Empty:
                continue
            _, block = flying.pop(future.key)
            try:
                done = _outcome(job, block, future)
            except CancelledError as error:
                raise HsgeoError(LOST) from error
            except KilledWorker as error:
                raise HsgeoError(
                    f"worker processes died one after the other on block {block.row}, {block.col}, most often for lack "
                    "of memory; use fewer --workers or a smaller --tile, and go on with --resume."
                ) from error
            finally:
                future.release()
            if done is None:
                todo.appendleft(block)
            else:
                yield done
    finally:
        with suppress(Exception):  # whatever went wrong before is what must be told
            client.cancel([future for future, _ in flying.values()])
            if lasting:
                client.unregister_worker_plugin(delivery.name)


LOST = "the dask scheduler can no longer be reached; what is done is kept for --resume."


def _outcome(job: Job, block: Block, future: Any) -> Done | None:
    """What a task came to; None when it finished and its result was lost with its worker."""
    if future.status != "finished":
        return block, future.result()
    record = job.store.record(block.row, block.col)
    if record is not None:
        return block, record["stats"]
    try:  # a network file system may show files late
        return block, future.result(timeout=FETCH)
    except TimeoutError:
        return None


class _Crew:
    """The workers of a cluster, looked at now and then; those of our own clusters are replaced when they are gone."""

    def __init__(self, client: Client) -> None:
        self.client, self.cluster = client, getattr(client, "cluster", None)
        self.count, self.looked, self.alive = 0, -LOOK, time.monotonic()

    def threads(self) -> int:
        """Tasks that can run at a time."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return self.count
        try:
            workers = self.client.nthreads()
        except OSError as error:
            raise HsgeoError(LOST) from error
        self.looked, self.count = now, sum(workers.values())
        if self.cluster is not None and len(workers) < len(self.cluster.worker_spec):
            # dask restarts a worker that dies, but not one that dies while it starts
            self.cluster.scale(len(self.cluster.worker_spec))
        if workers:
            self.alive = now
        elif now - self.alive > PATIENCE:
            raise HsgeoError(
                f"the cluster has had no worker for {PATIENCE:.0f} seconds; what is done is kept for --resume."
            )
        return self.count


@lru_cache(maxsize=8)
def _device(spec: str) -> str:
    return pick_device(spec)


def _work(run: str, block: Block, device: str) -> Any:
    """One task on a worker."""
    from .cluster import limit_threads
    from .delivery import delivered

    job = delivered(run)
    limit_threads()
    return job(block, _device(device))
