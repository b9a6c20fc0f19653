"""The residual shift: known shifts found, nothing found where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from hsgeo.scene import Window, make_scene
from hsgeo.scene.align import align
from hsgeo.scene.matching import MARGIN
from hsgeo.scene.register import Sample, Shift, estimate_shift

from .aligning import LEFT, TOP, north_up, shifted_sample


@pytest.mark.parametrize("ratio", [3, 4, 8])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.3), (-1.7, 0.3), (4.2, -1.7)])
def test_known_shifts_with_noise_and_holes(ratio, shift):
    found = estimate_shift([shifted_sample(24, 30, ratio, shift, seed=ratio, holes=4)], ratio)
    assert (found.dy, found.dx) == (pytest.approx(shift[0], abs=0.05), pytest.approx(shift[1], abs=0.05))
    assert found.reliability > 0.9 and found.error < 0.05
    assert found.applied == (shift != (0.0, 0.0))
    if found.applied:
        assert found.correlation > found.before


@pytest.mark.parametrize("psf", [0.6, 1.4])
def test_a_wrong_psf_biases_nothing(psf):
    found = estimate_shift([shifted_sample(30, 30, 4, (1.3, -0.6), psf=psf)], 4)
    assert (found.dy, found.dx) == (pytest.approx(1.3, abs=0.1), pytest.approx(-0.6, abs=0.1)) and found.applied


def test_strong_noise_is_told_by_the_standard_error():
    found = estimate_shift([shifted_sample(30, 30, 4, (1.3, -0.6), noise_db=(3, 8))], 4)
    assert np.hypot(found.dy - 1.3, found.dx + 0.6) < 4 * found.error < 0.5


def test_several_windows_and_a_liar():
    samples = [shifted_sample(20, 20, 4, (1.3, -0.6), seed=k) for k in range(4)]
    samples.append(shifted_sample(20, 20, 4, (-3.0, 5.0), seed=9))
    found = estimate_shift(samples, 4)
    assert (found.dy, found.dx) == (pytest.approx(1.3, abs=0.1), pytest.approx(-0.6, abs=0.1))
    assert len(found.windows) <= 16


def test_the_sign_is_that_of_scikit_image():
    sample = shifted_sample(40, 40, 4, (2.0, -3.0), noise_db=(60, 60))
    true = shifted_sample(40, 40, 4, (0.0, 0.0), noise_db=(60, 60))
    move, _, _ = phase_cross_correlation(true.msi[0], sample.msi[0], upsample_factor=20)
    found = estimate_shift([sample], 4)
    # scikit-image gives the move that brings the second onto the first, which is minus where it lies
    assert (found.dy, found.dx) == (pytest.approx(-move[0], abs=0.1), pytest.approx(-move[1], abs=0.1))


def test_phase_correlation_of_the_coarse_images_agrees():
    ratio, shift = 4, (6.0, -3.0)
    sample = shifted_sample(48, 48, ratio, shift, noise_db=(50, 50))
    low = sample.msi.reshape(4, 60, ratio, 60, ratio).mean(axis=(2, 4))[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    move, _, _ = phase_cross_correlation(sample.hsi[25], low[3], upsample_factor=50)
    found = estimate_shift([sample], ratio)
    assert np.allclose((found.dy, found.dx), -move * ratio, atol=0.5)


RNG = np.random.default_rng(5)
ROWS, COLS = np.mgrid[: (40 + 2 * MARGIN) * 4, : (40 + 2 * MARGIN) * 4] / 4 - MARGIN
DOWN, ACROSS = np.mgrid[:40, :40] + 0.5
SPECTRUM = RNG.random(20)[:, None, None]


def noisy(hsi, msi, level):
    hsi, msi = np.broadcast_to(hsi, (20, 40, 40)), np.broadcast_to(msi, (3, *ROWS.shape))
    draw = RNG.standard_normal
    return Sample(
        (hsi + level * draw(hsi.shape)).astype(np.float32), (msi + level * draw(msi.shape)).astype(np.float32)
    )


@pytest.mark.parametrize(
    "sample",
    [
        noisy(0.0, 0.0, 1.0),
        noisy(0.3, 0.2, 1e-3),
        noisy(0.3, 0.2, 0.0),
        noisy(SPECTRUM * (ACROSS + 2 * DOWN), COLS + 2 * ROWS, 0.1),
        noisy(SPECTRUM * np.sin(ACROSS), np.sin(COLS + 0.3), 0.05),
        Sample(shifted_sample(40, 40, 4, (1, 1), seed=1).hsi, shifted_sample(40, 40, 4, (1, 1), seed=2).msi),
        Sample(np.full((20, 40, 40), np.nan, np.float32), np.full((3, *ROWS.shape), np.nan, np.float32)),
    ],
    ids=["noise", "flat with noise", "flat", "ramp", "stripes", "two places", "nothing"],
)
def test_images_without_a_shift_to_find_do_not_pass(sample):
    found = estimate_shift([sample], 4)
    assert not found.applied and found.reliability < 0.5 and found.reason


def test_beyond_the_search_is_not_reliable():
    found = estimate_shift([shifted_sample(30, 30, 3, (17.0, 0.0))], 3)
    assert not found.applied and found.reliability == 0


def pair_of_scenes(shift, ratio=4, holes=0, size=40):
    """Scenes with the grids that their files would claim, the MSI's content moved by `shift` fine pixels."""
    sample = shifted_sample(size, size, ratio, shift, holes=holes)
    gsd, extra = 40.0 / ratio, MARGIN * 40.0
    box = north_up(sample.msi.shape[1], sample.msi.shape[2], gsd, LEFT - extra, TOP + extra)
    return make_scene(sample.hsi, north_up(size, size, 40)), make_scene(sample.msi, box)


def test_alignment_takes_the_shift_out():
    hsi, msi = pair_of_scenes((1.7, -2.4))
    pair, left = align(hsi, msi), align(hsi, msi, register=False)
    assert (pair.shift.dy, pair.shift.dx) == (pytest.approx(1.7, abs=0.05), pytest.approx(-2.4, abs=0.05))
    assert pair.shift.applied and any("taken out" in note and "+1.7" in note for note in pair.notes)
    assert not left.shift.applied
    straight = align(*pair_of_scenes((0.0, 0.0)), register=False)
    window = Window(0, 160, 0, 160)
    true = straight.read_msi(0, window)
    assert np.std(pair.read_msi(0, window) - true) < 0.25 * np.std(left.read_msi(0, window) - true)
    again = pair.with_shift(Shift.none("")).read_msi(0, window)
    np.testing.assert_array_equal(again, left.read_msi(0, window))


def test_windows_with_a_shift_equal_the_whole():
    pair = align(*pair_of_scenes((1.7, -2.4), holes=3))
    assert pair.shift.applied
    everything = pair.read_msi(0, Window(0, 160, 0, 160))
    np.testing.assert_array_equal(pair.read_msi(0, Window(31, 77, 5, 99)), everything[:, 31:77, 5:99])


def test_fine_pixels_far_smaller_than_needed_are_read_coarser():
    hsi, msi = pair_of_scenes((5.0, -7.5), ratio=12, size=20)
    found = align(hsi, msi).shift
    assert (found.dy, found.dx) == (pytest.approx(5.0, abs=0.15), pytest.approx(-7.5, abs=0.15)) and found.applied


def test_the_same_pair_gives_the_same_shift():
    hsi, msi = pair_of_scenes((0.6, 0.2))
    assert align(hsi, msi).shift == align(hsi, msi).shift
