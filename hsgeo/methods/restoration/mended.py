"""A scene as a restoration reads it: hidden and dead samples are missing, stripes are taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsgeo.observation.lines import Lines
from hsgeo.scene.masks import Mask
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window


@dataclass(frozen=True, eq=False)
class Mended(SceneSource):
    """A scene without what is known to be wrong with it.

    Attributes
    ----------
    mask : Mask, optional
        Hides samples.
    dead : tuple of (Lines, bool array (B, n))
        Lines whose samples are no measurement.
    offsets : tuple of (Lines, array (B, n))
        Stripes, in the units of the scene.
    """

    mask: Mask | None = None
    dead: tuple[tuple[Lines, np.ndarray], ...] = ()
    offsets: tuple[tuple[Lines, np.ndarray], ...] = ()

    def read(self, window: Window) -> np.ndarray:
        """All bands (B, h, w) of a window, float32; NaN where there is no measurement."""
        return self.mended(super().read(window), window)

    def mended(self, values: np.ndarray, window: Window) -> np.ndarray:
        """Values (B, h, w) of the scene as it is, made those of this one."""
        out = values.copy()
        for lines, offsets in self.offsets:
            if offsets.any():
                out -= offsets.astype(np.float32)[:, _lines(lines, window)]
        for lines, dead in self.dead:
            if dead.any():
                np.copyto(out, np.nan, where=dead[:, _lines(lines, window)])
        if self.mask is not None:
            np.copyto(out, np.nan, where=self.mask.hidden(window))
        return out


def _lines(lines: Lines, window: Window) -> np.ndarray:
    """Number of the line of each pixel, (h, w); (1, w) or (h, 1) where lines are columns or rows."""
    index = lines.of_window(window.y0, window.y1, window.x0, window.x1)
    if lines.slope:
        return index
    return index[:1] if lines.along == "columns" else index[:, :1]
