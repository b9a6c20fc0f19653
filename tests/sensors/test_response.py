"""Responses on a grid: Gaussians from centre and width, tables as they are."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.sensors import Band, load_sensor, response_at
from hsgeo.sensors.response import centre_and_fwhm


def test_gaussian_has_its_centre_and_width():
    grid = np.arange(500.0, 700.0, 0.25)
    row = response_at(Band("x", 600.0, 20.0), grid, normalise=False)[0]
    assert row.max() == 1 and grid[row.argmax()] == 600
    assert row[np.searchsorted(grid, 590.0)] == pytest.approx(0.5)
    assert row[np.searchsorted(grid, 610.0)] == pytest.approx(0.5)
    centre, fwhm = centre_and_fwhm(grid, row)
    assert (centre, fwhm) == (pytest.approx(600), pytest.approx(20, abs=1e-3))
    # area of a Gaussian: sqrt(pi / (4 ln 2)) FWHM
    assert row.sum() * 0.25 == pytest.approx(np.sqrt(np.pi / (4 * np.log(2))) * 20, rel=1e-4)


def test_table_is_interpolated_and_ends():
    nm, value = np.array([500.0, 510.0, 530.0]), np.array([1.0, 3.0, 1.0])
    band = Band("x", 513.0, 20.0, response=(nm, value))
    rows = response_at([band], [499.9, 500, 505, 520, 530, 530.1, np.nan], normalise=False)
    np.testing.assert_allclose(rows, [[0, 1, 2, 2, 1, 0, 0]])
    np.testing.assert_allclose(response_at([band], [500, 505, 520, 530]), [[1 / 6, 2 / 6, 2 / 6, 1 / 6]])


def test_grid_order_does_not_matter_and_a_band_outside_is_zero():
    sensor = load_sensor("sentinel-2a")
    grid = np.random.default_rng(0).permutation(load_sensor("hyperion").wavelengths)
    rows = response_at(sensor, grid)
    np.testing.assert_allclose(rows[:, np.argsort(grid)], response_at(sensor, np.sort(grid)))
    visible = response_at(sensor, np.arange(400.0, 700.0))
    sums = dict(zip([band.name for band in sensor.bands], visible.sum(axis=1), strict=True))
    assert sums["B4"] == pytest.approx(1) and sums["B8A"] == 0 and sums["B12"] == 0
    assert response_at([], grid).shape == (0, grid.size)


def test_a_flat_spectrum_stays_flat_and_a_slope_is_read_at_the_centre():
    sensor = load_sensor("landsat-9")
    grid = np.arange(400.0, 2500.0)
    rows = response_at(sensor, grid)
    np.testing.assert_allclose(rows @ np.full(grid.size, 0.3), 0.3)
    np.testing.assert_allclose(rows @ (0.1 + grid * 1e-4), 0.1 + sensor.wavelengths * 1e-4, atol=1e-4)


def test_width_of_an_asymmetric_response():
    centre, fwhm = centre_and_fwhm(np.array([0.0, 10, 20, 40]) + 500, np.array([0.0, 1, 1, 0]))
    assert fwhm == pytest.approx(25)
    assert 515 < centre < 520
