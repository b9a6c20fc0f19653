"""The HSI alone, interpolated: what every fusion must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsgeo.methods.base import FusionInputs, Method, Params, TileResult
from hsgeo.methods.fusion.frame import Frame, interpolation
from hsgeo.methods.fusion.missing import bridge, flag_pixels
from hsgeo.methods.fusion.streaming import dead_bands
from hsgeo.scene.window import Window

#: context in HSI pixels: the cubic spline's prefilter falls by 0.27 per pixel
HALO = 10


class BicubicParams(Params):
    """`BicubicFusion` has no further ones."""


class BicubicFusion(Method):
    """Method ``bicubic``: cubic spline interpolation onto the fine grid."""

    name = "bicubic"
    Params = BicubicParams

    def fit(self, inputs: FusionInputs, params: BicubicParams | None = None, progress: Any = None) -> BicubicModel:
        """Only finds the bands that carry nothing; see `Method.fit`."""
        pair = inputs.pair
        dead = dead_bands([p.hsi for p in pair.sample(seed=(params or BicubicParams()).seed)])
        reasons = inputs.reasons(dead)
        return BicubicModel(tuple(pair.fine.shape), pair.ratio, tuple(g.ratio for g in pair.groups), reasons)


@dataclass
class BicubicModel:
    """Interpolation, tile by tile; see `hsgeo.methods.base.Model`."""

    scene: tuple[int, int]
    scale: int
    ratios: tuple[int, ...]
    bad_reason: list[str]
    notes: list[str] = field(default_factory=list)
    has_variance: bool = False

    def report(self) -> dict[str, Any]:
        """Nothing was estimated."""
        return {}

    @property
    def good(self) -> np.ndarray:
        """Bands that carry something and are not flagged, bool (B,)."""
        return np.array([not reason for reason in self.bad_reason])

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many fine pixels."""
        return int(np.lcm.reduce([self.scale, *self.ratios]))

    @property
    def halo(self) -> int:
        """Context of a tile in fine pixels."""
        return -(-HALO * self.scale // self.multiple) * self.multiple

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        frame = Frame.around(outer, self.scene, self.multiple)
        flags = flag_pixels(hsi, msi, outer, core, (*self.ratios, self.scale))
        values = interpolate(frame, hsi, self.scale, core)
        values[:, flags >= 2] = np.nan
        return TileResult(values, None, flags)


def interpolate(frame: Frame, values: np.ndarray, ratio: int, core: Window) -> np.ndarray:
    """Bands (B, h, w) of the outer window at `ratio`, over the core of the fine grid; gaps are bridged band by band."""
    rows, columns = frame.cut(core)
    wide = frame.take(values, ratio).astype(np.float32)
    gaps = ~np.isfinite(wide).reshape(len(wide), -1).all(1)
    for band in np.flatnonzero(gaps):
        one = wide[band : band + 1]
        if np.isfinite(one).any():
            wide[band] = bridge(one, np.nanmean(one, axis=(1, 2)))[0]
    up = interpolation(frame.shape[0] // ratio, ratio)[rows].astype(np.float32)
    across = interpolation(frame.shape[1] // ratio, ratio)[columns].astype(np.float32)
    return up @ wide @ across.T
