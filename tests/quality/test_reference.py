"""Comparing scenes: grids, bands, missing data."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, DataError, GridError
from hsgeo.quality.quicklook import (
    contact_sheet,
    decimated,
    enlarge,
    heat,
    png_bytes,
    rgb_bands,
    stretch_limits,
    to_bytes,
)
from hsgeo.quality.reference import compare
from hsgeo.scene.model import make_scene


def scene(data, x0=500000.0, y0=5800000.0, gsd=10.0, crs="EPSG:32633", **bands):
    return make_scene(data, GeoBox(data.shape[1:], Affine(gsd, 0, x0, 0, -gsd, y0), crs), **bands)


@pytest.fixture
def truth():
    return np.random.default_rng(1).uniform(0.1, 0.6, (4, 40, 50)).astype(np.float32)


def test_shifted_extents_compare_the_shared_ground(truth):
    reference = scene(truth)
    cut = scene(truth[:, 5:30, 8:] + np.float32(0.01), x0=500080, y0=5799950)
    report = compare(cut, reference, ratio=3)
    assert report.pixels == 25 * 42 and report.values["rmse"] == pytest.approx(0.01, rel=1e-4)
    assert report.values["ergas"] is not None


def test_bands_pair_by_wavelength_when_counts_differ(truth):
    reference = scene(truth, wavelength=[450, 550, 650, 850])
    result = scene(truth[[1, 3]] + np.float32(0.02), wavelength=[550.4, 849.8])
    report = compare(result, reference)
    assert report.bands == 2 and report.values["rmse"] == pytest.approx(0.02, rel=1e-4)
    with pytest.raises(BandError, match="wavelengths"):
        compare(scene(truth[:2]), reference)


def test_bad_and_empty_bands_do_not_count(truth):
    holed = truth.copy()
    holed[2] = np.nan
    report = compare(scene(holed, good=[True, False, True, True]), scene(truth))
    assert report.bands == 2 and report.values["rmse"] == 0


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"gsd": 20.0}, "pixels of"),
        ({"crs": "EPSG:32632"}, "CRS"),
        ({"x0": 500003.0}, "edges"),
        ({"x0": 9e5}, "overlap"),
    ],
)
def test_grids_that_cannot_be_compared_are_refused(truth, kwargs, word):
    with pytest.raises(GridError, match=word):
        compare(scene(truth), scene(truth, **kwargs))


def test_nothing_valid_is_refused(truth):
    with pytest.raises(DataError):
        compare(scene(truth * np.nan), scene(truth))


def test_quicklook(truth):
    image = scene(truth, wavelength=[480, 560, 655, 850])
    assert rgb_bands(image) == [2, 1, 0]
    values = decimated(image, [2, 1, 0], size=25)
    assert values.shape == (3, 20, 25)
    picture = to_bytes(values, stretch_limits(values))
    assert picture.min() == 0 and picture.max() == 255
    assert enlarge(picture, (40, 50))[0, ::2, ::2].tolist() == picture[0].tolist()
    assert png_bytes(picture)[:4] == b"\x89PNG"
    assert heat(np.array([[0.0, 1.0, np.nan]]), 1.0)[:, 0].T.tolist() == [[0, 0, 4], [252, 255, 164], [128, 128, 128]]


def test_a_contact_sheet_of_small_tiles_is_large_enough_to_look_at():
    tiles = [np.full((3, 20, 30), i / 4) for i in range(5)]
    sheet = contact_sheet(tiles)
    assert sheet.shape[0] == 3 and 500 < max(sheet.shape[1:]) < 700
    assert [int(sheet[0, 5, 5 + i * 182]) for i in range(3)] == [0, 63, 127]
    large = [np.zeros((3, 700, 400))] * 2
    assert contact_sheet(large).shape == (3, 700, 802)
