"""The fitted subspace fusion: a purely local operator, applied tile by tile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch

from hsgeo.methods.base import TileResult
from hsgeo.methods.fusion.fitted import FittedModel, interpolate
from hsgeo.methods.fusion.frame import Frame
from hsgeo.methods.fusion.missing import covered, flag_pixels, regress
from hsgeo.methods.fusion.operators import TileOperators
from hsgeo.methods.fusion.prior import FallingSpectrum
from hsgeo.methods.fusion.solver import ClosedForm, Sensor, mix
from hsgeo.methods.fusion.variance import VarianceTable
from hsgeo.scene.window import Window

#: tile shapes whose precomputed systems are kept
CACHE = 4


@dataclass
class Solved:
    """The coefficients of a tile over its frame, before spectra are made of them.

    Attributes
    ----------
    frame : Frame
    operators : TileOperators
    flags : uint8 array (H, W)
        Of the core; see `hsgeo.methods.base.TileResult`.
    interpolated, detail : tensors (p, H, W)
        The interpolated HSI and what is added to it.
    weights : tensor (levels, H, W)
        Share of each level of the prior.
    innovations : list of tensors
        What each sensor sees beyond the interpolated HSI, in units of its noise; NaN in its gaps.
    """

    frame: Frame
    operators: TileOperators
    flags: np.ndarray
    interpolated: torch.Tensor
    detail: torch.Tensor
    weights: torch.Tensor
    innovations: list[torch.Tensor]


@dataclass(kw_only=True)
class SubspaceModel(FittedModel):
    """Everything that the fit has fixed, beside what `FittedModel` says (all arrays float64, numpy).

    Attributes
    ----------
    model_bands, plain_bands : int arrays
        Bands fused through the subspace; bands that are only interpolated. All others are NaN.
    basis : array (B_model, p)
        E; its columns are orthonormal after division by the noise.
    noise : array (B_model,)
        Standard deviation of the HSI's noise.
    sensors : list of Sensor
        The MSI groups in their order, then the HSI (matrix I, unit noise in the coefficients).
    responses : list of arrays (b_k, B_model)
        R of each MSI group.
    offsets, gauges : lists of arrays (b_k,)
        Each MSI group is ``(x - offset) / gauge`` before it meets its sensor.
    covariance : array (p, p)
        Of the detail.
    energy : float
        Mean local energy over the scene.
    mean, spread : arrays (p,), (p, p)
        Mean and covariance of the scene's coefficients.
    lost : array (B_model,)
        Variance of what the subspace leaves out, beyond the noise.
    observation : Observation
        Of the bands of the model.
    calibration : array (3, B_model), optional
        Factors of the model's standard deviations, where both images have data and where the HSI alone has, that bring
        them to the errors measured one scale down; see `hsgeo.methods.fusion.calibration`. None: the variance is the
        raw one, exact under the model.
    """

    model_bands: np.ndarray
    plain_bands: np.ndarray
    basis: np.ndarray
    noise: np.ndarray
    sensors: list[Sensor]
    responses: list[np.ndarray]
    offsets: list[np.ndarray]
    gauges: list[np.ndarray]
    covariance: np.ndarray
    spectrum: FallingSpectrum
    energy: float
    mean: np.ndarray
    spread: np.ndarray
    lost: np.ndarray
    observation: Any
    halo: int
    table: VarianceTable | None = None
    calibration: np.ndarray | None = None
    estimates: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._shapes: OrderedDict[Any, TileOperators] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_shapes", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def operators(self, shape: tuple[int, int], device: str = "cpu") -> TileOperators:
        """The precomputed operators of a shape; the last few are kept."""
        key = (shape, str(device))
        with self._lock:
            if key not in self._shapes:
                solver = ClosedForm(shape, self.sensors, self.covariance, self.spectrum, device)
                self._shapes[key] = TileOperators(solver)
                while len(self._shapes) > CACHE:
                    self._shapes.popitem(last=False)
            self._shapes.move_to_end(key)
            return self._shapes[key]

    def forget(self) -> None:
        """Drop the precomputed systems: the prior has changed."""
        self._shapes.clear()

    def scaled(self, msi: Sequence[np.ndarray], frame: Frame) -> list[np.ndarray]:
        """The MSI groups in the HSI's radiometry and units of their noise, over the frame."""
        out = []
        for x, sensor, offset, gauge in zip(msi, self.sensors[:-1], self.offsets, self.gauges, strict=True):
            values = (x - offset[:, None, None].astype(x.dtype)) / gauge[:, None, None].astype(x.dtype)
            out.append(frame.take(values, sensor.ratio))
        return out

    def coefficients(self, hsi: np.ndarray) -> np.ndarray:
        """Coefficients (p, h, w) of HSI pixels (B_model, h, w).

        A pixel that lacks some bands, but not half of them, gets the most probable coefficients given the others and
        the scene's mean and covariance; NaN where more is missing.
        """
        projector = (self.basis / self.noise[:, None] ** 2).T
        flat = hsi.reshape(len(hsi), -1)
        out = projector.astype(hsi.dtype) @ flat
        known = np.isfinite(flat)
        count = known.sum(0)
        out[:, count < len(flat)] = np.nan
        prior = np.linalg.inv(self.spread)
        for pixel in np.flatnonzero((count < len(flat)) & (2 * count > len(flat))):
            use = known[:, pixel]
            precision = prior + projector[:, use] @ self.basis[use]
            out[:, pixel] = np.linalg.solve(precision, prior @ self.mean + projector[:, use] @ flat[use, pixel])
        return out.reshape(-1, *hsi.shape[1:])

    def calm(self, coarse: np.ndarray) -> np.ndarray:
        """Coefficients (p, h, w) drawn to the scene's mean by as much as their noise makes them doubtful."""
        gain = self.spread @ np.linalg.inv(self.spread + np.eye(len(self.mean)))
        constant = self.mean - gain @ self.mean
        out = gain.astype(coarse.dtype) @ coarse.reshape(len(coarse), -1) + constant.astype(coarse.dtype)[:, None]
        return out.reshape(coarse.shape)

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        solved = self.solve(hsi, msi, outer, core, device)
        variance = None
        if self.has_variance:
            rows, columns = solved.frame.cut(core)
            variance = self.variance(solved.weights[:, rows, columns], core, solved.flags)
        return TileResult(
            self.spectra(solved, hsi, core), variance, solved.flags, self.misfits(solved, hsi, outer, core)
        )

    def solve(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> Solved:
        """The posterior mean of the coefficients; parameters as in `apply`."""
        frame = Frame.around(outer, self.scene, self.multiple)
        own = self.operators(frame.shape, device)
        spectra = hsi[self.model_bands]
        flags = flag_pixels(spectra, msi, outer, core, (*self.ratios, self.scale))
        raw = frame.take(self.coefficients(spectra), self.scale)
        seen = self.scaled(msi, frame)
        coarse = regress(raw, seen, self.sensors, self.mean, self.spread)
        prior = own.tensor(self.calm(coarse))
        fused = own.upsample(prior)
        innovations = own.innovations([own.tensor(x) for x in (*seen, coarse)], prior, fused)
        lacks = ~np.isfinite(raw).all(0)
        detail, weights = own.detail(own.complete(innovations, lacks & covered(seen, lacks.shape)), self.energy)
        innovations[-1] = torch.where(torch.as_tensor(lacks, device=own.device), torch.nan, innovations[-1])
        return Solved(frame, own, flags, fused, detail, weights, innovations)

    def spectra(self, solved: Solved, hsi: np.ndarray, core: Window) -> np.ndarray:
        """All bands (B, H, W) over the core; NaN where there is nothing to say."""
        rows, columns = solved.frame.cut(core)
        values = self.synthesis(solved.interpolated[:, rows, columns] + solved.detail[:, rows, columns])
        if len(self.plain_bands):
            values[self.plain_bands] = interpolate(solved.frame, hsi[self.plain_bands], self.scale, core)
        values[:, solved.flags == 3] = np.nan
        return values

    def misfits(self, solved: Solved, hsi: np.ndarray, outer: Window, core: Window) -> dict[str, float]:
        """Squared misfit of the result, degraded, to both images over the core, in units of their noise, and counts."""
        stats = {"hsi_chi2": 0.0, "hsi_count": 0, "msi_chi2": 0.0, "msi_count": 0}
        own = solved.operators
        for j, sensor in enumerate(self.sensors):
            rows, columns = solved.frame.cut(core, sensor.ratio)
            misfit = (solved.innovations[j] - own.observe(solved.detail, j))[:, rows, columns]
            known = torch.isfinite(misfit)
            name = "hsi" if j == len(self.sensors) - 1 else "msi"
            stats[f"{name}_chi2"] += float(torch.where(known, misfit, 0.0).double().square().sum())
            count = int(known.sum())
            stats[f"{name}_count"] += count // len(self.mean) * len(self.model_bands) if name == "hsi" else count
        inside = core.coarsen(self.scale).within(outer.coarsen(self.scale))
        stats["hsi_chi2"] += self._beyond(hsi[self.model_bands], inside)
        return stats

    def tabulate_variance(self) -> None:
        """Compute the posterior variance, once for all tiles: raw, or with the calibration where there is one."""
        table = VarianceTable.of(self.sensors, self.covariance, self.spectrum, self.spread, self.basis)
        self.table = table.scaled(1.0 if self.calibration is None else self.calibration, self.lost)

    def variance(self, weights: torch.Tensor, core: Window, flags: np.ndarray) -> np.ndarray:
        """Posterior variance (B, H, W) over the core; NaN in bands that are not of the model and without data."""
        assert self.table is not None
        out = np.full((len(self.bad_reason), *core.shape), np.nan, np.float32)
        out[self.model_bands] = self.table.over(weights, (core.y0, core.x0), flags)
        out[:, flags == 3] = np.nan
        return out

    def _beyond(self, spectra: np.ndarray, window: Window) -> float:
        """Squared sum of what the subspace leaves of complete spectra (B_model, h, w), in units of the noise."""
        rows, columns = window.slices
        inside = torch.from_numpy(spectra[:, rows, columns].reshape(len(spectra), -1).astype(np.float32))
        inside = inside[:, torch.isfinite(inside).all(0)] / torch.as_tensor(self.noise, dtype=torch.float32)[:, None]
        basis = torch.as_tensor(self.basis / self.noise[:, None], dtype=torch.float32)
        left = inside - basis @ (basis.T @ inside)
        return float((left * left).sum(1).double().sum())

    def synthesis(self, coefficients: torch.Tensor) -> np.ndarray:
        """E A over all bands (B, H, W); NaN in those that are not of the model."""
        bands = len(self.bad_reason)
        basis = np.full((bands, self.basis.shape[1]), 0.0)
        basis[self.model_bands] = self.basis
        values = mix(torch.as_tensor(basis).to(coefficients), coefficients).float().cpu().numpy()
        values[np.setdiff1d(np.arange(bands), self.model_bands)] = np.nan
        return values
