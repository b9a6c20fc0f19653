"""What cannot be opened: one sentence that names the file and says what to do."""

from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest
import rasterio
import xarray as xr

from hsgeo.errors import BandError, DataError, SceneNotFoundError, SceneReadError, SensorError
from hsgeo.scene import open_scene
from hsgeo.scene.tiff import check_complete

from .opening import NORTH_UP, ramp, tif


def message(path, error, **options) -> str:
    with pytest.raises(error) as caught:
        open_scene(path, **options)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert "\n" not in text
    assert text.count(". ") <= 2
    return text


def test_missing_file_suggests_near_names(tmp_path):
    tif(tmp_path / "hyperion_scene.tif", ramp(1, 2, 2))
    text = message(tmp_path / "hyperion_scen.tif", SceneNotFoundError)
    assert "no such file" in text
    assert "Did you mean" in text
    assert "hyperion_scene.tif" in text
    assert "does not exist either" in message(tmp_path / "nowhere" / "a.tif", SceneNotFoundError)


def test_empty_and_text_files(tmp_path):
    (tmp_path / "void.tif").write_bytes(b"")
    assert "void.tif is empty" in message(tmp_path / "void.tif", SceneReadError)
    (tmp_path / "notes.tif").write_text("not a raster\n" * 3)
    assert "notes.tif is a text file" in message(tmp_path / "notes.tif", SceneReadError)
    (tmp_path / "noise.xyz").write_bytes(bytes(range(256)) * 4)
    assert "noise.xyz is not a raster" in message(tmp_path / "noise.xyz", SceneReadError)


def test_models_and_folders_of_tiles_are_no_scenes(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(bytes(range(256)))
    assert "m.safetensors is a model, not a scene" in message(tmp_path / "m.safetensors", SceneReadError)
    for name in ("tile_01", "tile_01_abundances", "tile_01_classes"):
        (tmp_path / f"{name}.tif").write_bytes(b"")
    assert f"hsgeo assess {tmp_path} --reference SCENE" in message(tmp_path, SceneReadError)


@pytest.mark.parametrize(
    "profile", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"BIGTIFF": "YES"}, {"compress": "deflate"}]
)
@pytest.mark.parametrize("lost", [1, 2000, 0.5, 0.95])
def test_truncated_tiff_is_found_at_opening(tmp_path, profile, lost):
    values = np.random.default_rng(0).integers(0, 9999, (3, 64, 64)).astype("int16")
    path = tif(tmp_path / "cut.tif", values, **profile)
    assert open_scene(path).values.shape == (3, 64, 64)
    size = path.stat().st_size
    os.truncate(path, size - lost if lost >= 1 else int(size * (1 - lost)))
    assert "cut.tif is" in (text := message(path, SceneReadError))
    assert "truncated" in text


def test_damage_inside_is_found_while_reading(tmp_path):
    values = np.random.default_rng(0).integers(0, 9999, (1, 256, 256)).astype("int16")
    path = tif(tmp_path / "bad.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = b"\xaa" * 6000
    path.write_bytes(bytes(content))
    scene = open_scene(path)
    with pytest.raises(SceneReadError, match=r"bad\.tif: rows \d+-\d+ cannot be read, the file is damaged"):
        scene.compute(scheduler="threads")
    with pytest.raises(SceneReadError, match="cannot be read"):
        pickle.loads(pickle.dumps(scene)).compute(scheduler="synchronous")


def test_unusual_but_whole_tiffs_pass(tmp_path):
    values = ramp(2, 50, 60)
    for name, profile in {
        "sparse": {"SPARSE_OK": True, "tiled": True, "blockxsize": 16, "blockysize": 16},
        "strips": {"blockysize": 7},
        "big_endian": {"ENDIANNESS": "BIG"},
        "zstd": {"compress": "zstd", "predictor": 2},
        "pixel": {"interleave": "pixel"},
    }.items():
        path = tif(tmp_path / f"{name}.tif", values, **profile)
        np.testing.assert_array_equal(open_scene(path).values, values, err_msg=name)
    with rasterio.open(
        tmp_path / "void.tif",
        "w",
        driver="GTiff",
        count=1,
        height=99,
        width=99,
        dtype="uint8",
        SPARSE_OK=True,
        crs="EPSG:32633",
        transform=NORTH_UP,
    ):
        pass
    assert open_scene(tmp_path / "void.tif").values.max() == 0


def test_a_last_strip_counted_too_long_is_whole(tmp_path):
    """10 x 10 bytes in strips of 8 rows, both said to have 80 bytes, as some programs write; the last has 20."""
    values = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8}
    places = {273: (200, 280), 279: (80, 80)}
    fields = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    fields += [struct.pack("<HHII", tag, 4, 2, 150 + 8 * i) for i, tag in enumerate(places)]
    fields.sort(key=lambda field: struct.unpack_from("<H", field))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + b"".join(fields) + bytes(4)
    lists = b"".join(struct.pack("<II", *pair) for pair in places.values())
    path = tmp_path / "old.tif"
    path.write_bytes(head.ljust(150, b"\0") + lists.ljust(50, b"\0") + bytes(range(100)))
    check_complete(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SceneReadError, match="it has 299 bytes, its pixels reach to byte 300"):
        check_complete(path)


def test_complex_values(tmp_path):
    text = message(tif(tmp_path / "c.tif", np.ones((1, 2, 2), "complex64")), DataError)
    assert "complex" in text
    assert "magnitude" in text


def test_container_of_several_rasters(tmp_path):
    grid = np.zeros((4, 5), "float32")
    path = tmp_path / "two.nc"
    xr.Dataset({"first": (("y", "x"), grid), "second": (("y", "x"), grid)}).to_netcdf(path, engine="scipy")
    text = message(path, SceneReadError)
    assert "holds 2 rasters" in text
    assert "first" in text
    one = open_scene(f'NETCDF:"{path}":second', chunks=None)
    assert one.shape == (1, 4, 5)


def test_permissions(tmp_path):
    path = tif(tmp_path / "mine.tif", ramp(1, 2, 2))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "may not be read" in message(path, SceneReadError)


def test_sensor_mistakes(tmp_path):
    path = tif(tmp_path / "a.tif", ramp(3, 2, 2))
    assert "enmap" in message(path, SensorError, sensor="enmapp")
    text = message(path, BandError, sensor="enmap")
    assert "has 3 bands" in text
    assert "224" in text
