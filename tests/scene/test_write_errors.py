"""Outputs appear whole or not at all; what cannot be written is said in one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from hsgeo.errors import DataError, OutputExistsError, OutputWriteError, ParameterError, SceneReadError
from hsgeo.scene import make_scene, open_scene, write_scene
from hsgeo.scene.write import check_output

from .writing import GRID, full_scene, leftovers, stored

OUTPUTS = {"a.tif": {}, "cog.tif": {"cog": True}, "a.img": {}, "a.bip": {}, "a.zarr": {}}


def noise(megabytes: float = 8, seed: int = 0):
    """Values that no compression makes smaller."""
    side = int((megabytes * 1e6 / 2 / 4) ** 0.5)
    values = np.random.default_rng(seed).integers(-30000, 30000, (4, side, side)).astype(np.float32)
    return make_scene(values, GeoBox((side, side), GRID.affine, GRID.crs), attrs={"dtype": "int16", "nodata": None})


def failing(error: BaseException, after: int = 2):
    """A scene of several windows; reading one of them raises."""
    calls = []

    def block(values):
        calls.append(1)
        if len(calls) > after:
            raise error
        return values

    zeros = da.zeros((40, 2048, 512), chunks=(40, 512, 512), dtype=np.float32)
    data = zeros.map_blocks(block, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    return make_scene(data, GeoBox((2048, 512), GRID.affine, GRID.crs), attrs={"dtype": "int16"})


def same(path: Path, scene) -> bool:
    """Whether the output holds that scene."""
    return np.array_equal(stored(open_scene(path, chunks=None)), stored(scene))


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr("hsgeo.scene.write.WINDOW_BYTES", 1 << 20)


@pytest.mark.parametrize(
    ("name", "error"),
    [(n, KeyboardInterrupt()) for n in OUTPUTS]
    + [("a.tif", ValueError("broken")), ("a.zarr", SceneReadError("gone")), ("a.img", MemoryError())],
)
def test_an_exception_leaves_nothing(tmp_path, name, error, small_windows):
    with pytest.raises(type(error)):
        write_scene(failing(error), tmp_path / name, **OUTPUTS[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_old_output_stays_until_the_new_one_is_complete(tmp_path, name, small_windows):
    path = tmp_path / name
    write_scene(full_scene(), path, **OUTPUTS[name])
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(DataError):
        write_scene(failing(DataError("broken")), path, overwrite=True, **OUTPUTS[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert same(path, full_scene())


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_existing_output_is_refused(tmp_path, name):
    path = tmp_path / name
    write_scene(full_scene(), path, **OUTPUTS[name])
    with pytest.raises(OutputExistsError, match=f"{path} exists.*--overwrite"):
        write_scene(full_scene(seed=4), path, **OUTPUTS[name])
    assert same(path, full_scene())
    write_scene(full_scene(seed=4), path, overwrite=True, **OUTPUTS[name])
    assert same(path, full_scene(seed=4))
    assert leftovers(tmp_path) == []


def test_sidecars_of_another_file_are_not_inherited(tmp_path):
    sidecar = tmp_path / "a.tif.aux.xml"
    sidecar.write_text("<PAMDataset><Metadata><MDI key='old'>1</MDI></Metadata></PAMDataset>")
    with pytest.raises(OutputExistsError, match=r"a\.tif\.aux\.xml exists"):
        write_scene(full_scene(), tmp_path / "a.tif")
    assert sidecar.exists()
    write_scene(full_scene(), tmp_path / "a.tif", overwrite=True)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert "old" not in dataset.tags() and not sidecar.exists()


def test_the_header_of_another_envi_file_is_not_replaced(tmp_path):
    write_scene(full_scene(), tmp_path / "a.dat")
    with pytest.raises(OutputExistsError, match=r"a\.hdr exists"):
        write_scene(full_scene(seed=4), tmp_path / "a.img")
    assert open_scene(tmp_path / "a.dat").shape == (4, 37, 53)


def test_folders_are_not_replaced_by_files_nor_lost(tmp_path):
    (tmp_path / "a.tif").mkdir()
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious.txt").write_text("x")
    for name in ("a.tif", "a.zarr"):
        with pytest.raises(OutputWriteError, match="is a folder"):
            write_scene(full_scene(), tmp_path / name, overwrite=True)
    assert (tmp_path / "a.zarr" / "precious.txt").exists()


def test_folder_missing_or_a_file(tmp_path):
    with pytest.raises(OutputWriteError, match="does not exist; create it"):
        write_scene(full_scene(), tmp_path / "no" / "a.tif")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError, match="is not a folder"):
        check_output(tmp_path / "file" / "a.zarr")


def test_folder_that_cannot_be_written(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    target = locked / "a.tif" if os.geteuid() else Path("/proc/a.tif")  # root may write anywhere else
    if not target.parent.is_dir():
        pytest.skip("no folder here that root cannot write")
    with pytest.raises(OutputWriteError, match=r"cannot be written \(.+\); choose another"):
        check_output(target)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.tif").write_bytes(b"")
    (tmp_path / "link.tif").symlink_to(tmp_path / "store" / "real.tif")
    write_scene(full_scene(), tmp_path / "link.tif", overwrite=True)
    assert (tmp_path / "link.tif").is_symlink()
    assert open_scene(tmp_path / "store" / "real.tif").shape == (4, 37, 53)


def test_an_input_can_be_its_own_output(tmp_path):
    for name, options in OUTPUTS.items():
        write_scene(full_scene(), tmp_path / name, **options)
        write_scene(open_scene(tmp_path / name), tmp_path / name, overwrite=True, **options)
        assert same(tmp_path / name, full_scene())
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


SLOW = """
import sys, time
import dask.array as da, numpy as np
from odc.geo.geobox import GeoBox
from affine import Affine
import hsgeo.scene.write as module
from hsgeo.scene import make_scene
module.WINDOW_BYTES = 1 << 20
def slow(values):
    print("reading", flush=True)
    time.sleep(0.3)
    return values
