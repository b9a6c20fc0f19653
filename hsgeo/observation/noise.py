"""Second-order statistics of a scene's spectra in one streaming pass, and the noise of each band from them."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

from hsgeo.errors import DataError, ParameterError

#: rows turned to float64 at a time
_BLOCK = 65536

#: least noise of a band, relative to the median of the bands around it
_FLOOR = 0.2

#: bands on each side that count as "around"
_AROUND = 7

#: a band with less of its freedom left to the noise is a signal of its own to the analysis, whose noise would go on
#: falling (Heywood's case): it falls no more
_FREE = 0.2

#: a direction counts as signal from this many noise variances at least, however many the samples
_ENERGY = 1.1


class SpectralStatistics:
    """Count, sum and sum of outer products of spectra, added up in float64 chunk by chunk.

    Parameters
    ----------
    bands : int
        Number of bands B.
    """

    def __init__(self, bands: int) -> None:
        self.bands = int(bands)
        self.n = 0
        self._sum = np.zeros(self.bands)
        self._outer = np.zeros((self.bands, self.bands))

    def update(self, pixels: np.ndarray) -> SpectralStatistics:
        """Add spectra (n, B); a pixel with NaN or infinity in any band is left out. Returns self."""
        pixels = np.asarray(pixels)
        if pixels.ndim != 2 or pixels.shape[1] != self.bands:
            raise ParameterError(f"spectra (n, {self.bands}) are needed, not {pixels.shape}.")
        for start in range(0, len(pixels), _BLOCK):
            block = pixels[start : start + _BLOCK].astype(np.float64)
            block = block[np.isfinite(block).all(1)]
            self.n += len(block)
            self._sum += block.sum(0)
            self._outer += block.T @ block
        return self

    def thinned(self, factor: float) -> SpectralStatistics:
        """The same moments, counted as from `factor` times fewer spectra: for spectra that are not independent."""
        out = SpectralStatistics(self.bands)
        out.n = int(self.n / factor)
        share = out.n / max(self.n, 1)
        out._sum, out._outer = self._sum * share, self._outer * share
        return out

    @property
    def mean(self) -> np.ndarray:
        """Mean spectrum (B,)."""
        return self._sum / self._counted()

    @property
    def correlation(self) -> np.ndarray:
        """Mean outer product of a spectrum with itself (B, B); the mean is not subtracted."""
        return self._outer / self._counted()

    @property
    def covariance(self) -> np.ndarray:
        """Correlation about the mean (B, B)."""
        mean = self.mean
        return self.correlation - np.outer(mean, mean)

    def noise_std(self) -> np.ndarray:
        """Standard deviation of the noise of each band, (B,), above 0.

        Each band is regressed on the others [1]_ and what they cannot predict is its noise. With few bands that
        holds some signal and with any number the noise of the regressors, so the estimate is refined as a factor
        analysis: the spectra are divided by it, the directions with clearly more energy than noise are taken as
        signal, and what they leave in each band is its noise; this is repeated until it stands.

        A band that others reproduce exactly (interpolated, repeated) shows no noise of its own: no band gets less
        than a fifth of the median of the 15 bands around it.

        References
        ----------
        .. [1] Bioucas-Dias & Nascimento 2008, Hyperspectral subspace identification,
           doi:10.1109/TGRS.2008.918089, section III.
        """
        if self.n < 3:
            raise DataError(f"noise cannot be estimated from {self.n} valid pixels.")
        if self.bands < 3:
            raise DataError(f"noise cannot be estimated from {self.bands} bands alone.")
        return _factor_analysis(self.correlation, self.n, _floored(_regression(self._outer, self.n)))

    def _counted(self) -> int:
        if self.n == 0:
            raise DataError("there is no valid pixel.")
        return self.n


def signal_edge(bands: int, pixels: int) -> float:
    """The eigenvalue, in noise variances, from which a direction of whitened spectra counts as signal.

    The upper edge (1 + sqrt(B / n))^2 that the eigenvalues of pure noise reach in n samples (Marchenko & Pastur 1967,
    doi:10.1070/SM1967v001n04ABEH001994), and 1.1 where that is larger: the noise levels are estimates themselves.
    """
    return max(_ENERGY, (1 + sqrt(bands / pixels)) ** 2)


def pixels_needed(bands: int) -> int:
    """Spectra from which each of the bands can be regressed on all others with some freedom left."""
    return ceil(1.5 * bands + 10)


def _regression(outer: np.ndarray, n: int) -> np.ndarray:
    """Residual of each band regressed on the others, or on the nearest ones where the pixels are few."""
    bands = len(outer)
    scale = np.sqrt(np.diag(outer))
    scale[scale == 0] = 1.0
    unit = outer / np.outer(scale, scale)
    ridge = 1e-12 * np.eye(bands)
    if n >= pixels_needed(bands):
        left = 1 / np.diag(np.linalg.inv(unit + ridge))
        freedom = n - bands + 1
    else:
        near = int(np.clip(n // 3, 1, bands - 1))
        left = np.empty(bands)
        for i in range(bands):
            first = int(np.clip(i - near // 2, 0, bands - near - 1))
            part = slice(first, first + near + 1)
            inverse = np.linalg.inv(unit[part, part] + ridge[part, part])
            left[i] = 1 / inverse[i - first, i - first]
        freedom = n - near
    return scale * np.sqrt(np.maximum(left, 0) / max(freedom, 1))


def _factor_analysis(correlation: np.ndarray, n: int, noise: np.ndarray, steps: int = 30) -> np.ndarray:
    bands = len(noise)
    edge = signal_edge(bands, n)
    for _ in range(steps):
        whitened = correlation / np.outer(noise, noise)
        values, vectors = np.linalg.eigh(whitened)
        # at least a third of the freedom stays with the noise
        p = int(np.clip((values > edge).sum(), 0, min(bands * 2 // 3, n * 2 // 3)))
        squares = vectors[:, bands - p :] ** 2
        left = np.diag(whitened) - squares @ values[bands - p :]
        free = 1 - squares.sum(1)
        ratio = np.sqrt(np.maximum(left, 1e-12) / (np.maximum(free, 0.05) * max(1 - p / n, 0.1)))
        ratio[(free < _FREE) & (ratio < 1)] = 1.0
        new = _floored(noise * np.clip(ratio, 0.2, 5.0))
        done = np.allclose(new, noise, rtol=2e-3)
        noise = new
        if done:
            break
    return noise


def _floored(noise: np.ndarray) -> np.ndarray:
    padded = np.pad(noise, _AROUND, mode="symmetric") if noise.size >= _AROUND else noise
    if noise.size >= _AROUND:
        local = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1), axis=1)
    else:
        local = np.full(noise.size, np.median(noise))
    positive = noise[noise > 0]
    least = 1e-3 * np.median(positive) if positive.size else 1e-12
    return np.maximum(noise, np.maximum(_FLOOR * local, least))
