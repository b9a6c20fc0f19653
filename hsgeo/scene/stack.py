"""Single-band files at mixed resolutions as one lazily indexed array on the finest grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .lazy import LazyArray, Source, read_outer


@dataclass(frozen=True)
class AxisMap:
    """Which native sample a fine pixel lies in, along one axis: floor((i + 1/2) * step + start).

    `step` is the fine pixel size over the native one, `start` the fine origin in native pixels. Where edges coincide
    and the ratio is whole, centres stay at least half a fine pixel away from native edges, so rounding cannot matter.
    """

    step: float
    start: float
    size: int

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Native index for each fine index, -1 outside the native raster."""
        native = np.floor((index + 0.5) * self.step + self.start).astype(np.int64)
        return np.where((native >= 0) & (native < self.size), native, -1)


@dataclass(frozen=True)
class Layer:
    """One band of a stack: a single-band source and its place on the fine grid."""

    source: Source
    rows: AxisMap
    cols: AxisMap


@dataclass(frozen=True)
class StackArray(LazyArray):
    """Single-band files on one fine grid, coarse pixels repeated, NaN where a file does not reach.

    Where `fill` is given, pixels whose stored value is 0 in that layer are NaN in all.
    """

    layers: tuple[Layer, ...]
    grid: tuple[int, int]
    fill: Layer | None = None
    shape: tuple[int, int, int] = field(init=False)
    dtype: np.dtype = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (len(self.layers), *self.grid))
        object.__setattr__(self, "dtype", np.result_type(*(layer.source.dtype for layer in self.layers)))

    def _block(self, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        out = np.full((bands.size, rows.size, cols.size), np.nan, self.dtype)
        for k, b in enumerate(bands.tolist()):
            _repeat(self.layers[b], rows, cols, out[k])
        if self.fill is not None and out.size:
            source = replace(self.fill.source, scale=(1.0,), offset=(0.0,), nodata=(0.0,))
            lit = np.full(out.shape[1:], np.nan, source.dtype)
            _repeat(replace(self.fill, source=source), rows, cols, lit)
            out[:, np.isnan(lit)] = np.nan
        return out


def _repeat(layer: Layer, rows: np.ndarray, cols: np.ndarray, out: np.ndarray) -> None:
    """Write a layer's values at `rows` x `cols` of the fine grid into `out`, reading each native sample once."""
    y, x = layer.rows(rows), layer.cols(cols)
    iy, ix = np.flatnonzero(y >= 0), np.flatnonzero(x >= 0)
    if not iy.size or not ix.size:
        return
    native_y, repeat_y = np.unique(y[iy], return_inverse=True)
    native_x, repeat_x = np.unique(x[ix], return_inverse=True)
    native = read_outer(layer.source, [0], native_y, native_x)[0]
    if iy.size == rows.size and ix.size == cols.size:
        out[:] = native[repeat_y][:, repeat_x]
    else:
        out[np.ix_(iy, ix)] = native[repeat_y][:, repeat_x]
