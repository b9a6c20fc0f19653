"""The kernels onto a finer grid against dense matrices, and the spectrum that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import circulant

from hsgeo.methods.restoration.kernels import Gaussian, Kernels, frequencies
from hsgeo.methods.restoration.power import FallingPower, measured_power
from hsgeo.observation.psf import Psf

POWER = FallingPower(np.array([400.0, 30.0]), np.array([0.05, 0.1]), np.array([3.0, 2.2]))


def seen_by(n: int, scale: int, fwhm: float) -> np.ndarray:
    """Blur and decimation of a periodic signal, written out: (n, n * scale)."""
    sigma, size = fwhm / 2.354820045, n * scale
    out = np.zeros((n, size))
    for i in range(n):
        centre = scale * i + (scale - 1) / 2
        for j in range(-4 * size, 5 * size):
            if abs(j - centre) <= max(4 * sigma, 0.5):
                out[i, j % size] += np.exp(-((j - centre) ** 2) / (2 * sigma**2))
    return out / out.sum(1, keepdims=True)


@pytest.mark.parametrize(("scale", "n"), [(2, 6), (3, 5), (4, 4)])
def test_it_is_the_posterior_mean_of_dense_matrices(scale: int, n: int) -> None:
    """Prior covariance, observation and noise as matrices in float64; its error too."""
    fwhm, size = 1.1 * scale, n * scale
    f = np.fft.fftfreq(size) * scale
    spectrum = POWER(np.add.outer(f**2, f**2))
    one = seen_by(n, scale, fwhm)
    observe = np.kron(one, one)
    field = Gaussian(spectrum, Psf(fwhm, fwhm), scale)
    y = np.random.default_rng(0).standard_normal((2, n, n))
    found = np.fft.ifft2(field.gain * np.tile(np.fft.fft2(y), (1, scale, scale))).real
    for q in range(2):
        row = np.fft.ifft2(spectrum[q]).real
        blocks = [circulant(row[k]) for k in range(size)]
        prior = np.block([[blocks[(i - j) % size] for j in range(size)] for i in range(size)])
        gain = prior @ observe.T @ np.linalg.inv(observe @ prior @ observe.T + np.eye(n * n))
        np.testing.assert_allclose(found[q].ravel(), gain @ y[q].ravel(), atol=1e-9)
        left = np.trace(prior - gain @ observe @ prior) / size**2
        assert field.error()[q] == pytest.approx(left, rel=1e-9)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_kernel_is_the_filter_in_space(scale: int) -> None:
    """Of a periodic image, whose period is the one the kernel was made for; what is cut off is next to nothing."""
    fwhm, radius, n = float(scale), 12, 48
    field = Gaussian(POWER(frequencies(scale, n)), Psf(fwhm, fwhm), scale)
    y = np.random.default_rng(1).standard_normal((2, n, n))
    exact = np.fft.ifft2(field.gain * np.tile(np.fft.fft2(y), (1, scale, scale))).real
    wide = np.pad(y, ((0, 0), (radius, radius), (radius, radius)), mode="wrap")
    found = field.kernels(radius)(torch.as_tensor(wide)).numpy()
    np.testing.assert_allclose(found, exact, atol=2e-3 * np.abs(exact).max())


def test_a_kernel_adds_its_fine_pixels_around_each() -> None:
    """By hand: one pixel of value 2, of which each image makes its own kernel; odd shapes, no wrap-around."""
    values = np.random.default_rng(2).standard_normal((2, 9, 9)).astype(np.float32)
    kernels = Kernels(values, 3)
    assert kernels.radius == 1
    image = torch.zeros(2, 5, 6)
    image[:, 2, 3] = 2
    out = kernels(image).numpy()
    expected = np.zeros((2, 9, 12), np.float32)
    expected[:, 0:9, 3:12] = 2 * values
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_spectrum_is_measured_beyond_what_is_resolved() -> None:
    """Drawn from a known one on the fine grid, blurred, decimated and noisy: found again, above the Nyquist too."""
    rng, scale, n = np.random.default_rng(3), 2, 128
    f = frequencies(scale, n)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((2, n * scale, n * scale))) * np.sqrt(POWER(f))).real
    one = Psf(2.0, 2.0).matrix(n * scale, scale, "reflect")
    y = one @ field @ one.T + rng.standard_normal((2, n, n))
    found = measured_power([y[:, :70], y[:, 70:]], Psf(2.0, 2.0), scale)
    assert np.all(np.abs(found.exponent / POWER.exponent - 1) < 0.15)
    at = np.array([0.05, 0.3, 0.7]) ** 2
    assert np.all(np.abs(np.log(found(at) / POWER(at))) < np.log(1.4))
