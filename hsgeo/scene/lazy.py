"""Pixels that are read when they are asked for: windows of raster files as float arrays.

`Source` reads a window of one file and turns stored into physical values; `RasterArray` gives it to xarray as a lazily
indexed array. Both hold paths and numbers only, so they can be pickled; open datasets live in a pool of this process,
each used by one thread at a time.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from hsgeo.errors import SceneReadError

from .raw import RawLayout
from .window import Window

#: bytes that one strided read may hold besides its result
STRIP_BYTES = 64 << 20
#: rows that are cheaper to read and drop than to skip
GAP_ROWS = 32


class _Pool:
    """Idle open datasets. GDAL datasets serve one thread at a time, so each is lent out and given back."""

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self.forget()

    def forget(self) -> None:
        """Start empty; in a forked child the parent's handles are kept from being closed and never used."""
        self.inherited = getattr(self, "idle", None)
        self.lock = threading.Lock()
        self.idle: list[tuple[tuple[Any, ...], Any]] = []

    @contextmanager
    def lend(self, path: str, driver: str | None) -> Iterator[Any]:
        import rasterio

        key = (path, driver, *stamp(path))
        dataset = None
        with self.lock:
            for i in range(len(self.idle) - 1, -1, -1):
                if self.idle[i][0] == key:
                    dataset = self.idle.pop(i)[1]
                    break
        if dataset is None:
            dataset = rasterio.open(path, driver=driver, sharing=False)
        try:
            yield dataset
        except BaseException:
            dataset.close()
            raise
        old = []
        with self.lock:
            self.idle.append((key, dataset))
            while len(self.idle) > self.limit:
                old.append(self.idle.pop(0)[1])
        for spare in old:
            spare.close()


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def stamp(path: str) -> tuple[int, int]:
    """Modification time (ns) and size of a file; zeros for names that only GDAL understands."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def float_type(dtype: str) -> np.dtype:
    """The float type that holds the values of a stored type: float64 for 32-bit integers and float64, else float32."""
    kind = np.dtype(dtype)
    wide = kind.itemsize > 4 or (kind.kind in "iu" and kind.itemsize == 4)
    return np.dtype("float64" if wide else "float32")


@dataclass(frozen=True)
class Source:
    """Bands of one raster file and how their stored values become physical ones.

    Parameters
    ----------
    path : str
        What GDAL opens.
    shape : (bands, height, width)
    indexes : tuple of int
        GDAL's band numbers, one for each band.
    stored : str
        dtype in the file.
    scale, offset : tuple of float
        physical = stored * scale + offset, one for each band.
    nodata : tuple of float or None
        Stored value that means no data, one for each band.
    mask : int
        0 no mask; -1 the dataset's mask band; n > 0 band n is zero where there is no data (alpha band).
    raw : RawLayout, optional
        The samples lie uncompressed in the file and are read without GDAL.
    """

    path: str
    shape: tuple[int, int, int]
    indexes: tuple[int, ...]
    stored: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: tuple[float | None, ...]
    mask: int = 0
    driver: str | None = None
    stamp: tuple[int, int] = (0, 0)
    raw: RawLayout | None = None

    @property
    def dtype(self) -> np.dtype:
        """dtype of the physical values."""
        return float_type(self.stored)

    def read(self, bands: Sequence[int], window: Window) -> np.ndarray:
        """Physical values of `bands` (positions from 0) in a window inside the raster, NaN where there is no data.

        Raises
        ------
        SceneReadError
            The file cannot be read there: damaged, truncated or gone.
        """
        height, width = window.shape
        if not len(bands) or not height or not width:
            return np.empty((len(bands), height, width), self.dtype)
        numbers = [self.indexes[b] for b in bands]
        if self.raw is not None:
            wanted = [n - 1 for n in ([*numbers, self.mask] if self.mask > 0 else numbers)]
            stored = self.raw.read(self.path, wanted, window)
            return self._physical(stored[: len(bands)], stored[-1] if self.mask > 0 else None, bands)
        return self._physical(*self._read_gdal(numbers, window), bands)

    def _read_gdal(self, numbers: list[int], window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored values of GDAL's bands and, where there is a mask, its values."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as RasterioWindow

        height, width = window.shape
        where = RasterioWindow(window.x0, window.y0, width, height)
        try:
            with _POOL.lend(self.path, self.driver) as dataset:
                stored = dataset.read(numbers, window=where)
                if self.mask < 0:
                    valid = dataset.dataset_mask(window=where)
                elif self.mask:
                    valid = dataset.read(self.mask, window=where)
                else:
                    valid = None
        except RasterioError as error:
            detail = str(error.__cause__ or error).splitlines()[0]
            raise SceneReadError(
                f"{self.path}: rows {window.y0}-{window.y1 - 1} cannot be read, the file is damaged or incomplete; "
                f"copy or download it again ({detail})."
            ) from error
        return stored, valid

    def _physical(self, stored: np.ndarray, valid: np.ndarray | None, bands: Sequence[int]) -> np.ndarray:
        values = stored.astype(self.dtype, copy=False)
        floating = stored.dtype.kind == "f"
        for k, b in enumerate(bands):
            nodata = self.nodata[b]
            # looked up before scaling: `values` may be the same memory as `stored`
            missing = None if nodata is None else _equals(stored[k], nodata)
            band = values[k]
            if self.scale[b] != 1:
                band *= band.dtype.type(self.scale[b])
            if self.offset[b] != 0:
                band += band.dtype.type(self.offset[b])
            if missing is not None:
                band[missing] = np.nan
            if floating:
                band[~np.isfinite(band)] = np.nan
            if valid is not None:
                band[valid == 0] = np.nan
        return values


def _equals(stored: np.ndarray, value: float) -> np.ndarray | None:
    """Where `stored` is `value`, None when its type cannot hold that value."""
    if stored.dtype.kind == "f":
        return None if np.isnan(value) else stored == stored.dtype.type(value)
    info = np.iinfo(stored.dtype)
    if value != int(value) or not info.min <= value <= info.max:
        return None
    return stored == stored.dtype.type(int(value))


class LazyArray(BackendArray, ABC):
    """Base of the lazily indexed arrays: (band, y, x), outer indexing; a subclass reads `_block`."""

    shape: tuple[int, int, int]
    dtype: np.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> np.ndarray:
        bands, rows, cols = (np.arange(n)[k] for n, k in zip(self.shape, key, strict=True))
        block = self._block(*(np.atleast_1d(i) for i in (bands, rows, cols)))
        return block[tuple(0 if np.ndim(i) == 0 else slice(None) for i in (bands, rows, cols))]

    @abstractmethod
    def _block(self, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Values at `bands` x `rows` x `cols` (1-d positions, in any order)."""


