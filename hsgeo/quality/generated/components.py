"""The leading directions of a scene's spectra, in which generated pixels are seen too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: variance of a component, relative to the first, below which it is scaled as if it had as much
FLOOR = 1e-8


@dataclass(frozen=True)
class Components:
    """Principal components of real spectra.

    Attributes
    ----------
    mean : float64 array (B,)
    directions : float64 array (B, B)
        Columns, the strongest first.
    variance : float64 array (B,)
        Of each, in the scene's units squared.
    """

    mean: np.ndarray
    directions: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, spectra: np.ndarray) -> Components:
        """Of spectra (n, B); their signs fixed, so that they are the same on every machine."""
        rows = np.asarray(spectra, dtype=np.float64)
        mean = rows.mean(0)
        variance, directions = np.linalg.eigh(np.atleast_2d(np.cov(rows.T, bias=True)))
        order = np.argsort(variance)[::-1]
        directions = directions[:, order]
        largest = directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])]
        return cls(mean, directions * np.where(largest < 0, -1, 1), np.maximum(variance[order], 0))

    def scores(self, values: np.ndarray, count: int) -> np.ndarray:
        """Of values (B, ...), the leading components (count, ...), float64."""
        centred = np.asarray(values, dtype=np.float64) - self.mean.reshape(-1, *[1] * (values.ndim - 1))
        return np.tensordot(self.directions[:, :count].T, centred, 1)

    def white(self) -> np.ndarray:
        """Matrix (B, B) whose product with centred spectra has variance 1 in every component."""
        lowest = FLOOR * max(float(self.variance[0]), np.finfo(float).tiny)
        return self.directions.T / np.sqrt(np.maximum(self.variance, lowest))[:, None]

    def standard(self) -> np.ndarray:
        """Matrix (B, B) whose product with centred spectra has variance 1 in every band."""
        spread = np.einsum("bk,k,bk->b", self.directions, self.variance, self.directions)
        lowest = FLOOR * max(float(spread.max()), np.finfo(float).tiny)
        return np.diag(1 / np.sqrt(np.maximum(spread, lowest)))
