"""Blending: one grid of overlapping patches over the whole output, and weights that sum to one at every pixel.

The patch grid depends on the output's size, the patch and the overlap alone, never on the blocks: whichever block asks
for a pixel gathers the same patches with the same weights. Weights are the product of one profile per axis, each
normalised over all patches of its axis; the sum of products is then the product of sums, one, also at the edges of the
output, where one patch stands alone, and for outputs smaller than a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hsgeo.errors import HsgeoError, ParameterError
from hsgeo.scene.window import Window


def ramp(patch: int, overlap: int) -> np.ndarray:
    """Weight profile of one patch before normalisation: one inside, a raised cosine over `overlap` pixels at each end.

    Returns
    -------
    float64 array (patch,)
        Positive everywhere, and symmetric. Two profiles shifted by ``patch - overlap`` sum to one where they
        overlap, if ``overlap <= patch / 2``.
    """
    i = np.arange(patch) + 0.5
    rise = np.sin(0.5 * np.pi * np.minimum(i / max(overlap, 1), 1.0)) ** 2
    return rise * rise[::-1]


@dataclass(frozen=True)
class Axis:
    """Patches along one axis.

    Parameters
    ----------
    size, patch, overlap : int
        Pixels of the output, of a patch, and that neighbouring patches share at least.
    multiple : int
        Patches start on multiples of this.
    """

    size: int
    patch: int
    overlap: int
    multiple: int = 1

    @property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each patch; the last patch is moved back so that it ends at, or just after, the end."""
        return _starts(self)

    @property
    def weights(self) -> np.ndarray:
        """float64 array (patches, patch): weight of each pixel of each patch; zero outside the output."""
        return _weights(self)

    def covering(self, start: int, stop: int) -> range:
        """Indices of the patches that hold any pixel of ``start:stop``."""
        hits = [k for k, s in enumerate(self.starts) if s < stop and s + self.patch > start]
        return range(hits[0], hits[-1] + 1)


@lru_cache(maxsize=16)
def _starts(axis: Axis) -> tuple[int, ...]:
    stride = axis.patch - axis.overlap
    last = max(0, -(-(axis.size - axis.patch) // axis.multiple) * axis.multiple)
    return (*range(0, last, stride), last)


@lru_cache(maxsize=16)
def _weights(axis: Axis) -> np.ndarray:
    profile, starts = ramp(axis.patch, axis.overlap), axis.starts
    total = np.zeros(starts[-1] + axis.patch)
    for s in starts:
        total[s : s + axis.patch] += profile
    weights = np.stack([profile / total[s : s + axis.patch] for s in starts])
    for row, s in zip(weights, starts, strict=True):
        row[max(0, axis.size - s) :] = 0.0
    weights.setflags(write=False)
    return weights


@dataclass(frozen=True)
class PatchGrid:
    """All patches of an output.

    Parameters
    ----------
    height, width : int
        Of the output, in pixels.
    patch, overlap : int
        Edge of a patch, and what neighbours share at least, in pixels; ``0 <= overlap < patch``.
    multiple : int
        Patches start, and their edges are, on multiples of this.

    Raises
    ------
    ParameterError
        Sizes that give no grid.
    """

    height: int
    width: int
    patch: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.patch < 1 or not 0 <= self.overlap < self.patch:
            raise ParameterError(f"patches of {self.patch} pixels cannot overlap by {self.overlap}.")
        if self.patch % self.multiple or self.overlap % self.multiple:
            raise ParameterError(f"patch {self.patch} and overlap {self.overlap} must be multiples of {self.multiple}.")

    @property
    def rows(self) -> Axis:
        """The vertical axis."""
        return Axis(self.height, self.patch, self.overlap, self.multiple)

    @property
    def cols(self) -> Axis:
        """The horizontal axis."""
        return Axis(self.width, self.patch, self.overlap, self.multiple)

    def window(self, row: int, col: int) -> Window:
        """Where a patch lies; may reach outside the output."""
        y, x = self.rows.starts[row], self.cols.starts[col]
        return Window(y, y + self.patch, x, x + self.patch)

    def covering(self, window: Window) -> Iterator[tuple[int, int]]:
        """(row, col) of the patches that hold any pixel of a window, row by row."""
        for r in self.rows.covering(window.y0, window.y1):
            for c in self.cols.covering(window.x0, window.x1):
                yield r, c

    def weight(self, row: int, col: int) -> np.ndarray:
        """Weights of one patch, float32 array (patch, patch)."""
        return np.outer(self.rows.weights[row], self.cols.weights[col]).astype(np.float32)


PatchWork = Callable[[list[Window], str], Sequence[Any]]


def blend(
    work: PatchWork, grid: PatchGrid, core: Window, bands: Mapping[str, int], device: str, batch: int = 1
) -> dict[str, np.ndarray]:
    """The output over one core: the weighted sum of the patches that cover it.

    Parameters
    ----------
    work : callable
        Maps a list of patch windows and a device to a list of results, one each: an array (bands, patch, patch), or
        a mapping of names to such arrays. NaN means nothing is known there: such a pixel takes its value from the
        other patches.
    bands : mapping
        Number of bands of each output.
    batch : int
        Patches per call.

    Returns
    -------
    dict of float32 arrays (bands, h, w)
        NaN where no patch had a value.
    """
    h, w = core.shape
    total = {name: np.zeros((n, h, w), np.float32) for name, n in bands.items()}
    seen = np.zeros((h, w), np.float32)  # weights so far, whatever their values
    known: dict[str, np.ndarray] = {}  # weights of what was not NaN, made when the first NaN comes
    cells = list(grid.covering(core))
    for k in range(0, len(cells), max(1, batch)):
        part = cells[k : k + max(1, batch)]
        results = work([grid.window(r, c) for r, c in part], device)
        if len(results) != len(part):
            raise HsgeoError(f"{len(part)} patches were handed to the work, and {len(results)} came back.")
        for (r, c), result in zip(part, results, strict=True):
            there = grid.window(r, c)
            inside = Window(
                max(there.y0, core.y0), min(there.y1, core.y1), max(there.x0, core.x0), min(there.x1, core.x1)
            )
            source, target = inside.within(there).slices, inside.within(core).slices
            weight = grid.weight(r, c)[source]
            for name, values in as_named(result, bands).items():
                if values.shape != (bands[name], grid.patch, grid.patch):
                    raise HsgeoError(
                        f"output {name!r}: a patch came back as {values.shape}, "
                        f"not {(bands[name], grid.patch, grid.patch)}."
                    )
                piece = np.asarray(values[:, source[0], source[1]], np.float32) * weight
                gaps = np.isnan(piece)
                if gaps.any() and name not in known:
                    known[name] = np.repeat(seen[None], bands[name], axis=0)
                if name in known:
                    piece[gaps] = 0
                    known[name][:, target[0], target[1]] += ~gaps * weight
                total[name][:, target[0], target[1]] += piece
            seen[target] += weight
    for name, weights in known.items():
        weights[weights == 0] = np.nan
        total[name] /= weights
    return total


def as_named(result: Any, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A result as a mapping of arrays (bands, h, w); a bare array belongs to the only output."""
    if not isinstance(result, Mapping):
        if len(names) != 1:
            raise HsgeoError(f"the work must return a mapping with {', '.join(names)}.")
        result = {next(iter(names)): result}
    absent = [name for name in names if name not in result]
    if absent:
        raise HsgeoError(f"the work did not return {', '.join(absent)}.")
    arrays = {name: np.asarray(result[name]) for name in names}
    return {name: a[None] if a.ndim == 2 else a for name, a in arrays.items()}
