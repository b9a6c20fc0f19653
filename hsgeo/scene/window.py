"""A rectangle of pixels; may reach outside the raster it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Window:
    """Half-open pixel rectangle, rows ``y0:y1`` and columns ``x0:x1``; negative values lie before the raster."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) for indexing an array that the window lies inside."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def clip(self, height: int, width: int) -> Window:
        """The part inside a raster of `height` x `width` pixels (empty windows have y1 == y0 or x1 == x0)."""
        y0, x0 = min(max(self.y0, 0), height), min(max(self.x0, 0), width)
        return Window(y0, max(y0, min(self.y1, height)), x0, max(x0, min(self.x1, width)))

    def clip_to(self, other: Window) -> Window:
        """The part inside another window (empty windows have y1 == y0 or x1 == x0)."""
        return self.within(other).clip(*other.shape).shift(other.y0, other.x0)

    def grow(self, pixels: int) -> Window:
        """The window with `pixels` more on each side."""
        return Window(self.y0 - pixels, self.y1 + pixels, self.x0 - pixels, self.x1 + pixels)

    def shift(self, dy: int, dx: int) -> Window:
        """The window moved by whole pixels."""
        return Window(self.y0 + dy, self.y1 + dy, self.x0 + dx, self.x1 + dx)

    def scale(self, factor: int) -> Window:
        """The same ground on a grid `factor` times finer."""
        return Window(self.y0 * factor, self.y1 * factor, self.x0 * factor, self.x1 * factor)

    def coarsen(self, factor: int) -> Window:
        """The smallest window that covers the same ground on a grid `factor` times coarser."""
        return Window(self.y0 // factor, -(-self.y1 // factor), self.x0 // factor, -(-self.x1 // factor))

    def within(self, outer: Window) -> Window:
        """The same pixels counted from the first pixel of `outer`."""
        return self.shift(-outer.y0, -outer.x0)

    def blocks(self, size: int) -> Iterator[Window]:
        """The windows of `size` pixels a side, from multiples of it on, that this one meets."""
        if 0 in self.shape:
            return
        for y in range(self.y0 // size * size, self.y1, size):
            for x in range(self.x0 // size * size, self.x1, size):
                yield Window(y, y + size, x, x + size)
