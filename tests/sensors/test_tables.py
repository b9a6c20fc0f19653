"""The tables that come with hsgeo: complete, sensible, and true to published facts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsgeo.sensors import FLAGS, KINDS, load_sensor, response_at, sensor_names, sensors_with_band_count
from hsgeo.sensors import __file__ as package
from hsgeo.sensors.response import centre_and_fwhm

DATA = Path(package).with_name("data")
#: first band of each further spectrometer, whose range begins inside the one before
DETECTORS = {"hyperion": [71], "enmap": [92], "prisma": [64], "aviris-c": [33, 97, 161]}
NAMES = sensor_names()
HYPERSPECTRAL = [name for name in NAMES if load_sensor(name).kind == "hyperspectral"]
TABULATED = [name for name in NAMES if load_sensor(name).kind == "multispectral"]


def test_all_the_expected_sensors_are_there():
    assert set(NAMES) >= {
        *("hyperion", "enmap", "prisma", "desis", "emit", "aviris-c", "aviris-ng", "rosis"),
        *("sentinel-2a", "sentinel-2b", "sentinel-2c", "landsat-7", "landsat-8", "landsat-9", "ali"),
        *("worldview-2", "worldview-3", "spot-6-7", "pleiades-1a", "pleiades-1b"),
    }
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 2**20


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_complete(name):
    sensor = load_sensor(name)
    assert sensor.name == name and sensor.title and sensor.source and sensor.kind in KINDS
    names = [band.name for band in sensor.bands]
    assert len(set(names)) == len(names)
    for band in sensor.bands:
        assert 350 < band.centre_nm < 2600 and 1 < band.fwhm_nm < 400
        assert band.gsd is not None and 0.2 < band.gsd <= 60
        assert band.mtf is None or 0.05 < band.mtf < 0.5
        assert band.flag in FLAGS
    assert sensor.find(names) == list(sensor.bands)


@pytest.mark.parametrize("name", HYPERSPECTRAL)
def test_hyperspectral_centres_rise_within_each_spectrometer(name):
    sensor = load_sensor(name)
    steps = np.diff(sensor.wavelengths)
    assert [int(i) + 2 for i in np.flatnonzero(steps <= 0)] == DETECTORS.get(name, [])
    rising = steps[steps > 0]
    gaps = rising[rising > 3 * np.median(rising)]
    assert gaps.size <= (2 if name == "enmap" else 0)  # EnMAP leaves out the two water vapour regions
    dry = [band for band in sensor.bands if band.flag == "water vapour"]
    assert all(1350 <= band.centre_nm <= 1450 or 1800 <= band.centre_nm <= 1960 for band in dry)
    assert bool(dry) == (sensor.wavelengths.max() > 1400)


@pytest.mark.parametrize("name", TABULATED)
def test_responses_are_curves_that_agree_with_centre_and_width(name):
    for band in load_sensor(name).bands:
        if band.response is None:
            assert name == "sentinel-2c" and band.flag == "atmospheric"
            continue
        wavelengths, values = band.response
        assert (np.diff(wavelengths) > 0).all()
        assert (values >= 0).all() and values[0] == values[-1] == 0 and values.max() == pytest.approx(1)
        centre, fwhm = centre_and_fwhm(wavelengths, values)
        assert centre == pytest.approx(band.centre_nm, abs=0.05)
        assert fwhm == pytest.approx(band.fwhm_nm, abs=0.05)
        # one band only: nearly all of the response lies within its width and its slopes
        near = np.abs(wavelengths - centre) < 1.2 * fwhm + 5
        step = np.gradient(wavelengths)
        assert (step * values)[near].sum() > 0.97 * (step * values).sum()


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_response_at_sum_to_one(name):
    sensor = load_sensor(name)
    rows = response_at(sensor, np.arange(300.0, 2700.0))
    assert rows.shape == (len(sensor.bands), 2400)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
    tolerance = np.maximum(0.5, 0.01 * sensor.fwhms)
    assert (np.abs(rows @ np.arange(300.0, 2700.0) - sensor.wavelengths) < tolerance).all()


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (242, ["hyperion"]),
        (224, ["aviris-c", "enmap"]),
        (234, ["prisma"]),
        (235, ["desis"]),
        (285, ["emit"]),
        (425, ["aviris-ng"]),
        (103, ["rosis"]),
        (4, []),
        (9, []),
    ],
)
def test_band_counts(count, names):
    assert [sensor.name for sensor in sensors_with_band_count(count)] == names


def test_hyperion_facts():
    sensor = load_sensor("hyperion")
    bad = [int(band.name[1:]) for band in sensor.bands if band.flag == "uncalibrated"]
    assert bad == [*range(1, 8), *range(58, 77), *range(225, 243)]
    assert sensor.band("B8").centre_nm == 426.82 and sensor.band("B242").centre_nm == 2577.08
    assert all(band.mtf and 0.22 <= band.mtf <= 0.30 for band in sensor.bands)


def test_sentinel_2_facts():
    a, b, c = (load_sensor(f"sentinel-2{x}") for x in "abc")
    assert [band.name for band in a.bands] == [
        "B1",
        "B2",
        "B3",
        "B4",
        "B5",
        "B6",
        "B7",
        "B8",
        "B8A",
        "B9",
        "B10",
        "B11",
        "B12",
    ]
    # centres and widths of ESA's table of spectral bands
    published = {
        "B1": (442.7, 442.2),
        "B2": (492.4, 492.1),
        "B8A": (864.7, 864.0),
        "B9": (945.1, 943.2),
        "B10": (1373.5, 1376.9),
        "B12": (2202.4, 2185.7),
    }
    for name, (of_a, of_b) in published.items():
        assert a.band(name).centre_nm == pytest.approx(of_a, abs=0.1)
        assert b.band(name).centre_nm == pytest.approx(of_b, abs=0.1)
    assert [band.name for band in a.bands if band.flag == "atmospheric"] == ["B1", "B9", "B10"]
    assert {band.gsd for band in a.bands if band.flag == "atmospheric"} == {60}
    assert [band.name for band in a.bands if band.gsd == 10] == ["B2", "B3", "B4", "B8"]
    assert not np.allclose(a.wavelengths, b.wavelengths, atol=1)
    assert c.band("B5").centre_nm - a.band("B5").centre_nm == pytest.approx(2.95, abs=0.1)


def test_landsat_and_ali_facts():
    for name in ("landsat-8", "landsat-9"):
        centres = [round(load_sensor(name).band(b).centre_nm) for b in ("coastal", "nir", "cirrus", "swir1", "swir2")]
        np.testing.assert_allclose(centres, [443, 865, 1374, 1609, 2201], atol=1)
    assert load_sensor("landsat-8").band("pan").gsd == 15
    ali = load_sensor("ali")
    assert ali.bands[0].flag == "pan" and ali.bands[0].gsd == 10 and len(ali.bands) == 10
    np.testing.assert_allclose(
        ali.wavelengths[1:], [441.6, 484.8, 567.2, 660.0, 790.0, 865.6, 1244.4, 1640.1, 2225.7], atol=0.1
    )


def test_loading_one_sensor_reads_its_own_files_only_and_imports_nothing_heavy():
    code = """
