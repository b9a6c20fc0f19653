"""Pairs that cannot be aligned: one sentence that names the files and the way out."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError
from hsgeo.scene import make_scene
from hsgeo.scene.align import align

from .aligning import LEFT, TOP, UTM, hsi_and_msi, north_up, painted


def failing(hsi, msi, error=GridError, **options):
    with pytest.raises(error) as caught:
        align(hsi, msi, hsi_name="h.tif", msi_name="m.tif", **options)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in text and len(text) < 420
    return text


def test_no_overlap_names_both_extents_in_one_crs():
    hsi, _ = hsi_and_msi(north_up(20, 20, 30), north_up(9, 9, 10))
    text = failing(hsi, painted(north_up(60, 60, 10, LEFT + 5000, TOP)))
    assert "h.tif and m.tif do not overlap" in text
    assert "x 400000 to 400600" in text and "x 405000 to 405600" in text
    x, y = hsi.odc.geobox.crs.transformer_to_crs("EPSG:32632")(LEFT + 5000, TOP)
    text = failing(hsi, painted(north_up(60, 60, 10, x, y, "EPSG:32632"), fn=lambda e, n, k: e * 0 + n))
    assert "x 404950 to 405597" in text  # the zones are turned by some five degrees
    text = failing(hsi, painted(north_up(60, 60, 0.0001, -70, -33, "EPSG:4326"), fn=lambda e, n, k: n * 0))
    assert "do not overlap" in text


def test_a_sliver_that_no_fine_centre_touches_is_no_overlap():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10, LEFT + 596, TOP))
    assert "do not overlap" in failing(hsi, msi)


def test_swapped_order():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    text = failing(msi, hsi)
    assert "h.tif (4 bands, 10 m) looks like the multispectral" in text and "hyperspectral image first" in text
    pan = painted(north_up(60, 60, 10), 1)
    assert "hyperspectral image first" in failing(pan, hsi)


@pytest.mark.parametrize(("gsd", "word"), [(60, "coarser than"), (30, "no finer than"), (25, "hardly finer than")])
def test_an_msi_that_is_not_finer(gsd, word):
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(24, 24, gsd))
    text = failing(hsi, msi)
    assert f"m.tif ({gsd} m) is {word} h.tif (30 m)" in text and "swap" in text


def test_no_crs():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    bare = make_scene(hsi.values, GeoBox((20, 20), hsi.odc.geobox.affine, None))
    assert "h.tif has no CRS" in (text := failing(bare, msi)) and "gdal_edit.py -a_srs EPSG:CODE h.tif" in text
    bare = make_scene(msi.values, GeoBox((60, 60), msi.odc.geobox.affine, None))
    assert "gdal_edit.py -a_srs EPSG:CODE m.tif" in failing(hsi, bare)


def test_rotated():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    box = GeoBox((60, 60), Affine(10, 2, LEFT, 2, -10, TOP), UTM)
    text = failing(hsi, make_scene(msi.values, box, name="m.tif"))
    assert "rotated" in text and "gdalwarp" in text and "m.tif" in text


def test_one_band():
    _, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    text = failing(painted(north_up(20, 20, 30), 1), msi, BandError)
    assert text.startswith("h.tif has one band") and "m.tif" in text


def test_wavelengths_that_do_not_meet():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    msi = msi.assign_coords(wavelength=("band", [1600.0, 1650, 2200, 2300]))
    text = failing(hsi, msi, BandError)
    assert "m.tif (1600 to 2300 nm)" in text and "h.tif (450 to 850 nm)" in text


def test_unknown_wavelengths_are_no_error():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    for one in (hsi, msi):
        nothing = one.assign_coords(wavelength=("band", np.full(one.sizes["band"], np.nan)))
        pair = align(nothing if one is hsi else hsi, nothing if one is msi else msi, register=False)
        assert pair.bands == (0, 1, 2, 3)


def test_no_good_band_and_no_such_band():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    assert "m.tif has no good band" in failing(hsi, msi.assign_coords(good=("band", [False] * 4)), BandError)
    assert "match" in failing(hsi, msi, BandError, bands="B77")


def test_dimensions_in_another_order():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    assert "band, y, x" in failing(hsi.transpose("y", "x", "band"), msi)
