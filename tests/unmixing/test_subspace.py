"""The subspace: right dimension, right span, white coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hsgeo.errors import ParameterError
from hsgeo.unmixing.subspace import subspace


@dataclass
class Stats:
    n: int
    correlation: np.ndarray


def stats_of(x: np.ndarray) -> Stats:
    return Stats(len(x), x.T @ x / len(x))


def scene(n: int = 4000, bands: int = 60, p: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra in a p-dimensional space with noise that differs between bands: (spectra, basis, noise)."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((bands, p))
    noise = np.geomspace(0.01, 0.5, bands)[rng.permutation(bands)]
    return rng.standard_normal((n, p)) @ basis.T + noise * rng.standard_normal((n, bands)), basis, noise


@pytest.mark.parametrize("n", [150, 4000])
def test_dimension_and_span(n):
    x, basis, noise = scene(n)
    sub = subspace(stats_of(x), noise)
    assert sub.p == 6 and sub.basis.shape == (60, 6)
    assert "6 of 60 eigenvalues" in sub.criterion
    whitened = basis / noise[:, None]
    fitted = sub.basis @ (sub.projection @ basis) / noise[:, None]
    assert np.linalg.norm(fitted - whitened) < 0.02 * np.linalg.norm(whitened)


def test_basis_is_orthonormal_after_whitening_and_coefficients_have_unit_noise():
    x, _, noise = scene()
    sub = subspace(stats_of(x), noise)
    w = sub.basis / noise[:, None]
    np.testing.assert_allclose(w.T @ w, np.eye(6), atol=1e-10)
    np.testing.assert_allclose(sub.projection @ sub.basis, np.eye(6), atol=1e-10)
    only_noise = noise * np.random.default_rng(1).standard_normal((20000, 60))
    np.testing.assert_allclose(np.cov(sub.projection @ only_noise.T), np.eye(6), atol=0.05)


def test_whitening_matters():
    """A weak signal under one loud noisy band is found all the same."""
    rng = np.random.default_rng(2)
    direction = np.r_[0.0, np.full(29, 0.2)]
    noise = np.r_[5.0, np.full(29, 0.05)]
    x = rng.standard_normal((5000, 1)) * direction + noise * rng.standard_normal((5000, 30))
    sub = subspace(stats_of(x), noise, min_dimension=1)
    assert sub.p == 1
    v = sub.basis[:, 0] / noise
    assert abs(v @ (direction / noise)) / np.linalg.norm(direction / noise) > 0.999


def test_bounds_and_given_dimension():
    x, _, noise = scene()
    s = stats_of(x)
    assert subspace(s, noise, 9).p == 9
    capped = subspace(s, noise, max_dimension=4)
    assert capped.p == 4 and "kept within 3 to 4" in capped.criterion
    pure = stats_of(noise * np.random.default_rng(0).standard_normal((4000, 60)))
    assert subspace(pure, noise).p == 3
    assert subspace(stats_of(x[:, :2]), noise[:2]).p == 2
    for wrong in (0, 61):
        with pytest.raises(ParameterError):
            subspace(s, noise, wrong)
    with pytest.raises(ParameterError):
        subspace(s, np.zeros(60))


def test_sign_does_not_depend_on_the_solver():
    x, _, noise = scene()
    sub = subspace(stats_of(x), noise)
    assert ((sub.basis / noise[:, None]).sum(0) >= 0).all()
