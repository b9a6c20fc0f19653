"""Stein's unbiased risk: how wrong an estimate is, from the noisy data alone, and so how estimates are best mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

#: size of the probe, in standard deviations of the noise
PROBE = 0.1

#: shares of a mixture that are less are left out
LEAST = 0.05

#: part of the risk that further estimates must take off it
PAYS = 0.01


@dataclass(frozen=True)
class Mixture:
    """Shares of several estimates.

    Attributes
    ----------
    shares : array (m,)
        Not negative, of sum 1.
    risks : array (m,)
        Of each estimate alone, mean squared error in noise variances.
    risk : float
        Of the mixture.
    """

    shares: np.ndarray
    risks: np.ndarray
    risk: float


def best_mixture(
    data: torch.Tensor, estimates: Callable[[torch.Tensor], Sequence[torch.Tensor]], seed: int = 0
) -> Mixture:
    """The shares with which the fewest of several estimates have the least risk together, within `PAYS` of it.

    Of data z with white noise of variance 1 the risk of an estimate f is E |z - f|^2 / n - 1 + 2 div f / n (Stein 1981,
    doi:10.1214/aos/1176345632), whatever the truth; the divergence is that along a random direction of signs (Ramani,
    Blu & Unser 2008, doi:10.1109/TIP.2008.2001404). Of a mixture it is quadratic in the shares.

    Parameters
    ----------
    data : tensor
        Noisy, of any shape.
    estimates : callable
        Of such data, the estimates, each with more work than the one before.
    """
    signs = np.random.default_rng(seed).integers(0, 2, tuple(data.shape)) * 2.0 - 1.0
    probe = torch.as_tensor(signs).to(data)
    found = [f.double().flatten() for f in estimates(data)]
    moved = [f.double().flatten() for f in estimates(data + PROBE * probe)]
    z, b = data.double().flatten(), probe.double().flatten()
    divergence = np.array([float(b @ (g - f)) / PROBE / len(z) for f, g in zip(found, moved, strict=True)])
    rest = torch.stack([z - f for f in found])
    # the mean of |z - sum of shares f|^2 = shares' gram shares, since the shares' sum is 1
    gram = (rest @ rest.T).numpy() / len(z)
    risks = np.diag(gram) - 1 + 2 * divergence
    mixtures = []
    for count in range(1, len(found) + 1):
        shares = np.zeros(len(found))
        shares[:count] = _least(gram[:count, :count], 2 * divergence[:count])
        mixtures.append(Mixture(shares, risks, float(shares @ gram @ shares - 1 + 2 * divergence @ shares)))
    enough = (1 + PAYS) * max(min(m.risk for m in mixtures), 0.0)
    return next((m for m in mixtures if m.risk <= enough), mixtures[-1])


def _least(gram: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Shares (not negative, of sum 1) with the least ``w' gram w + linear' w``; small ones are left out."""
    count = len(linear)
    kept = np.arange(count)
    scale = max(float(np.abs(gram).max()), float(np.abs(linear).max()), 1e-12)
    while True:
        found = _on_simplex(gram[np.ix_(kept, kept)] / scale, linear[kept] / scale)
        if (found >= LEAST).all():
            break
        kept = kept[found >= LEAST]
    out = np.zeros(count)
    out[kept] = found / found.sum()
    return out


def _on_simplex(gram: np.ndarray, linear: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    count = len(linear)

    search: Any = minimize  # its types refuse what it is documented to take
    return search(
        lambda w: w @ gram @ w + linear @ w,
        np.full(count, 1 / count),
        jac=lambda w: 2 * gram @ w + linear,
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12},
    ).x
