"""The tile plan: how an output raster is cut into blocks, and what each block may look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hsgeo.errors import ParameterError
from hsgeo.scene.window import Window


@dataclass(frozen=True, order=True)
class Block:
    """One task's part of the output.

    Attributes
    ----------
    row, col : int
        Position in the grid of blocks.
    core : Window
        The output pixels that this block, and no other, writes; lies inside the output.
    outer : Window
        The core with the halo on each side. It is not clipped and so may reach outside the output: all blocks but
        those of the last row and column have outer windows of one shape.
    """

    row: int
    col: int
    core: Window
    outer: Window


@dataclass(frozen=True)
class TilePlan:
    """Blocks that cover a raster, every pixel once.

    Parameters
    ----------
    height, width : int
        Size of the output in pixels.
    tile : int
        Edge of a block in pixels, taken down to a multiple of `multiple`; may be larger than the output.
    halo : int
        Pixels of context on each side.
    multiple : int
        Blocks start on multiples of this, so that they hold whole pixels of a grid `multiple` times coarser.

    Raises
    ------
    ParameterError
        A size that is not positive, or a tile smaller than `multiple`.
    """

    height: int
    width: int
    tile: int = 512
    halo: int = 0
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ParameterError(f"there is nothing to tile in {self.height} x {self.width} pixels.")
        if self.multiple < 1 or self.halo < 0:
            raise ParameterError(f"a tile plan needs halo >= 0 and multiple >= 1, not {self.halo} and {self.multiple}.")
        if self.tile < self.multiple:
            raise ParameterError(f"--tile {self.tile} is too small; it must be at least {self.multiple} pixels here.")
        object.__setattr__(self, "tile", self.tile // self.multiple * self.multiple)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid of blocks."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    @property
    def chunk(self) -> tuple[int, int]:
        """(height, width) of the largest core."""
        return min(self.tile, self.height), min(self.tile, self.width)

    def block(self, row: int, col: int) -> Block:
        """The block at a position in the grid of blocks."""
        y, x = row * self.tile, col * self.tile
        core = Window(y, min(y + self.tile, self.height), x, min(x + self.tile, self.width))
        return Block(row, col, core, core.grow(self.halo))

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols

    def __iter__(self) -> Iterator[Block]:
        """Row by row, so that whole rows of the output are finished early."""
        rows, cols = self.shape
        return (self.block(r, c) for r in range(rows) for c in range(cols))
