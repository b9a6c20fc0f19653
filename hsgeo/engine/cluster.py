"""Clusters of dask.distributed: worker processes on this machine, or one that exists already."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsgeo.errors import HsgeoError, ParameterError

if TYPE_CHECKING:
    from distributed import Client

#: environment variable that tells a worker of ours how many threads torch may use
THREADS = "HSGEO_TORCH_THREADS"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: a block on which more than this many workers died is given up
ALLOWED_FAILURES = 3
#: seconds in which something must listen at the address of a scheduler
REACH_TIMEOUT = 5.0
#: seconds in which a scheduler that is reached, but may be busy, must answer and have a worker
CONNECT_TIMEOUT = 20
#: seconds between two tries to reach it
RETRY = 0.2


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_specs(workers: int, gpus: Sequence[str] = ()) -> dict[int, dict[str, Any]]:
    """What each worker process is started with; see `distributed.SpecCluster`.

    Parameters
    ----------
    workers : int
        Processes; with `gpus`, there is one for each of those instead.
    gpus : sequence of str
        Each process sees one of them alone, as ``cuda:0``, and offers the resource ``GPU=1``.

    Returns
    -------
    dict of int to dict
        Options of a `distributed.Nanny`: bound to loopback, one task at a time, its share of the cores, no memory
        limit of dask's (it would pause workers; the tile size is what bounds their memory).
    """
    count = len(gpus) or workers
    share = str(max(1, cores() // count))
    specs = {}
    for i in range(count):
        env = {**dict.fromkeys(_THREAD_VARIABLES, share), THREADS: share}
        resources = {}
        if gpus:
            env["CUDA_VISIBLE_DEVICES"], resources = gpus[i], {"GPU": 1}
        specs[i] = {
            "nthreads": 1,
            "host": "127.0.0.1",
            "memory_limit": None,
            "resources": resources,
            "env": env,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": logging.CRITICAL,
        }
    return specs


def limit_threads() -> None:
    """Keep torch to this worker's share of the cores, if this is a worker of ours and torch is loaded."""
    share, torch = os.environ.get(THREADS), sys.modules.get("torch")
    if share and torch is not None:
        torch.set_num_threads(int(share))


@contextmanager
def local_cluster(workers: int, gpus: Sequence[str] = ()) -> Iterator[Client]:
    """Spawned worker processes of this machine, reachable from this machine alone; gone afterwards.

    A worker that dies is replaced. After an interrupt the workers are killed rather than waited for.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    specs = worker_specs(workers, gpus)
    shared = {name: specs[0]["env"][name] for name in _THREAD_VARIABLES}
    before = {name: os.environ.get(name) for name in (*shared, "PYTHONHASHSEED")}
    config = {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.worker.profile.enabled": False,
        # numpy's threads are counted when a worker is spawned; dask sets these in this process as well, see below
        "distributed.nanny.pre-spawn-environ": shared,
    }
    with dask.config.set(config):
        cluster: Any = None
        try:
            try:
                cluster = SpecCluster(
                    scheduler={
                        "cls": Scheduler,
                        "options": {
                            "host": "127.0.0.1",
                            "port": 0,
                            "protocol": "tcp",
                            "dashboard": False,
                            "dashboard_address": "127.0.0.1:0",
                        },
                    },
                    workers={i: {"cls": Nanny, "options": options} for i, options in specs.items()},
                    silence_logs=logging.CRITICAL,
                )
            except Exception as error:
                raise HsgeoError(f"the {len(specs)} worker processes did not start: {error}") from error
            with Client(cluster, set_as_default=False) as client:
                try:
                    yield client
                except BaseException:
                    _kill(cluster)
                    raise
        finally:
            if cluster is not None:
                cluster.close(timeout=10)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _kill(cluster: Any) -> None:
    """End the worker processes at once; what they were at is not marked as done."""
    for nanny in list(cluster.workers.values()):
        nanny.close_gracefully()  # which only keeps it from starting another one
        pid = nanny.pid
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def check_scheduler(scheduler: str) -> None:
    """See that something listens where a scheduler is said to be, within `REACH_TIMEOUT`.

    Parameters
    ----------
    scheduler : str
        Address (``tcp://host:8786``) or path of a scheduler file.

    Raises
    ------
    ParameterError
        Nothing does, or it is neither an address nor a file.
    """
    from distributed.comm.addressing import get_address_host_port, parse_address

    is_file = Path(scheduler).is_file()
    if not is_file and ":" not in scheduler:
        raise ParameterError(f"--scheduler {scheduler}: no such file, nor an address such as tcp://host:8786.")
    try:
        address = json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"] if is_file else scheduler
        if parse_address(address)[0] not in ("tcp", "tls"):
            return  # dask alone knows how to reach it
        place = get_address_host_port(address)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise nobody(scheduler) from error
    end = time.monotonic() + REACH_TIMEOUT
    while True:
        try:
            socket.create_connection(place, timeout=max(0.1, end - time.monotonic())).close()
            return
        except OSError as error:  # it may be starting
            if time.monotonic() + RETRY > end:
                raise nobody(scheduler) from error
            time.sleep(RETRY)


def nobody(scheduler: str) -> ParameterError:
    """What is said where no scheduler answers."""
    return ParameterError(
        f"--scheduler {scheduler}: no dask scheduler answers there; start one, or leave the option out."
    )


@contextmanager
def existing_cluster(scheduler: str, folder: Path) -> Iterator[Client]:
    """A client of a cluster that exists.

    Parameters
    ----------
    scheduler : str
        Address (``tcp://host:8786``) or path of a scheduler file.
    folder : Path
        The working store, which each worker must see under this path.

    Raises
    ------
    ParameterError
        Nobody answers there, or a worker does not see the folder.
    """
    from distributed import Client

    check_scheduler(scheduler)
    where = {"scheduler_file" if Path(scheduler).is_file() else "address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except Exception as error:  # whatever it is that a wrong address or file leads to
        raise nobody(scheduler) from error
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT)
        except TimeoutError as error:
            raise ParameterError(f"--scheduler {scheduler}: it has no workers; start some.") from error
        blind = [name for name, sees in client.run(os.path.isdir, str(folder)).items() if not sees]
        if blind:
            raise ParameterError(
                f"--scheduler {scheduler}: the worker {blind[0]} does not see {folder}; "
                "the workers need the same file system as this machine."
            )
        yield client
    finally:
        client.close(timeout=5)


def has_gpu_resource(client: Client) -> bool:
    """Whether any worker offers the resource ``GPU``."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get("GPU", 0) for worker in workers)
