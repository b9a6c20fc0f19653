"""Abundances without bounds, and spectra as states: by their formulas and on a scene whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.methods.generation.encoding import fitted_encoding, refined
from hsgeo.methods.generation.simplex import bound, unbound


def test_simplex_by_the_paper_s_equations() -> None:
    x = np.random.default_rng(0).dirichlet([0.2] * 5, (4, 6)).transpose(2, 0, 1)
    x[:, 0, 0] = [1, 0, 0, 0, 0]
    same = np.ones(5)
    z = unbound(x, "published", same)
    np.testing.assert_allclose(z, np.log(x + np.exp(-np.log(5) - 8)))
    want = (x + np.exp(-np.log(5) - 8)) / (1 + np.exp(-8))
    np.testing.assert_allclose(bound(z, "published", same), want, rtol=1e-12)
    for floor in ("published", 0.2):
        wild = bound(np.random.default_rng(1).normal(0, 300, (5, 50)), floor, same)
        assert (wild >= 0).all() and np.abs(wild.sum(0) - 1).max() < 1e-12


@pytest.mark.parametrize("floor", [0.01, 0.2, 1.0])
def test_a_floor_is_taken_off_again(floor: float) -> None:
    """Below it there is nothing."""
    x = np.random.default_rng(0).dirichlet([0.2] * 5, 50).T
    x[:, 0] = [1, 0, 0, 0, 0]
    same = np.ones(5)
    z = unbound(x, floor, same)
    np.testing.assert_allclose(np.exp(z), x + floor / 5)
    np.testing.assert_allclose(bound(z, floor, same), x, atol=1e-15)
    z[1, 0] = np.log(floor / 5) - 1
    assert bound(z, floor, same)[1, 0] == 0


def test_abundances_are_weighted_in_their_logarithms() -> None:
    x = np.random.default_rng(0).dirichlet([0.5] * 3, (4, 6)).transpose(2, 0, 1)
    w = np.array([1.0, 10.0, 0.1])
    z = unbound(x, 0.2, w)
    light = np.einsum("i,iyx->iyx", w, x)
    np.testing.assert_allclose(np.exp(z) - 0.2 / 3, light / light.sum(0), atol=1e-12)
    np.testing.assert_allclose(bound(z, 0.2, w), x, atol=1e-14)


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Fields of variance 1 whose pixels are like their neighbours."""
    found = gaussian_filter(rng.standard_normal(shape), (0, 2, 2), mode="wrap")
    return found / found.std((1, 2), keepdims=True)


