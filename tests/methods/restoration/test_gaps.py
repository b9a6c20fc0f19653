"""Pixels that lack bands, against a least-squares fit of each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.methods.restoration import gaps
from hsgeo.methods.restoration.gaps import Likely, as_noisy, coefficients, filled, noise_of_what_is_there, usable
from hsgeo.observation.noise import SpectralStatistics


def made() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Basis, noise, true coefficients, and spectra of which four fifths are there."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 2, 20)
    basis = noise[:, None] * np.linalg.qr(rng.standard_normal((20, 4)))[0]
    a = 30 * rng.standard_normal((4, 9, 11))
    y = np.tensordot(basis, a, 1) + noise[:, None, None] * rng.standard_normal((20, 9, 11))
    y[rng.random(y.shape) < 0.2] = np.nan
    return basis, noise, a, y


def test_coefficients_are_the_weighted_fit_of_what_is_there(monkeypatch) -> None:
    monkeypatch.setattr(gaps, "AT_ONCE", 7)
    basis, noise, _, y = made()
    y[:, 0, 0] = np.nan
    y[3:, 4, 4] = np.nan  # three bands are no half
    y[:, 1, 1] = basis @ np.arange(4.0)  # complete
    found = coefficients(y, basis, noise, np.zeros(4), 1e9 * np.eye(4))
    assert found.dtype == np.float32
    for row, column in np.ndindex(9, 11):
        known = np.isfinite(y[:, row, column])
        if known.mean() < 0.5:
            assert np.isnan(found[:, row, column]).all() and (row, column) in ((0, 0), (4, 4))
            continue
        want = np.linalg.lstsq(basis[known] / noise[known, None], y[known, row, column] / noise[known], rcond=None)[0]
        np.testing.assert_allclose(found[:, row, column], want, rtol=1e-4, atol=1e-3)


def test_what_is_left_open_is_the_mean_s() -> None:
    """A coefficient that none of a pixel's bands sees."""
    basis, noise = np.zeros((4, 2)), np.ones(4)
    basis[:3, 0], basis[3, 1] = 1 / np.sqrt(3), 1.0
    y = np.full((4, 1, 1), 5.0)
    y[3] = np.nan
    found = coefficients(y, basis, noise, np.array([1.0, -7.0]), np.diag([1e9, 1.0])).ravel()
    np.testing.assert_allclose(found, [5 * np.sqrt(3), -7], rtol=2e-3)


def test_what_is_drawn_has_the_distribution_that_is_given() -> None:
    """By the textbook's formula for three of six values, given the others; pixels with fewer stay."""
    rng = np.random.default_rng(3)
    root = rng.standard_normal((6, 6))
    mean, covariance = rng.standard_normal(6), root @ root.T
    y = np.broadcast_to(rng.standard_normal((6, 1, 1)), (6, 200, 200)).copy()
    y[1, :100], y[3:5, 50:], y[:5, 0, 0] = np.nan, np.nan, np.nan
    found = Likely(mean, covariance).drawn(y)
    np.testing.assert_array_equal(found[np.isfinite(y)], y[np.isfinite(y)])
    assert np.isnan(found[:5, 0, 0]).all() and np.isnan(found).sum() == 5
    for rows, lack in ((slice(1, 50), [1]), (slice(50, 100), [1, 3, 4]), (slice(100, 200), [3, 4])):
        have = [i for i in range(6) if i not in lack]
        gain = covariance[np.ix_(lack, have)] @ np.linalg.inv(covariance[np.ix_(have, have)])
        drawn = found[lack, rows].reshape(len(lack), -1)
        spread = covariance[np.ix_(lack, lack)] - gain @ covariance[np.ix_(have, lack)]
        error = np.sqrt(np.diag(spread) / drawn.shape[1])
        want = mean[lack] + gain @ (found[have, rows.start, 0] - mean[have])
        assert (np.abs(drawn.mean(1) - want) < 4 * error).all()
        np.testing.assert_allclose(np.cov(drawn).reshape(spread.shape), spread, rtol=0.1, atol=0.05 * spread.max())


