from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest

from hsgeo.engine import cluster, remote
from hsgeo.engine.cluster import cores, worker_specs
from hsgeo.engine.dispatch import Job
from hsgeo.engine.plan import TilePlan
from hsgeo.engine.run import run
from hsgeo.engine.store import Store
from hsgeo.errors import HsgeoError, ParameterError

from .jobs import IDENTITY, OUTPUTS, PLAN, Deadly, Environment, Ramp

HERE: dict[str, Any] = {
    "processes": False,
    "protocol": "tcp",
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
}


def environment():
    """Without what dask keeps of itself there, which a test before this one may have left."""
    return {k: v for k, v in os.environ.items() if not k.startswith("__DASK")}


def go(path, work, **options):
    return run(work, PLAN, OUTPUTS, path / "store", **{"identity": IDENTITY, "devices": "cpu", **options})


def test_worker_processes_share_the_cores_listen_on_loopback_and_survive_a_kill(tmp_path):
    (tmp_path / "marks").mkdir()
    before = environment()
    addresses: set[str] = set()
    calls: list[Any] = []
    submit = remote.on_cluster

    def watched(client, job, blocks, device, gpu=False, lasting=False):
        for done in submit(client, job, blocks, device, gpu, lasting):
            me = psutil.Process()
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    addresses.update(c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN")
            calls.append(done)
            yield done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hsgeo.engine.run.on_cluster", watched)
        report = go(tmp_path, Deadly(str(tmp_path / "marks"), 1, pause=0.2), workers=2)
    assert report.done == 16 and len(calls) == 16
    y, x = np.mgrid[:40, :40]
    np.testing.assert_array_equal(report.arrays["image"][...], np.stack([100 * y + x, y * x, y - x]))
    pids = {s["pid"] for s in report.stats}
    assert len(pids) >= 2 and os.getpid() not in pids
    assert addresses == {"127.0.0.1"}
    assert environment() == before
    children = [" ".join(c.cmdline()) for c in psutil.Process().children(recursive=True)]
    assert all("resource_tracker" in command for command in children)


@pytest.mark.slow
def test_a_block_that_kills_every_worker_is_given_up(tmp_path):
    (tmp_path / "marks").mkdir()
    with pytest.raises(HsgeoError, match="died one after the other on block"):
        go(tmp_path, Deadly(str(tmp_path / "marks"), 100), workers=1)
    assert len(list((tmp_path / "marks").iterdir())) == cluster.ALLOWED_FAILURES + 1
    assert go(tmp_path, Ramp(), resume=True).skipped > 0


@pytest.mark.slow
def test_gpu_workers_see_one_gpu_each(tmp_path, monkeypatch):
    """The pinning, without a GPU: the processes are told theirs, and tasks ask for the resource."""
    monkeypatch.setattr("hsgeo.engine.run.cuda_count", lambda: 2)
    monkeypatch.setattr("hsgeo.engine.remote.pick_device", lambda spec: spec)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
    monkeypatch.setattr("hsgeo.engine.remote._work", _work_without_gpu)
    report = go(tmp_path, Environment(), workers=5, devices="auto")
    assert {s["CUDA_VISIBLE_DEVICES"] for s in report.stats} == {"4", "GPU-abc"}
    assert {s["device"] for s in report.stats} == {"cuda:0"}
    assert "2 worker processes instead of 5" in report.notes[0]
    assert {s["OMP_NUM_THREADS"] for s in report.stats} == {str(max(1, cores() // 2))}


def _work_without_gpu(run, block, device):
    from hsgeo.engine.delivery import delivered

    return delivered(run)(block, device)


def test_specs_of_workers(monkeypatch):
    monkeypatch.setattr(cluster, "cores", lambda: 8)
    specs = worker_specs(3)
    assert len(specs) == 3
    assert {s["env"]["OMP_NUM_THREADS"] for s in specs.values()} == {"2"}
    assert all(s["nthreads"] == 1 and s["host"] == "127.0.0.1" and s["memory_limit"] is None for s in specs.values())
    assert not any("CUDA_VISIBLE_DEVICES" in s["env"] or s["resources"] for s in specs.values())
    pinned = worker_specs(9, ["0", "3"])
    assert [s["env"]["CUDA_VISIBLE_DEVICES"] for s in pinned.values()] == ["0", "3"]
    assert all(s["resources"] == {"GPU": 1} and s["env"]["OMP_NUM_THREADS"] == "4" for s in pinned.values())
    assert {s["env"]["OMP_NUM_THREADS"] for s in worker_specs(100).values()} == {"1"}


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A cluster that exists: scheduler and worker in this process, with an address and a file."""
    from distributed import LocalCluster

    file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as existing:
        file.write_text(f'{{"address": "{existing.scheduler_address}"}}')
        yield existing.scheduler_address, file


def test_a_cluster_that_exists_by_address_and_by_file(tmp_path, scheduler):
    address, file = scheduler
    for where in (address, str(file)):
        report = go(tmp_path, Ramp(), scheduler=where)
        assert report.done == 16 and where in report.notes[-1]
        assert (report.arrays["image"][0, 1] == 100 + np.arange(40)).all()


def test_errors_and_closures_travel(tmp_path, scheduler):
    shift = 5

    def work(block, device):
        if block.row == 2:
            raise LookupError("third row")
        return np.full((3, *block.core.shape), shift)

    with pytest.raises(LookupError, match="third row"):
        go(tmp_path, work, scheduler=scheduler[0])
    report = go(tmp_path, lambda b, d: np.full((3, *b.core.shape), shift), scheduler=scheduler[0], resume=True)
    assert 0 < report.skipped < 16 and (report.arrays["image"][...] == 5).all()


def test_few_tasks_are_in_flight(tmp_path, scheduler, monkeypatch):
    from distributed import Client

    waiting, most = set(), []
    submit = Client.submit

    def counted(self, fn, *args, **more):
        future = submit(self, fn, *args, **more)
        if fn is remote._work:
            waiting.add(future.key)
            future.add_done_callback(lambda f: waiting.discard(f.key))
            most.append(len(waiting))
        return future

    monkeypatch.setattr(Client, "submit", counted)
    plan = TilePlan(40, 40, tile=4)
    run(Ramp(), plan, OUTPUTS, tmp_path / "s", identity={}, devices="cpu", scheduler=scheduler[0])
    assert len(most) == 100 and max(most) <= remote.IN_FLIGHT * 2


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "REACH_TIMEOUT", 0.5)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(ParameterError, match="no dask scheduler answers"):
        go(tmp_path, Ramp(), scheduler=f"tcp://127.0.0.1:{port}")
    with pytest.raises(ParameterError, match="no such file, nor an address"):
        go(tmp_path, Ramp(), scheduler="missing.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ParameterError, match="no dask scheduler answers"):
        go(tmp_path, Ramp(), scheduler=str(tmp_path / "x.json"))


def test_a_scheduler_out_of_reach_is_told_soon_and_a_slow_one_is_waited_for(tmp_path, monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    for where in (f"tcp://127.0.0.1:{port}", f"127.0.0.1:{port}", "tcp://nowhere.invalid:8786"):
        monkeypatch.setattr(cluster, "REACH_TIMEOUT", 0.6)
        begin = time.perf_counter()
        with pytest.raises(ParameterError, match="no dask scheduler answers"):
            cluster.check_scheduler(where)
        assert time.perf_counter() - begin < 2
    monkeypatch.setattr(cluster, "REACH_TIMEOUT", 10)
    late = socket.socket()
    late.bind(("127.0.0.1", port))
    timer = threading.Timer(0.5, late.listen)
    timer.start()
    begin = time.perf_counter()
    cluster.check_scheduler(f"tcp://127.0.0.1:{port}")
    assert 0.3 < time.perf_counter() - begin < 5
    timer.join()
    late.close()
    with pytest.raises(ParameterError, match="no dask scheduler answers"):
        cluster.check_scheduler("tcp://127.0.0.1")


def test_a_cluster_without_workers_or_without_the_folder(tmp_path, scheduler, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 2)
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as empty,
        pytest.raises(ParameterError, match="no workers"),
    ):
        go(tmp_path, Ramp(), scheduler=empty.scheduler_address)
    monkeypatch.setattr("os.path.isdir", lambda p: False)
    with pytest.raises(ParameterError, match="does not see"):
        go(tmp_path, Ramp(), scheduler=scheduler[0])


class FakeFuture:
    status = "finished"

    def __init__(self, outcome):
        self.outcome = outcome

    def result(self, timeout=None):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def test_a_result_lost_with_its_worker_is_read_from_the_store_or_the_block_done_again(tmp_path):
    go(tmp_path, Environment())
    job, block = Job(Ramp(), Store(tmp_path / "store", PLAN, OUTPUTS)), PLAN.block(2, 1)
    lost = FakeFuture(TimeoutError())
    found = remote._outcome(job, block, lost)
    assert found is not None and found[1]["device"] == "cpu"
    (tmp_path / "store/blocks/2.1").unlink()
    assert remote._outcome(job, block, lost) is None
    assert remote._outcome(job, block, FakeFuture({"late": 1})) == (block, {"late": 1})
    failed = FakeFuture(LookupError("of the work"))
    failed.status = "error"
    with pytest.raises(LookupError, match="of the work"):
        remote._outcome(job, block, failed)


def test_workers_that_are_gone_are_replaced_and_a_cluster_without_any_is_given_up(monkeypatch):
    class Fake:
        workers: ClassVar[dict[str, int]] = {"a": 1, "b": 1}
        worker_spec: ClassVar[dict[int, dict]] = {0: {}, 1: {}}
        scaled = 0

        def nthreads(self):
            return self.workers

        def scale(self, n):
            self.scaled += 1

    client = Fake()
    client.cluster = client  # type: ignore[attr-defined]
    clock = [0.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: clock[0])
    crew = remote._Crew(client)  # type: ignore[arg-type]
    assert crew.threads() == 2 and not client.scaled
    client.workers = {"b": 1}  # type: ignore[misc]
    assert crew.threads() == 2  # not looked again yet
    clock[0] += remote.LOOK
    assert crew.threads() == 1 and client.scaled == 1
    client.workers = {}
    clock[0] += remote.PATIENCE
    assert crew.threads() == 0 and client.scaled == 2
    clock[0] += remote.LOOK
    with pytest.raises(HsgeoError, match="no worker for"):
        crew.threads()
