"""Opening GeoTIFFs: values, grid, what is said of each band, laziness."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import ColorInterp

from hsgeo.errors import BandError, GridError, ParameterError
from hsgeo.scene import Window, geobox_of, open_scene
from hsgeo.scene.lazy import Source, plan_chunks

from .opening import NORTH_UP, ramp, tif


def test_values_are_physical_and_missing_ones_nan(tmp_path):
    stored = ramp(3, 4, 5)
    stored[1, 2, 3] = -1
    path = tif(tmp_path / "a.tif", stored, nodata=-1)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets, dataset.units = (0.5, 2, 1), (0, 1, -3), ("a", "b", "c")
    scene = open_scene(path)
    expected = stored * np.array([0.5, 2, 1])[:, None, None] + np.array([0, 1, -3])[:, None, None]
    expected[1, 2, 3] = np.nan
    assert scene.dtype == np.float32
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    assert scene["scale"].values.tolist() == [0.5, 2, 1]
    assert scene["offset"].values.tolist() == [0, 1, -3]
    assert scene["units"].values.tolist() == ["a", "b", "c"]
    assert scene.attrs["nodata"] == -1
    assert scene.attrs["dtype"] == "int16"
    assert geobox_of(scene).affine == NORTH_UP


@pytest.mark.parametrize(("dtype", "wanted"), [("uint8", "f4"), ("float32", "f4"), ("int32", "f8"), ("float64", "f8")])
def test_float_type_holds_the_stored_values(tmp_path, dtype, wanted):
    stored = np.array([[[0, 1, 255]]], dtype) if dtype != "int32" else np.array([[[2**31 - 1, 1, -(2**31)]]], dtype)
    scene = open_scene(tif(tmp_path / "a.tif", stored))
    assert scene.dtype == np.dtype(wanted)
    assert (scene.values == stored).all()


def test_nan_inf_and_float_nodata_are_missing(tmp_path):
    stored = np.array([[[np.nan, np.inf, -np.inf, -3.4028235e38, 7]]], "float32")
    scene = open_scene(tif(tmp_path / "a.tif", stored, nodata=-3.4028234663852886e38))
    assert np.isnan(scene.values[0, 0]).tolist() == [True] * 4 + [False]


def test_nodata_is_recognised_before_scaling(tmp_path):
    path = tif(tmp_path / "a.tif", np.array([[[5, 10]]], "float32"), nodata=10)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (2.0,)
    values = open_scene(path).values[0, 0]
    assert values[0] == 10
    assert np.isnan(values[1])


def test_nodata_outside_the_type_is_no_value(tmp_path):
    path = tif(tmp_path / "a.tif", np.array([[[0, 255]]], "uint8"))
    for nodata in (-9999.0, 0.5, 256.0):
        source = Source(str(path), (1, 1, 2), (1,), "uint8", (1.0,), (0.0,), (nodata,))
        assert source.read([0], Window(0, 1, 0, 2)).tolist() == [[[0, 255]]]


def test_alpha_band_becomes_the_mask(tmp_path):
    stored = np.full((4, 2, 2), 9, "uint8")
    stored[3] = [[255, 0], [255, 255]]
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=2, width=2, dtype="uint8", crs="EPSG:32633", transform=NORTH_UP
    ) as dataset:
        dataset.write(stored)
        dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    scene = open_scene(path)
    assert scene.shape == (3, 2, 2)
    assert np.isnan(scene.values).tolist() == [[[False, True], [False, False]]] * 3


def test_mask_band_is_applied(tmp_path):
    path = tif(tmp_path / "a.tif", np.ones((2, 2, 2), "uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.array([[True, False], [True, True]]))
    assert np.isnan(open_scene(path).values).tolist() == [[[False, True], [False, False]]] * 2


def test_band_tags_become_coordinates_and_the_rest_stays(tmp_path):
    path = tif(tmp_path / "a.tif", ramp(3, 2, 2))
    with rasterio.open(path, "r+") as dataset:
        for i in (1, 2, 3):
            dataset.update_tags(
                i,
                wavelength=repr(400.125 + i),
                wavelength_units="Nanometers",
                fwhm="7.5",
                bbl=str(int(i != 2)),
                mine=f"m{i}",
            )
        dataset.update_tags(2, bad_reason="noisy")
        dataset.update_tags(3, gsd="20")
        dataset.update_tags(when="2024", HSGEO_SENSOR="my own")
        dataset.update_tags(ns="OTHER", a="1")
        dataset.set_band_description(1, "first")
    scene = open_scene(path)
    assert scene["wavelength"].values.tolist() == [401.125, 402.125, 403.125]
    assert scene["fwhm"].values.tolist() == [7.5] * 3
    assert scene["good"].values.tolist() == [True, False, True]
    assert scene["bad_reason"].values.tolist() == ["", "noisy", ""]
    assert scene["gsd"].values.tolist() == [10, 10, 20]
    assert scene["band_name"].values.tolist() == ["first", "", ""]
    assert scene["band_tags"].values.tolist() == ['{"mine": "m1"}', '{"mine": "m2"}', '{"mine": "m3"}']
    assert scene.attrs["tags"]["when"] == "2024"
    assert "HSGEO_SENSOR" not in scene.attrs["tags"]
    assert scene.attrs["sensor"] == "my own"
    assert scene.attrs["domains"] == {"OTHER": {"a": "1"}}


def test_wavelengths_from_every_place_in_order(tmp_path):
    path = tif(tmp_path / "a.tif", ramp(3, 2, 2))
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(1, "band 1 (418.24 Nanometers)")
        dataset.set_band_description(2, "0.55 um")
        dataset.set_band_description(3, "B3")
        dataset.update_tags(3, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.6565", FWHM_UM="0.0065")
    scene = open_scene(path)
    np.testing.assert_allclose(scene["wavelength"].values, [418.24, 550, 656.5])
    np.testing.assert_allclose(scene["fwhm"].values, [np.nan, np.nan, 6.5])

    with rasterio.open(path, "r+") as dataset:  # micrometres without a unit; the IMAGERY domain comes before ENVI's
        dataset.update_tags(1, wavelength="0.7")
        dataset.update_tags(ns="ENVI", wavelength="{1.1, 1.2, 1.3}", wavelength_units="Micrometers", bbl="{1, 1, 0}")
    scene = open_scene(path)
    np.testing.assert_allclose(scene["wavelength"].values, [700, 1200, 656.5])
    assert scene["good"].values.tolist() == [True, True, False]
    assert scene["bad_reason"].values.tolist() == ["", "", "bbl"]


def test_lists_in_dataset_tags(tmp_path):
    path = tif(tmp_path / "a.tif", ramp(3, 2, 2))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(wavelength="{450, 550, 650}", fwhm="{10, 11, 12}")
    scene = open_scene(path)
    assert scene["wavelength"].values.tolist() == [450, 550, 650]
    assert scene["fwhm"].values.tolist() == [10, 11, 12]


def test_south_up_and_rotated_grids_keep_their_place(tmp_path):
    south_up = Affine(10, 0, 500000, 0, 10, 5600000)
    scene = open_scene(tif(tmp_path / "s.tif", ramp(1, 3, 4), south_up))
    assert scene.odc.geobox.affine == south_up
    assert scene["y"].values.tolist() == [5600005, 5600015, 5600025]
    rotated = Affine.translation(500000, 5600000) * Affine.rotation(30) * Affine.scale(10, -10)
    scene = open_scene(tif(tmp_path / "r.tif", ramp(1, 3, 4), rotated))
    assert scene.odc.geobox.affine.almost_equals(rotated)
    np.testing.assert_array_equal(scene.values, ramp(1, 3, 4))
    part = scene.isel(y=slice(1, 3), x=slice(2, 4)).odc.geobox
    assert part.affine.almost_equals(rotated * Affine.translation(2, 1))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_crs_opens_and_says_so_when_a_grid_is_asked_for(tmp_path):
    scene = open_scene(tif(tmp_path / "plain.tif", ramp(2, 3, 4), NORTH_UP, crs=None))
    with pytest.raises(GridError, match=r"plain\.tif has no CRS"):
        geobox_of(scene)


@pytest.mark.parametrize("layout", [{"interleave": "band"}, {"interleave": "pixel"}])
def test_only_the_window_and_bands_asked_for_are_read(tmp_path, monkeypatch, layout):
    stored = ramp(3, 64, 80)
    path = tif(tmp_path / "a.tif", stored, tiled=True, blockxsize=16, blockysize=16, **layout)
    asked = []
    read = Source.read
    monkeypatch.setattr(
        Source, "read", lambda self, bands, window: asked.append((list(bands), window)) or read(self, bands, window)
    )
    scene = open_scene(path, chunks=None)
    assert not asked
    part = scene.isel(band=[2, 0], y=slice(10, 20), x=slice(5, 9))
    assert not asked
    np.testing.assert_array_equal(part.values, stored[[2, 0], 10:20, 5:9])
    assert [(bands, window.shape, window.y0, window.x0) for bands, window in asked] == [([0, 2], (10, 4), 10, 5)]
    assert scene.attrs["interleave"] == layout["interleave"]


def test_every_kind_of_index(tmp_path):
    stored = ramp(3, 90, 70)
    scene = open_scene(tif(tmp_path / "a.tif", stored), chunks=None)
    np.testing.assert_array_equal(scene[1].values, stored[1])
    np.testing.assert_array_equal(scene[1, 5, 6].values, stored[1, 5, 6])
    np.testing.assert_array_equal(scene[:, ::-1, ::7].values, stored[:, ::-1, ::7])
    np.testing.assert_array_equal(
        scene[::-1, [80, 3, 3, 41], [69, 0]].values, stored[::-1][:, [80, 3, 3, 41]][:, :, [69, 0]]
    )
    np.testing.assert_array_equal(scene[:, 5:5].values, stored[:, 5:5])
    np.testing.assert_array_equal(scene[:, ::44].values, stored[:, ::44])
    y, x = xr.DataArray([1, 88], dims="p"), xr.DataArray([69, 2], dims="p")
    np.testing.assert_array_equal(scene.isel(y=y, x=x).values, stored[:, [1, 88], [69, 2]])


def test_strided_reads_skip_rows(tmp_path, monkeypatch):
    stored = ramp(1, 400, 20, "float32")
    scene = open_scene(tif(tmp_path / "a.tif", stored), chunks=None)
    rows = []
    read = Source.read
    monkeypatch.setattr(
        Source, "read", lambda self, bands, window: rows.append(window.shape[0]) or read(self, bands, window)
    )
    np.testing.assert_array_equal(scene[:, ::100].values, stored[:, ::100])
    assert sum(rows) == 4


def test_lazy_scene_pickles_and_serves_threads(tmp_path):
    stored = ramp(3, 64, 64)
    scene = open_scene(tif(tmp_path / "a.tif", stored, tiled=True, blockxsize=16, blockysize=16), chunks=None)
    copy = pickle.loads(pickle.dumps(scene))
    np.testing.assert_array_equal(copy.values, stored)
    windows = [(y, x) for y in range(0, 64, 8) for x in range(0, 64, 8)] * 3

    def check(window):
        y, x = window
        return (scene[:, y : y + 8, x : x + 8].values == stored[:, y : y + 8, x : x + 8]).all()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, windows))


def test_a_replaced_file_is_read_anew(tmp_path):
    path = tif(tmp_path / "a.tif", np.zeros((1, 4, 4), "uint8"))
    assert open_scene(path).values.max() == 0
    other = tif(tmp_path / "b.tif", np.ones((1, 4, 4), "uint8"), compress="deflate")
    other.replace(path)
    assert open_scene(path).values.min() == 1


def test_chunks_hold_all_bands_and_follow_the_blocks(tmp_path):
    scene = open_scene(tif(tmp_path / "a.tif", ramp(3, 64, 80), tiled=True, blockxsize=16, blockysize=32))
    assert dask.is_dask_collection(scene.data)
    assert scene.chunks == ((3,), (64,), (80,))
    assert open_scene(tmp_path / "a.tif", chunks={"y": 32}).chunks == ((3,), (32, 32), (80,))
    assert open_scene(tmp_path / "a.tif", chunks=None).chunks is None


@pytest.mark.parametrize(
    ("shape", "block", "origin"),
    [
        ((224, 10000, 9000), (512, 512), (0, 0)),
        ((224, 10000, 9000), (256, 256), (100, 300)),
        ((224, 15000, 20000), (1, 20000), (7, 0)),
        ((4, 30000, 30000), (512, 512), (0, 0)),
        ((500, 20000, 60000), (1, 60000), (0, 0)),
        ((200, 8, 400000), (256, 256), (0, 0)),
        ((10, 7, 5), (7, 5), (0, 0)),
    ],
)
def test_chunk_plan(shape, block, origin):
    chunks = plan_chunks(shape, block, 4, origin)
    assert [sum(c) for c in chunks] == list(shape)
    largest = np.prod([max(c) for c in chunks]) * 4
    assert largest <= 200 << 20
    if np.prod(shape) * 4 > 400 << 20:
        assert largest >= 48 << 20
    inner_y = origin[0] + np.cumsum(chunks[1])[:-1]
    if shape[0] * block[0] * block[1] * 4 <= 96 << 20:
        assert (inner_y % min(block[0], shape[1]) == 0).all()


def test_bands_and_bbox_are_lazy_subsets(tmp_path):
    stored = ramp(3, 20, 30)
    path = tif(tmp_path / "a.tif", stored)
    with rasterio.open(path, "r+") as dataset:
        for i in (1, 2, 3):
            dataset.update_tags(i, wavelength=str(300 + 100 * i), wavelength_units="nm")
            dataset.set_band_description(i, f"B0{i}")
    assert open_scene(path, bands="1,3")["band"].values.tolist() == [1, 3]
    assert open_scene(path, bands="2-3")["band"].values.tolist() == [2, 3]
    assert open_scene(path, bands=[3, 2])["band"].values.tolist() == [2, 3]
    assert open_scene(path, bands="450-900nm")["band"].values.tolist() == [2, 3]
    assert open_scene(path, bands="0.35-0.55um")["band"].values.tolist() == [1, 2]
    assert open_scene(path, bands="B1, b02")["band"].values.tolist() == [1, 2]
    part = open_scene(path, bands="1,3", bbox=(500045, 5599900, 500080, 5599955.0))
    np.testing.assert_array_equal(part.values, stored[[0, 2], 4:10, 4:8])
    assert part.odc.geobox.affine == NORTH_UP * Affine.translation(4, 4)
    with pytest.raises(BandError, match=r"a\.tif: bands '7-9' match nothing, the scene has bands 1 to 3"):
        open_scene(path, bands="7-9")
    with pytest.raises(BandError, match="400 to 600 nm"):
        open_scene(path, bands="700-900nm")
    with pytest.raises(GridError, match="outside the scene, which covers"):
        open_scene(path, bbox=(0, 0, 10, 10))
    with pytest.raises(ParameterError, match="left, bottom, right, top"):
        open_scene(path, bbox=(10, 0, 0, 10))
    with pytest.raises(ParameterError, match="first number is larger"):
        open_scene(path, bands="9-3")


def test_xarray_engine(tmp_path):
    stored = ramp(3, 20, 30)
    path = tif(tmp_path / "a.tif", stored)
    with xr.open_dataset(path, engine="hsgeo") as dataset:
        assert set(dataset.data_vars) == {"scene"}
        assert dataset["scene"].odc.geobox.affine == NORTH_UP
        np.testing.assert_array_equal(dataset["scene"].values, stored)
    chunked = xr.open_dataset(path, engine="hsgeo", chunks={"y": 20}, bands="2", drop_variables="fwhm")
    assert chunked["scene"].chunks == ((1,), (20,), (30,))
    assert "fwhm" not in chunked
    np.testing.assert_array_equal(chunked["scene"].values, stored[1:2])
    assert xr.open_dataset(path, engine="hsgeo", chunks={})["scene"].chunks == ((3,), (20,), (30,))
