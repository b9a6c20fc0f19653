"""Opening ENVI: every interleave, what a header says, header and data file found from each other."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
import xarray as xr

from hsgeo.errors import SceneNotFoundError, SceneReadError
from hsgeo.scene import Window, open_scene, write_scene
from hsgeo.scene.bands import to_nanometres
from hsgeo.scene.envi import split_list

from .opening import NORTH_UP, envi, ramp

WAVES = [450.123456789, 550.5, 650.25]


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("given", ["header", "data"])
def test_every_interleave_from_header_or_data(tmp_path, interleave, given):
    stored = ramp(3, 7, 9)
    data = envi(tmp_path / f"scene.{interleave}", stored, interleave, wavelength=WAVES, wavelength_units="Nanometers")
    scene = open_scene(data if given == "data" else data.with_suffix(".hdr"))
    np.testing.assert_array_equal(scene.values, stored)
    assert scene.odc.geobox.affine == NORTH_UP
    assert scene.odc.geobox.crs.epsg == 32633
    assert scene["wavelength"].values.tolist() == WAVES  # GDAL's IMAGERY domain has 0.450 um
    assert scene.attrs["driver"] == "ENVI"
    assert scene.attrs["interleave"] == {"bsq": "band", "bil": "line", "bip": "pixel"}[interleave]


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_windows_equal_what_gdal_reads(tmp_path, interleave, dtype, big_endian):
    stored = (ramp(3, 11, 13, "int64") % 251).astype(dtype)
    path = envi(tmp_path / "a.img", stored, interleave, big_endian=big_endian, header_offset=17, data_ignore_value=7)
    scene = open_scene(path, chunks=None)
    assert scene.variable._data.array.source.raw is not None
    with rasterio.open(path) as dataset:
        whole = dataset.read().astype(scene.dtype)
    whole[whole == 7] = np.nan
    for bands in ([0, 1, 2], [1], [2, 0]):
        for window in (Window(0, 11, 0, 13), Window(3, 5, 2, 4), Window(2, 9, 1, 12), Window(10, 11, 12, 13)):
            rows, cols = window.slices
            part = scene.isel(band=bands, y=rows, x=cols).values
            np.testing.assert_array_equal(part, whole[bands][:, rows, cols])


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        ([450, 550, 650], "Nanometers", [450, 550, 650]),
        ([0.45, 0.55, 0.65], "Micrometers", [450, 550, 650]),
        ([0.45, 0.55, 0.65], "um", [450, 550, 650]),
        ([0.45, 0.55, 0.65], "Unknown", [450, 550, 650]),
        ([0.45, 0.55, 0.65], None, [450, 550, 650]),
        ([394.9, 404.6, 2400], None, [394.9, 404.6, 2400]),
        ([20000, 10000, 5000], "Wavenumber", [500, 1000, 2000]),
        ([1, 2, 3], "Index", [np.nan] * 3),
        ([450, 0, 650], "Nanometers", [450, np.nan, 650]),
    ],
)
def test_wavelength_units(tmp_path, values, units, expected):
    keys = {"wavelength": values} | ({} if units is None else {"wavelength_units": units})
    scene = open_scene(envi(tmp_path / "a.img", ramp(3, 2, 2), **keys))
    np.testing.assert_allclose(scene["wavelength"].values, expected, rtol=1e-12)


def test_fwhm_shares_the_unit_but_for_mixed_files(tmp_path):
    keys = {"wavelength": [0.45, 0.55, 0.65], "wavelength_units": "Micrometers"}
    micro = open_scene(envi(tmp_path / "a.img", ramp(3, 2, 2), fwhm=[0.01, 0.011, 0], **keys))
    np.testing.assert_allclose(micro["fwhm"].values, [10, 11, np.nan])
    mixed = open_scene(envi(tmp_path / "b.img", ramp(3, 2, 2), fwhm=[10, 11, 12], **keys))
    np.testing.assert_allclose(mixed["fwhm"].values, [10, 11, 12])


def test_micrometres_become_the_nanometres_of_their_digits_and_stay_so(tmp_path):
    waves = np.round(np.random.default_rng(0).uniform(0.38, 2.5, 400), 5)
    assert (waves * 1e3 != np.round(waves * 1e3, 2)).any()  # what a product leaves
    widths = np.round(waves / 90, 6)
    exact = [float(f"{v:.5f}e3") for v in waves]
    path = envi(tmp_path / "a.img", np.ones((400, 1, 1), "int16"), wavelength=waves, fwhm=widths, wavelength_units="um")
    scene = open_scene(path)
    assert scene["wavelength"].values.tolist() == exact
    assert scene["fwhm"].values.tolist() == [float(f"{v:.6f}e3") for v in widths]
    for name in ("b.tif", "b.img", "b.zarr"):
        write_scene(scene, tmp_path / name)
        again = open_scene(tmp_path / name)
        assert again["wavelength"].values.tolist() == exact
        assert again["fwhm"].values.tolist() == scene["fwhm"].values.tolist()
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert [dataset.tags(b)["wavelength"] for b in (1, 2, 3)] == [repr(v) for v in exact[:3]]


@pytest.mark.parametrize(
    ("units", "value", "expected"),
    [("um", 0.4554, 455.4), ("Angstroms", 4554.3, 455.43), ("mm", 0.0004554, 455.4), ("m", 4.554e-7, 455.4)],
)
def test_the_point_is_moved_in_the_digits(units, value, expected):
    assert to_nanometres(np.array([value, np.nan, 0.0]), units).tolist()[0] == expected
    assert np.isnan(to_nanometres(np.array([value, np.nan, 0.0]), units)[1:]).all()


def test_header_keys(tmp_path):
    stored = ramp(3, 2, 2)
    stored[0, 0, 0] = -99
    path = envi(
        tmp_path / "a.bsq",
        stored,
        description="{a scene}",
        band_names=["one", "two", '"three, four"'],
        wavelength=WAVES,
        wavelength_units="Nanometers",
        bbl=[1, 0, 1],
        reflectance_scale_factor=10000,
        data_ignore_value=-99,
        default_bands=[3, 2, 1],
        sensor_type="Mine",
        my_key=["p", "q"],
    )
    notes: list[str] = []
    scene = open_scene(path, notes=notes)
    assert scene["band_name"].values.tolist() == ["one", "two", "three, four"]
    assert scene["good"].values.tolist() == [True, False, True]
    assert scene["bad_reason"].values.tolist() == ["", "bbl", ""]
    np.testing.assert_allclose(scene["scale"].values, 1e-4)
    expected = stored / 1e4
    expected[0, 0, 0] = np.nan
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    assert scene.attrs["nodata"] == -99
    domain = scene.attrs["domains"]["ENVI"]
    assert domain["default_bands"] == "{3, 2, 1}"
    assert domain["sensor_type"] == "Mine"
    assert domain["my_key"] == "{p, q}"
    assert domain["reflectance_scale_factor"] == "10000"
    assert not any(key.startswith("Band_") for key in scene.attrs["tags"])
    assert notes == []


def test_gains_and_offsets_per_band(tmp_path):
    stored = ramp(3, 2, 2)
    keys = {"data_gain_values": [0.1, 0.2, 0.5], "data_offset_values": [1, 2, 3]}
    scene = open_scene(envi(tmp_path / "a.bsq", stored, **keys))
    expected = stored * np.array([0.1, 0.2, 0.5])[:, None, None] + np.array([1, 2, 3])[:, None, None]
    np.testing.assert_allclose(scene.values, expected, rtol=1e-6)
    notes: list[str] = []
    both = open_scene(envi(tmp_path / "b.bsq", stored, reflectance_scale_factor=100, **keys), notes=notes)
    np.testing.assert_allclose(both.values, expected, rtol=1e-6)
    assert any("the gains are used" in note for note in notes)


def test_lists_of_another_length_are_not_used(tmp_path):
    scene = open_scene(envi(tmp_path / "a.bsq", ramp(3, 2, 2), bbl=[1, 0], fwhm=[1, 2, 3, 4]))
    assert scene["good"].values.all()
    assert np.isnan(scene["fwhm"].values).all()


@pytest.mark.parametrize(
    ("header", "data"), [("s.hdr", "s"), ("s.img.hdr", "s.img"), ("s.HDR", "s.dat"), ("s.v2.hdr", "s.v2")]
)
def test_names_of_the_pair(tmp_path, header, data):
    stored = ramp(2, 3, 4)
    envi(tmp_path / "tmp.img", stored)
    (tmp_path / "tmp.img").rename(tmp_path / data)
    (tmp_path / "tmp.hdr").rename(tmp_path / header)
    (tmp_path / "s.txt").write_text("a note beside it")
    for name in (header, data):
        np.testing.assert_array_equal(open_scene(tmp_path / name).values, stored)


def test_list_items():
    assert split_list("{a, b,c }") == ["a", "b", "c"]
    assert split_list('{"a, b", c}') == ["a, b", "c"]
    assert split_list("{}") == []
    assert split_list(None) == []


def test_rotated_map_info_keeps_its_affine(tmp_path):
    path = envi(tmp_path / "a.bsq", ramp(2, 3, 4))
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("WGS-84}", "WGS-84, rotation=30}"))
    affine = open_scene(path).odc.geobox.affine
    assert abs(affine.b) > 1
    with rasterio.open(path) as dataset:
        assert affine == dataset.transform


def test_wrong_pairs_are_refused(tmp_path):
    stored = ramp(3, 7, 9)
    path = envi(tmp_path / "cut.bsq", stored)
    path.write_bytes(path.read_bytes()[:-10])
    for name in ("cut.bsq", "cut.hdr"):
        with pytest.raises(SceneReadError, match=r"cut\.bsq holds 368 bytes, but cut\.hdr describes 378.*truncated"):
            open_scene(tmp_path / name)

    path = envi(tmp_path / "gone.bsq", stored)
    path.unlink()
    with pytest.raises(SceneReadError, match=r"gone\.hdr is an ENVI header without its data file: put gone, gone\.bsq"):
        open_scene(tmp_path / "gone.hdr")
    with pytest.raises(SceneNotFoundError, match=r"Did you mean .*gone\.hdr"):
        open_scene(path)

    path = envi(tmp_path / "alone.bsq", stored)
    path.with_suffix(".hdr").unlink()
    with pytest.raises(SceneReadError, match=r"has no header: an ENVI file needs alone\.hdr"):
        open_scene(path)

    path = envi(tmp_path / "void.bsq", stored)
    path.write_bytes(b"")
    with pytest.raises(SceneReadError, match="holds 0 bytes"):
        open_scene(tmp_path / "void.hdr")

    path = envi(tmp_path / "half.bsq", stored)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("lines = 7\n", ""))
    with pytest.raises(SceneReadError, match="lacks 'lines'"):
        open_scene(path)


def test_longer_data_is_read_and_said(tmp_path):
    path = envi(tmp_path / "a.bsq", ramp(3, 7, 9))
    path.write_bytes(path.read_bytes() + b"\0" * 5)
    notes: list[str] = []
    np.testing.assert_array_equal(open_scene(path, notes=notes).values, ramp(3, 7, 9))
    assert any("5 bytes more" in note for note in notes)


def test_shortened_after_opening(tmp_path):
    path = envi(tmp_path / "a.bsq", ramp(3, 7, 9))
    scene = open_scene(path, chunks=None)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SceneReadError, match=r"a\.bsq ends before"):
        scene.load()
    path.unlink()
    with pytest.raises(SceneReadError, match=r"a\.bsq cannot be read"):
        open_and_forget = pickle.loads(pickle.dumps(scene))
        open_and_forget.load()


def test_xarray_finds_the_engine_for_headers(tmp_path):
    path = envi(tmp_path / "a.bsq", ramp(2, 3, 4))
    np.testing.assert_array_equal(xr.open_dataset(path.with_suffix(".hdr"))["scene"].values, ramp(2, 3, 4))
