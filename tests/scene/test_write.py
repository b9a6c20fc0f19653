"""Layout of what is written, and the choices of type, nodata and options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from hsgeo.errors import GridError, InputError, ParameterError
from hsgeo.scene import make_scene, open_scene, write_scene
from hsgeo.scene.write import output_format, plan_windows

from .writing import GRID, full_scene, leftovers, stored


def flat(shape=(3, 37, 53), dtype="int16", nodata=None, values=None, **attrs):
    shape = shape if values is None else values.shape
    grid = GeoBox(shape[1:], GRID.affine, GRID.crs)
    if values is None:
        values = np.random.default_rng(5).integers(0, 200, shape).astype(np.float32)
    return make_scene(values, grid, attrs={"dtype": dtype, "nodata": nodata, **attrs})


@pytest.mark.parametrize(
    ("path", "cog", "driver"),
    [
        ("a.tif", False, "GTiff"), ("a.TIFF", False, "GTiff"), ("a.tif", True, "COG"), ("a.img", False, "ENVI"),
        ("a.bsq", False, "ENVI"), ("a.dat", False, "ENVI"), ("a.bil", False, "ENVI"), ("a.BIP", False, "ENVI"),
        ("a.zarr", False, "zarr"),
    ],
)  # fmt: skip
def test_suffix_chooses_the_format(path, cog, driver):
    assert output_format(path, cog) == driver


@pytest.mark.parametrize(
    ("path", "cog", "says"),
    [
        ("a.png", False, ".tif"),
        ("a", False, ".tif"),
        ("a.hdr", False, ".img"),
        ("a.img", True, "--cog"),
        ("a.zarr", True, "--cog"),
    ],
)
def test_suffixes_that_cannot_serve(path, cog, says):
    with pytest.raises(InputError, match=says):
        output_format(path, cog)


def test_geotiff_layout(tmp_path):
    """Tiles of 512, bands apart, ZSTD with predictor, and overviews that leave out what is missing."""
    values = np.full((2, 700, 1300), 100, np.float32)
    values[:, :, 1::2] = np.nan
    report = write_scene(flat(values=values, nodata=-7.0), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes == [(512, 512)] * 2
        assert dataset.interleaving.name == "band" and dataset.compression.name == "zstd"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert dataset.overviews(1) == [2, 4]
        assert (dataset.read(1, out_shape=(350, 650)) == 100).all()
    assert report.driver == "GTiff" and report.bytes == os.path.getsize(tmp_path / "a.tif") and report.saturated == 0
    write_scene(flat((1, 700, 600), dtype="float32"), tmp_path / "f.tif", overviews=False)
    with rasterio.open(tmp_path / "f.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3" and dataset.overviews(1) == []


@pytest.mark.parametrize(("size", "block"), [((37, 53), 64), ((5, 7), 16), ((1, 1), 16), ((512, 30), 512)])
def test_small_rasters_have_small_blocks_and_no_overviews(tmp_path, size, block):
    scene = flat((2, *size))
    write_scene(scene, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes[0] == (block, block) and dataset.overviews(1) == []
        assert np.array_equal(dataset.read(), scene.values)


def test_creation_options_override(tmp_path):
    scene = flat((3, 300, 200))
    options = {"compress": "deflate", "INTERLEAVE": "PIXEL", "BLOCKXSIZE": "64", "BLOCKYSIZE": 32, "ZLEVEL": 1}
    write_scene(scene, tmp_path / "a.tif", creation=options)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes[0] == (32, 64) and dataset.interleaving.name == "pixel"
        assert dataset.compression.name == "deflate" and np.array_equal(dataset.read(), scene.values)
    write_scene(scene, tmp_path / "b.tif", creation={"TILED": "NO", "COMPRESS": "NONE"})
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert dataset.block_shapes[0][1] == 200 and dataset.compression is None
        assert "PREDICTOR" not in dataset.tags(ns="IMAGE_STRUCTURE") and np.array_equal(dataset.read(), scene.values)
    write_scene(scene, tmp_path / "c.tif", cog=True, creation={"COMPRESS": "DEFLATE", "BLOCKSIZE": "128"})
    with rasterio.open(tmp_path / "c.tif") as dataset:
        assert dataset.block_shapes[0] == (128, 128) and dataset.compression.name == "deflate"


@pytest.mark.parametrize("shape", [(4, 37, 53), (3, 700, 900), (60, 600, 300)])
def test_cog_is_valid(tmp_path, shape):
    scene = flat(shape)
    scene.attrs.update(domains={"MINE": {"k": "v" * 500}}, tags={"a": "b"})
    report = write_scene(scene, tmp_path / "a.tif", cog=True)
    valid, errors, warnings = cog_validate(tmp_path / "a.tif", strict=True)
    assert valid and not errors and not warnings
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(), scene.values)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.tags(ns="MINE") == {"k": "v" * 500} and "HSGEO_RESERVED" not in dataset.tags()
        assert bool(dataset.overviews(1)) == (max(shape[1:]) > 512)
    assert report.driver == "COG" and [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_bytes_do_not_become_colours(tmp_path):
    for count in (3, 4):
        write_scene(flat((count, 20, 20), dtype="uint8"), tmp_path / f"{count}.tif")
        with rasterio.open(tmp_path / f"{count}.tif") as dataset:
            assert {c.name for c in dataset.colorinterp} <= {"gray", "undefined"}
            assert dataset.dataset_mask().all()


@pytest.mark.parametrize(
    ("name", "interleave"), [("a.img", "BAND"), ("a.bsq", "BAND"), ("a.bil", "LINE"), ("a.bip", "PIXEL")]
)
@pytest.mark.parametrize("size", [(37, 53), (530, 40), (20, 1100)])
def test_envi_interleaves(tmp_path, name, interleave, size):
    scene = flat((5, *size), dtype="uint16")
    write_scene(scene, tmp_path / name)
    with rasterio.open(tmp_path / name) as dataset:
        assert dataset.driver == "ENVI" and dataset.tags(ns="IMAGE_STRUCTURE")["INTERLEAVE"] == interleave
        assert np.array_equal(dataset.read(), scene.values) and dataset.crs.to_epsg() == 32633
        assert dataset.transform == GRID.affine
    assert (tmp_path / name).stat().st_size == scene.size * 2
    assert (tmp_path / "a.hdr").read_text().startswith("ENVI\n")


def test_envi_options_and_types(tmp_path):
    scene = flat()
    write_scene(scene, tmp_path / "a.img", creation={"interleave": "BIP"})
    with rasterio.open(tmp_path / "a.img") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["INTERLEAVE"] == "PIXEL"
    for wrong in ({"COMPRESS": "ZSTD"}, {"INTERLEAVE": "band"}):
        with pytest.raises(ParameterError, match="--co"):
            write_scene(scene, tmp_path / "b.img", creation=wrong)
    with pytest.raises(ParameterError, match="int8"):
        write_scene(scene, tmp_path / "b.img", dtype="int8")
    assert leftovers(tmp_path) == []


def test_envi_headers_of_many_bands_have_short_lines(tmp_path):
    """GDAL before 3.7 gives up on a line of more than 10000 characters."""
    scene = flat((900, 2, 3))
    scene["wavelength"] = "band", np.linspace(400, 2500, 900)
    scene["band_name"] = "band", [f"a longer name, number {i}" for i in range(900)]
    scene["band_tags"] = "band", [f'{{"detector": "one of two, {i}", "q": "{{1}}"}}' for i in range(900)]
    write_scene(scene, tmp_path / "a.img")
    assert max(map(len, (tmp_path / "a.hdr").read_text().splitlines())) < 5000
    (tmp_path / "a.img.aux.xml").unlink()
    result = open_scene(tmp_path / "a.img")
    for key in ("band_name", "wavelength", "band_tags"):
        assert result[key].values.tolist() == scene[key].values.tolist()
    if shutil.which("gdalinfo"):
        run = subprocess.run(["gdalinfo", tmp_path / "a.img"], capture_output=True, text=True, check=True)
        assert run.stderr == "" and "wavelength=2500.0" in run.stdout


def test_envi_header_says_reflectance(tmp_path):
    scene = flat(nodata=-99.0)
    scene["scale"] = "band", np.full(3, 1e-4)
    write_scene(scene * 1, tmp_path / "plain.img")  # attributes are gone, coordinates stay
    scene.attrs["dtype"] = "uint16"
    scene.attrs["nodata"] = None
    write_scene(scene, tmp_path / "a.img")
    text = (tmp_path / "a.hdr").read_text()
    assert "reflectance scale factor = 10000\n" in text and "data gain values = {0.0001, 0.0001, 0.0001}\n" in text
    assert "data ignore value" not in text
    assert open_scene(tmp_path / "a.img")["scale"].values.tolist() == [1e-4] * 3


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.zarr"])
def test_type_chosen(tmp_path, name):
    """Floats hold physical values; a type too narrow clips and says how often."""
    scene = full_scene()
    write_scene(scene, tmp_path / name, dtype="float64", nodata=None)
    result = open_scene(tmp_path / name, chunks=None)
    assert result.attrs["dtype"] == "float64" and result.attrs["nodata"] is None
    assert set(result["scale"].values) == {1} and set(result["offset"].values) == {0}
    np.testing.assert_array_equal(result.values, scene.values.astype(np.float64))
    report = write_scene(scene, tmp_path / name, dtype="uint8", overwrite=True)
    assert report.nodata == 0  # -32768 does not fit
    raw = stored(scene)
    outside = ((raw < 1) | (raw > 255)) & ~np.isnan(scene.values)
    assert report.saturated == outside.sum()
    result = open_scene(tmp_path / name, chunks=None)
    assert np.array_equal(np.isnan(result.values), np.isnan(scene.values))


def test_nodata_chosen(tmp_path):
    scene = full_scene()
    write_scene(scene, tmp_path / "a.tif", nodata=-1)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        raw = dataset.read()
        assert dataset.nodata == -1 and ((raw == -1) == np.isnan(scene.values)).all()
    for wrong in (70000, 0.5, np.nan):
        with pytest.raises(ParameterError, match="--nodata"):
            write_scene(scene, tmp_path / "b.tif", nodata=wrong)
    write_scene(scene, tmp_path / "c.tif", dtype="float32", nodata=np.nan)
    with rasterio.open(tmp_path / "c.tif") as dataset:
        assert np.isnan(dataset.nodata) and np.isnan(dataset.read()).sum() == np.isnan(scene.values).sum()


@pytest.mark.parametrize(("name", "cog"), [("a.tif", False), ("a.tif", True), ("a.bil", False), ("a.zarr", False)])
def test_nodata_found_while_writing(tmp_path, name, cog):
    """No nodata value, yet a pixel is missing in the last window; 0 occurs in the first one and must not become it."""
    values = np.full((1, 1100, 600), 7, np.float32)
    values[0, 0, 0], values[0, -1, -1] = 0, np.nan
    data = da.from_array(values, chunks=(1, 512, 600))
    scene = flat(dtype="uint16", values=data)
    import hsgeo.scene.write as module

    module_bytes, module.WINDOW_BYTES = module.WINDOW_BYTES, 1 << 20
    try:
        report = write_scene(scene, tmp_path / name, cog=cog)
    finally:
        module.WINDOW_BYTES = module_bytes
    result = open_scene(tmp_path / name, chunks=None)
    assert report.nodata == 0 and result.attrs["nodata"] == 0
    assert np.isnan(result.values).sum() == 1 and np.isnan(result.values[0, -1, -1])
    assert result.values[0, 0, 0] == 1 and (result.values[0, 0, 1:] == 7).all()


def test_without_missing_pixels_nothing_changes(tmp_path):
    values = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    report = write_scene(flat(dtype="uint8", values=values), tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.nodata is None and np.array_equal(dataset.read(), values)
    assert report.nodata is None and report.saturated == 0


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.bip", "a.zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_stored_values_pass_through(tmp_path, name, dtype):
    rng = np.random.default_rng(1)
    raw = (rng.random((3, 30, 40)) * 250).astype(dtype)
    scene = flat(dtype=dtype, values=raw, nodata=3.0)
    scene["scale"] = "band", [0.5, 1.0, 2.0]
    write_scene(scene, tmp_path / name, raw=True)
    result = open_scene(tmp_path / name, chunks=None)
    factor = np.reshape([0.5, 1.0, 2.0], (-1, 1, 1))
    np.testing.assert_allclose(result.values, np.where(raw == 3, np.nan, raw * factor), rtol=1e-6)
    assert result.attrs["dtype"] == dtype and result["scale"].values.tolist() == [0.5, 1, 2]
    with pytest.raises(ParameterError, match="stored values"):
        write_scene(scene, tmp_path / "other.tif", raw=True, dtype="int8")


def test_wide_integers_pass_through_geotiff(tmp_path):
    raw = np.array([[[2**62, 5]]], np.int64)
    write_scene(flat(dtype="int64", values=raw), tmp_path / "a.tif", raw=True)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(), raw)


def test_fractions_are_not_rounded_away(tmp_path):
    reflectance = flat(dtype="float32", values=np.random.default_rng(0).random((3, 37, 53)).astype(np.float32))
    with pytest.raises(ParameterError, match="rounded to whole numbers"):
        write_scene(reflectance, tmp_path / "a.tif", dtype="int16")
    reflectance["scale"] = "band", np.full(3, 1e-4)
    write_scene(reflectance, tmp_path / "a.tif", dtype="int16")
    np.testing.assert_allclose(open_scene(tmp_path / "a.tif").values, reflectance.values, atol=5.1e-5)
    classes = flat(dtype="float32", values=np.ones((1, 4, 4), np.float32))
    write_scene(classes, tmp_path / "b.tif", dtype="uint8")


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.zarr"])
@pytest.mark.parametrize("chunks", [None, (2, 100, 100), (1, 1024, 512), (3, 17, 700)])
def test_any_source_chunks(tmp_path, name, chunks):
    values = np.random.default_rng(2).integers(0, 999, (3, 600, 700)).astype(np.float32)
    scene = flat(values=values if chunks is None else da.from_array(values, chunks=chunks))
    write_scene(scene, tmp_path / name)
    assert np.array_equal(open_scene(tmp_path / name, chunks=None).values, values)


@pytest.mark.parametrize(
    ("shape", "block", "chunks"),
    [
        ((224, 3000, 3000), (512, 512), None),
        ((4, 3000, 5000), (512, 512), None),
        ((3, 5, 7), (16, 16), None),
        ((1, 1100, 600), (512, 512), ((1,), (512, 512, 76), (600,))),
        ((100, 5000, 5000), (512, 512), ((100,), (1024,) * 4 + (904,), (1024,) * 4 + (904,))),
        ((10, 5000, 5000), (512, 512), ((10,), (5000,), (5000,))),
    ],
)
def test_windows_cover_every_pixel_once_along_blocks(shape, block, chunks):
    seen = np.zeros(shape[1:], np.uint8)
    for window in plan_windows(shape, block, 4, chunks):
        seen[window.slices] += 1
        assert window.y0 % block[0] == 0 and window.x0 % block[1] == 0
        assert window.y1 % block[0] == 0 or window.y1 == shape[1]
        assert window.x1 % block[1] == 0 or window.x1 == shape[2]
        one_block = shape[0] * min(block[0], shape[1]) * min(block[1], shape[2]) * 4
        assert shape[0] * np.prod(window.shape) * 4 <= max(4 * 128 << 20, one_block)
    assert (seen == 1).all()


def test_windows_take_whole_chunks():
    """A chunk of two by two blocks is computed once."""
    chunks = ((100,), (1024,) * 2, (1024,) * 2)
    assert len(list(plan_windows((100, 2048, 2048), (512, 512), 4, chunks))) == 4


MEASURE = """
import resource, sys
import dask.array as da, numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from hsgeo.scene import make_scene, write_scene
height = int(sys.argv[2])
data = da.zeros((50, height, 1024), chunks=(50, 512, 512), dtype=np.float32)
grid = GeoBox((height, 1024), Affine(1, 0, 5e5, 0, -1, 6e6), "EPSG:32633")
write_scene(make_scene(data, grid, attrs={"dtype": "int16", "nodata": -1.0}), sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("name", ["a.tif", *(pytest.param(n, marks=pytest.mark.slow) for n in ("a.bil", "a.zarr"))])
def test_memory_does_not_grow_with_the_scene(tmp_path, name):
    """Four times the rows (420 instead of 105 MB of stored values), the same peak."""
    peaks = []
    for height in (1024, 4096):
        path = tmp_path / str(height) / name
        path.parent.mkdir()
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, path, str(height)], capture_output=True, text=True, check=True
        )
        peaks.append(int(run.stdout))
    assert peaks[1] < 1.15 * peaks[0]


