"""Noise that belongs to the pixel: the same value at the same place of the scene, in every window and worker."""

from __future__ import annotations

import numpy as np

#: side of the blocks, each drawn from a generator of its own, in pixels
BLOCK = 64


def noise_field(seed: int, step: int, channels: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    """Standard normal noise over a window of the scene.

    Parameters
    ----------
    seed, step : int
        Every pair has a field of its own.
    channels : int
        The first c channels do not depend on how many are asked for.
    y0, y1, x0, x1 : int
        Window in the scene's pixels, half open; negative ones lie before the scene.

    Returns
    -------
    float32 array (channels, y1 - y0, x1 - x0)
    """
    out = np.empty((channels, y1 - y0, x1 - x0), np.float32)
    for row in range(y0 // BLOCK, -(-y1 // BLOCK)):
        for column in range(x0 // BLOCK, -(-x1 // BLOCK)):
            key = [seed, step, row & 0xFFFFFFFF, column & 0xFFFFFFFF]
            block = np.random.default_rng(key).standard_normal((channels, BLOCK, BLOCK), np.float32)
            top, left = row * BLOCK, column * BLOCK
            ya, yb, xa, xb = max(y0, top), min(y1, top + BLOCK), max(x0, left), min(x1, left + BLOCK)
            out[:, ya - y0 : yb - y0, xa - x0 : xb - x0] = block[:, ya - top : yb - top, xa - left : xb - left]
    return out
