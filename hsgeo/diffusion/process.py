"""The closed forms of the forward process and of its reversal given the clean signal."""

from __future__ import annotations

from typing import Literal

import torch

Variance = Literal["posterior", "upper"]


def forward(z0: torch.Tensor, gamma: float | torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Draw z_t given z_0: sqrt(gamma) z_0 + sqrt(1 - gamma) noise (HSR-Diff, eq. 3).

    `gamma` is one level, or one for each item of the batch, shaped to broadcast over `z0`.
    """
    gamma = torch.as_tensor(gamma, dtype=z0.dtype, device=z0.device)
    return gamma.sqrt() * z0 + (1 - gamma).sqrt() * noise


def posterior(gamma: float, cleaner: float, variance: Variance = "posterior") -> tuple[float, float, float]:
    """Weights of z_0 and z_t in the mean of q(z_s | z_0, z_t), and its standard deviation (HSR-Diff, eq. 4).

    Parameters
    ----------
    gamma, cleaner : float
        Signal power of z_t and of the z_s to go to; any two levels, not only neighbours of a schedule.
    variance : {"posterior", "upper"}
        The exact one, for data of no variance, or 1 - alpha, for white data of variance 1: the two bounds of Ho et al.
        2020 (arXiv:2006.11239, section 3.2). HSR-Diff's eq. 6 takes the upper one.

    Notes
    -----
    At ``cleaner = 1`` the result is z_0 itself without noise, for both variances.
    """
    alpha = gamma / cleaner
    left = (1 - cleaner) / (1 - gamma)
    if left == 0:
        return 1.0, 0.0, 0.0
    square = (1 - alpha) * (left if variance == "posterior" else 1.0)
    return cleaner**0.5 * (1 - alpha) / (1 - gamma), alpha**0.5 * left, square**0.5
