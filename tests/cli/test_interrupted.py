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

    again = ["fuse", str(hsi), str(msi), "-o", str(output), "--resume", *ARGUMENTS]
    with monkeypatch.context() as patch:
        patch.setattr(SubspaceFusion, "fit", None)  # what cannot be resumed is not fitted first
        for more, told in (
            (["--set", "dimension=4"], "parameters.dimension (null before, 4 now)"),
            (["--tile", "48"], "parameters.tile (24 before, 48 now)"),
            (["--uncertainty", str(tmp_path / "std.tif")], "outputs (fused before, fused, uncertainty now)"),
        ):
            assert run([*again, *more]) == 2
            assert f"{output}: --resume needs the run that was interrupted, and this one differs in {told}. " in (
                capfd.readouterr().err
            )

    assert run(again) == 0
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
