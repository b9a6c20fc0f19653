"""What every fitted fusion knows of its pair, and how the HSI is interpolated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import Any, Self

import numpy as np

from hsgeo.methods.base import FusionInputs
from hsgeo.methods.fusion.frame import Frame, interpolation
from hsgeo.methods.fusion.missing import bridge
from hsgeo.scene.window import Window

#: context that interpolation needs, in HSI pixels: the cubic spline's prefilter falls by 0.27 per pixel
REACH = 10


@dataclass(kw_only=True)
class FittedModel:
    """The part of `hsgeo.methods.base.Model` that is the same for all fusions.

    Attributes
    ----------
    scene : (int, int)
        Fine pixels of the whole scene.
    ratios : tuple of int
        Fine pixels per pixel of each MSI group.
    """

    scene: tuple[int, int]
    scale: int
    ratios: tuple[int, ...]
    bad_reason: list[str]
    has_variance: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, inputs: FusionInputs, dead: Mapping[int, str], **own: Any) -> Self:
        """The model of a pair some of whose bands are `dead`, with the fields that are its `own`."""
        pair = inputs.pair
        ratios = tuple(group.ratio for group in pair.groups)
        return cls(
            scene=tuple(pair.fine.shape), scale=pair.ratio, ratios=ratios, bad_reason=inputs.reasons(dead), **own
        )

    @property
    def good(self) -> np.ndarray:
        """Bands that carry something and are not flagged, bool (B,)."""
        return np.array([not reason for reason in self.bad_reason])

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many fine pixels."""
        return lcm(self.scale, *self.ratios)


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