@pytest.fixture(scope="module")
def parts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Endmembers (3, 20), abundances, two directions at right angles to them, and a scene with noise 0.001."""
    rng = np.random.default_rng(2)
    endmembers = rng.uniform(0.1, 0.9, (3, 20))
    x = rng.dirichlet([1, 1, 1], (60, 80)).transpose(2, 0, 1)
    others = np.linalg.svd(endmembers)[2][3:5]
    along = smooth(rng, 2, 60, 80) * np.array([0.08, 0.03])[:, None, None]
    spectra = np.tensordot(endmembers.T, x, 1) + np.tensordot(others.T, along, 1)
    return endmembers, x, others, spectra + 0.001 * rng.standard_normal(spectra.shape)


def test_the_scene_comes_back(parts) -> None:
    endmembers, x, others, y = parts
    holed = y.copy()
    holed[4, 3, 5] = np.nan
    encoding, cosine = fitted_encoding([holed[:, :20], holed[:, 20:]], endmembers, 12, floor=0.2, brightness=0.5)
    assert cosine > 0.9999 and encoding.channels == 5
    within = np.linalg.qr(encoding.directions.T)[0]
    np.testing.assert_allclose(within.T @ others.T @ others @ within, np.eye(2), atol=0.01)
    np.testing.assert_allclose(encoding.filters @ encoding.directions.T, np.eye(2), atol=1e-9)
    state = encoding.encoded(holed)
    assert np.isnan(state[:, 3, 5]).all() and np.isnan(state).sum() == 5
    known = state[:, np.isfinite(state[0])]
    np.testing.assert_allclose(known.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(known.std(1), 1, atol=1e-5)
    abundances, spectra = encoding.decoded(encoding.encoded(y))
    assert np.abs(abundances - x).max() < 0.02 and np.abs(spectra - y).max() < 0.006
    mixed = encoding.decoded(encoding.encoded(y), variability=False)[1]
    np.testing.assert_allclose(mixed, np.tensordot(endmembers.T, abundances, 1), rtol=1e-6)
    assert len(fitted_encoding([y], endmembers, 1, floor=0.2, brightness=0.5)[0].directions) == 1
    assert len(fitted_encoding([y], endmembers, 0, floor=0.2, brightness=0.5)[0].directions) == 0


def test_what_neighbours_do_not_share_is_drawn_with_its_covariance(parts) -> None:
    """Speckle in one direction, which is no noise of a sensor, stronger on the third endmember."""
    endmembers, x, _, y = parts
    speckle = np.linalg.svd(endmembers)[2][7]
    rng = np.random.default_rng(4)
    each = 0.004 * rng.standard_normal(y.shape) + speckle[:, None, None] * 0.05 * rng.standard_normal(y.shape[1:])
    strength = 1 + 3 * x[2]
    encoding, _ = fitted_encoding([y + strength * each], endmembers, 12, floor=0.2, brightness=0.5)
    assert len(encoding.directions) == 2
    state = encoding.encoded(y)
    quiet = encoding.decoded(state)[1]
    drawn = encoding.decoded(state, noise=rng.standard_normal(y.shape))[1] - quiet
    for part in (x[2] > 0.7, x[2] < 0.1):
        want = np.cov((strength * each)[:, part])
        found = np.cov(drawn[:, part])
        assert found @ speckle @ speckle == pytest.approx(want @ speckle @ speckle, rel=0.2)
        others = np.linalg.svd(np.stack([*endmembers, speckle]))[2][6:]
        assert np.trace(others @ found @ others.T) == pytest.approx(np.trace(others @ want @ others.T), rel=0.2)


def test_endmembers_fitted_to_the_pixels_miss_less() -> None:
    """Corners of noisy pixels are extremes: fitted again they are what the scene was made of."""
    rng = np.random.default_rng(6)
    made = np.array([np.linspace(0.1, 0.9, 20), np.linspace(0.8, 0.2, 20), np.full(20, 0.05)])
    x = rng.dirichlet([0.2] * 3, 4000)
    y = x @ made + 0.01 * rng.standard_normal((4000, 20))
    off = made + 0.05 * rng.standard_normal(made.shape)
    weights = np.ones(len(y))
    found = [refined(y, weights, off, rounds) for rounds in (0, 1, 4)]
    errors = [np.abs(e - made).max() for e, _ in found]
    missed = [(y - a @ e).std() for e, a in found]
    assert errors[0] > 0.1 and max(errors[1:]) < 0.06
    assert missed[0] > 0.014 and missed[1] < 0.0105 and missed[2] < 0.01
    same, abundances = refined(x @ made, weights, made, 2)
    np.testing.assert_allclose(same, made, atol=1e-6)
    np.testing.assert_allclose(abundances, x, atol=1e-6)
    lost = np.stack([*made, [5.0] * 20])  # of which no pixel has anything
    np.testing.assert_allclose(refined(y, weights, lost, 2)[0][3], 5.0, atol=0.1)


def test_each_endmember_varies_by_its_own_measure() -> None:
    """Water, of a twentieth of the amplitude of the rest, still has a state of like variance."""
    rng = np.random.default_rng(5)
    endmembers = np.array([[0.02] * 20, np.linspace(0.1, 0.9, 20), np.linspace(0.8, 0.2, 20)])
    others = np.linalg.svd(endmembers)[2][3:5]
    amplitudes = np.array([[0.002, 0.001], [0.06, 0.02], [0.04, 0.05]])
    x = rng.dirichlet([0.3] * 3, (120, 120))
    along = smooth(rng, 2, 120, 120).transpose(1, 2, 0) * (x @ amplitudes)
    y = (x @ endmembers + along @ others).transpose(2, 0, 1)
    encoding, _ = fitted_encoding([y + 1e-5 * rng.standard_normal(y.shape)], endmembers, 12, floor=0.2, brightness=0.5)
    assert len(encoding.directions) == 2
    state = encoding.encoded(y)[3:]
    for k in range(3):
        assert (state[:, x[..., k] > 0.95].std(1) > 0.6).all() and (state[:, x[..., k] > 0.95].std(1) < 1.6).all()
    off = np.abs(encoding.decoded(encoding.encoded(y))[1] - y)
    assert off.mean() < 3e-4 and off.max() < 0.05


def test_bands_keep_their_range(parts) -> None:
    """What varies about a mixture is known in the mean alone, and would reach beyond what the scene has."""
    endmembers, _, _, y = parts
    encoding, _ = fitted_encoding([y], endmembers, 12, floor=0.2, brightness=0.5)
    rng = np.random.default_rng(5)
    wild = rng.normal(0, 6, (encoding.channels, 40, 40))
    least, most = y.min((1, 2))[:, None, None], y.max((1, 2))[:, None, None]
    for noise in (None, rng.standard_normal((len(y), 40, 40))):
        spectra = encoding.decoded(wild, noise=noise)[1]
        assert (spectra >= least - 1e-6).all() and (spectra <= most + 1e-6).all()
        assert (spectra[0] == np.float32(most[0, 0, 0])).any()


def test_a_band_that_the_recording_cut_off_has_no_limit_there(parts) -> None:
    """Its values are known in mean and covariance, which cutting them off once more would change."""
    endmembers, _, _, y = parts
    cut = y.copy()
    for band, share in ((4, 0.3), (7, 0.01)):
        cut[band] = np.maximum(cut[band], np.quantile(cut[band], share))
    cut[9] = np.minimum(cut[9], np.quantile(cut[9], 0.9))
    encoding, _ = fitted_encoding([cut], endmembers, 12, floor=0.2, brightness=0.5)
    least, most = cut.min((1, 2)), cut.max((1, 2))
    least[4], most[9] = -np.inf, np.inf
    np.testing.assert_array_equal(encoding.least, least)
    np.testing.assert_array_equal(encoding.most, most)
    state = encoding.encoded(cut)
    noise = np.random.default_rng(3).standard_normal(cut.shape)
    again = encoding.decoded(state, noise=noise)[1]
    assert (again[4] < cut[4].min()).any() and again[4].mean() == pytest.approx(cut[4].mean(), rel=0.01)


def test_the_cosine_counts_what_the_floor_leaves(parts) -> None:
    """Dark endmembers are weighted so little that the floor hides them."""
    endmembers, x, _, _ = parts
    endmembers = endmembers * np.array([1, 0.3, 1])[:, None]
    y, found = np.tensordot(endmembers.T, x, 1), []
    for brightness in (0.0, 8.0):
        encoding, cosine = fitted_encoding([y], endmembers, 0, floor="published", brightness=brightness)
        made = encoding.decoded(encoding.encoded(y), variability=False)[1]
        want = (made * y).sum(0) / np.linalg.norm(made, axis=0) / np.linalg.norm(y, axis=0)
        assert cosine == pytest.approx(want.mean(), abs=1e-6)
        found.append(cosine)
    assert found[1] < found[0] - 1e-4
