"""The response matrix against direct integration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hsgeo.errors import BandError
from hsgeo.observation.srf import coverage, response_matrix


@dataclass(frozen=True)
class B:
    name: str
    centre_nm: float
    fwhm_nm: float
    response: tuple[np.ndarray, np.ndarray] | None = None


UNEVEN = np.array([400, 407, 420, 440, 445, 470, 500, 520, 560, 600, 640.0])


def test_rows_are_responses_and_linear_spectra_are_exact():
    bands = [B("a", 450, 40), B("b", 560, 35), B("c", 500, 5)]
    r = response_matrix(bands, UNEVEN)
    assert r.shape == (3, 11) and (r >= 0).all()
    np.testing.assert_allclose(r.sum(1), 1)
    np.testing.assert_allclose(r @ (2 * UNEVEN + 1), [901, 1121, 1001], rtol=1e-3)


def test_a_smooth_spectrum_is_integrated_well():
    nm = np.arange(400.0, 1000, 10)
    table = (np.array([500, 510, 560, 600.0]), np.array([0, 1, 0.8, 0.0]))
    grid = np.linspace(500, 600, 20001)
    s = np.interp(grid, *table)

    def spectrum(x):
        return 0.2 + 0.1 * np.sin(x / 40)

    want = (s * spectrum(grid)).sum() / s.sum()
    assert response_matrix([B("t", 0, 0, table)], nm)[0] @ spectrum(nm) == pytest.approx(want, abs=1e-3)


def test_order_and_unknown_wavelengths():
    bands = [B("a", 450, 40)]
    shuffled = np.array([3, 0, 10, 5, 1, 2, 4, 6, 9, 7, 8])
    want = response_matrix(bands, UNEVEN)
    np.testing.assert_allclose(response_matrix(bands, UNEVEN[shuffled]), want[:, shuffled])
    with_gap = np.append(UNEVEN, np.nan)
    got = response_matrix(bands, with_gap)
    assert got[0, -1] == 0
    np.testing.assert_allclose(got[:, :-1], want)


def test_two_detectors_at_one_wavelength_share_the_weight():
    nm = np.array([400, 450, 450, 500.0])
    r = response_matrix([B("a", 450, 30)], nm)[0]
    assert r[1] == pytest.approx(r[2]) and r[1] > r[0]


def test_bands_outside_the_range():
    bands = [B("in", 450, 40), B("out", 2200, 100)]
    r = response_matrix(bands, UNEVEN)
    assert r[1].sum() == 0
    np.testing.assert_allclose(coverage(bands, UNEVEN), [1, 0], atol=0.05)
    half = B("half", 640, 40)
    assert coverage([half], UNEVEN)[0] == pytest.approx(0.5, abs=0.02)
    with pytest.raises(BandError, match="400-640"):
        response_matrix(bands[1:], UNEVEN)
    with pytest.raises(BandError, match="sensor"):
        response_matrix(bands, np.full(4, np.nan))
    with pytest.raises(BandError, match="has no centre"):
        response_matrix([B("x", np.nan, np.nan)], UNEVEN)
