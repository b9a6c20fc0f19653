"""Abundances as numbers without bounds, and back: whatever is drawn there is not negative and sums to 1."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

#: what is added to shares before their logarithm, as a part of their mean 1 / p, and is taken off again; or as
#: published, where it is exp(-8) and stays
Floor = float | Literal["published"]


def unbound(abundances: np.ndarray, floor: Floor, weights: np.ndarray) -> np.ndarray:
    """ln(u + floor / p) of shares u = w x / sum(w x).

    As published, and with equal weights, it is ln(x + exp(-ln p - 8)) (HUD, Shen et al. 2025, eq. 4).

    Parameters
    ----------
    abundances : array (p, ...)
        x.
    floor : float or "published"
    weights : array (p,)
        w, positive.

    Returns
    -------
    array (p, ...)
    """
    shares = _summed(np.maximum(abundances, 0) * _along(weights, abundances))
    return np.log(shares + _part(floor) / len(shares))


def bound(values: np.ndarray, floor: Floor, weights: np.ndarray) -> np.ndarray:
    """Abundances (p, ...) of such numbers: of their softmax along the first axis (eq. 5), less the floor, over w.

    Of `unbound` shares u the softmax makes (u + floor / p) / (1 + floor) (eq. 6), and where that is less than the floor
    they are 0.
    """
    shares = _summed(np.exp(values - values.max(0)))
    if floor != "published":
        shares = np.maximum(shares - floor / (1 + floor) / len(shares), 0)
    return _summed(shares / _along(weights, shares))


def _part(floor: Floor) -> float:
    return math.exp(-8) if floor == "published" else floor


def _summed(shares: np.ndarray) -> np.ndarray:
    return shares / shares.sum(0)


def _along(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return weights.reshape(-1, *(1,) * (shares.ndim - 1))