data = da.zeros((40, 51200, 512), chunks=(40, 512, 512), dtype=np.float32)
data = data.map_blocks(slow, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
scene = make_scene(data, GeoBox((51200, 512), Affine(1, 0, 5e5, 0, -1, 6e6), "EPSG:32633"), attrs={"dtype": "int16"})
module.write_scene(scene, sys.argv[1])
"""


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_leaves_no_output(tmp_path, name, how):
    target = tmp_path / name
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, target], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(3):
        process.stdout.readline()
    assert len(leftovers(tmp_path)) == 1
    process.send_signal(how)
    process.communicate(timeout=60)
    assert not target.exists()
    assert len(leftovers(tmp_path)) == (1 if how == signal.SIGKILL else 0)
    write_scene(full_scene(), target)
    assert leftovers(tmp_path) == [] and open_scene(target).shape == (4, 37, 53)


def test_two_writers_of_one_output_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "a.tif"
    process = subprocess.Popen([sys.executable, "-c", SLOW, target], stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        running = leftovers(tmp_path)
        write_scene(full_scene(), target)
        assert leftovers(tmp_path) == running and target.exists()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder on a file system of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # lazily: readers may hold files open


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_full_disk(tiny_disk, name, capfd):
    with pytest.raises(OutputWriteError, match=rf"disk full while writing {tiny_disk}/{name}; free [\d.]+ [MG]B or"):
        write_scene(noise(8), tiny_disk / name, **OUTPUTS[name])
    assert list(tiny_disk.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_that_fills_up_behind_our_back(tiny_disk, name, monkeypatch):
    """As with a quota: the free space says nothing, and GDAL's threads notice last."""
    for module in ("gtiff_writer", "overviews", "envi_writer", "zarr_store"):
        monkeypatch.setattr(f"hsgeo.scene.{module}.require_space", lambda *args: None)
    with pytest.raises(OutputWriteError, match="disk full while writing"):
        write_scene(noise(8), tiny_disk / name, **OUTPUTS[name])
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_fits_is_written(tiny_disk, name):
    write_scene(noise(1), tiny_disk / name, **OUTPUTS[name])
    np.testing.assert_array_equal(open_scene(tiny_disk / name, chunks=None).values, noise(1).values)


LIMITED = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.scene.test_write_errors import OUTPUTS, noise
from hsgeo.errors import OutputWriteError
from hsgeo.scene import write_scene
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    write_scene(noise(4), sys.argv[1], **OUTPUTS[sys.argv[1].rsplit("/")[-1]])
except OutputWriteError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.zarr"])
def test_a_limit_on_file_sizes(tmp_path, name):
    code = LIMITED.format(root=str(Path(__file__).resolve().parents[2]))
    run = subprocess.run([sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True, timeout=120)
    assert str(tmp_path / name) in run.stdout and "choose another folder" in run.stdout, run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cog", [False, True])
def test_a_compression_that_gdal_would_drop_silently(tmp_path, cog):
    with pytest.raises(ParameterError, match="DEFLATE"):
        write_scene(full_scene(), tmp_path / "a.tif", cog=cog, creation={"compress": "DEFLAT"})
    assert not list(tmp_path.iterdir())
