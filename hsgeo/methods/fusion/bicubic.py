"""The HSI alone, interpolated: what every fusion must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsgeo.methods.base import FusionInputs, Method, Params, TileResult
from hsgeo.methods.fusion.fitted import REACH, FittedModel, interpolate
from hsgeo.methods.fusion.frame import Frame, round_up
from hsgeo.methods.fusion.missing import flag_pixels
from hsgeo.methods.streaming import dead_bands
from hsgeo.scene.window import Window


class BicubicParams(Params):
    """`BicubicFusion` has no further ones."""


class BicubicFusion(Method):
    """Method ``bicubic``: cubic spline interpolation onto the fine grid."""

    name = "bicubic"
    Params = BicubicParams

    def fit(self, inputs: FusionInputs, params: BicubicParams | None = None, progress: Any = None) -> BicubicModel:
        """Only finds the bands that carry nothing; see `Method.fit`."""
        patches = inputs.pair.sample(seed=(params or BicubicParams()).seed)
        return BicubicModel.of(inputs, dead_bands([p.hsi for p in patches]))


class BicubicModel(FittedModel):
    """Interpolation, tile by tile; see `hsgeo.methods.base.Model`."""

    def report(self) -> dict[str, Any]:
        """Nothing was estimated."""
        return {}

    @property
    def halo(self) -> int:
        """Context of a tile in fine pixels."""
        return round_up(REACH * self.scale, self.multiple)

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        frame = Frame.around(outer, self.scene, self.multiple)
        flags = flag_pixels(hsi, msi, outer, core, (*self.ratios, self.scale))
        values = interpolate(frame, hsi, self.scale, core)
        values[:, flags >= 2] = np.nan
        return TileResult(values, None, flags)
