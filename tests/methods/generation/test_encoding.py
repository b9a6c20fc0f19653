"""Abundances without bounds, and spectra as states: by their formulas and on a scene whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.methods.generation.encoding import endmember_variances, fitted_encoding
from hsgeo.methods.generation.simplex import bound, unbound


def test_simplex_by_the_paper_s_equations() -> None:
    x = np.random.default_rng(0).dirichlet([0.2] * 5, (4, 6)).transpose(2, 0, 1)
    x[:, 0, 0] = [1, 0, 0, 0, 0]
    z = unbound(x)
    np.testing.assert_allclose(z, np.log(x + np.exp(-np.log(5) - 8)))
    want = (x + np.exp(-np.log(5) - 8)) / (1 + np.exp(-8))
    np.testing.assert_allclose(bound(z), want, rtol=1e-12)
    wild = bound(np.random.default_rng(1).normal(0, 300, (5, 50)))
    assert (wild >= 0).all() and np.abs(wild.sum(0) - 1).max() < 1e-12


@pytest.fixture(scope="module")
def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Endmembers (3, 20), abundances, two directions at right angles to them, and a scene with noise 0.001."""
    rng = np.random.default_rng(2)
    endmembers = rng.uniform(0.1, 0.9, (3, 20))
    x = rng.dirichlet([1, 1, 1], (30, 40)).transpose(2, 0, 1)
    others = np.linalg.svd(endmembers)[2][3:5]
    along = rng.standard_normal((2, 30, 40)) * np.array([0.08, 0.03])[:, None, None]
    spectra = np.tensordot(endmembers.T, x, 1) + np.tensordot(others.T, along, 1)
    return endmembers, x, others, spectra + 0.001 * rng.standard_normal(spectra.shape)


def test_the_scene_comes_back(parts) -> None:
    endmembers, x, others, y = parts
    holed = y.copy()
    holed[4, 3, 5] = np.nan
    encoding, cosine = fitted_encoding([holed[:, :10], holed[:, 10:]], endmembers, 2, 12)
    assert cosine > 0.9999 and encoding.channels == 5
    np.testing.assert_allclose(np.abs(encoding.directions @ others.T), np.eye(2), atol=0.02)
    np.testing.assert_allclose(encoding.noise, 0.001, rtol=0.15)
    state = encoding.encoded(holed)
    assert np.isnan(state[:, 3, 5]).all() and np.isnan(state).sum() == 5
    known = state[:, np.isfinite(state[0])]
    np.testing.assert_allclose(known.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(known.std(1), 1, atol=1e-5)
    abundances, spectra = encoding.decoded(encoding.encoded(y))
    assert np.abs(abundances - x).max() < 0.02 and np.abs(spectra - y).max() < 0.006
    mixed = encoding.decoded(encoding.encoded(y), variability=False)[1]
    np.testing.assert_allclose(mixed, np.tensordot(endmembers.T, abundances, 1), rtol=1e-6)
    noisy = encoding.decoded(encoding.encoded(y), noise=np.random.default_rng(3).standard_normal(y.shape))[1]
    assert (noisy - spectra).std() == pytest.approx(0.001, rel=0.1)


def test_directions_are_as_many_as_the_cosine_needs(parts) -> None:
    endmembers, _, _, y = parts
    reached = [fitted_encoding([y], endmembers, count, 12)[1] for count in (0, 1, 2)]
    assert reached[0] < reached[1] < reached[2]
    for count, cosine in enumerate(reached):
        assert len(fitted_encoding([y], endmembers, cosine - 1e-9, 12)[0].directions) == count
    encoding, cosine = fitted_encoding([y], endmembers, 0.999999999, 3)
    assert len(encoding.directions) == 3
    made = encoding.decoded(encoding.encoded(y))[1]
    want = (made * y).sum(0) / np.linalg.norm(made, axis=0) / np.linalg.norm(y, axis=0)
    assert cosine == pytest.approx(want.mean(), abs=2e-6)


def test_each_endmember_varies_by_its_own_measure() -> None:
    """Water, of a hundredth of the variance of the rest, still has a state of variance 1."""
    rng = np.random.default_rng(5)
    variances = np.array([[1e-4, 4e-4], [1e-2, 1e-4], [4e-2, 2e-2]])
    x = rng.dirichlet([0.3] * 3, 40000)
    along = rng.standard_normal((40000, 2)) * np.sqrt(x @ variances)
    found = endmember_variances(along, x)
    np.testing.assert_allclose(found[:, 0], variances[:, 0], rtol=0.1, atol=2e-4)
    np.testing.assert_allclose(found[:, 1], variances[:, 1], rtol=0.1, atol=2e-4)
    endmembers = np.array([[0.02] * 20, np.linspace(0.1, 0.9, 20), np.linspace(0.8, 0.2, 20)])
    others = np.linalg.svd(endmembers)[2][3:5]
    y = (x @ endmembers + along @ others).T.reshape(20, 200, 200)
    encoding, _ = fitted_encoding([y], endmembers, 2, 12)
    state = encoding.encoded(y).reshape(5, -1)[3:]
    for k in range(3):
        assert 0.7 < state[:, x[:, k] > 0.95].std() < 1.4
    off = np.abs(encoding.decoded(encoding.encoded(y))[1] - y)
    assert off.mean() < 3e-4 and off.max() < 0.05