@dataclass(frozen=True)
class RasterArray(LazyArray):
    """The bands of one file."""

    source: Source
    shape: tuple[int, int, int] = field(init=False)
    dtype: np.dtype = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.source.shape)
        object.__setattr__(self, "dtype", self.source.dtype)

    def _block(self, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return read_outer(self.source, bands.tolist(), rows, cols)


def read_outer(source: Source, bands: Sequence[int], rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Physical values at `bands` x `rows` x `cols`, in strips of bounded memory where rows or columns are skipped."""
    if not rows.size or not cols.size:
        return np.empty((len(bands), rows.size, cols.size), source.dtype)
    if _contiguous(rows) and _contiguous(cols):
        return source.read(bands, Window(int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1))
    wanted, place = np.unique(rows, return_inverse=True)
    x0, x1 = int(cols.min()), int(cols.max()) + 1
    limit = max(1, STRIP_BYTES // max(1, len(bands) * (x1 - x0) * source.dtype.itemsize))
    picked = np.empty((len(bands), wanted.size, cols.size), source.dtype)
    for first, last in _strips(wanted, limit):
        y0 = int(wanted[first])
        strip = source.read(bands, Window(y0, int(wanted[last - 1]) + 1, x0, x1))
        picked[:, first:last] = strip[:, wanted[first:last] - y0][:, :, cols - x0]
    return picked[:, place]


def _contiguous(index: np.ndarray) -> bool:
    return index.size == 1 or bool((np.diff(index) == 1).all())


def _strips(rows: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cut sorted rows into runs [first, last) that span at most `limit` rows and skip no long gap."""
    first = 0
    for i in range(1, rows.size + 1):
        if i == rows.size or rows[i] - rows[first] >= limit or rows[i] - rows[i - 1] > GAP_ROWS:
            yield first, i
            first = i


@dataclass(frozen=True)
class BlockMeanArray(LazyArray):
    """Means of r x r pixels of another lazily indexed variable, NaN ignored; complete blocks only."""

    variable: Any
    ratio: int
    first: tuple[int, int]
    grid: tuple[int, int]
    shape: tuple[int, int, int] = field(init=False)
    dtype: np.dtype = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.variable.shape[0], *self.grid))
        object.__setattr__(self, "dtype", self.variable.dtype)

    def _block(self, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        r = self.ratio
        if not rows.size or not cols.size:
            return np.empty((bands.size, rows.size, cols.size), self.dtype)
        y0, x0 = int(rows.min()), int(cols.min())
        height, width = int(rows.max()) + 1 - y0, int(cols.max()) + 1 - x0
        top, left = self.first[0] + y0 * r, self.first[1] + x0 * r
        fine = self.variable[bands, top : top + height * r, left : left + width * r].values
        means = block_mean(fine, r)
        return means[:, rows - y0][:, :, cols - x0]


def block_mean(values: np.ndarray, ratio: int) -> np.ndarray:
    """Means of ratio x ratio pixels of (band, y, x) values, NaN ignored, in float64 and back.

    Parameters
    ----------
    values : array (B, h * ratio, w * ratio)

    Returns
    -------
    array (B, h, w)
        NaN where a block holds no number.
    """
    count, height, width = values.shape
    blocks = values.reshape(count, height // ratio, ratio, width // ratio, ratio)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(axis=(2, 4), dtype=np.float64)
    number = known.sum(axis=(2, 4))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(values.dtype)


def plan_chunks(
    shape: tuple[int, int, int],
    block: tuple[int, int],
    itemsize: int,
    origin: tuple[int, int] = (0, 0),
    target: int = 96 << 20,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Dask chunks of all bands and about `target` bytes, their edges on those of the file's blocks.

    Parameters
    ----------
    shape : (bands, height, width)
    block : (rows, columns)
        Block of the file, in pixels of the array.
    itemsize : int
        Bytes of one value.
    origin : (row, column)
        First pixel of the array in the file.
    """
    count, height, width = shape
    bh, bw = min(block[0], height), min(block[1], width)
    pixels = max(1, target // max(1, count * itemsize))
    while bh * bw > 2 * pixels and max(bh, bw) > 1:  # a block of all bands may be far more than one chunk
        bh, bw = (-(-bh // 2), bw) if bh >= bw else (bh, -(-bw // 2))
    number = max(1, pixels // (bh * bw))
    across = min(-(-width // bw), max(1, int(number**0.5) if bw < width else 1))
    rows = bh * max(1, number // across)
    if rows >= height:  # a flat scene: spend the rest of the budget on width
        across = min(-(-width // bw), max(1, number // -(-height // bh)))
    return (count,), _cuts(height, rows, origin[0]), _cuts(width, bw * across, origin[1])


def chunked(scene: xr.DataArray, plan: Sequence[tuple[int, ...]], chunks: Any) -> xr.DataArray:
    """A scene in the chunks of `plan` ("auto"), in others, or lazily indexed (None); its coordinates stay in memory."""
    scene.encoding["preferred_chunks"] = dict(zip(scene.dims, (max(c) for c in plan), strict=True))
    if chunks is None:
        return scene
    lazy = scene.chunk(dict(zip(scene.dims, plan, strict=True)) if chunks == "auto" else chunks)
    return lazy.assign_coords({name: scene[name] for name in scene.coords})  # xarray chunks these too


def _cuts(size: int, step: int, origin: int) -> tuple[int, ...]:
    first = min(size, step - origin % step)
    rest, last = divmod(size - first, step)
    return tuple(n for n in (first, *([step] * rest), last) if n)
