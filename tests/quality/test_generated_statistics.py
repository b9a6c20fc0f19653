"""Distributions of generated tiles against plain formulas and known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import BandError, DataError, GridError
from hsgeo.quality.generated.angles import Angles, angle_distance, angle_histogram
from hsgeo.quality.generated.cells import FOLDS, Crops, fold_map, fold_of
from hsgeo.quality.generated.classes import Clusters
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.frechet import frechet_distance, inception_score
from hsgeo.quality.generated.layout import Layout, layout_distance
from hsgeo.quality.generated.pieces import Piece
from hsgeo.quality.generated.telling import folds_of, side_of, standard_error
from hsgeo.quality.generated.tiles import Labels
from hsgeo.quality.generated.variogram import semivariogram, variogram_distance

RNG = np.random.default_rng


def spectra(n=400, bands=6, seed=0):
    rng = RNG(seed)
    return 1 + rng.standard_normal((n, bands)) @ rng.uniform(-0.3, 0.3, (bands, bands))


def test_frechet_distance_is_the_one_of_a_matrix_root():
    a, b = spectra(seed=1), 0.2 + 1.3 * spectra(300, seed=2)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, a + 2) == pytest.approx(6 * 4, rel=1e-9)
    flat = np.repeat(a[:, :1], 6, 1)  # covariances of rank 1
    assert frechet_distance(flat, 2 * flat) == pytest.approx(6 * a[:, 0].mean() ** 2 + 6 * a[:, 0].var(ddof=1))


def test_inception_score_counts_classes():
    assert inception_score(np.tile(np.eye(4), (5, 1))) == pytest.approx(4)
    assert inception_score(np.full((9, 4), 0.25)) == pytest.approx(1)
    p = RNG(0).dirichlet(np.ones(3), 50)
    divergence = [sum(q[c] * np.log(q[c] / p.mean(0)[c]) for c in range(3)) for q in p]
    assert inception_score(p) == pytest.approx(np.exp(np.mean(divergence)))


def test_angles_and_their_distance():
    a, b = spectra(seed=1), spectra(seed=2)
    mean = a.mean(0)
    one, two = Angles.of(a, mean), Angles.of(b, mean)
    expected = [np.degrees(np.arccos(v @ mean / np.linalg.norm(v) / np.linalg.norm(mean))) for v in a]
    assert one.to_mean == pytest.approx(expected)
    found = angle_distance(one, two)
    assert found["to_mean"] == pytest.approx(np.abs(np.sort(one.to_mean) - np.sort(two.to_mean)).mean())
    assert found["between_pairs"] > 0 and angle_distance(one, one) == {"to_mean": 0, "between_pairs": 0}
    moved = Angles(one.to_mean + 3, one.between)
    assert angle_distance(moved, one)["to_mean"] == pytest.approx(3)
    shares = angle_histogram(moved, one)
    assert sum(shares["generated"]) == pytest.approx(1) and len(shares["edges"]) == len(shares["real"]) + 1
    assert sum(shares["real"][:3]) < 1 and shares["generated"][3:][:3] == pytest.approx(shares["real"][:3])


def test_angles_between_pairs_are_of_this_set_alone():
    lines = np.array([[1.0, 0], [0, 1.0]])
    assert Angles.of(lines, lines[0]).between == pytest.approx(90)


def test_semivariogram_is_that_of_a_loop():
    rng = RNG(0)
    values = rng.standard_normal((4, 9, 11))
    values[:, 2, 3] = values[:, 7, 0] = np.nan
    rows = values.reshape(4, -1).T
    components = Components.of(rows[np.isfinite(rows[:, 0])])
    parts = [values[:, :, :6], values[:, :, 6:]]
    found = semivariogram(parts, components, count=2, lags=6)
    for axis in (0, 1):
        for lag in range(1, 7):
            for k in range(2):
                squares = []
                for part in parts:
                    score = np.tensordot(components.directions[:, k], part - components.mean[:, None, None], 1)
                    high, wide = score.shape
                    for y in range(high):
                        for x in range(wide):
                            v, u = (y + lag, x) if axis == 0 else (y, x + lag)
                            if v < high and u < wide:
                                squares.append((score[v, u] - score[y, x]) ** 2)
                known = np.array(squares)[np.isfinite(squares)] if squares else np.empty(0)
                expected = known.mean() / 2 if known.size else np.nan
                assert found[axis, k, lag - 1] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found[1, :, 5]).all() and np.isfinite(found[0]).all()


def test_variogram_distance():
    theirs = np.ones((2, 3, 4))
    theirs[0, 0, 3] = np.nan
    assert variogram_distance(theirs, theirs) == 0
    ours = theirs * np.array([0.5, 1, 2])[None, :, None]
    assert variogram_distance(ours, theirs) == pytest.approx((0.5 + 0 + 1) / 3)
    assert variogram_distance(theirs * np.nan, theirs) is None


def test_layout_counts_neighbours():
    board = np.indices((6, 7)).sum(0) % 2 + 1
    found = Layout.of([board], 3)
    assert found.frequency.tolist() == [0.5, 0.5, 0] and found.adjacency == 0
    assert found.neighbours[0, 1] == found.neighbours[1, 0] == 0.5
    halves = np.repeat([[1, 1, 2, 2]], 4, 0)
    other = Layout.of([halves], 3)
    assert other.adjacency == pytest.approx(20 / 24)
    distance = layout_distance(found, other)
    assert distance["frequency"] == 0 and distance["neighbours"] == pytest.approx(20 / 24)
    holed = halves.copy()
    holed[0, 0] = 0  # a pixel of no class, and its two neighbours in the same class
    assert Layout.of([holed], 3).adjacency == pytest.approx(18 / 22)
    assert Layout.of([holed], 3).frequency[0] == pytest.approx(7 / 15)
    assert Layout.of([np.zeros((3, 3), int)], 2).summary() == {"frequency": [0, 0], "adjacency": 0}


def test_components_make_all_variances_alike():
    rows = spectra(bands=5)
    found = Components.of(rows)
    for matrix, covariance in ((found.white(), np.eye(5)), (found.standard(), None)):
        after = np.cov((rows - found.mean) @ matrix.T, rowvar=False, bias=True)
        assert np.diag(after) == pytest.approx(1)
        if covariance is not None:
            assert after == pytest.approx(covariance, abs=1e-9)
    assert found.scores(rows.T, 2).var(1) == pytest.approx(found.variance[:2])
    assert (np.diff(found.variance) <= 0).all()


def test_clusters_are_the_groups_that_there_are():
    rng = RNG(3)
    centres = np.array([[0, 0, 0], [5, 0, 0], [0, 5, 5.0]])
    member = rng.choice(3, 500, p=[0.2, 0.5, 0.3])
    rows = centres[member] + 0.1 * rng.standard_normal((500, 3))
    found = Clusters.of(rows, Components.of(rows), count=3, seed=1)
    image = np.full((3, 1, 501), np.nan)
    image[:, 0, :500] = rows.T
    classes = found.of_pixels(image)[0]
    assert classes[500] == 0
    assert [set(classes[:500][member == m]) for m in (1, 2, 0)] == [{1}, {2}, {3}]
    same = np.ones((20, 3))
    assert len(Clusters.of(same, Components.of(same)).centres) == 1


def test_crops_keep_clear_of_what_is_held_back():
    values = np.ones((2, 40, 44), np.float32)
    values[:, 3, 5] = np.nan
    piece = Piece(values)
    folds = fold_map(piece, 8)
    assert set(folds[:16, :32].ravel()) == set(range(FOLDS)) and folds[9, 17] == fold_of(0, 9, 17, 8)
    free = folds != 1
    crops = Crops([piece], [free], 5)
    expected = {
        (0, y, x)
        for y in range(36)
        for x in range(40)
        if free[y : y + 5, x : x + 5].all() and np.isfinite(values[0, y : y + 5, x : x + 5]).all()
    }
    assert {tuple(map(int, place)) for place in crops.places} == expected
    assert len(Crops([piece], [free], 60)) == 0
    even = Crops([piece], [free], 4)
    assert all(free[y : y + 4, x : x + 4].all() for _, y, x in even.places)


def test_tiles_are_held_back_with_the_ground_they_are_like():
    rows, columns = np.array([0, 0, 0, 0, 0]), np.array([0, 0, 8, 16, 24])
    folds = folds_of(rows, columns, np.array([0.9, 0.8, 0.9, 0.9, 0.9]), 8, 8)
    assert [int(f) for f in folds[[0, 2, 3, 4]]] == [0, 1, 2, 3] and folds[1] == 0  # two where there is room for two
    crowded = folds_of(np.zeros(8, int), np.zeros(8, int), np.linspace(0, 1, 8), 8, 8)
    assert np.bincount(crowded, minlength=FOLDS).tolist() == [2, 2, 2, 2] and (crowded[-2:] == 0).all()
    assert side_of([Piece(np.ones((1, 100, 100)))], 32) == 8
    assert side_of([Piece(np.ones((1, 330, 330)))], 32) == 32 and side_of([Piece(np.ones((1, 330, 330)))], 20) == 16


def test_trials_that_are_alike_tell_less():
    right = np.tile([True, True, False, False, False], 40)
    alone = standard_error(right, np.arange(200))
    assert alone == pytest.approx(np.sqrt(0.4 * 0.6 / 200), rel=0.02)
    grouped = np.repeat(RNG(0).random(20) < 0.4, 10)
    assert standard_error(grouped, np.repeat(np.arange(20), 10)) > 2.5 * standard_error(grouped, np.arange(200))
    assert standard_error(np.ones(50, bool), np.arange(50)) > 0


def test_labels_are_numbered_and_checked():
    scene = on_grid(np.ones((3, 4, 5)), 10)
    raw = np.array([[0, 3, 3, 7, -1]] * 4, float)
    raw[0, 0] = np.nan
    labels = Labels(on_grid(raw[None], 10), scene)
    assert labels.values.tolist() == [3, 7] and labels.classes[1].tolist() == [0, 1, 1, 2, 0]
    assert labels.number(np.array([7.0, 5, np.nan, 3, 99])).tolist() == [2, 0, 0, 1, 0]
    for wrong, error in (
        (on_grid(np.stack([raw, raw]), 10), BandError),
        (on_grid(raw[None, :2], 10), GridError),
        (on_grid(raw[None] * 0 + 1, 10), DataError),
        (on_grid(raw[None] + 0.5, 10), DataError),
    ):
        with pytest.raises(error):
            Labels(wrong, scene)
