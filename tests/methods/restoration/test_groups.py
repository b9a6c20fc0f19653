"""Groups of similar patches and the filters on them, against loops and dense algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hsgeo.methods.restoration import groups
from hsgeo.methods.restoration.filtering import Search, mirrored, passed
from hsgeo.methods.restoration.groups import Lattice, filtered, similar
from hsgeo.methods.restoration.shrinkage import low_rank, wiener
from hsgeo.scene.window import Window


def test_similar_patches_are_those_that_a_search_finds() -> None:
    guide = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 20, 23)))
    lattice, radius, count = Lattice(4, 3, (3, 4), 4, 4), 3, 6
    found = similar(guide, lattice, radius, count)
    assert found.shape == (12, count)
    for n, places in enumerate(found.tolist()):
        y, x = 4 + 4 * (n // 4), 3 + 4 * (n % 4)

        def distance(v: int, w: int, y: int = y, x: int = x) -> float:
            return float((guide[:, v : v + 4, w : w + 4] - guide[:, y : y + 4, x : x + 4]).square().sum())

        every = [(distance(v, w), v * 23 + w) for v in range(y - 3, y + 4) for w in range(x - 3, x + 4)]
        assert places == [place for _, place in sorted(every)[:count]] and places[0] == y * 23 + x


def test_the_reference_comes_first_where_all_are_alike() -> None:
    found = similar(torch.zeros(1, 12, 12), Lattice(3, 3, (2, 2), 2, 3), 3, 49)
    assert found[:, 0].tolist() == [39, 41, 63, 65] and all(len(set(row)) == 49 for row in found.tolist())


@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_patches_are_put_back_by_their_weights(monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(groups, "AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    field, other = (torch.as_tensor(rng.standard_normal((2, 9, 10))) for _ in range(2))
    chosen = torch.tensor([[0, 13, 25], [12, 0, 40], [44, 55, 30]])

    def work(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = parts
        assert first.shape[1:] == (3, 9, 2)
        return first * second, second.abs().sum((1, 2)) + 0.1

    found = filtered([field, other], chosen, 3, work)
    total, weight = np.zeros((2, 9, 10)), np.zeros((2, 9, 10))
    for places in chosen.tolist():
        cuts = [(slice(p // 10, p // 10 + 3), slice(p % 10, p % 10 + 3)) for p in places]
        share = sum(np.abs(other[(slice(None), *c)].numpy()).sum((1, 2)) for c in cuts) + 0.1
        for c in cuts:
            total[(slice(None), *c)] += share[:, None, None] * (field * other)[(slice(None), *c)].numpy()
            weight[(slice(None), *c)] += share[:, None, None]
    np.testing.assert_allclose(found.numpy(), np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan))


@pytest.mark.parametrize("shape", [(8, 9, 2), (30, 16, 1)])
def test_singular_values_are_shrunk_as_published(shape: tuple[int, int, int]) -> None:
    """By numpy's own SVD and the formula in its published form; noise alone leaves the mean patch."""
    members, size, channels = shape
    rng = np.random.default_rng(2)
    signal = 6 * rng.standard_normal((members, 2)) @ rng.standard_normal((2, channels * size))
    group = signal + rng.standard_normal(signal.shape)
    found, weights = low_rank(torch.as_tensor(group).reshape(1, *shape))
    mean = group.mean(0)
    u, s, v = np.linalg.svd(group - mean, full_matrices=False)
    m, n = sorted((members, channels * size))
    beta, y = m / n, s / math.sqrt(n)
    shrunk = [math.sqrt((t**2 - beta - 1) ** 2 - 4 * beta) / t if t > 1 + math.sqrt(beta) else 0.0 for t in y]
    want = (u * (math.sqrt(n) * np.array(shrunk))) @ v + mean
    np.testing.assert_allclose(found.numpy().reshape(group.shape), want, atol=1e-8)
    assert ((want - signal) ** 2).mean() < 0.6 * ((group - signal) ** 2).mean()
    assert weights.shape == (1, channels) and np.ptp(weights.numpy()) == 0
    noise = torch.as_tensor(rng.standard_normal((1, 8, 50, 2)))
    flat, _ = low_rank(noise)
    assert (flat - noise.mean(1, keepdim=True)).abs().max() < 0.6 * noise.std()


