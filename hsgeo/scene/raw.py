"""Windows of uncompressed binary rasters (ENVI), read without GDAL.

GDAL reads whole lines of such files: a window of 256 x 256 pixels in 224 bands of 20000 x 15000 took it 6 to 12 s;
reading the samples of the window alone takes 0.1 to 0.6 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.errors import SceneReadError

from .window import Window


@dataclass(frozen=True)
class RawLayout:
    """Where the samples of a binary raster lie.

    Parameters
    ----------
    offset : int
        Bytes before the first sample.
    dtype : str
        numpy dtype with its byte order, such as ``>i2``.
    interleave : "bsq", "bil" or "bip"
    shape : (bands, height, width)
    """

    offset: int
    dtype: str
    interleave: str
    shape: tuple[int, int, int]

    def read(self, path: str, bands: Sequence[int], window: Window) -> np.ndarray:
        """Stored values (n, h, w) of `bands` (positions from 0) in a window inside the raster.

        Raises
        ------
        SceneReadError
            The file is gone or shorter than its header says.
        """
        h, w = window.shape
        kind = np.dtype(self.dtype)
        try:
            with open(path, "rb", buffering=0) as file:
                reader = {"bsq": self._bsq, "bil": self._bil, "bip": self._bip}[self.interleave]
                values = np.empty((len(bands), h, w), kind)
                reader(file, bands, window, values)
        except OSError as error:
            if isinstance(error, SceneReadError):
                raise
            raise SceneReadError(f"{path} cannot be read ({error.strerror or error}).") from error
        return values.astype(kind.newbyteorder("="), copy=False)

    def _fill(self, file: Any, sample: int, out: np.ndarray) -> None:
        """Read consecutive samples from the one numbered `sample` into the contiguous array `out`."""
        flat = out.reshape(-1).view(np.uint8)
        file.seek(self.offset + sample * out.itemsize)
        done = 0
        while done < flat.size:
            count = file.readinto(flat[done:])
            if not count:
                raise SceneReadError(f"{file.name} ends before the samples its header describes; copy it again.")
            done += count

    def _bsq(self, file: Any, bands: Sequence[int], window: Window, values: np.ndarray) -> None:
        _, height, width = self.shape
        h, w = window.shape
        for k, band in enumerate(bands):
            start = (band * height + window.y0) * width
            if w == width:
                self._fill(file, start, values[k])
            elif 2 * w >= width:  # one long read is cheaper than many short ones
                lines = np.empty((h, width), values.dtype)
                self._fill(file, start, lines)
                values[k] = lines[:, window.x0 : window.x1]
            else:
                for row in range(h):
                    self._fill(file, start + row * width + window.x0, values[k, row])

    def _bil(self, file: Any, bands: Sequence[int], window: Window, values: np.ndarray) -> None:
        count, _, width = self.shape
        h, w = window.shape
        first, last = min(bands), max(bands) + 1
        if 2 * w * len(bands) >= (last - first) * width:
            lines = np.empty((last - first, width), values.dtype)
            picked = [b - first for b in bands]
            for row in range(h):
                self._fill(file, ((window.y0 + row) * count + first) * width, lines)
                values[:, row] = lines[picked, window.x0 : window.x1]
            return
        for row in range(h):
            for k, band in enumerate(bands):
                self._fill(file, ((window.y0 + row) * count + band) * width + window.x0, values[k, row])

    def _bip(self, file: Any, bands: Sequence[int], window: Window, values: np.ndarray) -> None:
        count, _, width = self.shape
        h, w = window.shape
        pixels = np.empty((w, count), values.dtype)
        for row in range(h):
            self._fill(file, ((window.y0 + row) * width + window.x0) * count, pixels)
            values[:, row] = pixels[:, bands].T
