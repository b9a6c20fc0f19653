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
        height = image.shape[1]
        wide = np.asarray(image if below is None else np.concatenate([image, below], 1), np.float64)
        known = np.asarray(np.isfinite(wide).all(0))
        wide = np.where(known, wide, 0.0)
        for dy, dx in self.pairs:
            rows = min(height, wide.shape[1] - dy)
            left = slice(max(0, -dx), wide.shape[2] - max(0, dx)), slice(max(0, dx), wide.shape[2] - max(0, -dx))
            one, other = wide[:, :rows, left[0]], wide[:, dy : dy + rows, left[1]]
            both = known[:rows, left[0]] & known[dy : dy + rows, left[1]]
            self._outer += (one * both).reshape(self.bands, -1) @ other.reshape(self.bands, -1).T
            self.n += int(both.sum())
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
