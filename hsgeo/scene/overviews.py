"""Overviews of a GeoTIFF made while it is being written: means of 2 x 2 pixels, each level from the one before.

GDAL's own reads and decodes the finished file again. Here the first level comes from the windows as they are written,
into a file of its own with the same compression; the next ones from that; at the end their blocks are moved behind the
raster as they are. (GDAL opens an overview for writing too, but then compresses it at its default level.)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .metadata import Metadata
from .staging import require_space
from .tiff_blocks import check_blocks, join
from .window import Window

#: pixels a side of the blocks of overviews
LARGEST, SMALLEST = 256, 64


def block_side(meta: Metadata, unit: tuple[int, int], most: int = LARGEST) -> int | None:
    """Pixels a side of overview blocks, of which windows along `unit` fill whole ones.

    None, and `Overviews` cannot serve: no such side, or integers of 64 bits.
    """
    if meta.dtype.kind in "iu" and meta.dtype.itemsize > 4:
        return None
    starts = [step for step, size in zip(unit, meta.shape[1:], strict=True) if step < size]
    sides = range(max(min(most // 16 * 16, LARGEST), SMALLEST), SMALLEST - 1, -16)
    return next((side for side in sides if all(step % (2 * side) == 0 for step in starts)), None)


class Overviews:
    """The overviews of one raster, level by level in a folder of their own until they are joined to it.

    Parameters
    ----------
    folder : path
        To be made, and removed at the end.
    target : path
        The output, for messages.
    meta : Metadata
    options : mapping
        GDAL creation options of the raster.
    count : int
        Number of levels, at least one. Each has half the rows and columns, rounded up as in JPEG 2000: the last cell
        of an odd size is the mean of what it covers.
    side : int
        Pixels a side of blocks, from `block_side`.
    """

    def __init__(
        self, folder: Path, target: Path, meta: Metadata, options: Mapping[str, str], count: int, side: int
    ) -> None:
        folder.mkdir()
        self.folder, self.target, self.meta, self.count, self.side = folder, target, meta, count, side
        size = {"TILED": "YES", "BLOCKXSIZE": str(side), "BLOCKYSIZE": str(side), "BIGTIFF": "YES"}
        self._options = {**options, **size}
        self._level: Any = self._create(1, meta.nodata)

    def write(self, raw: np.ndarray, window: Window, nodata: float | None) -> None:
        """The first level's share of a window (B, rows, columns) of the raster, which starts at even pixels."""
        _put(self._level, halve(raw, nodata), window.y0 // 2, window.x0 // 2)

    def finish(self, path: Path, nodata: float | None, needed: int, sparse: bool) -> None:
        """Make the other levels, and join all to the closed raster at `path`.

        Parameters
        ----------
        path : path
        nodata : float or None
            As it is known in the end.
        needed : int
            Bytes that the whole output may take, for messages.
        sparse : bool
            Blocks without data may be left out.

        Raises
        ------
        OutputWriteError
            Blocks of a level are missing, or there is no room to move them: the disk is full.
        ParameterError
            The raster is no BigTIFF and would pass 4 GiB.
        """
        if nodata is not None and self.meta.nodata is None:
            self._level.nodata = nodata
        self.close()
        for number in range(1, self.count + 1):
            level = self._path(number)
            check_blocks(level, self.target, sparse)
            require_space(self.target, level.stat().st_size * 5 // 4, needed)
            if number < self.count:
                self._next(number, nodata)
            join(path, level)
            level.unlink()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Close what is open; for a write that failed."""
        level, self._level = self._level, None
        if level is not None:
            level.close()

    def _next(self, number: int, nodata: float | None) -> None:
        """The level after that number."""
        import rasterio
        from rasterio.windows import Window as RasterioWindow

        step = 2 * self.side
        self._level = self._create(number + 1, nodata)
        with rasterio.open(self._path(number)) as source:
            for y in range(0, source.height, step):
                for x in range(0, source.width, step):
                    part = RasterioWindow(x, y, min(step, source.width - x), min(step, source.height - y))
                    _put(self._level, halve(source.read(window=part), nodata), y // 2, x // 2)
        self.close()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.tif"

    def _create(self, number: int, nodata: float | None) -> Any:
        import rasterio

        factor = 2**number
        height, width = (-(-n // factor) for n in self.meta.shape[1:])
        return rasterio.open(
            self._path(number),
            "w",
            driver="GTiff",
            count=self.meta.count,
            height=height,
            width=width,
            dtype=self.meta.dtype.name,
            nodata=nodata,
            transform=self.meta.transform * self.meta.transform.scale(factor),
            **self._options,
        )


def _put(level: Any, raw: np.ndarray, y: int, x: int) -> None:
    from rasterio.windows import Window as RasterioWindow

    level.write(raw, window=RasterioWindow(x, y, raw.shape[2], raw.shape[1]))


def halve(raw: np.ndarray, nodata: float | None) -> np.ndarray:
    """Means of 2 x 2 pixels, of those that are valid.

    Parameters
    ----------
    raw : array (B, rows, columns)
        Stored values: floats, or integers of up to 32 bits.
    nodata : float, optional
        Stored value of what is not valid; neither are floats that are not finite.

    Returns
    -------
    array (B, ceil(rows / 2), ceil(columns / 2))
        Integers rounded half away from zero. Where no pixel is valid `nodata`, NaN without one; a mean that happens
        to be `nodata` moves one step up.
    """
    pads = [(0, n % 2) for n in raw.shape[1:]]
    rows, columns = (-(-n // 2) for n in raw.shape[1:])
    out = np.empty((raw.shape[0], rows, columns), raw.dtype)
    work = np.float64 if raw.dtype.kind == "f" else np.int32 if raw.dtype.itemsize <= 2 else np.int64
    lines, sums = np.empty((rows, 2 * columns), work), np.empty((rows, columns), work)
    blank = None if nodata is None or np.isnan(nodata) else raw.dtype.type(nodata)
    for band, result in zip(raw, out, strict=True):
        # a last row or column that is repeated changes no mean
        pixels = np.pad(band, pads, "edge") if any(p for _, p in pads) else band
        valid = _valid(pixels, blank)
        if valid is None or valid.all():
            _sum(pixels, lines, sums)
            _quarter(sums, result)
            _move_off(result, blank)
        else:
            _sum(np.where(valid, pixels, raw.dtype.type(0)), lines, sums)
            number = np.empty(sums.shape, np.uint8)
            _sum(valid.view(np.uint8), np.empty(lines.shape, np.uint8), number)
            mean = sums / np.maximum(number, 1)
            result[...] = mean if raw.dtype.kind == "f" else np.trunc(mean + np.copysign(0.5, mean))
            _move_off(result, blank)
            result[number == 0] = np.nan if blank is None else blank
    return out


def _valid(pixels: np.ndarray, blank: Any) -> np.ndarray | None:
    """None where all are."""
    if pixels.dtype.kind == "f":
        valid = np.isfinite(pixels)
        return valid if blank is None else valid & (pixels != blank)
    return None if blank is None else pixels != blank


def _sum(pixels: np.ndarray, lines: np.ndarray, out: np.ndarray) -> None:
    np.add(pixels[0::2], pixels[1::2], out=lines, dtype=lines.dtype)
    np.add(lines[:, 0::2], lines[:, 1::2], out=out)


def _quarter(sums: np.ndarray, out: np.ndarray) -> None:
    if out.dtype.kind == "f":
        np.multiply(sums, 0.25, out=out, casting="same_kind")
        return
    if out.dtype.kind == "i":
        sums += sums >> (8 * sums.itemsize - 1)  # half away from zero, below it too
    sums += 2
    np.right_shift(sums, 2, out=out, casting="unsafe")


def _move_off(values: np.ndarray, blank: Any) -> None:
    """Means of valid pixels are not to be taken for missing."""
    if blank is None:
        return
    if values.dtype.kind == "f":
        values[values == blank] = np.nextafter(blank, values.dtype.type(np.inf))
    elif np.iinfo(values.dtype).min < blank < np.iinfo(values.dtype).max:  # no mean reaches the ends
        values[values == blank] = blank + 1
