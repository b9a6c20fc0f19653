"""The number of endmembers, from moments, against scenes of known number and against all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import DataError
from hsgeo.unmixing.dimension import hysime, regressed_noise, virtual_dimensionality


def moments(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    return y.T @ y / len(y), y.mean(0), len(y)


def scene(p: int, snr: float, n: int = 20000, bands: int = 150, seed: int = 0, uneven: float = 0.5) -> np.ndarray:
    """Mixtures of p smooth spectra, in noise that differs from band to band by `uneven`."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 1, bands)
    e = 0.3 + sum(
        rng.uniform(-0.15, 0.15, (p, 1)) * np.exp(-(((at - rng.random((p, 1))) / rng.uniform(0.05, 0.3, (p, 1))) ** 2))
        for _ in range(6)
    )
    y = rng.dirichlet(np.full(p, 0.8), n) @ e
    level = np.sqrt((y**2).mean() / 10 ** (snr / 10)) * rng.uniform(1 - uneven, 1 + uneven, bands)
    return y + level * rng.standard_normal(y.shape)


def test_regressions_from_moments_are_those_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    y = rng.random((300, 5)) @ rng.random((5, 20)) * rng.uniform(1, 100, 20) + 0.05 * rng.standard_normal((300, 20))
    left = np.empty_like(y)
    for i in range(20):
        others = np.delete(y, i, 1)
        left[:, i] = y[:, i] - others @ np.linalg.lstsq(others, y[:, i], rcond=None)[0]
    noise, signal = regressed_noise(y.T @ y / len(y))
    np.testing.assert_allclose(noise, np.diag((left**2).mean(0)), rtol=1e-5, atol=1e-15)
    np.testing.assert_allclose(signal, (y - left).T @ (y - left) / len(y), rtol=1e-6)


@pytest.mark.parametrize("p", [2, 3, 5, 8])
@pytest.mark.parametrize("snr", [35, 45])
def test_hysime_counts(p, snr) -> None:
    found = hysime(*moments(scene(p, snr))[::2])
    assert found.count == p and f"in {p} of 150 directions" in found.criterion


@pytest.mark.parametrize("p", [2, 3, 5])
def test_virtual_dimensionality_counts(p) -> None:
    """HFC takes noise to be even, and counts too many where it is not."""
    found = virtual_dimensionality(*moments(scene(p, 35)))
    assert found.count == p and found.criterion.startswith("NWHFC")
    even = virtual_dimensionality(*moments(scene(p, 35, uneven=0)), whitened=False)
    assert even.count == p and even.criterion.startswith("HFC")
    assert virtual_dimensionality(*moments(scene(p, 35)), whitened=False).count > p


def test_noise_alone_has_no_endmembers() -> None:
    y = np.random.default_rng(0).standard_normal((5000, 60))
    assert hysime(*moments(y)[::2]).count == 0
    assert virtual_dimensionality(*moments(y)).count <= 1


def test_units_and_order_of_bands_do_not_matter() -> None:
    y = scene(5, 35)
    assert hysime(*moments(1e4 * y)[::2]).count == hysime(*moments(y[:, ::-1])[::2]).count == 5


def test_bands_that_are_one_can_be_counted() -> None:
    """Their noise is foretold by their doubles: it counts as signal, and nothing breaks."""
    y = scene(4, 35)
    assert 4 <= hysime(*moments(np.hstack([y, y[:, :3]]))[::2]).count <= 7


def test_few_pixels_tell_nothing() -> None:
    y = scene(3, 35, n=150)
    for count in (hysime, lambda c, n: virtual_dimensionality(c, y.mean(0), n)):
        with pytest.raises(DataError, match="150 pixels of 150 bands; give --endmembers"):
            count(*moments(y)[::2])
