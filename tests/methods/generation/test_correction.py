"""Clean estimates held to the scene's moments."""

import numpy as np
import pytest
import torch

from hsgeo.diffusion import Schedule
from hsgeo.methods.generation.correction import LEAST, MOST, Correction, corrected
from hsgeo.methods.generation.sampling import Sampler, sampled
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.generation.training import Crops
from hsgeo.methods.generation.wanted import FullOf, LaidOut, Nothing
from hsgeo.scene.window import Window

SCHEDULE, SIDE = Schedule.linear(1000, 1e-4, 0.02), 16


class Flat(torch.nn.Module):
    """Expects one value all over a tile, normal about `mean` with deviation `spread`."""

    reach, multiple = SIDE, 1

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        g = gamma.view(-1, 1, 1, 1)
        noise = (1 - g) / SIDE**2
        off = (z.mean((2, 3), keepdim=True) - g.sqrt() * self.mean) * g.sqrt() * self.spread**2
        clean = self.mean + off / (g * self.spread**2 + noise)
        return (g.sqrt() * z - clean.expand_as(z)) / (1 - g).sqrt()


def crops_of(rng: np.random.Generator, count: int) -> Crops:
    """Flat tiles side by side, each a crop, of mean 0 and variance 1."""
    values = rng.standard_normal((60, 60)).repeat(SIDE, 0).repeat(SIDE, 1)
    settings = HudTrainingParams(crop=SIDE).model_copy(update={"correction": count, "batch": 1000})
    crops = Crops(((values - values.mean()) / values.std())[None].astype(np.float32), settings)
    crops.places = np.argwhere(np.ones((60, 60))) * SIDE
    crops.up_to = np.arange(1.0, 3601)
    return crops


def spread_of(network: Flat, steps: int, correction: Correction | None, eta: float = 0.0) -> float:
    """Deviation of the means of tiles: what they begin from is normal, and where they end is linear in it."""
    sampler, seeds = Sampler(network, SCHEDULE, 1, steps, eta, correction=correction), range(20)
    begun, ended = sampler.noise(0, seeds, Window(0, SIDE, 0, SIDE)), sampled(sampler, (SIDE, SIDE), seeds)
    slope, _ = np.polyfit(begun.mean((1, 2, 3)).double(), ended.mean((1, 2, 3)).double(), 1)
    return slope / SIDE


def by_angles(spread: float, steps: int) -> float:
    """The same without correction: a step takes the cosine of what the angle of signal and noise turns by."""
    levels = SCHEDULE.levels(steps)
    angles = np.arctan2(np.sqrt(1 - levels) / SIDE, np.sqrt(levels) * spread)
    begun = np.hypot(np.sqrt(1 - levels[0]) / SIDE, np.sqrt(levels[0]) * spread)
    return float(np.cos(np.diff(angles)).prod() * spread / begun / SIDE)


def test_what_steps_take_off_is_made_up_for() -> None:
    """To three standard errors of a deviation over 2000 tiles and their opposites, 0.016."""
    network, far, crops = Flat(0, 1), np.array([9.0]), crops_of(np.random.default_rng(0), 4000)
    correction = corrected(network, SCHEDULE, crops, -far, far)
    for steps in (10, 20, 33, 50, 200):
        without, made = (spread_of(network, steps, c) for c in (None, correction))
        assert without == pytest.approx(by_angles(1.0, steps), rel=1e-4), steps
        if steps >= 20:
            assert made == pytest.approx(1, abs=3 * 0.016), steps
        else:  # by a line from 50 and 20
            assert made - without > 0.75 * (1 - without)
    assert by_angles(1.0, 20) < 0.91
    np.testing.assert_allclose(correction.found, 0, atol=1e-3)
    assert spread_of(network, 20, correction, 1.0) == spread_of(network, 20, None, 1.0)


def test_only_what_comes_as_it_may_is_corrected() -> None:
    """Moments are those of the whole scene, and tiles of a class have others."""
    one = np.ones((2, 2, 1))
    made = Correction(np.array([0.1, 0.9]), np.array([1 / 20, 1 / 50]), 1.5 * one, one, 3 * one)
    network, asked = Flat(0.3, 1.0), [FullOf(2, 0), Nothing(2), LaidOut(2, np.full((SIDE, SIDE), -1))]
    with_it, without = (
        sampled(Sampler(network, SCHEDULE, 1, 4, correction=c), (SIDE, SIDE), [1, 2, 3], asked) for c in (made, None)
    )
    assert [bool((a == b).all()) for a, b in zip(with_it, without, strict=True)] == [True, False, True]
    free = sampled(Sampler(network, SCHEDULE, 1, 4, correction=made), (SIDE, SIDE), [2])
    torch.testing.assert_close(with_it[1], free[0])


def test_between_levels_and_numbers_of_steps() -> None:
    factor = np.array([[[1.0, 1.2], [1.4, 1.2]], [[1.0, 1.1], [1.2, 1.1]]])
    made = Correction(np.array([0.1, 0.9]), np.array([1 / 20, 1 / 50]), factor, -factor, 9 * factor)
    for steps, want in (
        (50, [1.2, 1.1]),
        (20, [1.4, 1.2]),
        (10_000, [1.2 - 0.2 * 0.0199 / 0.03, 1.1 - 0.1 * 0.0199 / 0.03]),
    ):
        found = made.at(0.9, steps)
        np.testing.assert_allclose(found[0], want, atol=1e-6)
        np.testing.assert_allclose(found[0] * -np.array(want) + found[1], 9 * np.array(want), rtol=1e-6)
    np.testing.assert_allclose(made.at(0.5, 50)[0], [1.1, 1.1])
    np.testing.assert_allclose(made.at(0.999, 50)[0], [1.2, 1.1])
    np.testing.assert_allclose(made.at(1e-5, 50)[0], [1.0, 1.1])
    np.testing.assert_allclose(made.at(0.9, 1)[0], made.at(0.9, 10)[0])
    wild = Correction(made.levels, made.strides, 100 * factor - 100, factor, factor)
    assert (wild.at(0.9, 50)[0] == MOST).all() and (wild.at(0.1, 50)[0][0]) == LEAST
    np.testing.assert_allclose(wild.at(0.9, 50)[1], (1 - MOST) * factor[1, 1])  # the mean stays


def test_a_process_of_few_steps() -> None:
    network, far = Flat(0.0, 1.0), np.array([9.0])
    short = Schedule.linear(2, 0.1, 0.9)
    crops = crops_of(np.random.default_rng(0), 100)
    made = corrected(network, short, crops, -far, far)
    assert made.factor.shape == (2, 2, 1) and np.isfinite(made.factor).all()
    np.testing.assert_array_equal(made.factor[0], made.factor[1])
    np.testing.assert_allclose(made.at(float(short.levels(1)[0]), 1)[0], made.factor[1, 0], rtol=1e-6)
