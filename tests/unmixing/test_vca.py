"""Vertex component analysis on mixtures whose pure pixels are known."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import DataError, ParameterError
from hsgeo.unmixing import vca as module
from hsgeo.unmixing.vca import Corners, outermost, projection, signal_to_noise, vca

BANDS = 80


def scene(p: int = 5, n: int = 3000, snr: float | None = None, pure: int = 1, seed: int = 0):
    """Pixels (n, B), endmembers (p, B), the places of pure pixels (p, pure); all others have 0.9 of one at most."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 1, BANDS)
    e = 0.3 + sum(
        rng.uniform(-0.15, 0.15, (p, 1)) * np.exp(-(((at - rng.random((p, 1))) / rng.uniform(0.05, 0.3, (p, 1))) ** 2))
        for _ in range(6)
    )
    a = rng.dirichlet(np.full(p, 0.7), 2 * n)
    a = a[a.max(1) < 0.9][:n]
    places = rng.permutation(n)[: p * pure].reshape(p, pure)
    for i, where in enumerate(places):
        a[where] = np.eye(p)[i]
    y = a @ e
    if snr is not None:
        y = y + rng.standard_normal(y.shape) * np.sqrt((y**2).mean() / 10 ** (snr / 10))
    return y, e, places


def angles(found: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Of each endmember to the nearest spectrum found, degrees; every one has another nearest."""
    cosines = found @ e.T / np.linalg.norm(found, axis=1)[:, None] / np.linalg.norm(e, axis=1)
    assert sorted(cosines.argmax(0)) == list(range(len(e)))
    return np.degrees(np.arccos(np.clip(cosines.max(0), -1, 1)))


@pytest.mark.parametrize("p", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pure_pixels_are_found_exactly(p, seed) -> None:
    y, e, places = scene(p, seed=seed)
    found = vca(y, p, seed)
    assert sorted(found.places) == sorted(places[:, 0])
    np.testing.assert_allclose(found.spectra, y[found.places], atol=1e-10)
    assert angles(found.spectra, e).max() < 1e-4


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("p", [3, 6])
def test_both_projections_find_them(p, perspective) -> None:
    y, _, places = scene(p)
    onto = projection(y.T @ y / len(y), y.mean(0), p)
    if onto.perspective is not perspective:
        onto = onto.other(y.T @ y / len(y))
    assert onto.perspective is perspective and onto.basis.shape == (BANDS, p - (not perspective))
    found = Corners(onto).update(y).found(p)
    assert sorted(found.places) == sorted(places[:, 0])
    np.testing.assert_allclose(found.spectra, y[found.places], atol=1e-10)


def test_illumination_does_not_hide_corners_in_perspective() -> None:
    y, e, _ = scene(4)
    y = y * np.random.default_rng(3).uniform(0.5, 1.5, (len(y), 1))
    y[7], y[8] = 0, 1e-4 * np.cos(np.arange(BANDS))  # what is black tells nothing
    assert angles(vca(y, 4).spectra, e).max() < 1e-4


@pytest.mark.parametrize(("snr", "degrees"), [(25, 1.5), (40, 0.3)])
def test_noise_moves_them_little(snr, degrees) -> None:
    y, e, _ = scene(5, snr=snr)
    assert angles(vca(y, 5).spectra, e).max() < degrees


def test_means_of_several_pixels_are_nearer_where_there_are_several() -> None:
    y, e, _ = scene(5, snr=30, pure=20)
    onto = projection(y.T @ y / len(y), y.mean(0), 5)
    corners = Corners(onto).update(y)
    one, several = corners.found(5), corners.found(5, 15)
    assert angles(several.spectra, e).mean() < 0.6 * angles(one.spectra, e).mean()
    np.testing.assert_array_equal(one.places, several.places)


def test_pixels_that_have_less_of_a_corner_are_no_part_of_its_mean() -> None:
    """Without noise and with one pure pixel each nothing else is near, as all others have 0.9 of one at most."""
    y, _, _ = scene(5)
    onto = projection(y.T @ y / len(y), y.mean(0), 5)
    corners = Corners(onto.other(y.T @ y / len(y)) if onto.perspective else onto).update(y)
    np.testing.assert_array_equal(corners.found(5, 50).spectra, corners.found(5).spectra)


@pytest.mark.parametrize(("p", "snr"), [(4, 10), (4, 20), (8, 30)])
def test_the_projection_goes_by_the_signal_to_noise(p, snr) -> None:
    """15 + 10 log10 p dB is the threshold, and the noise that was added is found."""
    y, _, _ = scene(p, 20000, snr)
    onto = projection(y.T @ y / len(y), y.mean(0), p)
    assert onto.snr == pytest.approx(snr, abs=0.6) and onto.threshold == pytest.approx(15 + 10 * np.log10(p))
    assert onto.perspective is bool(onto.snr >= onto.threshold)


def test_signal_to_noise_is_that_of_the_paper() -> None:
    """From all pixels, as in Algorithm 1, rather than from moments."""
    y, _, _ = scene(4, 2000, 18)
    mean, p = y.mean(0), 4
    basis = np.linalg.svd((y - mean).T @ (y - mean) / len(y))[0][:, :p]
    power, inside = (y**2).sum() / len(y), (((y - mean) @ basis) ** 2).sum() / len(y) + mean @ mean
    expected = 10 * np.log10((inside - p / BANDS * power) / (power - inside))
    assert signal_to_noise(y.T @ y / len(y), mean, p) == pytest.approx(expected, abs=1e-6)


def test_one_seed_gives_one_result() -> None:
    y, _, _ = scene(6, snr=20)
    one, same = vca(y, 6, 3), vca(y, 6, 3)
    np.testing.assert_array_equal(one.spectra, same.spectra)
    np.testing.assert_array_equal(one.places, same.places)


@pytest.mark.parametrize("snr", [None, 30])
def test_a_stream_needs_few_pixels_at_a_time(snr, monkeypatch) -> None:
    """Of 20000 pixels 3000 are held at most: the same corners."""
    y, e, places = scene(5, 20000, snr, pure=3)
    y[::97] = np.nan
    known = y[np.isfinite(y).all(1)]
    onto = projection(known.T @ known / len(known), known.mean(0), 5)
    whole = Corners(onto, 1).update(y).found(5)
    monkeypatch.setattr(module, "POOL", 3000)
    monkeypatch.setattr(module, "BLOCK", 700)
    for way in (onto, onto.other(known.T @ known / len(known))):
        stream = Corners(way, 1)
        for part in np.array_split(y, 37):
            stream.update(part)
            assert sum(map(len, stream._kept)) <= 3000
        found = stream.found(5)
        if way is onto:
            assert sorted(found.places) == sorted(whole.places)
        if snr is None:
            assert all(place in places for place in found.places)
        else:
            assert angles(found.spectra, e).max() < 1


def test_outermost_points_are_those_of_the_hull() -> None:
    """Of a square stretched a thousandfold the four corners, and nothing inside."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (5000, 2)) * [1000, 1]
    points[[5, 17, 400, 4999]] = [[1001, 1.01], [-1001, 1.01], [1001, -1.01], [-1001, -1.01]]
    points[3] = np.nan
    np.testing.assert_array_equal(outermost(points, 0), [5, 17, 400, 4999])


def test_what_cannot_serve() -> None:
    y, _, _ = scene(4)
    with pytest.raises(DataError, match="3 pixels with data are fewer than 4"):
        vca(np.vstack([y[:3], np.full(BANDS, np.nan)]), 4)
    with pytest.raises(ParameterError, match="between 2 and the 80 bands, not 1"):
        vca(y, 1)
    with pytest.raises(ParameterError, match="not 81"):
        vca(y, 81)
    with pytest.raises(DataError, match="fewer than 3 spectra"):
        vca(np.repeat(y[:2], 50, axis=0), 3)
