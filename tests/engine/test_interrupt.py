"""Killed or interrupted at any time, the store stays good for a resumed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hsgeo.engine.run import run

from .jobs import IDENTITY, OUTPUTS, PLAN, Ramp

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def start(store: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engine.jobs", str(store), *options]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(command, cwd=root, stdout=-1, stderr=-1, text=True, start_new_session=True)


def wait_for_blocks(store: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        markers = list((store / "blocks").iterdir()) if (store / "blocks").is_dir() else []
        if sum(not marker.name.endswith(".partial") for marker in markers) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("no block was finished")


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in (store / "arrays").rglob("*") if p.is_file()}


def resumed(store: Path):
    return run(Ramp(), PLAN, OUTPUTS, store, identity=IDENTITY, resume=True, devices="cpu")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "store"
    run(Ramp(), PLAN, OUTPUTS, store, identity=IDENTITY, devices="cpu")
    return files(store)


def test_a_run_killed_half_way_ends_byte_for_byte_as_an_uninterrupted_one(tmp_path, uninterrupted):
    store = tmp_path / "store"
    process = start(store, "--pause", "0.05")
    wait_for_blocks(store, 5, process)
    process.kill()
    process.communicate()
    report = resumed(store)
    assert report.skipped >= 5 and report.done >= 1 and report.skipped + report.done == 16
    assert files(store) == uninterrupted


@pytest.mark.parametrize("threads", ["1", "3"])
def test_ctrl_c_stops_at_once_and_keeps_what_is_done(tmp_path, uninterrupted, threads):
    store = tmp_path / "store"
    process = start(store, "--pause", "0.6", "--threads", threads)
    wait_for_blocks(store, 2, process)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and errors == ""
    assert time.perf_counter() - began < 8
    report = resumed(store)
    assert report.skipped >= 2 and report.done >= 1
    assert files(store) == uninterrupted


def test_ctrl_c_ends_the_worker_processes_too(tmp_path, uninterrupted):
    store = tmp_path / "store"
    process = start(store, "--pause", "1", "--workers", "2")
    wait_for_blocks(store, 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.perf_counter()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them get it
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.perf_counter() - began < 30
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    report = resumed(store)
    assert report.skipped >= 2 and report.done >= 1
    assert files(store) == uninterrupted
