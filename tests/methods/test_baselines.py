"""The baselines: interpolation and Gram-Schmidt adaptive with hypersharpening."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import DataError
from hsgeo.methods.base import get_method
from hsgeo.methods.fusion.frame import Frame, good_length, interpolation
from hsgeo.scene.window import Window

from .pairs import Case, MemoryPair, degrade, fuse_tiles, make_case, psnr


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_interpolation_keeps_a_ramp_on_its_line(ratio: int):
    """A half-pixel slip would shift the ramp; away from the ends the spline reproduces straight lines exactly."""
    n = 40
    centres = np.arange(n) * ratio + (ratio - 1) / 2
    fine = interpolation(n, ratio, mirrored=True) @ centres
    middle = slice(14 * ratio, 26 * ratio)
    np.testing.assert_allclose(fine[middle], np.arange(n * ratio)[middle], atol=1e-6)


def test_interpolation_passes_through_the_samples_at_odd_ratios():
    values = np.random.default_rng(0).standard_normal(12)
    for mirrored in (False, True):
        np.testing.assert_allclose((interpolation(12, 3, mirrored) @ values)[1::3], values, atol=1e-10)


def test_interpolation_keeps_constants():
    for n, mirrored in ((1, False), (2, True), (5, False), (30, True)):
        np.testing.assert_allclose(interpolation(n, 4, mirrored).sum(1), 1, atol=1e-9)


def test_good_lengths():
    assert [good_length(n) for n in (1, 7, 11, 19, 152, 160)] == [1, 8, 12, 20, 160, 160]


def test_a_frame_mirrors_at_the_scene_not_at_the_tile():
    scene = np.arange(20.0)[:, None] + np.zeros((1, 20))
    for y0, y1 in ((-8, 12), (0, 40), (4, 28)):
        frame = Frame.around(Window(y0, y1, 0, 20), (20, 20), 4)
        inside = Window(y0, y1, 0, 20).clip(20, 20)
        outer = np.full((y1 - y0, 20), np.nan)
        outer[inside.y0 - y0 : inside.y1 - y0] = scene[inside.y0 : inside.y1]
        got = frame.take(outer, 1)[: y1 - y0, 0]
        index = np.arange(y0, y1) % 40
        np.testing.assert_array_equal(got, np.where(index < 20, index, 39 - index))


@pytest.mark.parametrize("name", ["bicubic", "gsa"])
def test_tiled_equals_whole(name: str):
    c = make_case()
    model = get_method(name).fit(c.inputs())
    whole, tiled = (fuse_tiles(model, c.pair, t).values for t in (None, 36))
    assert np.abs(tiled - whole).max() < 1e-5


def test_gsa_reproduces_the_hsi_better_than_interpolation_does():
    c = make_case()
    values = {n: fuse_tiles(get_method(n).fit(c.inputs()), c.pair).values.astype(float) for n in ("gsa", "bicubic")}
    left = {n: np.abs(degrade(v, c.psf, 4) - c.pair.hsi_values).mean() for n, v in values.items()}
    assert left["gsa"] < 0.5 * left["bicubic"]
    assert psnr(values["gsa"], c.truth) > psnr(values["bicubic"], c.truth) + 3


@pytest.mark.parametrize("name", ["bicubic", "gsa"])
def test_gaps_are_flagged_and_filled_from_the_other(name: str):
    c = make_case()
    y, x = c.pair.hsi_values.copy(), c.pair.msi_values[0].copy()
    y[:, 4, 4], x[:, 60, 40] = np.nan, np.nan
    pair = MemoryPair(y, [x], 4)
    model = get_method(name).fit(Case(c.truth, pair, c.response, c.psf, c.noise_hsi, c.noise_msi).inputs())
    result = fuse_tiles(model, pair)
    assert (result.flags[16:20, 16:20] == 2).all()
    assert result.flags[60, 40] == 1
    assert (result.flags > 0).sum() == 17
    assert np.isfinite(result.values[:, 60, 40]).all()
    assert np.isfinite(result.values[:, 16:20, 16:20]).all() == (name == "gsa")


def test_nothing_in_common_is_said():
    c = make_case(shape=(7, 5))
    pair = MemoryPair(c.pair.hsi_values, [np.full_like(c.pair.msi_values[0], np.nan)], 4)
    inputs = Case(c.truth, pair, c.response, c.psf, c.noise_hsi, c.noise_msi).inputs()
    with pytest.raises(DataError, match="no pixel has data in both"):
        get_method("gsa").fit(inputs)