def test_a_band_lost_in_a_part_keeps_its_noise_and_its_signal() -> None:
    from tests.methods.restoration.test_subspace import SIGMA, fitted, noisy, truth, whole

    z = truth((64, 60))
    y = noisy(z)
    for rows in (10, 32, 50):
        torn = y.copy()
        torn[7, :rows] = np.nan
        model = fitted(torn)
        assert abs(model.noise[7] / SIGMA - 1) < 0.15
        left, usual = (np.sqrt(np.square(whole(fitted(a), a) - z)[7, rows:].mean()) for a in (torn, y))
        assert left < 1.3 * usual


def test_the_noise_of_samples_with_a_third_missing() -> None:
    """Of fine structure and noise, which bridging lowers by a tenth; with levels that differ from band to band."""
    rng = np.random.default_rng(4)
    noise = np.linspace(0.02, 0.1, 24)
    spectra = np.cumsum(rng.standard_normal((24, 4)), 0)
    y = np.tensordot(spectra, gaussian_filter(rng.random((4, 70, 60)), (0, 1.5, 1.5)), 1)
    y += noise[:, None, None] * rng.standard_normal(y.shape)
    assert noise_of_what_is_there([y], [filled(y)]) is None
    y[rng.random(y.shape) < 0.3] = np.nan
    whole = filled(y)
    bridged = SpectralStatistics(24).update(whole.reshape(24, -1).T).noise_std()
    assert np.abs(bridged / noise - 1).max() > 0.15
    found = noise_of_what_is_there([y[..., :25], y[..., 25:]], [whole[..., :25], whole[..., 25:]])
    np.testing.assert_allclose(found, noise, rtol=0.1)


def test_single_samples_are_bridged_and_larger_gaps_left() -> None:
    y = np.random.default_rng(1).standard_normal((6, 12, 12)).cumsum(2) + 50
    full = y.copy()
    y[2, 5, 5] = np.nan
    y[:, 8:10, 8:10] = np.nan
    y[:4, 0, 0], y[3, 4:, 0], y[3, 4:9, 1] = np.nan, np.nan, np.nan
    assert usable(y)[5, 5] and not usable(y)[8, 8] and not usable(y)[0, 0]
    found = filled(y)
    assert abs(found[2, 5, 5] - full[2, 5, 5]) < 3
    y[2, 5, 5] = found[2, 5, 5]
    np.testing.assert_array_equal(found, y)
    assert filled(full) is full


def test_what_is_bridged_is_the_mean_around_by_a_gaussian() -> None:
    """Of each gap by a loop; beyond the image lies its edge pixel."""
    rng = np.random.default_rng(2)
    y = rng.standard_normal((5, 9, 8))
    for band, row, column in ((0, 4, 4), (1, 0, 3), (3, 0, 7), (0, 4, 5)):
        y[band, row, max(column - 1, 0)] = np.nan
    found = filled(y)
    for band, row, column in np.argwhere(~np.isfinite(y)):
        total = mass = 0.0
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                value = y[band, min(max(row + dy, 0), 8), min(max(column + dx, 0), 7)]
                if np.isfinite(value):
                    total += np.exp(-(dy**2 + dx**2) / 2) * value
                    mass += np.exp(-(dy**2 + dx**2) / 2)
        assert found[band, row, column] == pytest.approx(total / mass)
    np.testing.assert_array_equal(found[np.isfinite(y)], y[np.isfinite(y)])


def test_what_is_bridged_gets_the_noise_of_its_band() -> None:
    y = np.ones((4, 60, 60))
    y[2, :, 1::3] = np.nan
    whole, noise = filled(y), np.array([1.0, 1.0, 0.3, 1.0])
    noisy = as_noisy(whole, y, noise, 1)
    gone = ~np.isfinite(y)
    np.testing.assert_array_equal(noisy[~gone], 1)
    bound = 4 * 0.3 / np.sqrt(2 * gone.sum())  # four standard errors of a standard deviation
    assert abs(noisy[gone].std() - 0.3) < bound and abs(noisy[gone].mean() - 1) < 2 * bound
    assert as_noisy(whole, y, None) is whole and np.isfinite(whole).all()
