"""Detector lines: the columns, rows or slanted lines of an image that one detector element saw.

A pushbroom scanner sees each column of its raw image with an element of its own, and so offsets, dead and hot elements
run along columns. In an image that was turned to north the same lines are slanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

#: lines per pixel where they are slanted: a line then crosses pixels at any phase
FINE = 4

#: pixels of a line that tell enough of it
SEEN = 512

#: values of a strip, and pixels along it
AT_ONCE, LEAST = 1 << 24, 32


@dataclass(frozen=True)
class Lines:
    """Lines of one direction through an image.

    Attributes
    ----------
    shape : (height, width)
        Of the image.
    along : {"columns", "rows"}
        The nearest axis: that along which lines run.
    slope : float
        Pixels that a line moves across with each pixel along, -1 to 1.
    """

    shape: tuple[int, int]
    along: str = "columns"
    slope: float = 0.0

    @property
    def step(self) -> int:
        """Lines per pixel."""
        return FINE if self.slope else 1

    @property
    def length(self) -> int:
        """Pixels of the image along its lines."""
        return self.shape[0 if self.along == "columns" else 1]

    @property
    def width(self) -> int:
        """Pixels of the image across its lines."""
        return self.shape[1 if self.along == "columns" else 0]

    @property
    def count(self) -> int:
        """Lines n."""
        low, high = self._range
        return high - low + 1

    @property
    def _range(self) -> tuple[int, int]:
        far = -self.slope * (self.length - 1) * self.step
        return floor(min(far, 0.0)), ceil(max(far, 0.0)) + (self.width - 1) * self.step

    def index(self, across: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Number of the line that goes through a pixel, 0..n-1."""
        low, high = self._range
        found = np.rint(self.step * (across - self.slope * along)).astype(int)
        return np.clip(found, low, high) - low

    def of_window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Number of the line of each pixel (h, w) of a window; beyond the image that of the nearest line."""
        y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)[None]
        return self.index(x, y) if self.along == "columns" else self.index(y, x)

    def upright(self, values: np.ndarray, start: int) -> np.ndarray:
        """Values of a strip across all lines, (B, h, w), laid out as (B, pixels along, n); NaN where no pixel lies.

        Parameters
        ----------
        values : array (B, h, w)
            `start` pixels along from the image's edge; whole across.
        """
        upright = values if self.along == "columns" else values.swapaxes(1, 2)
        if not self.slope:
            return upright
        rows = np.arange(upright.shape[1])[:, None]
        out = np.full((len(values), upright.shape[1], self.count), np.nan, np.float32)
        out[:, rows, self.index(np.arange(self.width)[None], start + rows)] = upright
        return out

    def strips(self, bands: int, seen: int = SEEN) -> Iterator[tuple[int, int]]:
        """First and end of strips across all lines, well spread, that hold `seen` pixels of each line together.

        Parameters
        ----------
        bands : int
            Of an image; a strip holds `AT_ONCE` of its values.
        """
        rows = min(self.length, max(LEAST, AT_ONCE // (bands * self.width * self.step)))
        count = -(-min(seen, self.length) // rows)
        if count * rows >= self.length:
            edges = np.linspace(0, self.length, count + 1).astype(int)
            yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
            return
        for first in np.linspace(0, self.length - rows, count).astype(int).tolist():
            yield first, first + rows

    def apart(self, pair: tuple[int, int]) -> bool:
        """Whether two pixels, (rows, columns) from each other, lie on lines that are a pixel apart or more."""
        down, right = pair
        along, across = (down, right) if self.along == "columns" else (right, down)
        return abs(across - self.slope * along) >= 1

    def window(self, first: int, end: int) -> tuple[int, int, int, int]:
        """(y0, y1, x0, x1) of a strip."""
        return (first, end, 0, self.shape[1]) if self.along == "columns" else (0, self.shape[0], first, end)
