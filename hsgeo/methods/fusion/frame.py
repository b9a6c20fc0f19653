"""The rectangle on which a tile is computed: mirrored at the scene's edges, periodic, of a size good for the FFT."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hsgeo.scene.window import Window


@dataclass(frozen=True)
class Frame:
    """A tile's fine-grid window, extended to `shape`, in a scene of `scene` fine pixels.

    Pixels beyond the scene's edge are the mirrored ones inside (the edge pixel is repeated), whatever the tile, so
    that a tile's result does not depend on how the scene was cut. What lies beyond `outer` only closes the period: half
    of it continues the end, half precedes the beginning.
    """

    outer: Window
    scene: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def around(cls, outer: Window, scene: tuple[int, int], multiple: int) -> Frame:
        """The frame of an outer window whose origin lies on multiples of `multiple`."""
        height, width = (good_length(-(-n // multiple)) * multiple for n in outer.shape)
        return cls(outer, scene, (height, width))

    @classmethod
    def alone(cls, scene: tuple[int, int], margin: int, multiple: int) -> Frame:
        """The frame of a whole image, a scene of its own, mirrored over at least `margin` pixels on all sides."""
        whole = Window(0, scene[0], 0, scene[1])
        return cls(whole, scene, cls.around(whole.grow(margin), scene, multiple).shape)

    def index(self, axis: int, ratio: int, available: int) -> np.ndarray:
        """Where each row (column) of the frame at `ratio` comes from, in an array of `available` rows from the origin
        of the outer window."""
        start = (self.outer.y0, self.outer.x0)[axis] // ratio
        count, inside = self.shape[axis] // ratio, self.outer.shape[axis]
        position = np.arange(count)
        position[round((inside + self.shape[axis]) / 2 / ratio) :] -= count
        size = -(-self.scene[axis] // ratio)
        double = max(round(2 * self.scene[axis] / ratio), size)  # a last pixel that reaches beyond is not repeated
        mirrored = (start + position) % double
        mirrored = np.where(mirrored < size, mirrored, double - 1 - mirrored)
        low, high = max(start, 0), min(start + available, size)
        return _mirror(mirrored, low, high) - start

    def take(self, values: np.ndarray, ratio: int) -> np.ndarray:
        """The values (..., n, m) of the outer window on the grid of `ratio`, over the whole frame."""
        rows = self.index(0, ratio, values.shape[-2])
        columns = self.index(1, ratio, values.shape[-1])
        return values.take(rows, -2).take(columns, -1)

    def cut(self, window: Window, ratio: int = 1) -> tuple[slice, slice]:
        """Slices of a frame at `ratio` that hold a fine-grid window."""
        return window.coarsen(ratio).within(self.outer.coarsen(ratio)).slices


def round_up(n: int, multiple: int) -> int:
    """The next multiple from `n`."""
    return -(-n // multiple) * multiple


def good_length(n: int) -> int:
    """The next length from `n` whose prime factors are 2, 3 and 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


@lru_cache(maxsize=64)
def interpolation(n: int, ratio: int, mirrored: bool = False) -> np.ndarray:
    """Cubic B-spline interpolation of n block centres onto the fine grid: matrix (n * ratio, n).

    Periodic, or mirrored at both ends (the edge pixel is repeated).

    The spline passes through the samples (Unser 1999, doi:10.1109/79.799930).
    """
    if mirrored:
        double = interpolation(2 * n, ratio)[: n * ratio]
        return double[:, :n] + double[:, : n - 1 : -1]
    nodes = np.arange(n)
    position = (np.arange(n * ratio) - (ratio - 1) / 2) / ratio

    def basis(at: np.ndarray) -> np.ndarray:
        total = np.zeros((len(at), n))
        for turn in range(-(3 // n) - 1, 3 // n + 2):
            d = np.abs(at[:, None] - nodes[None] - turn * n)
            total += np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))
        return total

    matrix = basis(position) @ np.linalg.inv(basis(nodes.astype(float)))
    matrix[np.abs(matrix) < 1e-12] = 0.0  # the spline's tails would be denormal numbers in float32, which are slow
    return matrix


def _mirror(index: np.ndarray, low: int, high: int) -> np.ndarray:
    """Half-sample symmetric reflection into low..high-1."""
    n = high - low
    inside = (index - low) % (2 * n)
    return low + np.where(inside < n, inside, 2 * n - 1 - inside)
