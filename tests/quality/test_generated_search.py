"""The nearest real pixels and blocks, against loops over everything."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import loadmat

from hsgeo.bench.protocols import on_grid
from hsgeo.quality.generated import diversity, fidelity, own, pieces
from hsgeo.quality.generated.diversity import nearest_blocks, oriented, restored
from hsgeo.quality.generated.fidelity import point_similarity
from hsgeo.quality.generated.memorisation import Pair, cosine, nearer, nearest_pairs, write_pairs
from hsgeo.quality.generated.own import all_pairs, own_diversity, own_fidelity
from hsgeo.quality.generated.pieces import Piece, Real, cut_blocks, sampled
from hsgeo.quality.metrics import windows


def cube(bands=5, height=17, width=20, seed=0, holes=0):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.05, 1, (bands, height, width)).astype(np.float32)
    for y, x in rng.integers(0, min(height, width), (holes, 2)):
        values[rng.integers(bands), y, x] = np.nan
    return values


def real_of(values, kept=pieces.KEPT):
    return Real(on_grid(values, 10), np.arange(len(values)), kept)


def dense_cosine(a, b):
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))


def every_block(values, block, stride):
    _, height, width = values.shape
    for y in range(0, height - block + 1, stride):
        for x in range(0, width - block + 1, stride):
            cut = values[:, y : y + block, x : x + block].astype(float)
            if np.isfinite(cut).all():
                yield y, x, cut


def test_point_similarity_is_that_of_the_nearest_pixel(monkeypatch):
    monkeypatch.setattr(fidelity, "PART", 7)
    values = cube(holes=9)
    values[:, 3, 4] = 0
    ours = np.random.default_rng(1).uniform(0.05, 1, (23, 5)).astype(np.float32)
    ours[5] = 0
    rows = values.reshape(5, -1).T.astype(float)
    rows = rows[np.isfinite(rows).all(1) & (np.linalg.norm(rows, axis=1) > 0)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    lengths = np.maximum(np.linalg.norm(ours.astype(float), axis=1, keepdims=True), 1e-300)
    expected = (ours / lengths @ rows.T).max(1)
    found = point_similarity(ours, [values[:, :8], values[:, 8:]])
    assert found == pytest.approx(expected, abs=2e-7) and found[5] == 0
    assert point_similarity(ours[:2], [values[:, 8:]])[1] <= found[1]
    assert np.isnan(point_similarity(ours, [values * np.nan])).all()


@pytest.mark.parametrize("orientation", range(8))
def test_orientations_are_undone(orientation):
    block = np.arange(18).reshape(2, 3, 3)
    assert (restored(oriented(block, orientation), orientation) == block).all()
    assert len({oriented(block, k).tobytes() for k in range(8)}) == 8


@pytest.mark.parametrize(("stride", "orientations"), [(1, 8), (3, 4), (2, 1)])
def test_nearest_blocks_are_those_of_a_loop(monkeypatch, stride, orientations):
    for name, size in (("STRIP", 4 * 5 * 20 * 8), ("STEP", 4 * 5 * 16 * 3), ("OURS", 4 * 5 * 16 * orientations * 2)):
        monkeypatch.setattr(diversity, name, size)
    values = cube(holes=3)
    ours = np.stack([sign * cube(seed=s)[:, 2:6, 5:9] for s, sign in ((4, 1), (5, 1), (6, -1))])
    every = list(every_block(values, 4, stride))
    found = nearest_blocks(ours, real_of(values, kept=0), stride, orientations)
    assert found.offsets == len(every)
    for i, block in enumerate(ours.astype(float)):
        for k in range(orientations):
            best = max(every, key=lambda e, k=k, block=block: dense_cosine(oriented(e[2], k), block))
            assert found.similarity[i, k] == pytest.approx(dense_cosine(oriented(best[2], k), block), abs=1e-6)
            assert (found.row[i, k], found.column[i, k]) == best[:2]
    assert found.best(orientations) == pytest.approx(found.similarity.max(1))


def brute_own(values, block, stride):
    every = list(every_block(values, block, stride))
    for y, x, one in every:
        apart = [two for v, u, two in every if abs(v - y) >= block or abs(u - x) >= block]
        yield y, x, max((dense_cosine(one, two) for two in apart), default=np.nan)


@pytest.mark.parametrize("stride", [1, 2])
def test_own_diversity_is_that_of_all_pairs_that_lie_apart(monkeypatch, stride):
    values = cube(height=13, width=15, holes=3)
    expected = list(brute_own(values, 4, stride))
    found = all_pairs(values, 4, stride)
    assert np.isfinite(found).sum() == len(expected)
    for y, x, value in expected:
        assert found[y // stride, x // stride] == pytest.approx(value, abs=1e-6)
    mean = np.mean([value for *_, value in expected])
    assert own_diversity(real_of(values), 4, stride) == (pytest.approx(mean, abs=1e-6), len(expected))
    monkeypatch.setattr(own, "ALL", 0)
    assert own_diversity(real_of(values), 4, stride) == (pytest.approx(mean, abs=1e-6), len(expected))
    monkeypatch.setattr(own, "PICKED", 5)
    assert own_diversity(real_of(values), 4, stride)[1] == 5


def test_a_scene_of_one_block_has_no_diversity_of_its_own():
    assert own_diversity(real_of(cube(height=5, width=6)), 4, 1) == (None, 0)


@pytest.mark.parametrize("side", [3, 128])
def test_own_fidelity_is_to_pixels_outside_of_the_block(monkeypatch, side):
    """Blocks that windows of the scene cut as well."""
    monkeypatch.setattr(own, "windows", lambda height, width: windows(height, width, side))
    values, expected = cube(holes=9), []
    known = np.isfinite(values).all(0)
    unit = values.astype(float) / np.linalg.norm(values.astype(float), axis=0)
    for y in range(0, 17 - 4 + 1, 4):
        for x in range(0, 20 - 4 + 1, 4):
            outside = known.copy()
            outside[y : y + 4, x : x + 4] = False
            here = unit[:, y : y + 4, x : x + 4][:, known[y : y + 4, x : x + 4]]
            expected += (here.T @ unit[:, outside]).max(1).tolist()
    assert own_fidelity(real_of(values), 4, 10**6) == pytest.approx(np.mean(expected), abs=1e-6)
    some = own_fidelity(real_of(values), 4, 40)
    assert min(expected) < some < 1 and some != pytest.approx(np.mean(expected), abs=1e-6)
    assert own_fidelity(real_of(values[:, :4, :4]), 4, 10) is None
    assert own_fidelity(real_of(values * np.nan), 4, 10) is None


def test_own_fidelity_shares_its_pixels_among_the_blocks_that_are_left_out(monkeypatch):
    compared = []

    def counted(ours, real, device):
        compared.append(len(ours))
        return point_similarity(ours, real, device)

    monkeypatch.setattr(own, "LEFT_OUT", 3)
    monkeypatch.setattr(own, "point_similarity", counted)
    own_fidelity(real_of(cube()), 4, 30)
    assert sum(compared) == 30


def test_own_diversity_of_jasper(real_data):
    """The figure that was measured with another program."""
    data = loadmat(real_data / "jasper" / "jasperRidge2_R198.mat")["Y"].astype(float)
    data = data.reshape(198, 100, 100, order="F")
    assert own_diversity(real_of(data / data.max()), 32, 2) == (pytest.approx(0.860, abs=5e-4), 1225)


def test_copies_are_found_where_they_come_from(tmp_path):
    values = cube(4, 24, 26, seed=3)
    places = [(5, 7, 0), (0, 1, 3), (11, 14, 6)]
    ours = np.stack([oriented(values[:, y : y + 8, x : x + 8], k) for y, x, k in places])
    real = real_of(values)
    found = nearest_blocks(ours, real, 2, 8)
    listed = [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    exact = nearest_pairs(nearest_blocks(ours, real, 1, 8), listed, list("abc"))
    assert {(p.tile, p.real_row, p.real_column, p.orientation) for p in exact} == {
        ("a", 5, 7, 0),
        ("b", 0, 1, 3),
        ("c", 11, 14, 6),
    }
    assert exact[0].similarity == pytest.approx(1, abs=1e-6)
    assert found.best(8).max() < 0.99  # between the offsets of a stride
    near = nearer(Pair("a", 0, 0, 0, 4, 8, 0, 0.5), ours, real, 2)
    assert (near.real_row, near.real_column, near.similarity) == (5, 7, pytest.approx(1))
    summary = near.summary(real.scene, 8)
    assert (summary["real_x"], summary["real_y"]) == (500000 + 10 * 11, 5800000 - 10 * 9)
    path = write_pairs(tmp_path / "p.png", exact, ours, real)
    assert path.read_bytes()[:4] == b"\x89PNG" and not list(tmp_path.glob(".*"))


def test_the_most_similar_block_of_a_tile_counts():
    values = cube(4, 16, 16)
    tile = cube(4, 16, 8, seed=9)
    tile[:, 8:] = values[:, 8:, 8:]
    blocks, places = cut_blocks([Piece(tile)], 8)
    pair = nearest_pairs(nearest_blocks(blocks, real_of(values), 4, 8), places, ["a"])[0]
    assert (pair.row, pair.column, pair.real_row, pair.real_column) == (8, 0, 8, 8)
    assert cosine(tile[:, 8:], values[:, 8:, 8:]) == pytest.approx(1) and cosine(tile * 0, tile) == 0


def test_samples_hold_everything_or_windows_spread_over_it(monkeypatch):
    monkeypatch.setattr(pieces, "SIDE", 32)
    tiles = [on_grid(cube(3, 64, 80, seed=s, holes=2), 10) for s in range(2)]
    every, whole = sampled(tiles, np.array([0, 2]))
    assert whole and [p.values.shape for p in every] == [(2, 64, 80)] * 2
    assert (np.isnan(every[0].values[0]) == np.isnan(every[0].values[1])).all()
    part, whole = sampled(tiles, np.array([0, 2]), budget=4 * 2 * 32 * 32 * 5)
    assert not whole and len(part) == 5 and {p.source for p in part} == {0, 1}
    for p in part:
        height, width = p.values.shape[1:]
        whole_tile = every[p.source].values[:, p.y0 : p.y0 + height, p.x0 : p.x0 + width]
        assert np.array_equal(whole_tile, p.values, equal_nan=True)
    blocks, places = cut_blocks(every, 16)
    assert np.isfinite(blocks).all() and len(blocks) >= 2 * 20 - 4
    source, y, x = places[-1]
    assert (blocks[-1] == every[source].values[:, y : y + 16, x : x + 16]).all()
    assert len(cut_blocks(every, 16, limit=7)[0]) == 7
