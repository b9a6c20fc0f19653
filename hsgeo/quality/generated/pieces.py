"""Pixels that generated tiles and their scene are measured by: the whole scene in windows, samples, blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hsgeo.quality.metrics import windows
from hsgeo.scene.window import Window

#: bytes of float32 that a sample holds, and that a scene may have to be kept in memory
SAMPLE, KEPT = 512 << 20, 1 << 30
#: side of the windows that a sample is made of where the whole is too large, pixels
SIDE = 128


class Real:
    """A scene of which windows are read, kept in memory where it is small.

    Parameters
    ----------
    scene : scene (band, y, x)
    bands : int array (B,)
        Positions of the bands that count.
    kept : int
        Bytes of float32 up to which the scene is read once.
    """

    def __init__(self, scene: xr.DataArray, bands: np.ndarray, kept: int = KEPT):
        self.scene, self.bands = scene, bands
        self.height, self.width = scene.sizes["y"], scene.sizes["x"]
        size = 4 * len(bands) * self.height * self.width
        self._values = pixels_of(scene, bands) if size <= kept else None

    def read(self, window: Window) -> np.ndarray:
        """Values (B, h, w) of a window inside the scene, float32."""
        rows, columns = window.slices
        if self._values is not None:
            return self._values[:, rows, columns]
        return pixels_of(self.scene, self.bands, window)

    def windows(self) -> Iterator[np.ndarray]:
        """The whole scene once, as arrays (B, h, w)."""
        for window in windows(self.height, self.width):
            yield self.read(window)


@dataclass(frozen=True)
class Piece:
    """A part of a tile, or of the scene.

    Attributes
    ----------
    values : float32 array (B, h, w)
    source : int
        Which tile it is of.
    y0, x0 : int
        Where its first pixel lies there.
    classes : int array (h, w) or None
        The class of each pixel, from 1; 0 where it has none.
    """

    values: np.ndarray
    source: int = 0
    y0: int = 0
    x0: int = 0
    classes: np.ndarray | None = None


def pixels_of(scene: xr.DataArray, bands: np.ndarray, window: Window | None = None) -> np.ndarray:
    """Values (B, h, w) of some bands, float32; NaN in all of them where one is missing."""
    rows, columns = (slice(None), slice(None)) if window is None else window.slices
    values = np.asarray(scene.isel(y=rows, x=columns).values[bands], dtype=np.float32)
    missing = ~np.isfinite(values).all(0)
    if missing.any():
        values[:, missing] = np.nan
    return values


def sampled(
    scenes: Sequence[xr.DataArray],
    bands: np.ndarray,
    classes: Sequence[np.ndarray | xr.DataArray | None] | None = None,
    budget: int = SAMPLE,
    side: int = 1,
) -> tuple[list[Piece], bool]:
    """Scenes as arrays in memory: whole ones, or windows spread evenly over all of them.

    Parameters
    ----------
    scenes : sequence of scene (band, y, x)
    bands : int array (B,)
        Positions of the bands that count.
    classes : sequence of array (y, x), optional
        The class of each pixel of each scene.
    budget : int
        Bytes of float32 that are held at most.
    side : int
        Pixels of which the sides of windows are multiples, those at the edges excepted.

    Returns
    -------
    list of Piece
    bool
        Whether they are all there is.
    """
    every: list[tuple[int, Window]] = []
    pixel = 4 * len(bands)
    whole = sum(pixel * s.sizes["y"] * s.sizes["x"] for s in scenes) <= budget
    for source, scene in enumerate(scenes):
        height, width = scene.sizes["y"], scene.sizes["x"]
        size = max(height, width) if whole else -(-max(SIDE, side) // side) * side
        every += [(source, window) for window in windows(height, width, size)]
    if not whole:
        largest = max(window.shape[0] * window.shape[1] for _, window in every)
        count = min(len(every), max(1, budget // (pixel * largest)))
        every = [every[i] for i in np.linspace(0, len(every) - 1, count).round().astype(int)]
    found = []
    for source, window in every:
        known = None if classes is None else classes[source]
        if known is not None:
            known = np.asarray(known[window.slices])
        values = pixels_of(scenes[source], bands, window)
        found.append(Piece(values, source, window.y0, window.x0, known))
    return found, whole


def spectra(pieces: Sequence[Piece], limit: int, rng: np.random.Generator) -> np.ndarray:
    """Spectra (n, B) of the pixels with data, float32: all of them, or `limit` picked at random."""
    rows = np.concatenate([p.values.reshape(len(p.values), -1).T for p in pieces])
    rows = rows[np.isfinite(rows[:, 0])]
    return rows if len(rows) <= limit else rows[np.sort(rng.choice(len(rows), limit, replace=False))]


def cut_blocks(
    pieces: Sequence[Piece], block: int, limit: int | None = None
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Blocks with data in every pixel, side by side from the first pixel of each piece on.

    Parameters
    ----------
    pieces : sequence of Piece
    block : int
        Side in pixels.
    limit : int, optional
        How many at most, evenly spread.

    Returns
    -------
    float32 array (n, B, block, block)
    list of (source, row, column)
        Where each begins in its tile.
    """
    places = [
        (i, y, x)
        for i, piece in enumerate(pieces)
        for y in range(0, piece.values.shape[1] - block + 1, block)
        for x in range(0, piece.values.shape[2] - block + 1, block)
        if np.isfinite(piece.values[0, y : y + block, x : x + block]).all()
    ]
    if limit is not None and len(places) > limit:
        places = [places[i] for i in np.linspace(0, len(places) - 1, limit).round().astype(int)]
    bands = len(pieces[0].values)
    cuts = [pieces[i].values[:, y : y + block, x : x + block] for i, y, x in places]
    found = np.stack(cuts) if cuts else np.empty((0, bands, block, block), np.float32)
    return found, [(pieces[i].source, pieces[i].y0 + y, pieces[i].x0 + x) for i, y, x in places]
