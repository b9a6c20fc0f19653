"""Missing samples: where an image has gaps the closed form no longer holds, so what it would have seen is found first.

For a Gaussian model the posterior mean under gaps equals the closed form applied to data whose gaps hold the model's
own predictions. Those satisfy ``u = M S (y + u)`` with M the gaps and S = (predict o solve), symmetric with
eigenvalues in [0, 1): ``(I - M S M) u = M S y`` is solved by conjugate gradients, each step one closed form.

Deep in a gap of the MSI, I - S is the inverse of I + C P C', P the posterior covariance given the HSI alone: another
closed form, which serves as preconditioner there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hsgeo.methods.fusion.solver import ClosedForm

#: the iteration ends when the residual has fallen by this factor, or after `STEPS`
TOLERANCE = 5e-5
STEPS = 80


def complete(
    solver: ClosedForm, data: Sequence[torch.Tensor], gaps: Sequence[torch.Tensor | None]
) -> tuple[list[torch.Tensor], int]:
    """Data (zero in the gaps) whose gaps are filled with the posterior mean's predictions.

    Parameters
    ----------
    data : sequence of tensors (n_j, h_j, w_j)
        Of each sensor, in units of its noise.
    gaps : sequence of bool tensors of the same shapes, or None
        True where a sample is missing; None where none is.

    Returns
    -------
    filled : list of tensors
    steps : int
        Iterations taken.
    """
    at = {j: gap for j, gap in enumerate(gaps) if gap is not None}
    holes = list(at)
    if not holes:
        return list(data), 0
    if len(data) - 1 not in holes:
        solver = solver.narrowed()

    def smooth(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        b = solver.solve(solver.take(values))
        return [torch.where(at[j], solver.predict(b, j), 0.0) for j in holes]

    def within(u: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        full = [torch.zeros_like(d) for d in data]
        for j, value in zip(holes, u, strict=True):
            full[j] = value
        return full

    def precondition(r: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        fine = [j for j in holes if j < len(data) - 1]
        if not fine:
            return list(r)
        alone = within(r)
        alone[-1] = torch.zeros_like(data[-1])
        b = solver.solve(solver.take(alone, alone=True), alone=True)
        return [
            x + torch.where(at[j], solver.predict(b, j), 0.0) if j in fine else x for j, x in zip(holes, r, strict=True)
        ]

    residual = smooth(data)
    u = [torch.zeros_like(r) for r in residual]
    direction = precondition(residual)
    energy = start = _dot(residual, direction)
    steps = 0
    while energy > TOLERANCE**2 * start and steps < STEPS:
        product = [d - s for d, s in zip(direction, smooth(within(direction)), strict=True)]
        step = energy / _dot(direction, product)
        for x, r, d, q in zip(u, residual, direction, product, strict=True):
            x.add_(d, alpha=step)
            r.sub_(q, alpha=step)
        conditioned = precondition(residual)
        previous, energy = energy, _dot(residual, conditioned)
        direction = [z + d * (energy / previous) for z, d in zip(conditioned, direction, strict=True)]
        steps += 1
    filled = list(data)
    for j, value in zip(holes, u, strict=True):
        filled[j] = data[j] + value
    return filled, steps


def _dot(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))
