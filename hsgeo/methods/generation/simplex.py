"""Abundances as numbers without bounds, and back: whatever is drawn there is not negative and sums to 1."""

from __future__ import annotations

import numpy as np


def unbound(abundances: np.ndarray) -> np.ndarray:
    """ln(x + exp(-ln p - 8)), of abundances (p, ...) (HUD, Shen et al. 2025, eq. 4)."""
    return np.log(np.maximum(abundances, 0) + _floor(len(abundances)))


def bound(values: np.ndarray) -> np.ndarray:
    """Abundances (p, ...) of such numbers: their softmax along the first axis (eq. 5).

    Of `unbound` abundances x it makes (x + exp(-8) / p) / (1 + exp(-8)) (eq. 6).
    """
    share = np.exp(values - values.max(0))
    return share / share.sum(0)


def _floor(count: int) -> float:
    return float(np.exp(-np.log(count) - 8))
