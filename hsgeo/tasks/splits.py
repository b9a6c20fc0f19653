"""Which split a generated tile is of: decided by its seed alone, so that a tile never changes sides.

The same seed gives like tiles at any size and by any model, and so must not be learned from here and tested on there.
Seeds are spread over the splits by multiples of the golden ratio (a Kronecker sequence), so that those in a row have
the shares that are asked for as nearly as can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import Any

from hsgeo.errors import ParameterError
from hsgeo.scene.tile_store import MARKS

#: splits, as many of them as there are shares
NAMES = ("train", "val", "test")
#: of training and validation
DEFAULT = "0.8/0.2"
#: by how much, of it, the sum of three shares of three decimals may be off
ROUNDING = 2e-3
#: the golden ratio's fraction, in units of 2^-64
GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Shares:
    """Of tiles in each split.

    Attributes
    ----------
    values : tuple of float
        Of ``train``, ``val`` and, where there are three, ``test``; their sum is 1.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, text: str) -> Shares:
        """Of a text such as ``0.8/0.2``, ``80/20`` or ``0.7/0.15/0.15``.

        Raises
        ------
        ParameterError
            It is none, or its sum is neither 1 nor 100 (but for the rounding of shares such as ``0.67/0.33``).
        """
        try:
            parts = [float(part) for part in str(text).split("/")]
        except ValueError:
            parts = []
        whole = any(isclose(sum(parts), one, rel_tol=ROUNDING) for one in (1, 100))
        if not 2 <= len(parts) <= 3 or min(parts) < 0 or not whole:
            raise ParameterError(
                f"--split {text!r}: give shares of train/val or train/val/test whose sum is 1, such as {DEFAULT}."
            )
        return cls(tuple(part / sum(parts) for part in parts))

    def split_of(self, seed: int) -> str:
        """The split of the tile of a seed."""
        place, start, found = (seed * GOLDEN) % 2**64 / 2**64, 0.0, NAMES[0]
        for name, share in zip(NAMES, self.values, strict=False):
            if share and start <= place:
                found = name
            start += share
        return found


def counted(split: str, seed: int, count: int) -> dict[str, int]:
    """Tiles in each split, of so many whose seeds are in a row."""
    shares = Shares.of(split)
    found = Counter(shares.split_of(seed + number) for number in range(count))
    return {name: found[name] for name, _ in zip(NAMES, shares.values, strict=False)}


def tile_tags(record: Mapping[str, Any], number: int) -> dict[str, str]:
    """Tags of the rasters of a tile: its seed and its split.

    Parameters
    ----------
    record : mapping
        Provenance of the run, with the ``seed`` of the first tile and the shares of the ``split``.
    number : int
        Of the tile, from 0.
    """
    asked = record["parameters"]
    seed = asked["seed"] + number
    return dict(zip(MARKS, (str(seed), Shares.of(asked["split"]).split_of(seed)), strict=True))
