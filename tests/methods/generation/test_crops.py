"""Crops that a generator is trained on."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.errors import DataError
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.generation.training import Crops

SIDE = 8


def drawn(state, batches=100):
    crops = Crops(state, HudTrainingParams(crop=SIDE, batch=32, turned=False))
    return np.concatenate([crops.batch(step, 0)[0].numpy() for step in range(batches)])


def numbered(height, width):
    """A scene of one channel that holds each pixel's number."""
    return np.arange(height * width, dtype=np.float32).reshape(1, height, width)


def test_pixels_near_the_border_are_in_crops_more_often_than_by_even_draws_of_places():
    height, width = 30, 20
    seen = np.bincount(drawn(numbered(height, width)).astype(int).ravel(), minlength=height * width)
    even = np.zeros((height, width))
    for y in range(height - SIDE + 1):
        for x in range(width - SIDE + 1):
            even[y : y + SIDE, x : x + SIDE] += 1
    spread, evenly = (times.std() / times.mean() for times in (seen, even))
    assert spread < 0.6 * evenly
    assert seen.min() / seen.mean() > 5 * even.min() / even.mean()


def test_crops_hold_no_gap_and_reach_all_that_lies_between_gaps():
    state = numbered(40, 40)
    state[0, 20, 20] = state[0, 5, 30] = np.nan
    crops = drawn(state)
    assert np.isfinite(crops).all()
    reached = np.unique(crops)
    inside = [y * 40 + x for y in range(21, 40) for x in range(40)]  # below the gaps any pixel can be reached
    assert np.isin(inside, reached).all()


def test_typical_crops_have_the_scene_s_moments_together():
    field = gaussian_filter(np.random.default_rng(0).standard_normal((3, 200, 200)), (0, 15, 15))
    state = ((field - field.mean((1, 2), keepdims=True)) / field.std((1, 2), keepdims=True)).astype(np.float32)
    crops = Crops(state, HudTrainingParams(crop=SIDE, batch=32, turned=False))
    chosen = crops.typical(32).numpy()
    assert len({each.tobytes() for each in chosen}) == 32
    for each in chosen:
        y, x = np.argwhere(state[0] == each[0, 0, 0])[0]
        assert (state[:, y : y + SIDE, x : x + SIDE] == each).all()
    for part, most in ((chosen, 0.05), (crops.batch(0, 0)[0].numpy(), 1)):
        off = max(np.abs(part.mean((0, 2, 3))).max(), np.abs(part.std((0, 2, 3)) - 1).max())
        assert off < most
    assert off > 0.1  # as they come


def test_a_crop_as_large_as_the_scene_is_the_scene():
    state = numbered(SIDE, SIDE)
    assert (drawn(state, 1) == state).all()


def test_a_scene_with_a_gap_everywhere_is_refused():
    state = numbered(20, 20)
    state[0, ::4, ::4] = np.nan
    with pytest.raises(DataError, match="without gaps"):
        drawn(state, 1)
