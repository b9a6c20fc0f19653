"""Pixels that lack bands, against a least-squares fit of each."""

from __future__ import annotations

import numpy as np

from hsgeo.methods.restoration import gaps
from hsgeo.methods.restoration.gaps import coefficients, filled, usable


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


def test_single_samples_are_bridged_and_larger_gaps_left() -> None:
    y = np.random.default_rng(1).standard_normal((6, 12, 12)).cumsum(2) + 50
    full = y.copy()
    y[2, 5, 5] = np.nan
    y[:, 8:10, 8:10] = np.nan
    y[:4, 0, 0] = np.nan
    assert usable(y)[5, 5] and not usable(y)[8, 8] and not usable(y)[0, 0]
    found = filled(y)
    assert abs(found[2, 5, 5] - full[2, 5, 5]) < 3
    y[2, 5, 5] = found[2, 5, 5]
    np.testing.assert_array_equal(found, y)
    assert filled(full) is full
