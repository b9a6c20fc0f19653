"""Parts of a scene that lie apart: cells, each in one of a few folds, and crops that keep clear of a fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import minimum_filter

from hsgeo.quality.generated.pieces import Piece

#: parts that are held back in turn
FOLDS = 4


def fold_of(source: int, row: int | np.ndarray, column: int | np.ndarray, cell: int) -> np.ndarray:
    """The fold of a pixel: neighbouring cells lie in different folds, all of them in every two rows of cells."""
    down, right = np.asarray(row) // cell, np.asarray(column) // cell
    return (right + 2 * (down % 2) + down // 2 + source) % FOLDS


def fold_map(piece: Piece, cell: int) -> np.ndarray:
    """The fold of each pixel of a piece, (h, w)."""
    height, width = piece.values.shape[1:]
    return fold_of(
        piece.source, piece.y0 + np.arange(height)[:, None], piece.x0 + np.arange(width)[None], cell
    )  # fmt: skip


class Crops:
    """Crops of pieces, all pixels of which are allowed and have data.

    Parameters
    ----------
    pieces : sequence of Piece
    allowed : sequence of bool array (h, w)
    size : int
        Side of a crop in pixels.
    """

    def __init__(self, pieces: Sequence[Piece], allowed: Sequence[np.ndarray], size: int):
        self.pieces, self.size = pieces, size
        found = []
        for i, (piece, free) in enumerate(zip(pieces, allowed, strict=True)):
            height, width = free.shape
            if min(height, width) < size:
                continue
            ok = (free & np.isfinite(piece.values[0])).astype(np.uint8)
            half = size // 2
            inside = minimum_filter(ok, size, mode="constant", cval=0)[
                half : half + height - size + 1, half : half + width - size + 1
            ]
            rows, columns = np.nonzero(inside)
            found.append(np.stack([np.full(len(rows), i), rows, columns], 1))
        self.places = np.concatenate(found) if found else np.empty((0, 3), int)

    def __len__(self) -> int:
        return len(self.places)

    def draw(self, count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Values (B, size, size) and classes of `count` crops at random, with replacement."""
        return [self.at(*place) for place in self.places[rng.integers(0, len(self.places), count)]]

    def at(self, index: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray | None]:
        """One crop."""
        piece, cut = self.pieces[index], np.s_[row : row + self.size, column : column + self.size]
        return piece.values[:, *cut], None if piece.classes is None else piece.classes[cut]