class _Stage:
    def __init__(self, log, name, total):
        self.log, self.name, self.total, self.done = log, name, total, 0

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.log.append((self.name, self.done, self.total))

    def advance(self, n):
        self.done += n


def test_progress(tmp_path):
    log = []

    class Progress:
        def stage(self, name, total):
            return _Stage(log, name, total)

    write_scene(flat(), tmp_path / "a.tif", progress=Progress())
    assert log == [("write", 1, 1)]


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.zarr"])
def test_grids(tmp_path, name):
    for i, grid in enumerate(
        [
            GeoBox((4, 5), Affine(0.1, 0, 12.3, 0, -0.1, 52.7), "EPSG:4326"),
            GeoBox((1, 1), Affine(10, 0, 5e5, 0, -10, 6e6), "EPSG:32719"),
            GeoBox((3, 4), Affine(250, 0, -1e6, 0, -250, 2e6), "ESRI:54009"),
        ]
    ):
        values = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(1, *grid.shape)
        path = tmp_path / f"{i}{name}"
        write_scene(make_scene(values, grid), path)
        result = open_scene(path, chunks=None)
        assert result.odc.geobox.affine.almost_equals(grid.affine, 1e-12) and result.odc.geobox.shape == grid.shape
        assert result.odc.crs.proj.equals(grid.crs.proj, ignore_axis_order=True) or name == "a.img"
        assert np.array_equal(result.values, values)


