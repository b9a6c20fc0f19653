"""Distributions of spectral angles, of generated and of real pixels, and how far they lie apart.

Two kinds of angles: to the mean spectrum of the scene, and between random pairs of pixels of one set. The distance is
the Wasserstein distance of order 1 in degrees: how far the angles of one set must be moved on average to be the
other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from hsgeo.quality.metrics import spectral_angle

#: pairs of pixels that are drawn
PAIRS = 50_000


@dataclass(frozen=True)
class Angles:
    """Spectral angles of one set of pixels in degrees: to a mean spectrum (n,), and between random pairs (m,)."""

    to_mean: np.ndarray
    between: np.ndarray

    @classmethod
    def of(cls, spectra: np.ndarray, mean: np.ndarray, seed: int = 0) -> Angles:
        """Of spectra (n, B) and a mean spectrum (B,)."""
        first, second = np.random.default_rng(seed).integers(0, len(spectra), (2, PAIRS))
        apart = first != second
        wide = spectra.T
        to_mean = spectral_angle(wide, np.broadcast_to(mean[:, None], wide.shape))
        return cls(to_mean, spectral_angle(wide[:, first[apart]], wide[:, second[apart]]))


def angle_distance(ours: Angles, theirs: Angles) -> dict[str, float]:
    """Wasserstein-1 distances in degrees: ``to_mean`` and ``between_pairs``."""
    return {
        "to_mean": float(wasserstein_distance(ours.to_mean, theirs.to_mean)),
        "between_pairs": float(wasserstein_distance(ours.between, theirs.between)),
    }


def angle_histogram(ours: Angles, theirs: Angles, width: float = 1.0) -> dict[str, Any]:
    """Shares of the angles to the mean: ``edges`` (k + 1, degrees), ``generated`` and ``real`` (k each)."""
    top = max(float(ours.to_mean.max()), float(theirs.to_mean.max()))
    edges = np.arange(0, np.floor(top / width) + 2) * width
    shares = [(np.histogram(a.to_mean, edges)[0] / a.to_mean.size).tolist() for a in (ours, theirs)]
    return {"edges": edges.tolist(), "generated": shares[0], "real": shares[1]}
