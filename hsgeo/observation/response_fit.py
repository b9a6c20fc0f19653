"""The spectral response estimated from both images on the coarse grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

#: a response may bend on this scale, in spacings of the hyperspectral bands
_BEND = 1.5

#: how far a response may lie from its table: part of its own value, and of its largest one anywhere near
_OWN, _NEAR = 0.5, 0.05

#: how large a response may be in one band without a table, relative to the gain
_FREE = 0.15

#: a table whose response fits worse than a free one by more than this factor (in variance) is left
_WORSE = 1.5


@dataclass(frozen=True)
class ResponseFit:
    """One multispectral band as a sum of hyperspectral ones: `response` (B,), offset, residual variance, origin."""

    response: np.ndarray
    offset: float
    variance: float
    origin: str


class ResponseProblem:
    """Regression of degraded multispectral bands on the HSI within its subspace.

    Parameters
    ----------
    coefficients : array (p, n)
        Of the HSI's coarse pixels, strongest first.
    basis : array (B, p)
    positions : array (B,)
        Wavelengths in nm, or band numbers where unknown.
    """

    def __init__(self, coefficients: np.ndarray, basis: np.ndarray, positions: np.ndarray) -> None:
        self.basis, self.positions = basis, positions
        self.mean = coefficients.mean(1)
        self.centred = (coefficients - self.mean[:, None]).T
        n = len(self.centred)
        # with few pixels only the strong directions can be told from noise
        self.used = min(basis.shape[1], max(1, n // 3))
        self.q, self.r = np.linalg.qr(self.centred)
        spacing = np.diff(np.sort(positions))
        self.bend = _BEND * (float(np.median(spacing[spacing > 0])) if (spacing > 0).any() else 1.0)

    @property
    def freedom(self) -> int:
        return max(len(self.centred) - self.used - 1, 1)

    def plain(self, band: np.ndarray) -> tuple[np.ndarray, float]:
        """Least squares on the coefficients: weights (p,), residual variance."""
        x = band - band.mean()
        q, r = np.linalg.qr(self.centred[:, : self.used])
        part = q.T @ x
        weights = np.zeros(self.basis.shape[1])
        weights[: self.used] = np.linalg.lstsq(r, part, rcond=1e-10)[0]
        return weights, float(max(x @ x - part @ part, 1e-12 * (x @ x))) / self.freedom

    def residual(self, band: np.ndarray, weights: np.ndarray) -> float:
        """Residual variance of a band predicted with `weights` (p,) and its best offset."""
        x = band - band.mean() - self.centred @ weights
        return float(x @ x) / max(len(x) - 1, 1)

    def fit(self, band: np.ndarray, table: np.ndarray | None = None, shape: str = "the table") -> ResponseFit:
        """Response >= 0 that is smooth and, with a table (said to be `shape`), near a multiple; any gain, offset."""
        _, variance = self.plain(band)
        free = self._fit(band, variance, None)
        if table is None or not table.any():
            return free
        held = self._fit(band, variance, table)
        return replace(held, origin=f"estimated near {shape}") if held.variance <= _WORSE * free.variance else free

    def scaled(self, band: np.ndarray, response: np.ndarray) -> tuple[float, float]:
        """Gain and offset by which a known response fits best."""
        seen = self.centred @ (response @ self.basis)
        x = band - band.mean()
        gain = float(seen @ x) / max(float(seen @ seen), 1e-300)
        return gain, float(band.mean() - gain * (response @ self.basis) @ self.mean)

    def _fit(self, band: np.ndarray, variance: float, table: np.ndarray | None) -> ResponseFit:
        bands, sigma = len(self.basis), np.sqrt(variance)
        near = np.exp(-((self.positions[:, None] - self.positions) ** 2) / (2 * self.bend**2))
        if table is None:
            total = self.basis.sum(0) @ self.centred.T / bands
            gain = max(np.std(band) / max(float(np.std(total)), 1e-300), 1e-300)
            spread, expected = np.full(bands, _FREE * gain), np.zeros(bands)
        else:
            gain = self.scaled(band, table)[0]
            if gain <= 0:
                return ResponseFit(np.zeros(bands), float(band.mean()), np.inf, "")
            spread = gain * (_OWN * table + _NEAR * (near @ table) / np.maximum(near.sum(1), 1))
            spread, expected = np.maximum(spread, 1e-4 * spread.max()), gain * table
        # the unknown is scaled by its spread, so that the system has no units
        prior = np.linalg.inv(np.linalg.cholesky(near + 1e-4 * np.eye(bands)))
        data = self.r @ self.basis.T * spread / sigma
        target = self.q.T @ (band - band.mean()) / sigma
        system = np.vstack([data, prior])
        scaled, _ = nnls(system, np.r_[target, prior @ (expected / spread)], maxiter=30 * bands)
        response = scaled * spread
        weights = response @ self.basis
        x = band - band.mean() - self.centred @ weights
        return ResponseFit(response, float(band.mean() - weights @ self.mean), float(x @ x) / self.freedom, "estimated")
