"""Splits of tiles: the shares asked for, the same for a seed whatever else is generated."""

from __future__ import annotations

from math import floor, sqrt

import numpy as np
import pytest

from hsgeo.errors import ParameterError
from hsgeo.tasks.splits import GOLDEN, NAMES, Shares, counted


@pytest.mark.parametrize("text", ["0.8/0.2", "0.7/0.15/0.15", "0.667/0.333", "0.333/0.333/0.333", "60/20/20"])
@pytest.mark.parametrize("first", [0, 7, 12345, 10**12])
def test_any_run_of_seeds_has_the_shares(text: str, first: int) -> None:
    shares = Shares.of(text)
    assert sum(shares.values) == pytest.approx(1)
    found = [shares.split_of(first + i) for i in range(1000)]
    for count in (20, 100, 1000):
        for name, share in zip(NAMES, shares.values, strict=False):
            assert abs(found[:count].count(name) - share * count) <= 3
    assert set(found) == set(NAMES[: len(shares.values)])


def test_seeds_are_spread_by_the_golden_ratio() -> None:
    assert abs(GOLDEN / 2**64 - (sqrt(5) - 1) / 2) < 2**-52
    wanted = np.arange(400) * (sqrt(5) - 1) / 2
    shares = Shares.of("0.8/0.2")
    for seed, place in enumerate(wanted - [floor(w) for w in wanted]):
        assert shares.split_of(seed) == ("train" if place < 0.8 else "val")


def test_splits_are_counted() -> None:
    assert counted("0.8/0.2", 0, 400) == {"train": 320, "val": 80}
    assert list(counted("0.8/0.2", 3, 2).items()) == [("train", 1), ("val", 1)]
    assert counted("1/0/0", 7, 3) == {"train": 3, "val": 0, "test": 0}


def test_a_share_of_none_is_never_chosen() -> None:
    assert {Shares.of("1/0").split_of(i) for i in range(2000)} == {"train"}
    assert {Shares.of("0/1/0").split_of(i) for i in range(2000)} == {"val"}


@pytest.mark.parametrize(
    "text", ["0.8", "a/b", "0.5/-0.5", "0/0", "1/2/3/4", "", "nan/1", "inf/1", "1/1", "0.5/0.2/0.2"]
)
def test_what_is_no_split_says_so(text: str) -> None:
    with pytest.raises(ParameterError, match="train/val"):
        Shares.of(text)
