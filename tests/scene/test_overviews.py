"""Overviews against means computed here in float64, seen from outside by rasterio and gdalinfo."""

from __future__ import annotations

import re
import shutil
import subprocess

import dask.array as da
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from hsgeo.errors import HsgeoError, OutputWriteError, ParameterError
from hsgeo.scene import make_scene, write_scene
from hsgeo.scene.metadata import describe
from hsgeo.scene.overviews import Overviews, block_side, halve
from hsgeo.scene.tiff_blocks import check_blocks, join

from .writing import GRID, leftovers

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def half(raw, nodata):
    """Means of the pixels that each cell covers, by its definition."""
    values = raw.astype(np.float64)
    if nodata is not None:
        values[raw == nodata] = np.nan
    count, height, width = raw.shape
    cells = np.full((count, -(-height // 2), -(-width // 2), 4), np.nan)
    for i, (y, x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        part = values[:, y::2, x::2]
        cells[:, : part.shape[1], : part.shape[2], i] = part
    number = np.isfinite(cells).sum(-1)
    means = np.where(np.isfinite(cells), cells, 0).sum(-1) / np.maximum(number, 1)
    if raw.dtype.kind != "f":
        means = np.sign(means) * np.floor(np.abs(means) + 0.5)
        if nodata is not None:
            means[(means == nodata) & (number > 0)] += 1  # not to be taken for missing
    return np.where(number > 0, means, np.nan if nodata is None else nodata).astype(raw.dtype)


def pyramid(raw, nodata, count):
    levels = []
    for _ in range(count):
        raw = half(raw, nodata)
        levels.append(raw)
    return levels


def noise(dtype, shape, nodata=None, seed=0):
    """Stored values over the range of a type (beside the extremes), with single and whole areas missing."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        raw = rng.normal(0, 1e3, shape).astype(dtype)
    else:
        info = np.iinfo(dtype)
        raw = rng.integers(info.min + 1, info.max, shape, dtype=dtype)
    if nodata is not None:
        raw[raw == nodata] += 1
        raw[rng.random(shape) < 0.2] = nodata
        raw[:, : shape[1] // 3, : shape[2] // 2] = nodata
    return raw


def scene_of(raw, nodata=None, **attrs):
    grid = GeoBox(raw.shape[1:], GRID.affine, GRID.crs)
    return make_scene(raw, grid, attrs={"dtype": raw.dtype.name, "nodata": nodata, **attrs})


def overviews(path):
    """All overviews of a file."""
    with rasterio.open(path) as dataset:
        count = len(dataset.overviews(1))
    levels = []
    for level in range(count):
        with rasterio.open(path, overview_level=level) as dataset:
            levels.append(dataset.read())
    return levels


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        # the order of additions shows in the last bits of float64
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 if a.dtype == np.float64 else 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(8, 6), (9, 6), (6, 11), (7, 5), (1, 1), (1, 4)])
def test_means_of_four(dtype, size):
    lowest = np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min
    for nodata in (None, lowest, 17):
        raw = noise(dtype, (3, *size), None if nodata is None or np.isnan(nodata) else nodata)
        result = halve(raw, nodata)
        assert result.dtype == raw.dtype
        same([result], [half(raw, nodata)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_a_type_do_not_overflow(dtype):
    info = np.finfo(np.float32) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    for value in (info.min, info.max):
        assert (halve(np.full((1, 3, 3), value, dtype), None) == np.dtype(dtype).type(value)).all()


def test_rounding_is_half_away_from_zero():
    raw = np.array([[[1, 2, -1, -2, 0, -1, 3, -3], [1, 2, -1, -2, 0, -1, 4, -4]]], np.int16)
    assert halve(raw, None).tolist() == [[[2, -2, -1, 0]]]  # 1.5, -1.5, -0.5, 0


@pytest.mark.parametrize(("dtype", "step"), [("int16", 1), ("float32", np.nextafter(np.float32(0), np.float32(1)))])
def test_a_mean_of_valid_pixels_is_not_taken_for_missing(dtype, step):
    raw = np.array([[[-5, 5, -5, 5, 0, 0], [5, -5, 0, 0, 0, 0]]], dtype)
    assert halve(raw, 0).tolist() == [[[step, step, 0]]]


def test_what_is_not_finite_is_missing():
    raw = np.array([[[1, np.inf, np.nan, -np.inf], [np.nan, 2, np.inf, np.nan]]], np.float32)
    np.testing.assert_array_equal(halve(raw, None), [[[1.5, np.nan]]])
    np.testing.assert_array_equal(halve(raw, -9), [[[1.5, -9]]])


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_levels(tmp_path, dtype, cog):
    """Each level is the mean of the one before, to the last bit; sizes are rounded up."""
    nodata = -9999.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).min)
    raw = noise(dtype, (2, 1031, 777), nodata)
    write_scene(scene_of(raw, nodata), tmp_path / "a.tif", raw=True, cog=cog)
    found = overviews(tmp_path / "a.tif")
    assert [level.shape[1:] for level in found] == [(516, 389), (258, 195)]
    same(found, pyramid(raw, nodata, 2))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(), raw) and dataset.nodata == nodata
        assert dataset.overviews(1) == [2, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("size", [(3, 2100), (2100, 1), (1030, 1026)])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_physical_values(tmp_path, size, dtype):
    """Scales, offsets and NaN as in any scene: overviews hold stored values."""
    raw = noise("int16", (3, *size))
    values = raw * 1e-4 + 0.5
    values[:, :1, :700] = np.nan
    scene = scene_of(values.astype(np.float32), -32768.0 if dtype == "int16" else None, dtype=dtype)
    scene["scale"], scene["offset"] = ("band", np.full(3, 1e-4)), ("band", np.full(3, 0.5))
    write_scene(scene, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        stored, nodata = dataset.read(), dataset.nodata
        assert dataset.overviews(1)
    assert np.isnan(stored).any() if dtype == "float32" else (stored == nodata).any()
    same(overviews(tmp_path / "a.tif"), pyramid(stored, nodata, len(overviews(tmp_path / "a.tif"))))


SPLITS: dict[str, dict] = {
    "default": {},
    "blocks of 64 x 128": {"BLOCKXSIZE": 64, "BLOCKYSIZE": 128},
    "blocks of 48": {"BLOCKXSIZE": 48, "BLOCKYSIZE": 48},
    "one block": {"BLOCKXSIZE": 1408, "BLOCKYSIZE": 1408},
    "larger blocks": {"BLOCKXSIZE": 1024, "BLOCKYSIZE": 512},
    "strips": {"TILED": "NO"},
    "interleaved by pixel": {"INTERLEAVE": "PIXEL"},
    "strips by pixel": {"TILED": "NO", "INTERLEAVE": "PIXEL", "BLOCKYSIZE": 64},
    "uncompressed": {"COMPRESS": "NONE"},
    "deflated": {"COMPRESS": "DEFLATE", "PREDICTOR": 1},
    "lossless lerc": {"COMPRESS": "LERC_ZSTD"},
    "sparse": {"SPARSE_OK": "YES"},
    "the other byte order": {"ENDIANNESS": "BIG"},
    "the other byte order, 64 bits": {"ENDIANNESS": "BIG", "BIGTIFF": "YES", "COMPRESS": "NONE"},
    "64 bits": {"BIGTIFF": "YES"},
    "world file": {"TFW": "YES"},
}


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("window_bytes", [1, 128 << 20])
def test_windows_and_options_change_nothing(tmp_path, name, window_bytes, monkeypatch):
    monkeypatch.setattr("hsgeo.scene.write.WINDOW_BYTES", window_bytes)
    raw = noise("int16", (2, 1301, 1030), -7)
    path = tmp_path / "a.tif"
    write_scene(scene_of(raw, -7.0), path, raw=True, creation=SPLITS[name])
    same(overviews(path), pyramid(raw, -7, 2))
    with rasterio.open(path) as dataset, rasterio.open(path, overview_level=0) as level:
        assert np.array_equal(dataset.read(), raw)
        assert level.compression == dataset.compression and level.interleaving == dataset.interleaving
        assert level.nodata == -7 and level.crs == dataset.crs
        assert level.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR")
    assert {p.name for p in tmp_path.iterdir()} - {"a.tfw"} == {"a.tif"}


def test_a_lossy_compression(tmp_path):
    raw = np.add.outer(np.arange(900) // 8, np.arange(700) // 8).astype(np.uint8)[None]
    write_scene(scene_of(raw), tmp_path / "a.tif", raw=True, creation={"COMPRESS": "JPEG", "JPEG_QUALITY": 95})
    (level,) = overviews(tmp_path / "a.tif")
    assert np.abs(level.astype(int) - half(raw, None)).max() <= 5


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8"])
def test_near_those_of_gdal(tmp_path, dtype):
    raw = noise(dtype, (2, 1024, 1536))
    write_scene(scene_of(raw), tmp_path / "a.tif", raw=True)
    write_scene(scene_of(raw), tmp_path / "b.tif", raw=True, overviews=False)
    with rasterio.open(tmp_path / "b.tif", "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    for ours, theirs in zip(overviews(tmp_path / "a.tif"), overviews(tmp_path / "b.tif"), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("dtype", "creation"), [("int64", {}), ("int16", {"TILED": "NO", "BLOCKYSIZE": 31})])
def test_gdal_makes_what_we_cannot(tmp_path, dtype, creation):
    raw = np.random.default_rng(0).integers(-9, 9, (2, 1024, 1536)).astype(dtype)
    write_scene(scene_of(raw), tmp_path / "a.tif", raw=True, creation=creation)
    found = overviews(tmp_path / "a.tif")
    assert [level.shape[1:] for level in found] == [(512, 768), (256, 384)]
    for ours, theirs in zip(pyramid(raw, None, 2), found, strict=True):
        assert np.abs(ours - theirs).max() <= 1


def test_sides_of_blocks():
    meta = describe(scene_of(np.zeros((1, 2000, 3000), np.int16)))
    assert block_side(meta, (512, 512)) == 256 and block_side(meta, (512, 512), 100) == 64
    assert block_side(meta, (512, 384)) == 64 and block_side(meta, (384, 384)) == 192
    assert block_side(meta, (400, 512)) is None and block_side(meta, (99, 3000)) is None
    assert block_side(meta, (2000, 3000)) == 256 and block_side(meta, (4096, 128), 512) == 64
    assert block_side(describe(scene_of(np.zeros((1, 9, 9), np.uint64))), (512, 512)) is None


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
@pytest.mark.parametrize("options", [{}, {"cog": True}, {"creation": {"INTERLEAVE": "PIXEL", "COMPRESS": "NONE"}}])
def test_gdalinfo_agrees(tmp_path, options):
    raw = noise("int16", (2, 1301, 1100))
    write_scene(scene_of(raw, tags={"a": "b"}), tmp_path / "a.tif", raw=True, **options)
    run = subprocess.run(["gdalinfo", "-checksum", tmp_path / "a.tif"], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert run.stdout.count("Overviews: 550x651, 275x326\n") == 2
    sums = re.findall(r"Overviews checksum: (\d+), (\d+)", run.stdout)
    expected = []
    for level in pyramid(raw, None, 2):
        with rasterio.MemoryFile() as file:
            with file.open(driver="GTiff", count=2, dtype="int16", height=level.shape[1], width=level.shape[2]) as d:
                d.write(level)
            with file.open() as d:
                expected.append([str(d.checksum(b)) for b in (1, 2)])
    assert [list(s) for s in zip(*sums, strict=True)] == expected and "0" not in sums[0]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("cog", [False, True])
def test_nodata_found_while_writing(tmp_path, missing, cog, monkeypatch):
    """0 is a value like others, until a pixel of the last window lacks and it comes to mean that."""
    monkeypatch.setattr("hsgeo.scene.write.WINDOW_BYTES", 1 << 20)
    values = np.random.default_rng(0).integers(0, 5, (1, 1100, 600)).astype(np.float32)
    if missing:
        values[0, -2:, -3:] = np.nan
    scene = scene_of(da.from_array(values, chunks=(1, 512, 600)), dtype="uint8")
    report = write_scene(scene, tmp_path / "a.tif", cog=cog)
    assert report.nodata == (0 if missing else None)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        stored = dataset.read()
    assert (stored == 0).sum() == (6 if missing else (values == 0).sum())
    found = overviews(tmp_path / "a.tif")
    same(found, pyramid(stored, report.nodata, 2))
    assert not missing or found[0][0, -1, -1] == 0


def test_blocks_without_data(tmp_path):
    raw = np.full((2, 1100, 1100), -7, np.int16)
    raw[:, 1050:, 1050:] = 5
    sizes = []
    for sparse in ("NO", "YES"):
        path = tmp_path / f"{sparse}.tif"
        creation = {"SPARSE_OK": sparse, "COMPRESS": "NONE"}
        write_scene(scene_of(raw, -7.0), path, raw=True, creation=creation)
        same(overviews(path), pyramid(raw, -7, 2))
        sizes.append(path.stat().st_size)
    assert sizes[1] < sizes[0] / 4


def test_interrupted_at_the_end(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    scene = scene_of(noise("int16", (2, 700, 700)))
    for name in ("overviews.join", "overviews.check_blocks", "gtiff_writer.Overviews.finish"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(f"hsgeo.scene.{name}", stop)
            write_scene(scene, tmp_path / "a.tif", raw=True)
        assert list(tmp_path.iterdir()) == []
    write_scene(scene, tmp_path / "a.tif", raw=True)
    assert leftovers(tmp_path) == [] and len(overviews(tmp_path / "a.tif")) == 1


def test_no_room_for_a_level(tmp_path, monkeypatch):
    def full(path, wanted, needed):
        raise OutputWriteError("disk full")

    monkeypatch.setattr("hsgeo.scene.overviews.require_space", full)
    with pytest.raises(OutputWriteError, match="disk full"):
        write_scene(scene_of(noise("int16", (2, 700, 700))), tmp_path / "a.tif", raw=True)
    assert list(tmp_path.iterdir()) == []


def raster(path, raw, **options):
    count, height, width = raw.shape
    grid = {"transform": GRID.affine, "crs": "EPSG:32633"}
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": raw.dtype, **grid}
    with rasterio.open(path, "w", **profile, **options) as dataset:
        dataset.write(raw)
    return path


@pytest.mark.parametrize("big", ["YES", "NO"])
@pytest.mark.parametrize("size", [(40, 50), (8, 9)])
def test_join(tmp_path, big, size):
    """Bytes of one file become the overview of another, whatever the widths of their offsets; even a single block."""
    raw = noise("int16", (2, 80, 100))
    level = half(raw, None)[:, : size[0], : size[1]]
    for other in ("YES", "NO"):
        path = raster(tmp_path / "a.tif", raw, BIGTIFF=big)
        for _ in range(2):
            join(path, raster(tmp_path / "b.tif", level, BIGTIFF=other, TILED="YES", BLOCKXSIZE=16, BLOCKYSIZE=16))
        same(overviews(path), [level, level])
        with rasterio.open(path) as dataset:
            assert np.array_equal(dataset.read(), raw) and dataset.crs.to_epsg() == 32633
        check_blocks(path, path)


def test_directories_start_at_whole_words(tmp_path):
    """TIFF 6.0, section 2, however odd the files' lengths are."""
    raw = noise("int16", (1, 80, 100))
    path, level = raster(tmp_path / "a.tif", raw), raster(tmp_path / "b.tif", half(raw, None))
    for file in (path, level):
        file.write_bytes(file.read_bytes() + b"\0" * (1 + file.stat().st_size % 2))
    join(path, level)
    same(overviews(path), [half(raw, None)])
    with rasterio.open(path) as dataset:
        assert int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=0)) % 8 == 0


def test_join_beyond_4_gib(tmp_path):
    """Offsets of 64 bits; with 32 the file is refused and stays as it is."""
    raw = noise("int16", (1, 600, 700))
    level = raster(tmp_path / "b.tif", half(raw, None), COMPRESS="DEFLATE")
    for big in ("YES", "NO"):
        path = raster(tmp_path / "a.tif", raw, BIGTIFF=big)
        with open(path, "r+b") as file:
            file.truncate((5 << 30) if big == "YES" else (4 << 30) - 1000)  # a hole
        if big == "NO":
            with pytest.raises(ParameterError, match="passes 4 GiB; give --co BIGTIFF=YES"):
                join(path, level)
            assert overviews(path) == []
        else:
            join(path, level)
            same(overviews(path), [half(raw, None)])
            check_blocks(path, path)


def test_join_refuses_what_cannot_be_joined(tmp_path):
    raw = noise("int16", (1, 60, 70))
    path, other = raster(tmp_path / "a.tif", raw), raster(tmp_path / "b.tif", raw, ENDIANNESS="BIG")
    with pytest.raises(HsgeoError, match="byte order"):
        join(path, other)
    other.write_bytes(b"nothing")
    with pytest.raises(HsgeoError, match="no TIFF"):
        join(path, other)


def test_missing_blocks_of_an_overview_are_noticed(tmp_path):
    raw = noise("int16", (2, 80, 100))
    path = raster(tmp_path / "a.tif", raw)
    empty = np.zeros((2, 40, 50), np.int16)
    join(path, raster(tmp_path / "b.tif", empty, SPARSE_OK="TRUE", TILED="YES", BLOCKXSIZE=16, BLOCKYSIZE=16))
    same(overviews(path), [empty])
    check_blocks(path, path, sparse=True)
    with pytest.raises(OutputWriteError, match="could not be written completely"):
        check_blocks(path, path)


def test_levels_are_removed_when_given_up(tmp_path):
    meta = describe(scene_of(np.zeros((1, 700, 700), np.int16)))
    levels = Overviews(tmp_path / "levels", tmp_path / "a.tif", meta, {}, 1, 256)
    levels.close()
    levels.close()
    assert [p.name for p in (tmp_path / "levels").iterdir()] == ["1.tif"]
