"""Tiles of one size as one raster, so that whoever works on blocks of rasters can work on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hsgeo.scene.window import Window


@dataclass(frozen=True)
class Canvas:
    """Tiles one below the other, cut into blocks: several whole tiles each, or parts of one tile.

    Parameters
    ----------
    count, size : int
        Tiles, and the side of one in pixels.
    part : int
        Side of a block in pixels. Tiles that are no larger stay whole, together as many as such a block has room for.
    """

    count: int
    size: int
    part: int

    @property
    def whole(self) -> bool:
        """Whether every tile lies in one block."""
        return self.size <= self.part

    @property
    def pitch(self) -> int:
        """Rows from one tile to the next: a block holds nothing of two tiles that are cut."""
        return self.size if self.whole else -(-self.size // self.part) * self.part

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the raster."""
        return self.count * self.pitch, self.pitch

    @property
    def block(self) -> int:
        """Rows of a block, and its columns where it is part of a tile."""
        return self.size * min(self.count, self.part**2 // self.size**2) if self.whole else self.part

    @property
    def blocks(self) -> int:
        """How many `parts` there are."""
        height, width = self.shape
        return -(-height // self.block) * -(-width // self.block)

    def tiles(self, core: Window) -> tuple[range, Window]:
        """Numbers of the tiles in a block, from 0, and which part of these it holds, in pixels of a tile."""
        if self.whole:
            return range(core.y0 // self.size, core.y1 // self.size), Window(0, self.size, 0, self.size)
        number = core.y0 // self.pitch
        return range(number, number + 1), core.shift(-number * self.pitch, 0).clip(self.size, self.size)

    def place(self, number: int, window: Window) -> Window:
        """Where in the raster a window of a tile lies."""
        return window.shift(number * self.pitch, 0)

    def parts(self) -> Iterator[tuple[range, Window]]:
        """What `tiles` says of every block, in their order."""
        height, width = self.shape
        for y in range(0, height, self.block):
            for x in range(0, width, self.block):
                yield self.tiles(Window(y, min(y + self.block, height), x, min(x + self.block, width)))
