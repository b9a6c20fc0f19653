"""Samples that an image lacks (nodata, clouds, scene corners): found, flagged and bridged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from hsgeo.scene.window import Window

#: widths of the windows from which a gap is bridged, one after the other, and where they end (in widths)
BRIDGE = (1.0, 2.0, 3.0)
REACH = 2.5


def bridge(values: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Gaps (NaN) in values (n, h, w) filled from the pixels around them, by normalised convolution.

    A gap's pixel takes the narrowest window that meets data; what lies deeper becomes `fallback` (n,). The reach is
    bounded, so the result is a local one.
    """
    known = np.isfinite(values).all(0)
    if known.all():
        return values
    out = np.where(known, values, 0.0)
    weight = known.astype(values.dtype)
    left = ~known
    for width in BRIDGE:
        mass = gaussian_filter(weight, width, mode="nearest", truncate=REACH)
        reached = left & (mass > 1e-3)
        if reached.any():
            for band, source in enumerate(np.where(known, values, 0.0)):
                near = gaussian_filter(source, width, mode="nearest", truncate=REACH)
                out[band][reached] = near[reached] / mass[reached]
        left &= ~reached
    out[:, left] = fallback[:, None]
    return out


def flag_pixels(
    hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, ratios: Sequence[int]
) -> np.ndarray:
    """`TileResult.flags` over the core: `hsi` and each of `msi` have the bands first, over `outer` at their ratios."""
    lacks_hsi = ~_over(np.isfinite(hsi).any(0), outer, core, ratios[-1])
    lacks_msi = np.ones(core.shape, bool)
    for x, ratio in zip(msi, ratios[:-1], strict=True):
        lacks_msi &= ~_over(np.isfinite(x).any(0), outer, core, ratio)
    return lacks_msi.astype(np.uint8) + 2 * lacks_hsi.astype(np.uint8)


def _over(present: np.ndarray, outer: Window, core: Window, ratio: int) -> np.ndarray:
    """A mask on the grid of `ratio`, over the core on the fine grid."""
    start = core.shift(-(outer.y0 // ratio) * ratio, -(outer.x0 // ratio) * ratio)
    rows = np.arange(start.y0, start.y1) // ratio
    columns = np.arange(start.x0, start.x1) // ratio
    return present[rows[:, None], columns[None, :]]
