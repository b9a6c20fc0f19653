"""The PSF: where it samples, how wide it is, and that matrix, taps and transfer say the same."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import ParameterError
from hsgeo.observation.psf import Psf, margin, psf_from_mtf

RATIOS = [2, 3, 4, 5, 8]


def dense_gaussian(n: int, ratio: int, fwhm: float, circular: bool) -> np.ndarray:
    """Written out pixel by pixel, independently of the module."""
    sigma, out = fwhm / (2 * np.sqrt(2 * np.log(2))), np.zeros((n // ratio, n))
    for i in range(n // ratio):
        centre = ratio * i + (ratio - 1) / 2
        for j in range(-5 * n, 6 * n):
            if abs(j - centre) > 4 * sigma:
                continue
            if circular:
                k = j % n
            else:
                k = j
                while not 0 <= k < n:
                    k = -1 - k if k < 0 else 2 * n - 1 - k
            out[i, k] += np.exp(-((j - centre) ** 2) / (2 * sigma**2))
    return out / out.sum(1, keepdims=True)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("circular", [False, True])
def test_matrix_is_the_gaussian_sampled_at_block_centres(ratio, circular):
    psf = Psf(1.0 * ratio, 0.7 * ratio)
    for axis, fwhm in enumerate(psf.fwhm):
        got = psf.matrix(5 * ratio, ratio, "circular" if circular else "reflect", axis)
        np.testing.assert_allclose(got, dense_gaussian(5 * ratio, ratio, fwhm, circular), atol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("psf", [Psf(4, 4), Psf(0, 0), Psf(2, 2, 3, 3), Psf(0, 0, 4, 4)], ids=str)
def test_a_ramp_stays_on_its_line(ratio, psf):
    n = 24 * ratio
    coarse = psf.matrix(n, ratio) @ (3.0 * np.arange(n) + 1)
    centre = ratio * np.arange(n // ratio) + (ratio - 1) / 2
    inner = slice(9, -9)
    np.testing.assert_allclose(coarse[inner], (3 * centre + 1)[inner], rtol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_transfer_then_every_sth_sample_is_the_circular_matrix(ratio):
    rng = np.random.default_rng(ratio)
    psf, n = Psf(1.2 * ratio, ratio, box_y=ratio, shift_x=0.3), 6 * ratio
    z = rng.standard_normal(n)
    for axis in (0, 1):
        by_dft = np.fft.ifft(np.fft.fft(z) * psf.transfer(n, ratio, axis))[::ratio]
        np.testing.assert_allclose(by_dft.imag, 0, atol=1e-12)
        np.testing.assert_allclose(by_dft.real, psf.matrix(n, ratio, "circular", axis) @ z, atol=1e-12)


def test_transfer_follows_the_continuous_gaussian_and_the_half_pixel_shift():
    n, ratio = 64, 4
    f = np.fft.fftfreq(n)
    sigma = ratio / (2 * np.sqrt(2 * np.log(2)))
    exact = np.exp(-2 * np.pi**2 * sigma**2 * f**2) * np.exp(2j * np.pi * f * (ratio - 1) / 2)
    np.testing.assert_allclose(Psf(4, 4).transfer(n, ratio), exact, atol=2e-3)
    both = Psf(4, 4).transfer2d(n, 32, ratio)
    np.testing.assert_allclose(both[3, 5], Psf(4, 4).transfer(n, ratio)[3] * Psf(4, 4).transfer(32, ratio)[5])


@pytest.mark.parametrize("mtf", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("ratio", [3, 4])
def test_psf_from_mtf_has_that_mtf(mtf, ratio):
    psf = psf_from_mtf(mtf, ratio)
    n = 40 * ratio
    at_nyquist = abs(psf.transfer(n, ratio)[n // ratio // 2])
    assert at_nyquist == pytest.approx(mtf, abs=3e-3)
    assert psf.fwhm_x == psf.fwhm_y


def test_psf_from_mtf_of_two_sensors_leaves_the_blur_between_them():
    ground, fine = psf_from_mtf(0.2, 3), psf_from_mtf(0.3, 1)
    between = psf_from_mtf(0.2, 3, fine_mtf=0.3)
    assert between.fwhm_y**2 + fine.fwhm_y**2 == pytest.approx(ground.fwhm_y**2)
    assert ground.beyond(fine).fwhm_x == pytest.approx(between.fwhm_x)


def test_a_ratio_that_is_not_whole_samples_at_the_right_distance():
    n = 60
    coarse = Psf(2, 2, 1.5, 1.5).matrix(n, 1.5) @ np.arange(n)
    centre = 1.5 * np.arange(n / 1.5) + 0.25
    np.testing.assert_allclose(coarse[6:-6], centre[6:-6], atol=2e-2)
    block = Psf(0, 0, 1.5, 1.5).matrix(6, 1.5)
    np.testing.assert_allclose(block[0], [2 / 3, 1 / 3, 0, 0, 0, 0], atol=1e-12)


def test_a_box_alone_is_the_block_average():
    np.testing.assert_allclose(Psf(0, 0, 4, 4).matrix(12, 4), np.kron(np.eye(3), np.full((1, 4), 0.25)), atol=1e-12)


def test_an_image_smaller_than_the_kernel_still_gets_rows_of_sum_one():
    for boundary in ("reflect", "circular"):
        m = Psf(12, 12).matrix(4, 4, boundary)
        np.testing.assert_allclose(m.sum(1), 1)
    np.testing.assert_allclose(Psf(12, 12).matrix(4, 4), dense_gaussian(4, 4, 12, False), atol=1e-12)


def test_margin_covers_the_support():
    psf, ratio = Psf(5, 7), 4
    reach = margin(psf, ratio)
    index, _ = psf.kernel1d(ratio, 1)
    assert index.min() >= -reach * ratio and index.max() < (1 + reach) * ratio
    assert margin(Psf(0, 0, 4, 4), 4) <= 1


@pytest.mark.parametrize("wrong", [lambda: Psf(-1, 2), lambda: psf_from_mtf(1.2, 3), lambda: Psf(3, 3).matrix(10, 3)])
def test_wrong_values_are_named(wrong):
    with pytest.raises(ParameterError):
        wrong()
