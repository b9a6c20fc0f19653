"""Reading a scene on another grid: one interpolation, no value depends on the window it is asked for.

Cubic convolution (Keys 1981, doi:10.1109/TASSP.1981.1163711, a = -1/2), whose kernel is widened to the target's
pixel where that is coarser, so that detail which the target cannot hold is averaged away instead of aliased.
Where the two grids are parallel the interpolation is a product of two sparse matrices, otherwise a gather at the
mapped centre of each target pixel. In both, the weights of missing samples are redistributed over those present,
and a target pixel is missing where less than half of its kernel's weight is on samples that are there.

GDAL's warper is not used: rasterio's ``reproject`` always approximates the transformation (its ``tolerance`` is
taken for a warp option, rasterio 1.4), so a value would depend on the window by up to an eighth of a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from scipy import sparse

from .grids import PixelMap, whole
from .window import Window

#: rows and columns gathered at once
_BLOCK = 256
#: distance in target pixels of the nodes between which a change of CRS is interpolated
_NODES = 16


@dataclass(frozen=True, eq=False)
class Resampler:
    """`scene` on the grid `target`, read window by window.

    Attributes
    ----------
    scene : scene (band, y, x)
    source : GeoBox
        Grid of `scene`.
    target : GeoBox
        Grid that windows count on; they may reach outside it.
    mapping : PixelMap
        From `target` to `source`.
    """

    scene: xr.DataArray
    source: GeoBox
    target: GeoBox
    mapping: PixelMap

    @classmethod
    def onto(cls, scene: xr.DataArray, source: GeoBox, target: GeoBox) -> Resampler:
        """Prepare reading `scene`, whose grid is `source`, on `target`."""
        return cls(scene, source, target, PixelMap.between(target, source))

    @property
    def copies(self) -> bool:
        """Whether the grids coincide, so that samples are handed over untouched."""
        return self.mapping.coincides

    def read(self, window: Window) -> np.ndarray:
        """Values in a window of the target grid.

        Parameters
        ----------
        window : Window
            Pixels of `target`; may lie partly or wholly outside.

        Returns
        -------
        ndarray (B, h, w), float32
            NaN where the scene has no data.
        """
        offset = self.mapping.offset
        if offset is not None:
            return read_window(self.scene, window.shift(*offset))
        if self.mapping.linear is not None:
            return self._separable(window)
        out = np.empty((self.scene.sizes["band"], *window.shape), np.float32)
        for y0 in range(window.y0, window.y1, _BLOCK):
            for x0 in range(window.x0, window.x1, _BLOCK):
                part = Window(y0, min(y0 + _BLOCK, window.y1), x0, min(x0 + _BLOCK, window.x1))
                rows, cols = part.within(window).slices
                out[:, rows, cols] = self._gather(part)
        return out

    def _separable(self, window: Window) -> np.ndarray:
        assert self.mapping.linear is not None
        ay, by, ax, bx = self.mapping.linear
        rows = _Weights.of(np.arange(window.y0, window.y1), ay, by, self.source.shape[0])
        cols = _Weights.of(np.arange(window.x0, window.x1), ax, bx, self.source.shape[1])
        out = np.full((self.scene.sizes["band"], *window.shape), np.nan, np.float32)
        if not (rows.sums.any() and cols.sums.any()):
            return out
        data = read_window(self.scene, Window(rows.start, rows.stop, cols.start, cols.stop))
        for band, values in zip(out, data, strict=True):
            present = np.isfinite(values)
            if present.all():
                weight = np.outer(rows.sums, cols.sums)
            else:
                weight = rows.apply(cols.apply(present.T.astype(np.float64)).T)
                values = np.where(present, values, 0)
            band[...] = _ratio(rows.apply(cols.apply(values.T.astype(np.float64)).T), weight)
        return out

    def _gather(self, window: Window) -> np.ndarray:
        x, y = _centres(self.mapping, window)
        height, width = self.source.shape
        tall, wide = (_widening(step) for step in self.mapping.steps)
        # a centre further out than the kernel reaches finds nothing, and an unknown place neither
        reach_y, reach_x = 2 * math.ceil(2 * tall), 2 * math.ceil(2 * wide)
        y = np.clip(np.nan_to_num(y, nan=-reach_y, posinf=-reach_y), -reach_y, height + reach_y)
        x = np.clip(np.nan_to_num(x, nan=-reach_x, posinf=-reach_x), -reach_x, width + reach_x)
        first_y, weight_y = _taps(y, tall)
        first_x, weight_x = _taps(x, wide)
        count, taps_y, taps_x = self.scene.sizes["band"], weight_y.shape[-1], weight_x.shape[-1]
        part = Window(int(first_y.min()), int(first_y.max()) + taps_y, int(first_x.min()), int(first_x.max()) + taps_x)
        if 0 in part.clip(height, width).shape:
            return np.full((count, *window.shape), np.nan, np.float32)
        data = read_window(self.scene, part)
        present = np.isfinite(data)
        shared = bool((present == present[:1]).all())
        masks = present[:1] if shared else present
        layers = np.concatenate([np.where(present, data, 0), masks], dtype=np.float64)
        layers = np.ascontiguousarray(layers.reshape(len(layers), -1).T)
        start = (first_y - part.y0) * part.shape[1] + first_x - part.x0
        total = np.zeros((*window.shape, layers.shape[1]))
        for row in range(taps_y):
            for col in range(taps_x):
                weight = weight_y[..., row] * weight_x[..., col]
                total += weight[..., None] * layers.take(start + (row * part.shape[1] + col), axis=0)
        total = np.moveaxis(total, -1, 0)
        return _ratio(total[:count], total[count:]).astype(np.float32)


def _centres(mapping: PixelMap, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Source pixel coordinates (x, y) of the centres of a window's pixels, each (h, w).

    Exact at nodes on multiples of `_NODES` pixels of the whole target, cubic (Lagrange) between them: for map
    projections that is exact to far below a thousandth of a pixel, and the nodes do not move with the window.
    """
    nodes, blends = [], []
    for low, high in ((window.y0, window.y1), (window.x0, window.x1)):
        first, last = low // _NODES - 1, (high - 1) // _NODES + 3
        nodes.append(np.arange(first, last) * float(_NODES))
        position = np.arange(low, high) + 0.5
        cell = np.floor_divide(np.arange(low, high), _NODES)
        t = (position / _NODES - cell)[:, None]
        lagrange = np.hstack(
            [
                -t * (t - 1) * (t - 2) / 6,
                (t + 1) * (t - 1) * (t - 2) / 2,
                -(t + 1) * t * (t - 2) / 2,
                (t + 1) * t * (t - 1) / 6,
            ]
        )
        row = np.repeat(np.arange(position.size), 4)
        col = (cell[:, None] - 1 - first + np.arange(4)).ravel()
        blends.append(sparse.csr_matrix((lagrange.ravel(), (row, col)), (position.size, last - first)))
    at_x, at_y = np.meshgrid(nodes[1], nodes[0])
    with np.errstate(invalid="ignore"):
        u, v = (blends[0] @ (blends[1] @ exact.T).T for exact in mapping.points(at_x, at_y))
    return np.asarray(u), np.asarray(v)