@pytest.mark.parametrize("rank", [0, 1, 5, 20])
def test_large_groups_are_shrunk_as_by_all_their_singular_values(rank: int) -> None:
    """Of 64 patches few eigenvectors are sought first; it tells nothing apart that counts, however many there are."""
    rng = np.random.default_rng(rank)
    signal = 2 * rng.standard_normal((40, 64, rank)) @ rng.standard_normal((40, rank, 75))
    groups = signal + rng.standard_normal(signal.shape)
    found, weights = low_rank(torch.as_tensor(groups).reshape(40, 64, 25, 3))
    mean = groups.mean(1, keepdims=True)
    u, s, v = np.linalg.svd(groups - mean, full_matrices=False)
    beta, y = 64 / 75, s / math.sqrt(75)
    shrunk = np.sqrt(np.clip((y**2 - beta - 1) ** 2 - 4 * beta, 0, None)) / y * (y > 1 + math.sqrt(beta))
    want = (u * (math.sqrt(75) * shrunk)[:, None]) @ v + mean
    assert ((found.numpy().reshape(want.shape) - want) ** 2).mean() < 1e-4
    kept = 1 / (1 + ((shrunk / y) ** 2).sum(1))
    np.testing.assert_allclose(weights[:, 0].numpy(), kept, rtol=0.05)


def test_the_wiener_gain_is_that_of_the_pilot() -> None:
    """By orthonormal transforms that are written out here; a strong pilot changes nothing, none takes all."""
    rng = np.random.default_rng(3)
    group, pilot = (rng.standard_normal((1, 4, 9, 2)) * 2 for _ in range(2))
    found, weights = wiener(torch.as_tensor(group), torch.as_tensor(pilot))
    k, x = np.mgrid[:3, :3]
    cosines = np.sqrt(2 / 3) * np.cos(np.pi * (2 * x + 1) * k / 6)
    cosines[0] /= np.sqrt(2)
    haar = (
        np.array([[1, 1, 1, 1], [1, 1, -1, -1], [np.sqrt(2), -np.sqrt(2), 0, 0], [0, 0, np.sqrt(2), -np.sqrt(2)]]) / 2
    )
    for c in range(2):
        a, b = (
            np.einsum("kl,ip,jq,lpq->kij", haar, cosines, cosines, g[0, ..., c].reshape(4, 3, 3))
            for g in (group, pilot)
        )
        gain = b**2 / (b**2 + 1)
        want = np.einsum("kl,ip,jq,kij->lpq", haar, cosines, cosines, gain * a)
        np.testing.assert_allclose(found[0, ..., c].numpy(), want.reshape(4, 9), atol=1e-12)
        assert float(weights[0, c]) == pytest.approx(1 / max((gain**2).sum(), 1))
    torch.testing.assert_close(wiener(torch.as_tensor(group), torch.as_tensor(1e9 * pilot))[0], torch.as_tensor(group))
    assert wiener(torch.as_tensor(group), torch.zeros(1, 4, 9, 2, dtype=torch.float64))[0].abs().max() == 0


SCENE = (40, 37)
SEARCH = Search(side=4, stride=3, radius=5, count=8)


@pytest.mark.parametrize(
    "wanted", [Window(0, 40, 0, 37), Window(13, 20, 9, 17), Window(0, 5, 30, 37), Window(39, 40, 0, 1)]
)
def test_a_pass_does_not_depend_on_the_part(wanted: Window) -> None:
    z = torch.as_tensor(np.random.default_rng(4).standard_normal((2, *SCENE)))
    whole = Window(0, 40, 0, 37)
    every = passed([z], whole, whole, SCENE, SEARCH, lambda g: low_rank(g[0]))
    have = wanted.grow(SEARCH.reach).clip(*SCENE)
    part = passed([z[(slice(None), *have.slices)]], have, wanted, SCENE, SEARCH, lambda g: low_rank(g[0]))
    torch.testing.assert_close(part, every[(slice(None), *wanted.slices)], rtol=0, atol=1e-12)
    assert every.isfinite().all() and (every - z).abs().max() > 0.1


def test_beyond_the_scene_it_is_mirrored() -> None:
    z = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 3)
    found = mirrored(z[:, 1:], Window(1, 4, 0, 3), Window(2, 7, -2, 2), (4, 3))
    assert found[0, :, 0].tolist() == [2, 3, 3, 2, 1] and found.shape == (1, 5, 4)
