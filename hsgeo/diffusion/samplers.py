"""Samplers: from noise to a sample, by a predictor of the clean signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch

from hsgeo.diffusion.process import Variance, posterior

#: (z_t, gamma_t) -> the clean signal expected
Predictor = Callable[[torch.Tensor, float], torch.Tensor]

#: step -> standard normal noise of the signal's shape; step 0 is the start
Noise = Callable[[int], torch.Tensor]


def ancestral(
    predict: Predictor, noise: Noise, levels: Sequence[float], variance: Variance = "posterior"
) -> torch.Tensor:
    """Go back one level after the other by the posterior of the forward process (HSR-Diff, eq. 6).

    Parameters
    ----------
    predict : callable (z_t, gamma_t) -> z_0
    noise : callable (step) -> tensor
        Called with 0 for the start and with 1, 2, ... for what the steps add.
    levels : sequence of float
        Signal power, rising; the last is 1 (`Schedule.levels`).
    variance : {"posterior", "upper"}
        See `posterior`.

    Returns
    -------
    tensor
        The sample.
    """
    z = noise(0)
    for step, (gamma, cleaner) in enumerate(pairwise(levels), 1):
        clean, noisy, std = posterior(gamma, cleaner, variance)
        z = clean * predict(z, gamma) + noisy * z
        if std:
            z = z + std * noise(step)
    return z


def ddim(predict: Predictor, noise: Noise, levels: Sequence[float], eta: float = 0.0) -> torch.Tensor:
    """Go back along the implicit process: with `eta` 0 nothing but the start is random.

    Song et al. 2021 (arXiv:2010.02502), eq. 12; `eta` 1 is the ancestral sampler with the posterior variance.
    Parameters as in `ancestral`.
    """
    z = noise(0)
    for step, (gamma, cleaner) in enumerate(pairwise(levels), 1):
        z = ddim_step(z, predict(z, gamma), gamma, cleaner, eta, partial(noise, step))
    return z


def ddim_step(
    z: torch.Tensor, clean: torch.Tensor, gamma: float, cleaner: float, eta: float, noise: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """One step of `ddim`, pixel by pixel.

    Parameters
    ----------
    z, clean : tensor
        The state at `gamma`, and the clean signal expected.
    gamma, cleaner : float
        Signal power now and after the step.
    eta : float
    noise : callable () -> tensor
        Standard normal; called where the step adds any.
    """
    residual = (z - gamma**0.5 * clean) / (1 - gamma) ** 0.5
    std = eta * posterior(gamma, cleaner)[2]
    moved = cleaner**0.5 * clean + max(1 - cleaner - std**2, 0.0) ** 0.5 * residual
    return moved + std * noise() if std else moved
