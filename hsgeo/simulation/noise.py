"""Random numbers that belong to the pixel: the same whatever the window asked for."""

from __future__ import annotations

import numpy as np

from hsgeo.scene.window import Window

#: side of the blocks, in pixels of the raster, that own a random stream each
BLOCK = 64


def pixel_noise(window: Window, bands: int, seed: int, stream: int = 0) -> np.ndarray:
    """Standard normal numbers for the pixels of `window`, counted from the raster's first pixel.

    Parameters
    ----------
    window : Window
        May reach outside the raster.
    bands : int
        Numbers per pixel. They depend on it: ask for all bands and select afterwards.
    seed, stream : int
        Another `stream` of the same seed is independent.

    Returns
    -------
    array (bands, height, width), float32
    """
    out = np.empty((bands, *window.shape), np.float32)
    for row in range(window.y0 // BLOCK, -(-window.y1 // BLOCK)):
        for column in range(window.x0 // BLOCK, -(-window.x1 // BLOCK)):
            block = Window(row * BLOCK, (row + 1) * BLOCK, column * BLOCK, (column + 1) * BLOCK)
            # seeds are not negative: blocks before the first are numbered from the far end
            rng = np.random.default_rng([seed, stream, row % 2**32, column % 2**32])
            value = rng.standard_normal((BLOCK, BLOCK, bands), dtype=np.float32)
            y0, y1 = max(block.y0, window.y0), min(block.y1, window.y1)
            x0, x1 = max(block.x0, window.x0), min(block.x1, window.x1)
            part = Window(y0, y1, x0, x1)
            here, there = part.within(window).slices, part.within(block).slices
            out[:, here[0], here[1]] = value[there[0], there[1]].transpose(2, 0, 1)
    return out
