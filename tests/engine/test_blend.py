from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hsgeo.engine.blend import Axis, PatchGrid, blend, ramp
from hsgeo.engine.plan import TilePlan
from hsgeo.errors import HsgeoError, ParameterError
from hsgeo.scene.window import Window


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 24), st.integers(0, 23), st.integers(1, 3))
def test_weights_sum_to_one_at_every_pixel(height, width, patch, overlap, multiple):
    patch, overlap = patch * multiple, overlap * multiple
    assume(overlap < patch)
    grid = PatchGrid(height, width, patch, overlap, multiple)
    total = np.zeros((height + patch, width + patch))
    for r, c in grid.covering(Window(0, height, 0, width)):
        window, weight = grid.window(r, c), grid.weight(r, c)
        assert window.shape == (patch, patch)
        assert window.y0 % multiple == 0 and window.x0 % multiple == 0
        assert (weight >= 0).all()
        total[window.slices] += weight
    np.testing.assert_allclose(total[:height, :width], 1, atol=1e-6)
    assert (total[height:] == 0).all() and (total[:, width:] == 0).all()


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(2, 40), st.integers(1, 20))
def test_neighbouring_ramps_complete_each_other(patch, overlap):
    assume(2 * overlap <= patch)
    profile = ramp(patch, overlap)
    np.testing.assert_allclose(profile[-overlap:] + profile[:overlap], 1, atol=1e-12)
    np.testing.assert_allclose(profile, profile[::-1])


def test_patches_stay_inside_an_output_that_is_large_enough():
    for size in (16, 17, 40, 41, 99):
        starts = Axis(size, 16, 4).starts
        assert starts[0] == 0 and starts[-1] + 16 == size
        assert all(b - a <= 12 for a, b in pairwise(starts))


def scene(bands, height, width):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([np.sin(0.3 * y + k) + 0.2 * x for k in range(bands)])


def crop(image, window, fill=np.nan):
    height, width = image.shape[1:]
    out = np.full((image.shape[0], *window.shape), fill, np.float32)
    inside = window.clip(height, width)
    rows, cols = inside.within(window).slices
    out[:, rows, cols] = image[:, inside.slices[0], inside.slices[1]]
    return out


@pytest.mark.parametrize("shape", [(40, 53), (1, 1), (7, 5), (3, 90)])
def test_blending_patches_of_an_image_gives_the_image(shape):
    height, width = shape
    image = scene(3, height, width)
    grid = PatchGrid(height, width, patch=16, overlap=6)
    plan = TilePlan(height, width, tile=13)
    for block in plan:
        out = blend(lambda ws, d: [crop(image, w, 0.0) for w in ws], grid, block.core, {"x": 3}, "cpu", batch=3)["x"]
        np.testing.assert_allclose(out, image[:, block.core.slices[0], block.core.slices[1]], atol=1e-5)


def test_the_result_does_not_depend_on_the_tile():
    def work(windows, device):  # differs from patch to patch at the same pixel
        rng = [np.random.default_rng([w.y0, w.x0]) for w in windows]
        return [r.standard_normal((2, 12, 12)).astype(np.float32) for r in rng]

    grid, results = PatchGrid(31, 45, 12, 5), []
    for tile in (6, 17, 64):
        out = np.empty((2, 31, 45), np.float32)
        for block in TilePlan(31, 45, tile=tile):
            out[:, block.core.slices[0], block.core.slices[1]] = blend(work, grid, block.core, {"x": 2}, "cpu", 4)["x"]
        results.append(out)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(results[0], results[2], atol=1e-6)


def test_no_seam_where_patches_disagree():
    """Patches that are off by a constant each: the blend moves smoothly from one to the next."""

    def work(windows, device):
        return [np.full((1, 32, 32), (w.x0 // 16) % 2, np.float32) for w in windows]

    out = blend(work, PatchGrid(8, 96, 32, 16), Window(0, 8, 0, 96), {"x": 1}, "cpu")["x"][0, 4]
    assert np.abs(np.diff(out)).max() < 0.12
    assert out.min() < 0.01 and out.max() > 0.99


def test_unknown_pixels_take_the_value_of_the_other_patches():
    def work(windows, device):
        results = []
        for w in windows:
            patch = np.full((2, 8, 8), 5.0, np.float32)
            if w.x0 == 0:
                patch[0, :, 6:] = np.nan  # the second patch knows these
                patch[:, 0, 0] = np.nan  # nobody does
            results.append(patch)
        return results

    out = blend(work, PatchGrid(8, 12, 8, 4), Window(0, 8, 0, 12), {"x": 2}, "cpu", batch=1)["x"]
    assert np.isnan(out[:, 0, 0]).all()
    out[:, 0, 0] = 5
    np.testing.assert_allclose(out, 5, rtol=1e-6)


def test_several_outputs_and_batches():
    calls = []

    def work(windows, device):
        calls.append(len(windows))
        return [{"a": np.ones((2, 8, 8)), "b": np.full((8, 8), 3.0)} for _ in windows]

    out = blend(work, PatchGrid(20, 20, 8, 2), Window(0, 20, 0, 20), {"a": 2, "b": 1}, "cpu", batch=4)
    assert calls == [4, 4, 1]
    np.testing.assert_allclose(out["a"], 1, rtol=1e-6)
    np.testing.assert_allclose(out["b"], 3, rtol=1e-6)


def test_wrong_sizes_and_results_are_told():
    with pytest.raises(ParameterError, match="overlap"):
        PatchGrid(9, 9, 8, 8)
    with pytest.raises(ParameterError, match="multiples of 3"):
        PatchGrid(9, 9, 8, 3, 3)
    grid, core = PatchGrid(9, 9, 8, 2), Window(0, 9, 0, 9)
    with pytest.raises(HsgeoError, match="came back as"):
        blend(lambda ws, d: [np.ones((1, 7, 8)) for _ in ws], grid, core, {"x": 1}, "cpu")
    with pytest.raises(HsgeoError, match="came back"):
        blend(lambda ws, d: [], grid, core, {"x": 1}, "cpu")
    with pytest.raises(HsgeoError, match="mapping"):
        blend(lambda ws, d: [np.ones((1, 8, 8)) for _ in ws], grid, core, {"x": 1, "y": 1}, "cpu")
