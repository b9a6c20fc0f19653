"""Gram-Schmidt adaptive with hypersharpening: the plain baseline.

Each HSI band takes its detail from the linear combination of MSI bands that fits it best at the HSI's scale (Aiazzi,
Baronti & Selva 2007, doi:10.1109/TGRS.2007.901007; Selva et al. 2015, doi:10.1109/JSTARS.2015.2440092).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsgeo.errors import DataError
from hsgeo.methods.base import FusionInputs, Method, Params, TileResult
from hsgeo.methods.fusion.fitted import REACH, FittedModel, interpolate
from hsgeo.methods.fusion.frame import Frame, interpolation, round_up
from hsgeo.methods.fusion.missing import flag_pixels
from hsgeo.methods.streaming import dead_bands
from hsgeo.observation.psf import Boundary, Psf
from hsgeo.scene.window import Window


class GsaParams(Params):
    """`GsaFusion` has no further ones."""


class GsaFusion(Method):
    """Method ``gsa``."""

    name = "gsa"
    Params = GsaParams

    def fit(self, inputs: FusionInputs, params: GsaParams | None = None, progress: Any = None) -> GsaModel:
        """Regress every HSI band on the MSI at the HSI's scale.

        Raises
        ------
        DataError
            No pixel has data in both images.
        """
        pair = inputs.pair
        patches = pair.sample(seed=(params or GsaParams()).seed)
        psf = inputs.psf or Psf(float(pair.ratio), float(pair.ratio))
        model = GsaModel.of(inputs, dead_bands([p.hsi for p in patches]), psf=psf)
        bands, count = len(patches[0].hsi), 1 + sum(len(x) for x in patches[0].msi)
        gram = np.zeros((bands, count, count))
        cross = np.zeros((bands, count))
        for patch in patches:
            height, width = (n * pair.ratio for n in patch.hsi.shape[1:])
            frame = Frame.alone((height, width), model.halo, model.multiple)
            sharp = model.sharp(frame, patch.msi, frame.outer)
            gaps = ~np.isfinite(sharp).all(0)
            low = model.degraded(np.where(gaps, 0.0, sharp), "reflect")
            low[:, model.degraded(gaps[None].astype(float), "reflect")[0] > 1e-6] = np.nan
            design = np.concatenate([np.ones((1, *low.shape[1:])), low]).reshape(count, -1)
            target = patch.hsi.reshape(bands, -1).astype(float)
            known = np.isfinite(design).all(0)
            for band in range(bands):
                use = known & np.isfinite(target[band])
                gram[band] += design[:, use] @ design[:, use].T
                cross[band] += design[:, use] @ target[band, use]
        if not gram[:, 0, 0].any():
            raise DataError("no pixel has data in both images: check the overlap and the nodata values.")
        ridge = 1e-8 * np.einsum("bii->b", gram)[:, None, None] / count * np.eye(count)
        weights = np.linalg.solve(gram + ridge + 1e-30 * np.eye(count), cross[..., None])
        model.constant, model.weights = weights[:, 0, 0], weights[:, 1:, 0]
        return model


@dataclass(kw_only=True)
class GsaModel(FittedModel):
    """Detail injection, tile by tile; see `hsgeo.methods.base.Model`."""

    psf: Psf
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    constant: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def report(self) -> dict[str, Any]:
        """The blur that the HSI was taken to have."""
        return {"psf_fwhm": list(self.psf.fwhm)}

    @property
    def halo(self) -> int:
        """Context of a tile in fine pixels."""
        return round_up(2 * REACH * self.scale, self.multiple)

    def sharp(self, frame: Frame, msi: Sequence[np.ndarray], window: Window) -> np.ndarray:
        """All MSI bands on the fine grid over a window, the coarser groups interpolated."""
        return np.concatenate(
            [
                frame.take(x, 1)[(slice(None), *frame.cut(window))] if r == 1 else interpolate(frame, x, r, window)
                for x, r in zip(msi, self.ratios, strict=True)
            ]
        )

    def degraded(self, sharp: np.ndarray, boundary: Boundary) -> np.ndarray:
        """The MSI (b, H, W) as the HSI sees it, (b, h, w)."""
        down = [self.psf.matrix(n, self.scale, boundary, axis) for axis, n in enumerate(sharp.shape[1:])]
        return down[0].astype(sharp.dtype) @ sharp @ down[1].astype(sharp.dtype).T

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        frame = Frame.around(outer, self.scene, self.multiple)
        flags = flag_pixels(hsi, msi, outer, core, (*self.ratios, self.scale))
        everything = Window(outer.y0, outer.y0 + frame.shape[0], outer.x0, outer.x0 + frame.shape[1])
        sharp = self.sharp(frame, msi, everything)
        gaps = ~np.isfinite(sharp).all(0)
        sharp = np.where(gaps, np.nanmean(np.where(gaps, np.nan, sharp), axis=(1, 2), keepdims=True), sharp)
        rows, columns = frame.cut(core)
        up = [interpolation(n // self.scale, self.scale).astype(sharp.dtype) for n in frame.shape]
        detail = (sharp - up[0] @ self.degraded(sharp, "circular") @ up[1].T)[:, rows, columns]
        detail[:, gaps[rows, columns]] = 0.0
        weights = self.weights.astype(np.float32)
        values = interpolate(frame, hsi, self.scale, core) + np.einsum("bk,khw->bhw", weights, detail)
        alone = flags == 2
        if alone.any():
            values[:, alone] = weights @ sharp[:, rows, columns][:, alone] + self.constant[:, None]
        values[:, flags == 3] = np.nan
        values[~np.isfinite(self.weights).all(1)] = np.nan
        return TileResult(values.astype(np.float32), None, flags)
