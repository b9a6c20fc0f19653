"""Opening folders of single-band files, and the native samples of coarse bands."""

from __future__ import annotations

import json
import pickle
import time

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError, SceneReadError
from hsgeo.scene import make_scene, open_scene
from hsgeo.scene.bands import dead_bands, mark_bad, native_bands, require_north_up
from hsgeo.scene.geotiff import read_header
from hsgeo.scene.headers import read_headers
from hsgeo.scene.tiff import fingerprint

from .opening import tif

STEM = "S2A_MSIL2A_20240601T100031_T33UUT_"
#: GSD of the Sentinel-2 bands of level 2A
GSD = {
    **dict.fromkeys(("B01", "B09"), 60),
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20),
}
ORDER = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


def transform(gsd, left=600000, top=5700000):
    return Affine(gsd, 0, left, 0, -gsd, top)


@pytest.fixture
def sentinel2(tmp_path):
    """A folder of 12 bands over 120 x 180 pixels of 10 m, and their native values."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "s2"
    folder.mkdir()
    native = {}
    for name, gsd in GSD.items():
        native[name] = rng.integers(1, 9999, (1, 1200 // gsd, 1800 // gsd)).astype("uint16")
        tif(folder / f"{STEM}{name}.tif", native[name], transform(gsd))
    return folder, native


@pytest.mark.parametrize("chunks", ["auto", None])
def test_mixed_resolutions_become_one_scene(sentinel2, chunks):
    folder, native = sentinel2
    notes: list[str] = []
    scene = open_scene(folder, chunks=chunks, notes=notes)
    assert scene.shape == (12, 120, 180)
    assert scene["band_name"].values.tolist() == ORDER
    assert scene["gsd"].values.tolist() == [GSD[name] for name in ORDER]
    assert scene.odc.geobox.affine == transform(10)
    assert scene.attrs["sensor"] == "sentinel-2a"
    np.testing.assert_allclose(scene["wavelength"].values[:2], [442.7, 492.44], atol=2)
    assert any("sentinel-2a" in note for note in notes)
    assert any("0 is taken for no data" in note for note in notes)
    for name, values in zip(ORDER, scene.values, strict=True):
        r = GSD[name] // 10
        np.testing.assert_array_equal(values, np.repeat(np.repeat(native[name][0], r, 0), r, 1))


@pytest.mark.parametrize("chunks", ["auto", None, {"y": 36, "x": 60}])
@pytest.mark.parametrize("gsd", [10, 20, 60])
def test_native_bands_are_the_files_again(sentinel2, chunks, gsd):
    folder, native = sentinel2
    part = native_bands(open_scene(folder, chunks=chunks), gsd)
    assert part.odc.geobox == GeoBox((1200 // gsd, 1800 // gsd), transform(gsd), "EPSG:32633")
    assert part["band_name"].values.tolist() == [name for name in ORDER if GSD[name] == gsd]
    assert (part.chunks is None) == (chunks is None)
    for name, values in zip(part["band_name"].values.tolist(), part.values, strict=True):
        np.testing.assert_array_equal(values, native[name][0])
    assert "gsd_origin" not in json.loads(str(part["band_tags"].values[0]))


def test_native_bands_after_a_crop_that_cuts_native_pixels(sentinel2):
    folder, native = sentinel2
    scene = open_scene(folder, chunks=None, bbox=(600030, 5699870, 600250, 5699970))
    assert scene.shape == (12, 10, 22)
    part = native_bands(scene, 20)
    # rows 3-12 and columns 3-24 of 10 m touch rows 1-6 and columns 1-12 of 20 m
    assert part.odc.geobox.affine == transform(20, 600020, 5699980)
    np.testing.assert_array_equal(part.values[0], native["B05"][0][1:7, 1:13])
    coarse = native_bands(pickle.loads(pickle.dumps(scene)), 60)
    np.testing.assert_array_equal(coarse.values[0], native["B01"][0][0:3, 0:5])
    with pytest.raises(BandError, match="only at 10, 20, 60"):
        native_bands(scene, 30)


def test_interpolated_bands_give_block_means(tmp_path):
    rng = np.random.default_rng(2)
    values = rng.random((2, 13, 11)).astype("float32")
    values[1, 0, 0] = np.nan
    path = tif(tmp_path / "a.tif", values, transform(10, 600010, 5700000))
    with rasterio.open(path, "r+") as dataset:
        for i in (1, 2):
            dataset.update_tags(i, gsd="30", gsd_origin="600000 5700000")
    expected = values[:, 0:12, 2:11].reshape(2, 4, 3, 3, 3).astype("float64")
    expected = np.nanmean(expected, axis=(2, 4))
    for chunks in (None, "auto", {"y": 5}):
        part = native_bands(open_scene(path, chunks=chunks), 30)
        assert part.odc.geobox.affine == transform(30, 600030, 5700000)
        np.testing.assert_allclose(part.values, expected, rtol=1e-6)
    lazy = native_bands(open_scene(path, chunks=None), 30)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(lazy))[1, 1:3, ::-2].values, expected[1, 1:3, ::-2], rtol=1e-6)
    loaded = native_bands(open_scene(path).load(), 30)
    np.testing.assert_allclose(loaded.values, expected, rtol=1e-6)


def test_stack_of_sentinel2_says_which_bands_are_coarse(tmp_path):
    values = np.ones((10, 12, 12), "uint16")
    path = tif(tmp_path / "S2B_stack.tif", values, transform(10, 600010, 5700000))
    notes: list[str] = []
    scene = open_scene(path, sensor="sentinel-2b", notes=notes)
    assert scene["band_name"].values.tolist() == ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"]
    assert scene["gsd"].values.tolist() == [10, 10, 10, 20, 20, 20, 10, 20, 20, 20]
    assert any("recorded coarser than the 10 m pixels" in note for note in notes)
    # the 20 m grid starts on a multiple of 20 m: the scene's first column is the second half of a native pixel
    assert native_bands(scene, 20).odc.geobox.affine == transform(20, 600020, 5700000)


def test_folder_resampled_to_10_m_says_which_bands_are_coarse(tmp_path):
    for name in ("B02", "B05", "B11"):
        tif(tmp_path / f"S2A_{name}.tif", np.ones((1, 4, 4), "uint16"), transform(10))
    scene = open_scene(tmp_path)
    assert scene["gsd"].values.tolist() == [10, 20, 20]
    assert json.loads(str(scene["band_tags"].values[1])) == {"gsd_origin": "0 0"}


def test_whole_safe_takes_the_finest_file_of_each_band(tmp_path):
    images = tmp_path / "S2A_MSIL2A_X.SAFE" / "GRANULE" / "L2A_T33UUT" / "IMG_DATA"
    rng = np.random.default_rng(3)
    for name, gsd in (("B02", 10), ("B02", 20), ("B8A", 20), ("B05", 20)):
        (images / f"R{gsd}m").mkdir(parents=True, exist_ok=True)
        values = rng.integers(1, 255, (1, 640 // gsd, 640 // gsd)).astype("uint16")
        tif(
            images / f"R{gsd}m" / f"T33UUT_20240601T100031_{name}_{gsd}m.jp2",
            values,
            transform(gsd),
            driver="JP2OpenJPEG",
        )
    tif(
        images / "R20m" / "T33UUT_20240601T100031_SCL_20m.jp2",
        values.astype("uint8"),
        transform(20),
        driver="JP2OpenJPEG",
    )
    (tmp_path / "S2A_MSIL2A_X.SAFE" / "MTD_MSIL2A.xml").write_text(
        '<?xml version="1.0"?><a:P xmlns:a="u"><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
        '<BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET><BOA_ADD_OFFSET band_id="4">-500</BOA_ADD_OFFSET></a:P>'
    )
    for place in (images, images.parents[2]):
        notes: list[str] = []
        scene = open_scene(place, sensor="sentinel-2a", notes=notes)
        assert scene["band_name"].values.tolist() == ["B02", "B05", "B8A"]
        assert scene.shape == (3, 64, 64)
        assert scene["scale"].values.tolist() == [1e-4] * 3
        np.testing.assert_allclose(scene["offset"].values, [-0.1, -0.05, 0])
        assert any("scaled by" in note for note in notes)
        with rasterio.open(images / "R10m" / "T33UUT_20240601T100031_B02_10m.jp2") as dataset:
            np.testing.assert_allclose(scene.values[0], dataset.read(1) * 1e-4 - 0.1, rtol=1e-5, atol=1e-7)


def test_landsat_level_2(tmp_path):
    folder = tmp_path / "scene"
    folder.mkdir()
    stem = "LC08_L2SP_193024_20240601_20240610_02_T1_"
    values = np.array([[[0, 7273, 43636]]], "uint16")
    for name in ("SR_B1", "SR_B2", "SR_B7", "ST_B10", "QA_PIXEL"):
        tif(folder / f"{stem}{name}.TIF", values, transform(30), nodata=0)
    scene = open_scene(folder)
    assert scene["band_name"].values.tolist() == ["B1", "B2", "B7", "B10"]
    assert scene["band"].values.tolist() == [1, 2, 7, 10]
    assert scene.attrs["sensor"] == "landsat-8"
    np.testing.assert_allclose(scene.values[0, 0], [np.nan, 7273 * 2.75e-5 - 0.2, 43636 * 2.75e-5 - 0.2], atol=1e-7)
    np.testing.assert_allclose(scene.values[3, 0, 1], 7273 * 3.41802e-3 + 149, rtol=1e-6)
    assert np.isnan(scene["wavelength"].values).tolist() == [False, False, False, True]


def test_hyperion_folder(tmp_path):
    folder = tmp_path / "EO1H1930242010150110KF"
    folder.mkdir()
    lit = np.array([[[0, 400], [80, 0]]], "int16")
    dark = np.array([[[0, 0], [160, 0]]], "int16")
    for band in (8, 20, 24, 77, 120, 200):
        tif(folder / f"EO1H1930242010150110KF_B{band:03d}_L1T.TIF", dark if band == 200 else lit, transform(30))
    tif(folder / "EO1H1930242010150110KF_B001_L1T.TIF", np.zeros((1, 2, 2), "int16"), transform(30))
    notes: list[str] = []
    scene = open_scene(folder, notes=notes)
    assert scene["band"].values.tolist() == [1, 8, 20, 24, 77, 120, 200]
    assert scene["good"].values.tolist() == [False, True, True, True, True, True, True]
    assert scene["bad_reason"].values.tolist()[0] == "uncalibrated"
    np.testing.assert_allclose(scene.sel(band=20).values, [[np.nan, 10], [2, np.nan]])
    np.testing.assert_allclose(scene.sel(band=200).values, [[np.nan, 0], [2, np.nan]])  # dark, not missing
    assert any("where B024 is 0" in note for note in notes)
    np.testing.assert_allclose(scene["wavelength"].values[1:3], [426.82, 548.92], atol=1)


def test_full_hyperion_folder_opens_fast(tmp_path):
    folder = tmp_path / "EO1H1930242010150110KF"
    folder.mkdir()
    for band in range(1, 243):
        tif(folder / f"EO1H_B{band:03d}_L1T.TIF", np.full((1, 4, 4), band, "int16"), transform(30))
    paths = sorted(folder.iterdir())
    read_headers(paths)
    apart, together = [], []
    for _ in range(2):
        begin = time.perf_counter()
        one_by_one = [read_header(str(path)) for path in paths]
        middle = time.perf_counter()
        at_once = read_headers(paths)
        apart.append(middle - begin)
        together.append(time.perf_counter() - middle)
    assert repr(at_once) == repr(one_by_one)
    assert min(apart) > 3 * min(together)  # measured: 6 to 15
    scene = open_scene(folder, sensor="hyperion")
    assert scene.shape == (242, 4, 4)
    assert int((~scene["good"]).sum()) >= 44
    np.testing.assert_allclose(scene.values[:, 0, 0] / scene["scale"].values, np.arange(1, 243), rtol=1e-6)


DIFFERENT = {
    "crs": {"crs": "EPSG:32632"},
    "grid": {"transform": transform(30, 600030)},
    "nodata": {"nodata": -1},
    "type": {"dtype": "uint16"},
    "compression": {"compress": "lzw"},
    "byte order": {"ENDIANNESS": "BIG"},
    "blocks": {"tiled": True, "blockxsize": 16, "blockysize": 16},
}


@pytest.mark.parametrize("how", [*DIFFERENT, "tag", "band tag", "scale", "overview", "size"])
def test_files_are_alike_in_all_but_their_pixels_or_read_apart(tmp_path, how):
    values = np.arange(1024, dtype="int16").reshape(1, 32, 32)
    same, other = (tif(tmp_path / f"a_B{b}.tif", values + b, transform(30)) for b in (1, 2))
    assert fingerprint(same) == fingerprint(other) is not None
    profile = {"transform": transform(30), "dtype": "int16", **DIFFERENT.get(how, {})}
    values = values[:, :16] if how == "size" else values
    path = tif(tmp_path / "a_B3.tif", values.astype(profile["dtype"]), **profile)
    with rasterio.open(path, "r+") as dataset:
        if how == "tag":
            dataset.update_tags(made="yesterday")
        elif how == "band tag":
            dataset.update_tags(1, wavelength="500")
        elif how == "scale":
            dataset.scales = (0.1,)
        elif how == "overview":
            dataset.build_overviews([2])
    assert fingerprint(path) != fingerprint(same)
    paths = [same, path, other]
    assert repr(read_headers(paths)) == repr([read_header(str(p)) for p in paths])


def test_what_lies_beside_a_file_is_read_with_it(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    paths = [tif(folder / f"a_B{b}.tif", np.full((1, 4, 4), b, "int16"), transform(10)) for b in (1, 2, 3)]
    (folder / "a_B2.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>2</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    assert [h.nodata for h in read_headers(paths)] == [None, 2.0, None]
    scene = open_scene(folder)
    assert [bool(np.isnan(v).all()) for v in scene.values] == [False, True, False]


def test_one_truncated_file_among_many_alike(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for band in (1, 2, 3):
        tif(folder / f"a_B{band}.tif", np.ones((1, 64, 64), "int16"), transform(10))
    path = folder / "a_B3.tif"
    whole = path.read_bytes()
    with rasterio.open(path) as dataset:
        end = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)) + 100
    path.write_bytes(whole[:end])
    with pytest.raises(SceneReadError, match=r"a_B3\.tif is truncated"):
        open_scene(folder)


def test_ratio_that_is_not_whole_takes_the_pixel_underneath(tmp_path):
    rng = np.random.default_rng(4)
    folder = tmp_path / "f"
    folder.mkdir()
    fine = rng.random((1, 30, 30)).astype("float32")
    coarse = rng.random((1, 12, 12)).astype("float32")
    tif(folder / "x_B1.tif", fine, transform(10))
    tif(folder / "x_B2.tif", coarse, transform(25, 600007, 5700003))
    scene = open_scene(folder)
    x, y = scene["x"].values, scene["y"].values
    rows, cols = np.floor((5700003 - y) / 25).astype(int), np.floor((x - 600007) / 25).astype(int)
    expected = np.where((cols >= 0)[None, :], coarse[0][rows.clip(0)][:, cols.clip(0)], np.nan)
    np.testing.assert_array_equal(scene.values[1], expected)
    part = native_bands(scene, 25)
    # 13 columns touch the scene: the first lies west of the file; the row south of the last centre is not seen
    assert part.odc.geobox.affine == transform(25, 599982, 5700003)
    np.testing.assert_array_equal(part.values[0, :, 1:], coarse[0])
    assert np.isnan(part.values[0, :, 0]).all()


def test_finest_bands_of_different_extent_are_united(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    tif(folder / "B1.tif", np.full((1, 4, 4), 1, "float32"), transform(10))
    tif(folder / "B2.tif", np.full((1, 4, 4), 2, "float32"), transform(10, 600020, 5700010))
    scene = open_scene(folder)
    assert scene.shape == (2, 5, 6)
    assert scene.odc.geobox.affine == transform(10, 600000, 5700010)
    assert np.isfinite(scene.values).sum(axis=(1, 2)).tolist() == [16, 16]
    assert np.isfinite(scene.values[1, :4, 2:]).all()


def test_folders_that_cannot_serve(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(SceneReadError, match="is an empty folder"):
        open_scene(folder)
    (folder / "notes.txt").write_text("none")
    with pytest.raises(SceneReadError, match="holds no band files"):
        open_scene(folder)
    ones = np.ones((1, 4, 4), "uint8")
    folder = tmp_path / "crs"
    folder.mkdir()
    tif(folder / "a_B1.tif", ones, transform(10))
    tif(folder / "a_B2.tif", ones, transform(10), crs="EPSG:32632")
    with pytest.raises(GridError, match=r"a_B1\.tif is in EPSG:32633, a_B2\.tif in EPSG:32632"):
        open_scene(folder)
    folder = tmp_path / "twice"
    folder.mkdir()
    tif(folder / "a_B1.tif", ones, transform(10))
    tif(folder / "b_B01.tif", ones, transform(10))
    with pytest.raises(SceneReadError, match=r"holds band \S+ twice \(a_B1\.tif, b_B01\.tif\)"):
        open_scene(folder)
    folder = tmp_path / "apart"
    folder.mkdir()
    tif(folder / "a_B1.tif", ones, transform(10))
    tif(folder / "a_B2.tif", ones, transform(20, 900000))
    with pytest.raises(GridError, match=r"a_B2\.tif does not overlap"):
        open_scene(folder)
    folder = tmp_path / "several"
    folder.mkdir()
    tif(folder / "a.tif", ones, transform(10))
    tif(folder / "b.tif", ones, transform(10))
    with pytest.raises(SceneReadError, match="several rasters"):
        open_scene(folder)
    folder = tmp_path / "many"
    folder.mkdir()
    tif(folder / "a_B1.tif", np.ones((2, 4, 4), "uint8"), transform(10))
    with pytest.raises(SceneReadError, match="holds 2 bands"):
        open_scene(folder)


def test_folder_around_one_raster(tmp_path):
    tif(tmp_path / "ENMAP01-L2A-SPECTRAL_IMAGE.TIF", np.ones((3, 4, 4), "int16"), transform(30))
    tif(tmp_path / "ENMAP01-L2A-QL_QUALITY_CLOUD.TIF", np.ones((1, 4, 4), "uint8"), transform(30))
    notes: list[str] = []
    assert open_scene(tmp_path, notes=notes).shape == (3, 4, 4)
    assert any("only raster" in note for note in notes)


def test_xarray_finds_the_engine_for_band_folders(sentinel2):
    folder, native = sentinel2
    dataset = xr.open_dataset(folder, chunks={})
    assert dask.is_dask_collection(dataset["scene"].data)
    np.testing.assert_array_equal(dataset["scene"].isel(band=1).values, native["B02"][0])


def test_require_north_up():
    values = np.arange(12.0).reshape(1, 3, 4)
    south = make_scene(values, GeoBox((3, 4), Affine(10, 0, 0, 0, 10, 50), "EPSG:32633"))
    turned = require_north_up(south)
    assert turned.odc.geobox.affine == Affine(10, 0, 0, 0, -10, 80)
    np.testing.assert_array_equal(turned.values, values[:, ::-1])
    rotated = make_scene(values, GeoBox((3, 4), Affine.rotation(30) * Affine.scale(10, -10), "EPSG:32633"))
    with pytest.raises(GridError, match=r"rotated by 30\.0 degrees; bring it to north-up first"):
        require_north_up(rotated)


def test_marking_bands():
    scene = make_scene(np.zeros((3, 2, 2)), GeoBox((2, 2), transform(10), "EPSG:32633"), good=[True, False, True])
    scene = scene.assign_coords(bad_reason=("band", ["", "bbl", ""]))
    reasons = dead_bands([0, 4, 4], [np.nan, 1, 5], [np.nan, 2, 5])
    assert reasons.tolist() == ["no data", "", "constant"]
    marked = mark_bad(scene, reasons != "", reasons)
    assert marked["good"].values.tolist() == [False, False, False]
    assert marked["bad_reason"].values.tolist() == ["no data", "bbl", "constant"]
    assert scene["good"].values.tolist() == [True, False, True]
    assert mark_bad(scene, [True, True, False], "x")["bad_reason"].values.tolist() == ["x", "bbl", ""]
