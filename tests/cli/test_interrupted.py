"""A run that is interrupted or killed: no output appears, and `--resume` ends where an uninterrupted run does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsgeo.bench.large import write_large_pair
from hsgeo.cli.app import run
from hsgeo.methods.fusion.subspace import SubspaceFusion

ARGUMENTS = ["--tile", "24", "--no-register", "--progress", "json"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> tuple[Path, Path, np.ndarray]:
    """A pair of many small tiles, and the result of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("long")
    hsi, msi = write_large_pair(folder, 180, 210, 24, 3)
    assert run(["fuse", str(hsi), str(msi), "-o", str(folder / "whole.tif"), *ARGUMENTS, "-q"]) == 0
    with rasterio.open(folder / "whole.tif") as source:
        return hsi, msi, source.read()


def start(hsi: Path, msi: Path, output: Path) -> subprocess.Popen:
    """Start a fusion and wait until some of its tiles are done."""
    command = [sys.executable, "-m", "hsgeo", "fuse", str(hsi), str(msi), "-o", str(output), *ARGUMENTS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    assert process.stderr is not None
    for line in process.stderr:
        assert time.monotonic() < deadline
        if '"apply"' in line and not any(f'"done": {n},' in line for n in range(4)):
            return process
    raise AssertionError(f"ended early with code {process.wait()}")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_resume_after_a_signal_gives_the_same_file(scenes, tmp_path, capfd, monkeypatch, sign, code):
    hsi, msi, whole = scenes
    output = tmp_path / "out.tif"
    process = start(hsi, msi, output)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if sign == signal.SIGINT:
        assert "--resume" in err and "Traceback" not in err
    assert not output.exists()
    stores = list(tmp_path.iterdir())
    assert stores and all(p.name.startswith(".out.tif") for p in stores)

    other = ["fuse", str(hsi), str(msi), "-o", str(output), "--resume", "--tile", "48", "--no-register"]
    assert run(other) == 2
    assert "tile" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(SubspaceFusion, "fit", None)  # what cannot be resumed is not fitted first
        other = ["fuse", str(hsi), str(msi), "-o", str(output), "--resume", *ARGUMENTS, "--set", "dimension=4"]
        assert run(other) == 2
    assert "parameters.dimension (null before, 4 now)" in capfd.readouterr().err

    assert run(["fuse", str(hsi), str(msi), "-o", str(output), "--resume", *ARGUMENTS]) == 0
    with rasterio.open(output) as source:
        assert np.array_equal(source.read(), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


def test_a_new_run_without_resume_starts_afresh(scenes, tmp_path):
    hsi, msi, whole = scenes
    output = tmp_path / "out.tif"
    process = start(hsi, msi, output)
    process.kill()
    process.communicate(timeout=60)
    assert run(["fuse", str(hsi), str(msi), "-o", str(output), *ARGUMENTS, "-q"]) == 0
    with rasterio.open(output) as source:
        assert np.array_equal(source.read(), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]
