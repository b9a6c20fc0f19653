"""Noise of HSI bands told from structure of one band."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.observation.fine_noise import noise_levels
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.observation.psf import Psf

BANDS, SIZE, LEVEL = 16, 64, 0.02


def scene(own: np.ndarray | float, seed: int = 0) -> np.ndarray:
    """Three materials, and in each band white structure of its own of std `own` before the PSF; no noise."""
    rng = np.random.default_rng(seed)
    ground = np.linspace(0, 1, BANDS)
    spectra = np.stack([1 + np.sin(2 * np.pi * (k * ground / 2 + rng.random())) for k in (1, 2, 3)])
    fine = np.tensordot(spectra.T, rng.dirichlet(np.full(3, 0.5), (4 * SIZE, 4 * SIZE)), (1, 2))
    fine += np.reshape(own, (-1, 1, 1)) * rng.standard_normal(fine.shape)
    blur = Psf(4.0, 4.0).matrix(4 * SIZE, 4, "reflect")
    return blur @ fine @ blur.T


def levels(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From spectra alone, and with the image."""
    statistics = SpectralStatistics(BANDS).update(image.reshape(BANDS, -1).T)
    return statistics.noise_std(), noise_levels(statistics, [image])


def white(seed: int = 1) -> np.ndarray:
    return LEVEL * np.random.default_rng(seed).standard_normal((BANDS, SIZE, SIZE))


def test_structure_of_one_band_is_no_noise():
    own = np.where(np.isin(np.arange(BANDS), (5, 12)), 0.2, 0.0)
    plain, found = levels(scene(own) + white())
    odd = own > 0
    excess = plain[odd] ** 2 - LEVEL**2
    assert (plain[odd] > 1.7 * LEVEL).all()
    assert (found[odd] ** 2 - LEVEL**2 < 0.5 * excess).all()
    assert (found > 0.8 * LEVEL).all()
    np.testing.assert_allclose(found[~odd], LEVEL, rtol=0.12)


@pytest.mark.parametrize("axis", [1, 2])
def test_stripes_stay_noise(axis):
    image = scene(0.0) + white()
    shape = [BANDS, 1, SIZE] if axis == 2 else [BANDS, SIZE, 1]
    stripes = np.random.default_rng(2).standard_normal(shape)
    stripes[:12] = 0
    plain, found = levels(image + 2 * LEVEL * stripes)
    assert (plain[12:] > 1.4 * LEVEL).all()
    assert (found[12:] > 0.85 * plain[12:]).all()


def test_noise_of_a_resampled_image_stays():
    noise = 2 * white()
    noise = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, (1, 1), (1, 2))) / 4
    plain, found = levels(scene(0.0) + noise)
    np.testing.assert_allclose(found, plain, rtol=0.15)
    assert np.median(found / plain) > 0.93


def test_images_with_gaps_and_in_parts():
    image = scene(0.0) + white()
    image[:, 10:14, 30:40] = np.nan
    statistics = SpectralStatistics(BANDS).update(image.reshape(BANDS, -1).T)
    parts = [image[:, :, :40], image[:, :, 40:], image[:, :2, :1]]
    np.testing.assert_allclose(noise_levels(statistics, parts), LEVEL, rtol=0.15)


def test_few_pixels_leave_the_estimate_as_it_is():
    image = scene(0.2)[:, :12, :12] + white()[:, :12, :12]
    plain, found = levels(image)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("bands", "least", "most"), [(4, 0.6, 2.5), (6, 0.8, 1.35), (8, 0.9, 1.15), (10, 0.9, 1.1)])
def test_few_bands_do_not_lose_their_noise_to_a_signal_of_their_own(bands, least, most, seed):
    image = (scene(0.0, seed) + white(seed))[np.linspace(0, BANDS - 1, bands).astype(int)]
    found = noise_levels(SpectralStatistics(bands).update(image.reshape(bands, -1).T), [image]) / LEVEL
    assert least < found.min() and found.max() < most


@pytest.mark.parametrize("bands", [3, 4, 6, 8])
def test_few_bands_of_next_to_no_scene(bands):
    """No direction of noise alone is taken for a signal."""
    image = 1.0 + white()[:bands]
    found = noise_levels(SpectralStatistics(bands).update(image.reshape(bands, -1).T), [image])
    np.testing.assert_allclose(found, LEVEL, rtol=0.06)


def test_as_many_signals_as_bands_but_one():
    """Planes: spectra alone take one of them for noise."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    slopes = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, -0.4], [0.2, 0.9]])
    image = 2 + np.arange(4)[:, None, None] / 5 + np.tensordot(slopes, np.stack([rows, columns]), 1) + white()[:4]
    spectra = SpectralStatistics(4).update(image.reshape(4, -1).T)
    assert spectra.noise_std().max() > 5 * LEVEL
    found = noise_levels(spectra, [image]) / LEVEL
    assert found.min() > 0.7 and found.max() < 1.1