def _taps(centre: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """First source pixel and weights (..., taps), summing to 1, of a kernel around pixel coordinates `centre`."""
    reach = math.ceil(2 * width)
    first = np.floor(centre - 0.5).astype(np.int64) - reach + 1
    weight = cubic((first[..., None] + np.arange(2 * reach) + 0.5 - centre[..., None]) / width)
    return first, weight / weight.sum(axis=-1, keepdims=True)


def _ratio(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean where at least half of the kernel lies on samples that are there, else NaN."""
    enough = weight >= 0.4999
    return np.where(enough, total / np.where(enough, weight, 1), np.nan)


def _widening(step: float) -> float:
    """Kernel width over that of plain interpolation; pixels up to 5 % larger keep the sharper kernel, as in GDAL."""
    return step if step > 1 / 0.95 else 1.0


@dataclass(frozen=True)
class _Weights:
    """Interpolation weights along one axis."""

    matrix: sparse.csr_matrix  # (target pixels, source pixels start..stop)
    sums: np.ndarray  # what of each row's weight lies inside the source
    start: int
    stop: int

    @classmethod
    def of(cls, targets: np.ndarray, slope: float, offset: float, length: int) -> _Weights:
        centre = slope * (targets + 0.5) + offset
        first, weight = _taps(centre, _widening(abs(slope)))
        column = first[:, None] + np.arange(weight.shape[1])
        keep = (weight != 0) & (column >= 0) & (column < length)
        if not keep.any():
            return cls(sparse.csr_matrix((targets.size, 1)), np.zeros(targets.size), 0, 1)
        start, stop = int(column[keep].min()), int(column[keep].max()) + 1
        row = np.broadcast_to(np.arange(targets.size)[:, None], column.shape)
        matrix = sparse.csr_matrix((weight[keep], (row[keep], column[keep] - start)), (targets.size, stop - start))
        return cls(matrix, np.where(keep, weight, 0).sum(axis=1), start, stop)

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.matrix @ values)


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, a = -1/2, support [-2, 2]."""
    t = np.abs(t)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def read_window(scene: xr.DataArray, window: Window, dtype: Any = np.float32) -> np.ndarray:
    """Values of a window (B, h, w), read now; NaN where the window lies outside the scene."""
    height, width = scene.sizes["y"], scene.sizes["x"]
    part = window.clip(height, width)
    if 0 in part.shape:
        return np.full((scene.sizes["band"], *window.shape), np.nan, dtype)
    rows, cols = part.slices
    chosen = scene.isel(y=rows, x=cols)
    if chosen.chunks is not None:
        # inside a distributed worker the default scheduler would wait for the worker itself
        chosen = chosen.compute(scheduler="synchronous")
    values = np.asarray(chosen.values, dtype=dtype)
    if part == window:
        return values
    out = np.full((scene.sizes["band"], *window.shape), np.nan, dtype)
    rows, cols = part.within(window).slices
    out[:, rows, cols] = values
    return out


def whole_scene(scene: xr.DataArray, box: GeoBox) -> np.ndarray:
    """All values of a (small) scene."""
    return read_window(scene, whole(box))
