"""Masks on any grid hide the pixels under them."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError
from hsgeo.scene.masks import apply_mask
from hsgeo.scene.model import make_scene
from hsgeo.scene.select import select_bands


def scene(data, gsd, x0=500000.0, y0=5800000.0, crs="EPSG:32633"):
    return make_scene(np.asarray(data, np.float32), GeoBox(data.shape[1:], Affine(gsd, 0, x0, 0, -gsd, y0), crs))


@pytest.mark.parametrize("lazy", [False, True])
def test_same_grid_finer_and_coarser_masks(lazy):
    image = scene(np.ones((2, 12, 16)), 30)
    image = image.chunk({"y": 5, "x": 7}) if lazy else image
    same = np.zeros((1, 12, 16))
    same[0, 3:5, 6] = 7
    assert np.array_equal(np.isnan(apply_mask(image, scene(same, 30)).values), np.broadcast_to(same > 0, (2, 12, 16)))
    fine = np.zeros((1, 36, 48))
    fine[0, 10, 19] = 1  # inside pixel (3, 6)
    hidden = np.isnan(apply_mask(image, scene(fine, 10)).values[0])
    assert hidden.sum() == 1 and hidden[3, 6]
    coarse = np.zeros((1, 6, 8))
    coarse[0, 1, 3] = 1
    hidden = np.isnan(apply_mask(image, scene(coarse, 60)).values[1])
    assert hidden[2:4, 6:8].all() and hidden.sum() == 4


def test_layers_of_a_mask_belong_to_bands():
    image, layers = scene(np.ones((4, 8, 8)), 30), np.zeros((4, 8, 8))
    layers[2, 3, 5] = 1
    for chosen, at in (("2-4", 1), ("3", 0), ("1,3,4", 1)):
        hidden = np.isnan(apply_mask(select_bands(image, chosen), scene(layers, 30)).values)
        assert hidden.sum() == 1 and hidden[at, 3, 5]
    assert np.isfinite(apply_mask(select_bands(image, "1-2"), scene(layers, 30)).values).all()
    for wrong in (layers[:2], np.concatenate([layers, layers])):
        with pytest.raises(BandError, match="one layer for all bands or one for each of the 4"):
            apply_mask(image, scene(wrong, 30))


def test_masks_outside_or_of_nodata_hide_nothing():
    image = scene(np.ones((1, 8, 8)), 30)
    notes: list[str] = []
    far = apply_mask(image, scene(np.ones((1, 4, 4)), 30, x0=900000.0), notes)
    assert np.isfinite(far.values).all() and "does not meet" in notes[0]
    nothing = apply_mask(image, scene(np.full((1, 8, 8), np.nan), 30))
    assert np.isfinite(nothing.values).all()


def test_mask_in_another_crs_lands_in_the_right_place():
    image = scene(np.ones((1, 40, 40)), 30)
    east, north = 500000 + 30 * 20, 5800000 - 30 * 10
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:32633", "EPSG:3035", always_xy=True).transform(east, north)
    cloud = scene(np.ones((1, 10, 10)), 30, x0=x - 150, y0=y + 150, crs="EPSG:3035")
    hidden = np.isnan(apply_mask(image, cloud).values[0])
    rows, columns = np.nonzero(hidden)
    assert abs(rows.mean() + 0.5 - 10) < 0.7 and abs(columns.mean() + 0.5 - 20) < 0.7 and 80 < hidden.sum() < 130
