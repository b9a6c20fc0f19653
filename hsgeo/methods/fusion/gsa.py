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
from hsgeo.methods.fusion.bicubic import HALO, interpolate
from hsgeo.methods.fusion.frame import Frame, interpolation
from hsgeo.methods.fusion.missing import flag_pixels
from hsgeo.methods.fusion.streaming import dead_bands
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
        from hsgeo.observation.psf import Psf

        pair = inputs.pair
        patches = pair.sample(seed=(params or GsaParams()).seed)
        reasons = inputs.reasons(dead_bands([p.hsi for p in patches]))
        psf = inputs.psf or Psf(float(pair.ratio), float(pair.ratio))
        model = GsaModel(
            scene=tuple(pair.fine.shape),
            scale=pair.ratio,
            ratios=tuple(g.ratio for g in pair.groups),
            psf=psf,
            bad_reason=reasons,
        )
        bands, count = len(patches[0].hsi), 1 + sum(len(x) for x in patches[0].msi)
        gram = np.zeros((bands, count, count))
        cross = np.zeros((bands, count))
        for patch in patches:
            size = tuple(n * pair.ratio for n in patch.hsi.shape[1:])
            whole = Window(0, size[0], 0, size[1])
            frame = Frame.around(whole.grow(model.halo), size, model.multiple)
            frame = Frame(whole, size, frame.shape)
            sharp = model.sharp(frame, patch.msi, whole)
            gaps = ~np.isfinite(sharp).all(0)
            low = _blurred(np.where(gaps, 0.0, sharp), model, size)[0]
            low[:, _blurred(gaps[None].astype(float), model, size)[0][0] > 1e-6] = np.nan
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


@dataclass
class GsaModel:
    """Detail injection, tile by tile; see `hsgeo.methods.base.Model`."""

    scene: tuple[int, int]
    scale: int
    ratios: tuple[int, ...]
    psf: Any
    bad_reason: list[str]
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    constant: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: list[str] = field(default_factory=list)
    has_variance: bool = False

    def report(self) -> dict[str, Any]:
        """The blur that the HSI was taken to have."""
        return {"psf_fwhm": list(self.psf.fwhm)}

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
        return -(-2 * HALO * self.scale // self.multiple) * self.multiple

    def sharp(self, frame: Frame, msi: Sequence[np.ndarray], window: Window) -> np.ndarray:
        """All MSI bands on the fine grid over a window, the coarser groups interpolated."""
        return np.concatenate(
            [
                frame.take(x, 1)[(slice(None), *frame.cut(window))] if r == 1 else interpolate(frame, x, r, window)
                for x, r in zip(msi, self.ratios, strict=True)
            ]
        )

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
        detail = (sharp - _blurred(sharp, self, frame.shape, "circular")[1])[:, rows, columns]
        detail[:, gaps[rows, columns]] = 0.0
        weights = self.weights.astype(np.float32)
        values = interpolate(frame, hsi, self.scale, core) + np.einsum("bk,khw->bhw", weights, detail)
        alone = flags == 2
        if alone.any():
            values[:, alone] = weights @ sharp[:, rows, columns][:, alone] + self.constant[:, None]
        values[:, flags == 3] = np.nan
        values[~np.isfinite(self.weights).all(1)] = np.nan
        return TileResult(values.astype(np.float32), None, flags)


def _blurred(
    sharp: np.ndarray, model: GsaModel, shape: tuple[int, int], boundary: str = "reflect"
) -> tuple[np.ndarray, np.ndarray]:
    """The MSI as the HSI sees it: on the coarse grid, and interpolated back onto the fine one."""
    s, circular = model.scale, boundary == "circular"
    down = [model.psf.matrix(n, s, boundary, axis).astype(sharp.dtype) for axis, n in enumerate(shape)]
    up = [interpolation(n // s, s, mirrored=not circular).astype(sharp.dtype) for n in shape]
    low = down[0] @ sharp @ down[1].T
    return low, up[0] @ low @ up[1].T
