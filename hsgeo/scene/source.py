"""A scene as methods read it: by windows that may reach outside, and by windows to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from .pair import cells, tries
from .resample import read_window
from .window import Window


@dataclass(frozen=True, eq=False)
class SceneSource:
    """The pixels of one scene; nothing is read before it is asked for. Can be pickled.

    Attributes
    ----------
    scene : scene (B, y, x)
    """

    scene: xr.DataArray

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.scene.sizes["y"]), int(self.scene.sizes["x"])

    @property
    def bands(self) -> int:
        """B."""
        return int(self.scene.sizes["band"])

    def read(self, window: Window) -> np.ndarray:
        """All bands (B, h, w) of a window, float32; NaN where there is no data."""
        return read_window(self.scene, window)

    def sample(self, pixels: int = 40000, side: int = 128, seed: int = 0) -> list[np.ndarray]:
        """Windows (B, h, w) to learn from: the whole scene where it is small, else well spread ones that have data.

        Parameters
        ----------
        pixels : int
            Of all windows together.
        side : int
            Of one.
        seed : int
            Moves the windows within their cells; equal seeds give equal windows.
        """
        height, width = self.shape
        if height * width <= pixels:
            found = [self.read(Window(0, height, 0, width))]
            return [values for values in found if np.isfinite(values).any()]
        shape = min(side, height), min(side, width)
        out = []
        for cell in cells(height, width, max(1, pixels // (shape[0] * shape[1]))):
            best, most = None, 0.0
            for window in tries(cell, shape, 1, seed):
                values = self.read(window)
                share = float(np.isfinite(values).mean())
                if share > most:
                    best, most = values, share
                if share > 0.5:
                    break
            if best is not None:
                out.append(best)
        return out