import sys
from pathlib import Path
import hsgeo.sensors as sensors
opened = []
def hook(event, args):
    if event == "open" and Path(str(args[0])).parent.name == "data":
        opened.append(Path(str(args[0])).name)
sys.addaudithook(hook)
sensors.load_sensor("sentinel-2b")
first = list(opened)
assert sorted(set(first)) == ["sentinel-2b.csv", "sentinel-2b.response.csv", "sentinel-2b.yaml"], first
assert sensors.load_sensor("Sentinel 2B") is sensors.load_sensor("sentinel-2b")
assert opened == first
heavy = [m for m in ("torch", "rasterio", "xarray", "dask", "scipy") if m in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_enmap_table_is_that_of_a_product():
    root = os.environ.get("HSGEO_DATA")
    if not root:
        pytest.skip("HSGEO_DATA is not set")
    with rasterio.open(Path(root) / "potsdam" / "enmap_potsdam_nw.tif") as file:
        tags = [file.tags(i) for i in file.indexes]
    sensor = load_sensor("enmap")
    np.testing.assert_allclose(sensor.wavelengths, [float(tag["wavelength"]) for tag in tags], atol=1e-3)
    np.testing.assert_allclose(sensor.fwhms, [float(tag["fwhm"]) for tag in tags], atol=1e-4)
