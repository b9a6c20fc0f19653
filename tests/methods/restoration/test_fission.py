"""Noise split in two: the copies know nothing of each other, and tell which mixture is best."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsgeo.methods.restoration.fission import EXPECTED, SPLIT, SPREAD, Mixing, split

SHAPE = 3, 80, 90


def drawn(seed: int, power: float = 1.0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(SHAPE)) * power**0.5


def test_copies_have_independent_noise_of_the_variances_told() -> None:
    halves = split(drawn(0), drawn(1))
    first, second = halves.first.flatten(), halves.second.flatten()
    assert halves.level**2 == pytest.approx(1 + SPLIT**2)
    assert float(first.var()) == pytest.approx(1 + SPLIT**2, rel=0.03)
    assert float(second.var()) == pytest.approx(1 + 1 / SPLIT**2, rel=0.03)
    assert abs(float((first * second).mean())) < 4 * (1 + SPLIT**2) / SPLIT / first.numel() ** 0.5


def judged(x: torch.Tensor, other: torch.Tensor, iterates: list[torch.Tensor], **more) -> Mixing:
    halves = split(x + drawn(10), drawn(11))
    seen = more.pop("seen", torch.ones(SHAPE[1:], dtype=torch.bool))
    mixing = Mixing(other, halves.second, seen, more.pop("patience", 100))
    for step, iterate in enumerate(iterates, 1):
        if mixing(step, iterate):
            break
    return mixing


@pytest.mark.parametrize(("mine", "theirs"), [(1.0, 1.0), (4.0, 1.0), (1.0, 4.0)])
def test_share_and_gain_are_those_of_the_truth(mine: float, theirs: float) -> None:
    x = drawn(2, 9.0)
    other, iterate = x + drawn(3, theirs), x + drawn(4, mine)
    found = judged(x, other, [iterate])
    best = theirs / (mine + theirs)  # errors that are independent
    pull = (1 + 1 / SPLIT**2) / (SPREAD**2 * x.numel() * (mine + theirs))
    assert found.share == pytest.approx((best + pull * EXPECTED) / (1 + pull), abs=0.03)
    mixed = (1 - found.share) * other + found.share * iterate
    gain = float((other - x).square().mean() - (mixed - x).square().mean())
    assert found.gain == pytest.approx(gain, abs=0.1 * theirs) and gain > 0.15 * theirs


def test_the_share_is_what_is_expected_where_nothing_can_be_told() -> None:
    x = drawn(2)
    assert judged(x, x, [x]).share == pytest.approx(EXPECTED)
    close = judged(x, x + 1e-3 * drawn(3), [x + 1e-3 * drawn(4)])
    assert close.share == pytest.approx(EXPECTED, abs=0.01)


def test_the_best_iterate_is_kept_and_no_more_are_asked_for_once_they_are_worse() -> None:
    x = drawn(2, 9.0)
    levels = [4.0, 1.0, 0.25, 1.0, 4.0, 0.01]
    iterates = [x + drawn(20 + i, level) for i, level in enumerate(levels)]
    found = judged(x, x + drawn(3), iterates, patience=2)
    assert found.step == 3 and found.image is iterates[2]
    assert judged(x, x + drawn(3), iterates, patience=3).step == 6


def test_pixels_without_data_have_no_part() -> None:
    x, seen = drawn(2, 9.0), torch.ones(SHAPE[1:], dtype=torch.bool)
    seen[:20] = False
    other, iterate = x + drawn(3), x + drawn(4)
    alone = judged(x, other, [iterate], seen=seen)
    for wrong in (other, iterate):
        wrong[:, ~seen] = torch.nan
    again = judged(x, other, [iterate], seen=seen)
    assert (again.share, again.gain) == (alone.share, alone.gain)
