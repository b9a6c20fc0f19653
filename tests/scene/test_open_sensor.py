"""Wavelengths and flags that a file lacks: from the sensor given, guessed, or the only one with that many bands."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from hsgeo.errors import BandError
from hsgeo.scene import open_scene
from hsgeo.sensors import load_sensor

from .opening import ramp, tif


def bands(count):
    return np.ones((count, 2, 2), "int16")


def describe(path, names):
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return path


def test_given_sensor_by_count_and_order(tmp_path):
    notes: list[str] = []
    scene = open_scene(tif(tmp_path / "a.tif", bands(242)), sensor="hyperion", notes=notes)
    table = load_sensor("hyperion")
    np.testing.assert_allclose(scene["wavelength"].values, table.wavelengths)
    np.testing.assert_allclose(scene["fwhm"].values, table.fwhms)
    flags = np.array([band.flag for band in table.bands])
    bad = np.isin(flags, ["uncalibrated", "water vapour"])
    assert bad.any()
    assert scene["good"].values.tolist() == (~bad).tolist()
    assert scene["bad_reason"].values.tolist() == np.where(bad, flags, "").tolist()
    assert scene.attrs["sensor"] == "hyperion"


def test_band_count_alone_when_one_table_fits(tmp_path):
    notes: list[str] = []
    scene = open_scene(tif(tmp_path / "unnamed.tif", bands(242)), notes=notes)
    assert scene.attrs["sensor"] == "hyperion"
    assert any("the only sensor table with 242 bands" in note for note in notes)


def test_nothing_known_is_said(tmp_path):
    notes: list[str] = []
    scene = open_scene(tif(tmp_path / "unnamed.tif", bands(17)), notes=notes)
    assert scene.attrs["sensor"] == ""
    assert np.isnan(scene["wavelength"].values).all()
    assert any("no wavelengths are known; --sensor NAME gives them" in note for note in notes)


def test_given_sensor_by_band_names(tmp_path):
    path = describe(tif(tmp_path / "a.tif", bands(3)), ["B8A", "B04", "blue"])
    scene = open_scene(path, sensor="sentinel-2a")
    np.testing.assert_allclose(scene["wavelength"].values, [864.7, 664.6, 492.4], atol=1)
    with pytest.raises(BandError, match=r"a\.tif has 3 bands, the sensor hyperion 242"):
        open_scene(describe(path, ["p", "q", "r"]), sensor="hyperion")


def test_counting_names_say_nothing(tmp_path):
    # twelve bands of Sentinel-2 are those of level 2A, without cirrus: the ninth is B8A, not B9
    path = describe(tif(tmp_path / "a.tif", bands(12)), [f"Band {i}" for i in range(1, 13)])
    scene = open_scene(path, sensor="sentinel-2a")
    np.testing.assert_allclose(scene["wavelength"].values[[8, 9, 10]], [864.7, 945.1, 1613.7], atol=1)


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(13, 1373.5), (12, 945.1), (10, 2202.4), (4, 832.8)],
)
def test_usual_stacks_of_sentinel2(tmp_path, count, wanted):
    scene = open_scene(tif(tmp_path / "S2A_MSIL2A_stack.tif", bands(count)))
    assert scene.sizes["band"] == count
    assert np.abs(scene["wavelength"].values - wanted).min() < 1


def test_wavelengths_of_the_file_stay(tmp_path):
    path = tif(tmp_path / "ENMAP01_x.tif", bands(3))
    table = load_sensor("enmap")
    with rasterio.open(path, "r+") as dataset:
        for i, k in enumerate((10, 50, 120), 1):
            dataset.update_tags(i, wavelength=str(table.wavelengths[k] + 0.4), wavelength_units="nm")
    scene = open_scene(path)
    np.testing.assert_allclose(scene["wavelength"].values, table.wavelengths[[10, 50, 120]] + 0.4)
    np.testing.assert_allclose(scene["fwhm"].values, table.fwhms[[10, 50, 120]])
    assert scene.attrs["sensor"] == "enmap"


def test_name_that_the_wavelengths_contradict(tmp_path):
    path = tif(tmp_path / "ENMAP01_x.tif", bands(3))
    with rasterio.open(path, "r+") as dataset:
        for i in (1, 2, 3):
            dataset.update_tags(i, wavelength=str(4000 + 100 * i), wavelength_units="nm")
    notes: list[str] = []
    scene = open_scene(path, notes=notes)
    assert scene.attrs["sensor"] == ""
    assert any("--sensor enmap insists" in note for note in notes)
    notes.clear()
    assert open_scene(path, sensor="enmap", notes=notes).attrs["sensor"] == "enmap"
    assert any("those of the file are kept" in note for note in notes)


def test_bbl_comes_before_the_table(tmp_path):
    table = load_sensor("hyperion")
    flags = [band.flag for band in table.bands]
    path = tif(tmp_path / "EO1H_x.tif", bands(242))
    first_bad, first_good = flags.index("uncalibrated"), flags.index("")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(first_bad + 1, bbl="1")
        dataset.update_tags(first_good + 1, bbl="0")
    scene = open_scene(path)
    assert scene["good"].values[first_bad]
    assert not scene["good"].values[first_good]
    assert scene["bad_reason"].values[first_good] == "bbl"
    assert int((~scene["good"]).sum()) == sum(f in ("uncalibrated", "water vapour") for f in flags)


def test_own_sensor_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nkind: multispectral\nbands:\n"
        "  - {name: A, centre_nm: 500, fwhm_nm: 20}\n  - {name: B, centre_nm: 600, fwhm_nm: 30}\n"
    )
    scene = open_scene(tif(tmp_path / "a.tif", bands(2)), sensor=str(tmp_path / "mine.yaml"))
    assert scene["wavelength"].values.tolist() == [500, 600]
    assert scene["band_name"].values.tolist() == ["A", "B"]


def test_zero_fill_of_products_without_nodata(tmp_path):
    stored = np.full((242, 2, 2), 9, "int16")
    stored[:, 0, 0] = 0
    stored[200, 1, 1] = 0
    notes: list[str] = []
    values = open_scene(tif(tmp_path / "EO1H_x.tif", stored), notes=notes).values
    assert np.isnan(values[:, 0, 0]).all()
    assert values[200, 1, 1] == 0
    assert np.isnan(values).sum() == 242
    assert any("are taken for no data" in note for note in notes)
    written = open_scene(tif(tmp_path / "EO1H_y.tif", stored, nodata=-1)).values
    assert not np.isnan(written).any()


def test_notes_are_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="hsgeo"):
        open_scene(tif(tmp_path / "a.tif", ramp(2, 2, 2)))
    assert any("no wavelengths are known" in record.message for record in caplog.records)
