"""What neighbouring pixels share: white noise has no part in it, and so the scene is told from noise far stronger."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

#: neighbours of a pixel, (rows, columns) away; the other four are the same pairs
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


class NeighbourStatistics:
    """Mean outer product of the spectra of neighbouring pixels, added up in float64 image by image.

    The minimum/maximum autocorrelation factors of Switzer & Green 1984 are made of it. Pairs with NaN are left out.

    Parameters
    ----------
    bands : int
    pairs : sequence of (rows, columns)
        How far away a neighbour is; rows 0 or 1.
    """

    def __init__(self, bands: int, pairs: Sequence[tuple[int, int]] = NEIGHBOURS) -> None:
        self.bands, self.n, self.pairs = int(bands), 0, tuple(pairs)
        self._outer = np.zeros((self.bands, self.bands))

    def update(self, image: np.ndarray, below: np.ndarray | None = None) -> NeighbourStatistics:
        """Add an image (B, h, w), and the pairs that it makes with the row `below` (B, 1, w). Returns self."""
        height, width = image.shape[1:]
        wide = np.asarray(image if below is None else np.concatenate([image, below], 1), np.float64)
        known = np.asarray(np.isfinite(wide).all(0))
        wide = np.where(known, wide, 0.0)  # so that a pair with NaN adds nothing
        others = np.zeros((self.bands, height, width))  # the sum of each pixel's neighbours
        for dy, dx in self.pairs:
            rows = min(height, wide.shape[1] - dy)
            one = slice(0, rows), slice(max(0, -dx), width - max(0, dx))
            other = slice(dy, dy + rows), slice(max(0, dx), width - max(0, -dx))
            others[(slice(None), *one)] += wide[(slice(None), *other)]
            self.n += int((known[one] & known[other]).sum())
        self._outer += wide[:, :height].reshape(self.bands, -1) @ others.reshape(self.bands, -1).T
        return self

    @property
    def correlation(self) -> np.ndarray:
        """(B, B), symmetric: the scene's mean outer product times the correlation of its neighbours, without noise."""
        return (self._outer + self._outer.T) / (2 * max(self.n, 1))

    def edge(self) -> float:
        """The largest eigenvalue that white noise of variance 1 reaches in it by chance.

        The mean of n independent products, made symmetric, has elements of variance 1 / (2 n), and so its largest
        eigenvalue is sqrt(2 B / n) (Wigner's semicircle).
        """
        return sqrt(2 * self.bands / max(self.n, 1))
