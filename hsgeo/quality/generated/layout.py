"""Layout of classes: how often each occurs, and beside which others, in tiles and in their scene.

Neighbours are pixels that share an edge. What is compared is the distribution of the classes of two neighbours; half
the sum of absolute differences, the total variation distance, is 0 for equal layouts and 1 for classes that never met.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Statistics of class maps.

    Attributes
    ----------
    frequency : float64 array (k,)
        Share of each class 1..k among the pixels that have one.
    neighbours : float64 array (k, k)
        Share of each pair of classes among neighbours; symmetric, its sum 1.
    """

    frequency: np.ndarray
    neighbours: np.ndarray

    @property
    def adjacency(self) -> float:
        """The probability that neighbours share a class."""
        return float(np.trace(self.neighbours))

    @classmethod
    def of(cls, maps: Iterable[np.ndarray], count: int) -> Layout:
        """Of maps (h, w) of classes 1..count; 0 is none."""
        pixels, pairs = np.zeros(count + 1), np.zeros((count + 1, count + 1))
        for classes in maps:
            pixels += np.bincount(classes.ravel(), minlength=count + 1)
            for one, two in ((classes[1:], classes[:-1]), (classes[:, 1:], classes[:, :-1])):
                joint = one.ravel().astype(np.int64) * (count + 1) + two.ravel()
                pairs += np.bincount(joint, minlength=(count + 1) ** 2).reshape(count + 1, count + 1)
        pixels, pairs = pixels[1:], (pairs + pairs.T)[1:, 1:]
        return cls(pixels / max(pixels.sum(), 1), pairs / max(pairs.sum(), 1))

    def summary(self) -> dict[str, Any]:
        """``frequency`` of each class and ``adjacency``, the probability that neighbours share one."""
        return {"frequency": self.frequency.tolist(), "adjacency": self.adjacency}


def layout_distance(ours: Layout, theirs: Layout) -> dict[str, float]:
    """Total variation distances of ``frequency`` and of ``neighbours``."""
    return {
        "frequency": 0.5 * float(np.abs(ours.frequency - theirs.frequency).sum()),
        "neighbours": 0.5 * float(np.abs(ours.neighbours - theirs.neighbours).sum()),
    }
