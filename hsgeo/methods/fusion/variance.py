"""The posterior variance of the model, exactly: it repeats with the period of the sensors' grids.

Exact means under the model. The standard deviation of real errors is 0.7 to 1.4 times as large (nothing tells the
covariance of what the MSI does not see but an estimate, and spectra are not Gaussian);
`hsgeo.methods.fusion.calibration` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
import torch

from hsgeo.methods.fusion.frame import round_up
from hsgeo.methods.fusion.prior import LEVELS, FallingSpectrum
from hsgeo.methods.fusion.solver import ClosedForm, Evidence, Sensor, mix

#: HSI pixels of the periodic domain on which it is computed; longer than the model's correlation
DOMAIN = 12


def posterior_covariance(solver: ClosedForm, level: float = 1.0, alone: bool = False) -> np.ndarray:
    """Covariance of the field's p components at each phase of the period L: (L, L, p, p), float64.

    Column by column: the solution for a unit impulse at a phase is a column of the posterior covariance.
    """
    p, period = len(solver.basis), solver.period
    out = np.empty((period, period, p, p))
    impulse = torch.zeros(p, *solver.shape, dtype=solver.dtype, device=solver.device)
    for i in range(period):
        for j in range(period):
            for q in range(p):
                impulse[q, i, j] = 1.0
                column = solver.field(solver.solve(Evidence(torch.fft.rfft2(impulse), {}), level, alone))
                out[i, j, :, q] = column[:, i, j].double().cpu().numpy()
                impulse[q, i, j] = 0.0
    basis = solver.basis.double().cpu().numpy()
    return basis @ ((out + out.swapaxes(-1, -2)) / 2) @ basis.T


def mean_covariance(sensors: Sequence[Sensor], covariance: np.ndarray, spectrum: FallingSpectrum) -> np.ndarray:
    """The mean of `posterior_covariance` over all phases (p, p), within a few percent.

    By one probe of random signs over a domain of many periods (Hutchinson 1990, doi:10.1080/03610919008812866), the
    same for every component, so that the result is bound to no basis.
    """
    side = round_up(2 * DOMAIN * sensors[-1].ratio, lcm(*(s.ratio for s in sensors)))
    solver = ClosedForm((side, side), sensors, covariance, spectrum)
    signs = solver.tensor(np.random.default_rng(0).choice([-1.0, 1.0], solver.shape))
    p = len(solver.basis)
    out = np.empty((p, p))
    for q in range(p):
        probe = torch.zeros(p, *solver.shape, dtype=signs.dtype, device=signs.device)
        probe[q] = signs
        column = solver.field(solver.solve(Evidence(torch.fft.rfft2(probe), {})))
        out[:, q] = (column * signs).mean((1, 2), dtype=torch.float64).cpu().numpy()
    basis = solver.basis.double().cpu().numpy()
    return basis @ ((out + out.T) / 2) @ basis.T


def of_bands(covariance: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Variance of each band (..., B) by the coefficients' covariance (..., p, p)."""
    return np.maximum(np.einsum("bp,...pq,bq->...b", basis, covariance, basis, optimize=True), 0)


def without_hsi(sensors: Sequence[Sensor], spread: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Variance of each band (B,) where the MSI alone sees."""
    gram = sum((s.matrix.T @ s.matrix for s in sensors[:-1]), np.zeros_like(spread))
    return of_bands(np.linalg.inv(np.linalg.inv(spread) + gram), basis)


@dataclass(frozen=True)
class VarianceTable:
    """Variance per band of the model.

    Attributes
    ----------
    levels : array (levels, L, L, B)
        With both images, for each of `LEVELS` and each phase.
    hsi_only : array (L, L, B)
        Where the MSI has a gap.
    msi_only : array (B,)
        Where the HSI has one.
    """

    levels: np.ndarray
    hsi_only: np.ndarray
    msi_only: np.ndarray

    @classmethod
    def of(
        cls,
        sensors: Sequence[Sensor],
        covariance: np.ndarray,
        spectrum: FallingSpectrum,
        spread: np.ndarray,
        basis: np.ndarray,
    ) -> VarianceTable:
        """From the fitted model: `spread` (p, p) of the scene's coefficients, `basis` (B, p)."""
        side = round_up(DOMAIN * sensors[-1].ratio, lcm(*(s.ratio for s in sensors)))
        solver = ClosedForm((side, side), sensors, covariance, spectrum)

        return cls(
            np.stack([of_bands(posterior_covariance(solver, level), basis) for level in LEVELS]),
            of_bands(posterior_covariance(solver, alone=True), basis),
            without_hsi(sensors, spread, basis),
        )

    def scaled(self, factors: np.ndarray | float, lost: np.ndarray) -> VarianceTable:
        """With standard deviations `factors` (3, B) times as large, and the variance `lost` (B,) on top.

        The factors are those of pixels that both images see, of those that the HSI alone sees, and the MSI alone.
        """
        both, hsi, msi = np.broadcast_to(factors, (3, *lost.shape)) ** 2
        return VarianceTable(self.levels * both + lost, self.hsi_only * hsi + lost, self.msi_only * msi + lost)

    def over(self, weights: torch.Tensor, origin: tuple[int, int], flags: np.ndarray) -> np.ndarray:
        """Variance (B, H, W) of pixels whose first lies at `origin` of the fine grid; weights (levels, H, W)."""
        period = self.levels.shape[1]
        table = torch.as_tensor(self.levels, dtype=weights.dtype, device=weights.device)
        only = torch.as_tensor(self.hsi_only, dtype=weights.dtype, device=weights.device)
        out = torch.empty(table.shape[-1], *weights.shape[1:], dtype=weights.dtype, device=weights.device)
        single = torch.as_tensor(flags == 1, device=weights.device)
        for i in range(min(period, weights.shape[1])):
            for j in range(min(period, weights.shape[2])):
                phase = (origin[0] + i) % period, (origin[1] + j) % period
                part = mix(table[:, *phase].T, weights[:, i::period, j::period])
                here = single[i::period, j::period]
                out[:, i::period, j::period] = torch.where(here, only[phase][:, None, None], part)
        values = out.float().cpu().numpy()
        values[:, flags == 2] = self.msi_only[:, None]
        return values
