"""Abundances against quadratic programmes solved pixel by pixel, and against their conditions of optimality."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls

from hsgeo.errors import DataError, ParameterError
from hsgeo.unmixing import abundances as module
from hsgeo.unmixing.abundances import fcls, linear


def endmembers(p: int, kind: str, bands: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.random((p, bands))
    made = 0.9 * rng.random(bands) + 0.05 * rng.random((p, bands))
    if kind == "nearly collinear":
        made[-1] = made[0] + 1e-4 * rng.standard_normal(bands)
    return made


def pixels(e: np.ndarray, n: int = 120, seed: int = 1) -> np.ndarray:
    """A third inside the simplex, the rest off it by two amounts of noise."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, e.shape[1])) * (np.arange(n) % 3 * 0.05)[:, None]
    return rng.dirichlet(np.full(len(e), 0.5), n) @ e + noise


def programme(e: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The point of a hull nearest to y by scipy's non-negative least squares: u / 1'u of (E - y) u = 0, 1'u = 1."""
    off = (e - y).T / (np.linalg.norm(e - y, axis=1).mean() + 1e-9)
    u, _ = nnls(np.vstack([off, np.ones(len(e))]), np.r_[np.zeros(len(y)), 1.0])
    return u / u.sum()


def every_face(e: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The best of the least squares on all faces of the simplex that are not below 0."""
    best, least = None, np.inf
    for size in range(1, len(e) + 1):
        for face in map(list, combinations(range(len(e)), size)):
            part = np.linalg.lstsq((e[face[1:]] - e[face[0]]).T, y - e[face[0]], rcond=None)[0]
            a = np.zeros(len(e))
            a[face] = np.r_[1 - part.sum(), part]
            error = ((y - a @ e) ** 2).sum()
            if a.min() >= -1e-12 and error < least:
                best, least = a, error
    assert best is not None
    return best


def squares(y: np.ndarray, a: np.ndarray, e: np.ndarray) -> np.ndarray:
    return ((y - a @ e) ** 2).sum(1)


@pytest.mark.parametrize("kind", ["random", "correlated", "nearly collinear"])
@pytest.mark.parametrize("p", [1, 2, 3, 5, 12, 20])
def test_equals_a_quadratic_programme(p, kind) -> None:
    e = endmembers(p, kind)
    y = pixels(e)
    a = fcls(y, e)
    expected = np.array([programme(e, each) for each in y])
    np.testing.assert_allclose(squares(y, a, e), squares(y, expected, e), atol=1e-12)
    np.testing.assert_allclose(a, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["random", "correlated"])
def test_equals_the_best_of_all_faces(kind) -> None:
    e = endmembers(5, kind)
    y = np.vstack([pixels(e, 60), 3 * pixels(e, 20, 2), -pixels(e, 20, 3)])
    np.testing.assert_allclose(fcls(y, e), [every_face(e, each) for each in y], atol=1e-9)


def test_equals_sequential_quadratic_programming() -> None:
    e = endmembers(4, "random", 20)
    for y, a in zip(pixels(e, 12), fcls(pixels(e, 12), e), strict=True):
        done = minimize(
            lambda x, y=y: ((y - x @ e) ** 2).sum(), np.full(4, 0.25), jac=lambda x, y=y: -2 * e @ (y - x @ e),
            bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda x: x.sum() - 1}, method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(a, done.x, atol=1e-6)


@pytest.mark.parametrize("p", [2, 7, 20])
def test_conditions_of_optimality(p) -> None:
    """Feasible, the objective's slope equal where an endmember is used, and no smaller where it is not."""
    e = endmembers(p, "correlated")
    y = pixels(e, 400)
    a = fcls(y, e)
    assert a.min() >= 0 and np.abs(a.sum(1) - 1).max() < 1e-14
    slope = (a @ e - y) @ e.T
    level = (a * slope).sum(1, keepdims=True)
    used = a > 1e-9
    assert used.sum(1).min() >= 1 and (~used).any()
    assert np.abs(np.where(used, slope - level, 0)).max() < 1e-10
    assert np.where(used, 0, slope - level).min() > -1e-10


def test_pure_pixels_and_mixtures_come_back() -> None:
    e = endmembers(6, "random")
    a = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    np.testing.assert_allclose(fcls(np.vstack([e, a @ e]), e), np.vstack([np.eye(6), a]), atol=1e-12)


def test_scale_and_offset_change_nothing() -> None:
    e = endmembers(6, "random")
    y = pixels(e)
    for scale, offset in ((1e4, 0.0), (1e-6, 0.0), (1.0, 50.0)):
        np.testing.assert_allclose(fcls(scale * y + offset, scale * e + offset), fcls(y, e), atol=1e-9)


def test_endmembers_that_are_one_share_what_is_theirs() -> None:
    """Of equal fits one is given: feasible, and as near to the pixel as without the double."""
    e = endmembers(4, "random")
    y = pixels(e)
    double = np.vstack([e, e[1], e[1]])
    a = fcls(y, double)
    assert a.min() >= 0
    np.testing.assert_allclose(a.sum(1), 1, atol=1e-13)
    np.testing.assert_allclose(squares(y, a, double), squares(y, fcls(y, e), e), atol=1e-12)
    np.testing.assert_allclose(a[:, [1, 4, 5]].sum(1), fcls(y, e)[:, 1], atol=1e-7)


def test_more_endmembers_than_bands() -> None:
    """Three bands tell four apart that do not lie in a plane; of more some equal fit is given."""
    rng = np.random.default_rng(0)
    e, y = rng.random((4, 3)), rng.random((50, 3))
    np.testing.assert_allclose(fcls(y, e), [every_face(e, each) for each in y], atol=1e-9)
    more = rng.random((9, 3))
    best = np.array([programme(more, each) for each in y])
    np.testing.assert_allclose(squares(y, fcls(y, more), more), squares(y, best, more), atol=1e-10)


def test_pixels_left_over_are_solved_alone(monkeypatch) -> None:
    e = endmembers(8, "correlated")
    y = np.vstack([pixels(e), e])
    expected = fcls(y, e)
    monkeypatch.setattr(module, "ROUNDS", 1)
    np.testing.assert_allclose(fcls(y, e), expected, atol=1e-8)


def test_sets_that_would_be_exchanged_for_ever_come_to_an_end(monkeypatch) -> None:
    """Of these pixels some go round in circles where all that is wrong is changed at once."""
    rng = np.random.default_rng(3)
    e = rng.standard_normal((6, 18)) * np.exp(-rng.uniform(0, 6, 18))
    y = 5 * rng.standard_normal((300, 18))
    monkeypatch.setattr(module, "_alone", None)
    a = fcls(y, e)
    np.testing.assert_allclose(a[:100], [every_face(e, each) for each in y[:100]], atol=1e-7)
    monkeypatch.setattr(module, "PATIENCE", 10**9)
    with pytest.raises(TypeError, match="not callable"):
        fcls(y, e)


def test_endmembers_a_millionth_apart_are_told_apart() -> None:
    """By what rounding of the Gram matrix would hide."""
    e = endmembers(5, "correlated")
    e[-1] = e[0] + 1e-6 * np.random.default_rng(5).standard_normal(60)
    a = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    np.testing.assert_allclose(fcls(a @ e, e), a, atol=1e-6)


def test_single_changes_end_as_well(monkeypatch) -> None:
    e = endmembers(8, "correlated")
    y = pixels(e)
    expected = fcls(y, e)
    monkeypatch.setattr(module, "PATIENCE", -1)
    monkeypatch.setattr(module, "ROUNDS", 600)
    monkeypatch.setattr(module, "_alone", None)
    np.testing.assert_allclose(fcls(y, e), expected, atol=1e-10)


def test_pieces_make_the_whole(monkeypatch) -> None:
    e = endmembers(5, "random")
    y = pixels(e, 101)
    expected = fcls(y, e)
    monkeypatch.setattr(module, "ROOM", 7 * 25)
    np.testing.assert_allclose(fcls(y, e), expected, atol=1e-13)


@pytest.mark.parametrize("fit", [fcls, linear])
def test_pixels_without_data_stay_so(fit) -> None:
    e = endmembers(4, "random")
    y = pixels(e, 9).astype(np.float32)
    y[2, 5], y[4] = np.nan, np.inf
    a = fit(y, e)
    assert a.dtype == np.float64 and np.flatnonzero(np.isnan(a).any(1)).tolist() == [2, 4]
    rest = [0, 1, 3, 5, 6, 7, 8]
    np.testing.assert_allclose(a[rest], fit(y[rest], e))
    assert fit(np.empty((0, 60)), e).shape == (0, 4)


def test_the_linear_fit_is_the_normal_equations() -> None:
    e = endmembers(5, "random")
    y = pixels(e)
    np.testing.assert_allclose(linear(y, e), np.linalg.solve(e @ e.T, e @ y.T).T, atol=1e-10)
    assert linear(y, e).min() < 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ParameterError, match="same bands"):
        fcls(np.ones((3, 5)), np.ones((2, 4)))
    with pytest.raises(DataError, match="leave that band out"):
        fcls(np.ones((3, 4)), np.array([[1, 2, np.nan, 4]]))


def test_ten_thousand_pixels_take_a_second() -> None:
    rng = np.random.default_rng(0)
    e = 0.5 * rng.random(200) + 0.2 * rng.random((12, 200))
    y = rng.dirichlet(np.full(12, 0.3), 10000) @ e + 0.02 * rng.standard_normal((10000, 200))
    fcls(y[:10], e)
    start = time.process_time()
    fcls(y, e)
    assert time.process_time() - start < 5  # 0.2 s on a free core


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same() -> None:
    e = endmembers(12, "correlated")
    y = pixels(e, 2000)
    np.testing.assert_allclose(fcls(y, e, "cuda:0"), fcls(y, e), atol=1e-9)