def test_pixel_is_point_does_not_shift_the_grid(tmp_path):
    scene = flat(tags={"AREA_OR_POINT": "Point"})
    for options in ({}, {"cog": True}):
        write_scene(scene, tmp_path / "a.tif", overwrite=True, **options)
        result = open_scene(tmp_path / "a.tif")
        assert result.odc.geobox == scene.odc.geobox and result.attrs["tags"]["AREA_OR_POINT"] == "Point"


def test_a_plain_array_can_be_written(tmp_path):
    scene = full_scene()
    plain = scene.drop_vars([c for c in scene.coords if c not in ("x", "y", "spatial_ref")])
    plain.attrs = {}
    write_scene(plain, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.dtypes[0] == "float32" and np.array_equal(dataset.read(), scene.values, equal_nan=True)


def test_what_is_no_scene(tmp_path):
    scene = full_scene()
    with pytest.raises(InputError, match="not \\(band, y, x\\)"):
        write_scene(scene.transpose("y", "x", "band"), tmp_path / "a.tif")
    with pytest.raises(InputError, match="nothing to write"):
        write_scene(scene.isel(y=slice(0, 0)), tmp_path / "a.tif")
    with pytest.raises(GridError, match="regular grid"):
        write_scene(scene.drop_vars(["x", "y", "spatial_ref"]), tmp_path / "a.tif")
    assert leftovers(tmp_path) == []


def test_statistics_of_other_pixels_are_dropped(tmp_path):
    scene = flat(tags={"STATISTICS_MEAN": "5", "kept": "yes"})
    scene["band_tags"] = "band", ['{"STATISTICS_MAXIMUM": "9", "kept": "yes"}'] * 3
    write_scene(scene, tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert "STATISTICS_MEAN" not in dataset.tags() and dataset.tags()["kept"] == "yes"
        assert "STATISTICS_MAXIMUM" not in dataset.tags(1) and dataset.tags(1)["kept"] == "yes"
