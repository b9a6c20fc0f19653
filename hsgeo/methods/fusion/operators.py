"""All that the tiles of one shape share: the closed form and the matrices of interpolation and observation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hsgeo.methods.fusion.cg import complete
from hsgeo.methods.fusion.frame import interpolation
from hsgeo.methods.fusion.prior import LEVELS, level_weights, local_energy
from hsgeo.methods.fusion.solver import ClosedForm, mix


class TileOperators:
    """The model's operators on the periodic frame that a solver is made for.

    The unknown is the detail: what the coefficients have beyond the interpolated HSI. The last sensor is the HSI.
    """

    def __init__(self, solver: ClosedForm) -> None:
        self.solver, self.device, self.tensor = solver, solver.device, solver.tensor
        shape, sensors = solver.shape, solver.sensors
        self.matrices = [self.tensor(s.matrix) for s in sensors]
        scale = sensors[-1].ratio
        up = [interpolation(n // scale, scale) for n in shape]
        self._up = [self.tensor(m) for m in up]
        self._blur: list[list[torch.Tensor] | None] = []
        self._prior: list[list[torch.Tensor]] = []
        for s in sensors:
            if s.psf is None:
                self._blur.append(None)
                self._prior.append(self._up)
                continue
            blur = [s.psf.matrix(n, s.ratio, "circular", axis) for axis, n in enumerate(shape)]
            self._blur.append([self.tensor(m) for m in blur])
            self._prior.append([self.tensor(b @ u) for b, u in zip(blur, up, strict=True)])

    def upsample(self, coarse: torch.Tensor) -> torch.Tensor:
        """Cubic spline interpolation (p, h, w) -> (p, H, W)."""
        return self._up[0] @ coarse @ self._up[1].T

    def innovations(
        self, seen: Sequence[torch.Tensor], coarse: torch.Tensor, upsampled: torch.Tensor
    ) -> list[torch.Tensor]:
        """What each sensor sees beyond the prior mean, in units of its noise; not finite in its gaps.

        `coarse` (p, h, w) is the prior mean before it was `upsampled`.
        """
        out = []
        for j, values in enumerate(seen):
            if self._blur[j] is None:
                expected = upsampled
            else:
                rows, columns = self._prior[j]
                expected = rows @ coarse @ columns.T
            out.append(values - (mix(self.matrices[j], expected) if j < len(seen) - 1 else expected))
        return out

    def observe(self, detail: torch.Tensor, j: int) -> torch.Tensor:
        """What sensor j would see of a detail (p, H, W), in units of its noise."""
        blur = self._blur[j]
        if blur is not None:
            detail = blur[0] @ detail @ blur[1].T
        return mix(self.matrices[j], detail)

    def complete(self, data: Sequence[torch.Tensor], gap: np.ndarray) -> list[torch.Tensor]:
        """The innovations with their gaps filled; `gap` (h, w) tells where the HSI's are not to be believed."""
        gaps: list[torch.Tensor | None] = [~torch.isfinite(d) for d in data]
        gaps[-1] = torch.as_tensor(gap, device=self.device).expand_as(data[-1])
        gaps = [g if g is not None and bool(g.any()) else None for g in gaps]
        known = [d if g is None else torch.where(g, 0.0, d) for d, g in zip(data, gaps, strict=True)]
        return complete(self.solver, known, gaps)[0]

    def detail(self, data: Sequence[torch.Tensor], energy: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean of the detail, the prior's variance following the local energy about its mean.

        Returns
        -------
        detail : (p, H, W)
        weights : (levels, H, W)
            Share of each level.
        """
        solver = self.solver
        evidence = solver.take(data)
        base = solver.field(solver.solve(evidence))
        weights = level_weights(local_energy(base), energy)
        total = base.mul_(weights[LEVELS.index(1.0)])
        for level, weight in zip(LEVELS, weights, strict=True):
            if level != 1.0 and bool(weight.any()):
                total.addcmul_(weight, solver.field(solver.solve(evidence, level)))
        return mix(solver.basis, total), weights

    def about(self, data: Sequence[torch.Tensor], level: float) -> torch.Tensor:
        """Posterior mean of the detail (p, H, W), the prior's variance being `level` times its own everywhere."""
        solver = self.solver
        return mix(solver.basis, solver.field(solver.solve(solver.take(data), level, keep=False)))

    def alone(self, data: Sequence[torch.Tensor]) -> torch.Tensor:
        """Posterior mean of the detail (p, H, W) at the prior's own variance, from the last sensor's data only."""
        solver = self.solver
        evidence = solver.take([*(torch.zeros_like(d) for d in data[:-1]), data[-1]], alone=True)
        return mix(solver.basis, solver.field(solver.solve(evidence, alone=True)))
