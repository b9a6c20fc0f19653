"""Memorisation: of each generated tile the block that is most like a real one, where that is, and both as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import OutputWriteError
from hsgeo.quality.generated.diversity import Nearest, oriented, restored
from hsgeo.quality.generated.pieces import Real
from hsgeo.quality.quicklook import rgb_bands, stretch_limits, to_bytes
from hsgeo.scene.model import geobox_of
from hsgeo.scene.window import Window

#: pairs that the picture shows, the most similar first
SHOWN = 12


@dataclass(frozen=True)
class Pair:
    """A generated block and the real one most like it.

    Attributes
    ----------
    tile : str
    index : int
        Of the generated block among all.
    row, column : int
        First pixel of the block in its tile.
    real_row, real_column : int
        First pixel of the real block in the scene.
    orientation : int
        How the real block is turned, see `diversity.oriented`.
    similarity : float
        Cosine of both as vectors.
    """

    tile: str
    index: int
    row: int
    column: int
    real_row: int
    real_column: int
    orientation: int
    similarity: float

    def summary(self, scene: xr.DataArray, block: int) -> dict[str, Any]:
        """As JSON holds it, with the middle of the real block in the CRS of the scene."""
        x, y = geobox_of(scene).transform * (self.real_column + block / 2, self.real_row + block / 2)
        return {
            "tile": self.tile,
            "row": self.row,
            "column": self.column,
            "real_row": self.real_row,
            "real_column": self.real_column,
            "real_x": x,
            "real_y": y,
            "rotation": 90 * (self.orientation % 4),
            "mirrored": self.orientation >= 4,
            "similarity": self.similarity,
        }


def nearest_pairs(nearest: Nearest, places: Sequence[tuple[int, int, int]], names: Sequence[str]) -> list[Pair]:
    """Of each tile its block that is most like a real one, the most similar first.

    Parameters
    ----------
    nearest : Nearest
        Of n blocks.
    places : sequence of (tile, row, column)
        Where each of them begins.
    names : sequence of str
        Of the tiles.
    """
    found: dict[int, Pair] = {}
    for i, (tile, row, column) in enumerate(places):
        k = int(nearest.similarity[i].argmax())
        value = float(nearest.similarity[i, k])
        if tile not in found or value > found[tile].similarity:
            there = int(nearest.row[i, k]), int(nearest.column[i, k])
            found[tile] = Pair(names[tile], i, row, column, *there, k, value)
    return sorted(found.values(), key=lambda pair: -pair.similarity)


def nearer(pair: Pair, blocks: np.ndarray, real: Real, stride: int) -> Pair:
    """The same pair with the real block placed to the pixel, less than a stride from where it was found."""
    ours = restored(blocks[pair.index], pair.orientation)
    block = ours.shape[-1]
    rows, columns = (
        np.arange(max(0, at - stride + 1), min(most - block, at + stride - 1) + 1)
        for at, most in ((pair.real_row, real.height), (pair.real_column, real.width))
    )
    window = Window(int(rows[0]), int(rows[-1]) + block, int(columns[0]), int(columns[-1]) + block)
    around = real.read(window).astype(np.float64)
    values = {
        (int(row), int(column)): cosine(ours, around[:, y : y + block, x : x + block])
        for y, row in enumerate(rows)
        for x, column in enumerate(columns)
    }
    known = {place: value for place, value in values.items() if value == value}
    row, column = max(known, key=lambda place: known[place])
    return replace(pair, real_row=row, real_column=column, similarity=known[row, column])


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    """Cosine of two arrays as vectors, in float64; 0 where one is 0, NaN where a value is missing."""
    first, second = (np.asarray(v, dtype=np.float64).ravel() for v in (one, two))
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(float(first @ second) / length, -1, 1)) if length else 0.0


def write_pairs(path: str | os.PathLike[str], pairs: Sequence[Pair], blocks: np.ndarray, real: Real) -> Path:
    """A PNG of the most similar pairs: the generated block, and beside it the real one turned as it fits best.

    Parameters
    ----------
    path : path
        Replaced where it exists.
    pairs : sequence of Pair
    blocks : float32 array (n, B, b, b)
        All generated ones.
    real : Real

    Raises
    ------
    OutputWriteError
        The file cannot be written.
    """
    from matplotlib.figure import Figure

    block, shown = blocks.shape[-1], list(pairs[:SHOWN])
    chosen = rgb_bands(real.scene.isel(band=real.bands))
    there = [Window(p.real_row, p.real_row + block, p.real_column, p.real_column + block) for p in shown]
    theirs = [oriented(real.read(w)[chosen], p.orientation) for w, p in zip(there, shown, strict=True)]
    ours = [blocks[p.index][chosen] for p in shown]
    limits = stretch_limits(np.concatenate([v.reshape(3, -1) for v in theirs], 1))
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.5 * rows), layout="constrained")
    axes = np.atleast_2d(figure.subplots(rows, 2 * columns, squeeze=False))
    for axis in axes.flat:
        axis.axis("off")
    for i, (pair, one, two) in enumerate(zip(shown, ours, theirs, strict=True)):
        left, right = axes[i // columns, 2 * (i % columns) : 2 * (i % columns) + 2]
        for axis, values in ((left, one), (right, two)):
            axis.imshow(to_bytes(values, limits).transpose(1, 2, 0), interpolation="nearest")
        left.set_title(pair.tile, fontsize=8)
        turned = [f"turned {90 * (pair.orientation % 4)}°"] if pair.orientation % 4 else []
        turned += ["mirrored"] if pair.orientation >= 4 else []
        place = [f"real, row {pair.real_row}, column {pair.real_column}", *([", ".join(turned)] if turned else [])]
        right.set_title("\n".join([*place, f"cosine {pair.similarity:.4f}"]), fontsize=7)
    target = Path(path)
    temporary = target.with_name(f".{target.name}.part")
    try:
        figure.savefig(temporary, format="png", dpi=110)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputWriteError(f"{target}: cannot be written ({error.strerror}); choose another --pairs.") from error
    return target
