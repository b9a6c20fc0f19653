"""Streaming statistics and the noise of each band."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import DataError, ParameterError
from hsgeo.observation.noise import SpectralStatistics, signal_edge


def mixture(n: int, bands: int, noise: np.ndarray | float, seed: int = 0, p: int = 5) -> np.ndarray:
    """Spectra of smooth materials and white noise of given std."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, bands)
    smooth = np.stack([1 + np.sin(2 * np.pi * (k * x / 2 + rng.random())) for k in range(1, p + 1)])
    return rng.dirichlet(np.full(p, 0.7), n) @ smooth + noise * rng.standard_normal((n, bands))


def test_statistics_by_chunks_are_those_of_the_whole():
    x = mixture(500, 12, 0.1).astype(np.float32)
    x[7, 3], x[400, 0] = np.nan, np.inf
    whole = x[np.isfinite(x).all(1)].astype(np.float64)
    stats = SpectralStatistics(12).update(x[:123]).update(x[123:])
    assert stats.n == 498
    np.testing.assert_allclose(stats.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats.correlation, whole.T @ whole / 498, rtol=1e-12)
    np.testing.assert_allclose(stats.covariance, np.cov(whole.T, bias=True), atol=1e-10)


@pytest.mark.parametrize("n, bands", [(5000, 60), (400, 120), (5000, 16)])
def test_white_noise_is_found(n, bands):
    got = SpectralStatistics(bands).update(mixture(n, bands, 0.02)).noise_std()
    assert np.median(got) == pytest.approx(0.02, rel=0.05)
    assert (abs(got / 0.02 - 1) < 0.25).all()


def test_noise_that_differs_between_bands_is_found():
    truth = np.geomspace(0.005, 0.1, 80)[np.random.default_rng(3).permutation(80)]
    got = SpectralStatistics(80).update(mixture(8000, 80, truth)).noise_std()
    # a band that is far better than its surroundings is held at the floor
    assert (abs(got / truth - 1) < 0.2).mean() > 0.85


def test_the_refinement_lowers_the_bias_of_few_bands():
    x = mixture(20000, 10, 0.03, p=4)
    refined = SpectralStatistics(10).update(x).noise_std()
    regressions = (np.linalg.lstsq(np.delete(x, band, 1), x[:, band], rcond=None)[1] for band in range(10))
    plain = np.array([np.sqrt(left[0] / len(x)) for left in regressions])
    assert abs(refined / 0.03 - 1).mean() < 0.5 * abs(plain / 0.03 - 1).mean()


def test_interpolated_and_repeated_bands_keep_a_sensible_level():
    x = mixture(4000, 50, 0.02)
    x[:, 20] = (x[:, 19] + x[:, 21]) / 2
    x[:, 31] = x[:, 30]
    got = SpectralStatistics(50).update(x).noise_std()
    assert (got > 0.003).all()
    far = np.r_[0:17, 24:28, 34:50]
    assert (abs(got[far] / 0.02 - 1) < 0.15).all()


def test_fewer_pixels_than_bands_still_give_the_order_of_magnitude():
    got = SpectralStatistics(100).update(mixture(35, 100, 0.02)).noise_std()
    assert 0.5 < np.median(got) / 0.02 < 2


def test_a_constant_band_does_not_break_the_others():
    x = mixture(2000, 30, 0.02)
    x[:, 11] = 0
    got = SpectralStatistics(30).update(x).noise_std()
    assert (got > 0).all() and np.median(got) == pytest.approx(0.02, rel=0.1)


def test_signal_edge():
    assert signal_edge(100, 10**6) == 1.1
    assert signal_edge(100, 100) == 4


def test_what_cannot_serve():
    with pytest.raises(DataError, match="no valid pixel"):
        _ = SpectralStatistics(4).mean
    with pytest.raises(DataError):
        SpectralStatistics(4).update(np.full((9, 4), np.nan)).noise_std()
    with pytest.raises(ParameterError):
        SpectralStatistics(4).update(np.ones((3, 5)))
