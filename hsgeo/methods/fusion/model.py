"""The fitted subspace fusion: a purely local operator, applied tile by tile."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hsgeo.methods.base import TileResult
from hsgeo.methods.fusion.bicubic import interpolate
from hsgeo.methods.fusion.frame import Frame, interpolation
from hsgeo.methods.fusion.missing import bridge, flag_pixels
from hsgeo.methods.fusion.prior import LEVELS, FallingSpectrum, level_weights, local_energy
from hsgeo.methods.fusion.solver import ClosedForm, Sensor, mix
from hsgeo.scene.window import Window

#: tile shapes whose precomputed systems are kept
CACHE = 6


@dataclass
class SubspaceModel:
    """Everything that the fit has fixed (all arrays float64, numpy).

    Attributes
    ----------
    scene : (int, int)
        Fine pixels of the whole scene.
    model_bands, plain_bands : int arrays
        Bands fused through the subspace; bands that are only interpolated. All others are NaN.
    basis : array (B_model, p)
        E; its columns are orthonormal after division by the noise.
    noise : array (B_model,)
        Standard deviation of the HSI's noise.
    sensors : list of Sensor
        The MSI groups in their order, then the HSI (matrix I, unit noise in the coefficients).
    offsets, gauges : lists of arrays (b_k,)
        Each MSI group is ``(x - offset) / gauge`` before it meets its sensor.
    covariance : array (p, p)
        Of the detail.
    energy : float
        Mean local energy over the scene.
    lost : array (B_model,)
        Variance of what the subspace leaves out, beyond the noise.
    """

    scene: tuple[int, int]
    scale: int
    model_bands: np.ndarray
    plain_bands: np.ndarray
    bad_reason: list[str]
    basis: np.ndarray
    noise: np.ndarray
    sensors: list[Sensor]
    offsets: list[np.ndarray]
    gauges: list[np.ndarray]
    covariance: np.ndarray
    spectrum: FallingSpectrum
    energy: float
    lost: np.ndarray
    halo: int
    has_variance: bool = False
    estimates: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        self._solvers: OrderedDict[Any, ClosedForm] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_solvers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._solvers = OrderedDict()

    @property
    def good(self) -> np.ndarray:
        """Bands fused through the subspace, bool (B,)."""
        return np.array([not reason for reason in self.bad_reason])

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many fine pixels."""
        return math.lcm(*(s.ratio for s in self.sensors))

    def solver(self, shape: tuple[int, int], device: str = "cpu") -> ClosedForm:
        """The precomputed systems of a shape; the last few are kept."""
        key = (shape, str(device))
        if key not in self._solvers:
            self._solvers[key] = ClosedForm(
                shape, self.sensors, self.covariance, self.spectrum, LEVELS, device, self.dtype
            )
            while len(self._solvers) > CACHE:
                self._solvers.popitem(last=False)
        self._solvers.move_to_end(key)
        return self._solvers[key]

    def forget(self) -> None:
        """Drop the precomputed systems: the prior has changed."""
        self._solvers.clear()

    def scaled(self, msi: Sequence[np.ndarray], frame: Frame, device: str) -> list[torch.Tensor]:
        """The MSI groups in the HSI's radiometry and units of their noise, over the frame."""
        out = []
        for x, sensor, offset, gauge in zip(msi, self.sensors[:-1], self.offsets, self.gauges, strict=True):
            values = (x - offset[:, None, None]) / gauge[:, None, None]
            out.append(torch.as_tensor(frame.take(values, sensor.ratio), device=device, dtype=self.dtype))
        return out

    def coefficients(self, hsi: np.ndarray) -> np.ndarray:
        """Coefficients (p, h, w) of HSI pixels (B_model, h, w), NaN where any band is."""
        projector = (self.basis / self.noise[:, None] ** 2).T.astype(hsi.dtype)
        return (projector @ hsi.reshape(len(hsi), -1)).reshape(-1, *hsi.shape[1:])

    def innovations(
        self, coarse: torch.Tensor, msi: Sequence[torch.Tensor], shape: tuple[int, int]
    ) -> list[torch.Tensor]:
        """What each sensor sees beyond the interpolated HSI, in units of its noise."""
        out = []
        for j, sensor in enumerate(self.sensors):
            rows, columns = (self._seen_interpolated(shape[axis], j, axis) for axis in (0, 1))
            prior = rows.to(coarse) @ coarse @ columns.to(coarse).T
            if j < len(msi):
                out.append(msi[j] - mix(torch.as_tensor(sensor.matrix).to(coarse), prior))
            else:
                out.append(coarse - prior)
        return out

    def _seen_interpolated(self, n: int, j: int, axis: int) -> torch.Tensor:
        """Interpolation of n / scale coarse pixels followed by sensor j, one axis: (n / r_j, n / scale)."""
        sensor = self.sensors[j]
        matrix = interpolation(n // self.scale, self.scale)
        if sensor.psf is not None:
            matrix = sensor.psf.matrix(n, sensor.ratio, "circular", axis) @ matrix
        return torch.as_tensor(matrix)

    def detail(self, solver: ClosedForm, data: Sequence[torch.Tensor]) -> torch.Tensor:
        """Posterior mean of the detail (p, H, W) over the frame, the prior's variance following the local energy."""
        rhs = solver.rhs(data)
        base = solver.field(solver.solve(rhs))
        weights = level_weights(local_energy(base), self.energy)
        total = weights[LEVELS.index(1.0)] * base
        for level, weight in zip(LEVELS, weights, strict=True):
            if level != 1.0 and bool(weight.any()):
                total += weight * solver.field(solver.solve(rhs, level))
        return mix(solver.basis, total)

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        frame = Frame.around(outer, self.scene, self.multiple)
        flags = flag_pixels(hsi[self.model_bands], msi, outer, core, [s.ratio for s in self.sensors])
        target: dict[str, Any] = {"device": torch.device(device), "dtype": self.dtype}
        raw = frame.take(self.coefficients(hsi[self.model_bands]), self.scale)
        coarse = torch.as_tensor(bridge(raw, np.zeros(len(raw)))).to(**target)
        seen = self.scaled(msi, frame, device)
        solver = self.solver(frame.shape, device)
        data = [torch.nan_to_num(d) for d in self.innovations(coarse, seen, frame.shape)]
        detail = self.detail(solver, data)
        rows, columns = frame.cut(core)
        up = [torch.as_tensor(interpolation(n // self.scale, self.scale)).to(**target) for n in frame.shape]
        fused = up[0][rows] @ coarse @ up[1][columns].T + detail[:, rows, columns]
        values = np.full((len(self.bad_reason), *core.shape), np.nan, np.float32)
        values[self.model_bands] = mix(torch.as_tensor(self.basis).to(**target), fused).float().cpu().numpy()
        if len(self.plain_bands):
            values[self.plain_bands] = interpolate(frame, hsi[self.plain_bands], self.scale, core)
        values[:, flags == 3] = np.nan
        return TileResult(values, None, flags)
