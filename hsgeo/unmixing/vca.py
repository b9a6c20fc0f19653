"""Vertex component analysis: the endmembers of a scene are the pixels at the corners of the simplex of its mixtures.

Nascimento & Dias 2005, Vertex component analysis, doi:10.1109/TGRS.2005.844293, Algorithm 1. The scene is streamed: its
second moments say where it is projected to, then `Corners` is shown its pixels once and keeps few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10

import numpy as np

from hsgeo.errors import DataError, ParameterError

#: pixels that are kept as they come; of more, those that lie outermost along many directions
POOL = 2**18
#: directions along which the outermost pixels of a full pool are kept, both ways
DIRECTIONS = 500
#: pixels that are looked at along all directions at a time
BLOCK = 2048
#: random starts; the corners that span most volume are taken, where one run's depend on its first directions
RUNS = 20
#: share of the mean pixel's length along itself below which a pixel is too dark to be told in perspective
DARK = 1e-2
#: share of a corner that the pixels averaged with it have at least
NEAR = 0.9


@dataclass(frozen=True)
class Projection:
    """Where corners are looked for.

    Attributes
    ----------
    basis : array (B, d)
        Orthonormal.
    mean : array (B,)
        Of the scene.
    perspective : bool
        Pixels are divided by their length along the mean, d = p: differences in illumination vanish. Otherwise they are
        taken about the mean, d = p - 1: less noise.
    snr, threshold : float
        Signal to noise of the scene, and that from which on it is perspective, dB.
    """

    basis: np.ndarray
    mean: np.ndarray
    perspective: bool
    snr: float
    threshold: float

    def coordinates(self, pixels: np.ndarray) -> np.ndarray:
        """Of spectra (n, B), float64 (n, d)."""
        pixels = np.asarray(pixels, np.float64)
        return (pixels if self.perspective else pixels - self.mean) @ self.basis

    def spectra(self, coordinates: np.ndarray) -> np.ndarray:
        """Of coordinates (n, d), float64 (n, B): the pixels without what lies outside the projection."""
        inside = coordinates @ self.basis.T
        return inside if self.perspective else inside + self.mean

    def lifted(self, coordinates: np.ndarray) -> np.ndarray:
        """Of coordinates (n, d), (n, p) in which the simplex does not hold the origin; NaN for pixels too dark."""
        if not self.perspective:
            far = np.sqrt((coordinates**2).sum(1).max(initial=0.0))
            return np.hstack([coordinates, np.full((len(coordinates), 1), far)])
        along = coordinates @ self.middle
        dark = along <= DARK * float(self.middle @ self.middle)
        return coordinates / np.where(dark, np.nan, along)[:, None]

    def other(self, correlation: np.ndarray) -> Projection:
        """The same scene in the other projection; `correlation` (B, B) as for `projection`."""
        count = self.basis.shape[1] + (not self.perspective)
        return _projected(correlation, self.mean, count, not self.perspective, self.snr, self.threshold)

    @property
    def middle(self) -> np.ndarray:
        """The mean's coordinates (d,)."""
        return self.mean @ self.basis


def projection(correlation: np.ndarray, mean: np.ndarray, count: int) -> Projection:
    """Choose the projection by the scene's signal to noise, Algorithm 1, lines 1 to 14.

    Parameters
    ----------
    correlation : array (B, B)
        Mean outer product of the spectra.
    mean : array (B,)
    count : int
        Number of endmembers p.

    Raises
    ------
    ParameterError
        `count` is below 2 or above the number of bands.
    """
    bands = len(mean)
    if not 2 <= count <= bands:
        raise ParameterError(f"the number of endmembers must lie between 2 and the {bands} bands, not {count}.")
    snr = signal_to_noise(correlation, mean, count)
    threshold = 15 + 10 * log10(count)
    return _projected(correlation, mean, count, snr >= threshold, snr, threshold)


def _projected(
    correlation: np.ndarray, mean: np.ndarray, count: int, perspective: bool, snr: float, threshold: float
) -> Projection:
    about = correlation - np.outer(mean, mean)
    basis = leading(correlation, count) if perspective else leading(about, count - 1)
    return Projection(basis, np.asarray(mean, np.float64), perspective, snr, threshold)


def signal_to_noise(correlation: np.ndarray, mean: np.ndarray, count: int) -> float:
    """Signal to noise in dB, power in the p strongest directions about the mean, and outside of them."""
    covariance = correlation - np.outer(mean, mean)
    power = float(np.trace(correlation))
    basis = leading(covariance, count)
    inside = float(np.trace(basis.T @ covariance @ basis) + mean @ mean)
    noise, signal = power - inside, inside - count / len(mean) * power
    if noise <= 1e-14 * power:
        return inf
    return 10 * log10(signal / noise) if signal > 0 else -inf


def leading(matrix: np.ndarray, count: int) -> np.ndarray:
    """The strongest eigenvectors (B, count) of a symmetric matrix, their signs fixed: the same on every machine."""
    vectors = np.linalg.eigh(matrix)[1][:, ::-1][:, :count]
    return vectors * np.where(vectors.sum(0) < 0, -1.0, 1.0)


@dataclass(frozen=True)
class Endmembers:
    """What was found.

    Attributes
    ----------
    spectra : array (p, B)
        Projected, as the paper has them.
    places : int array (p,)
        Number of the pixel of each, in the order in which the pixels were shown.
    volume : float
        Of the simplex that they span, log10, relative to that of the other runs alone.
    """

    spectra: np.ndarray
    places: np.ndarray
    volume: float


class Corners:
    """Keeps the pixels of a stream among which the corners are.

    All of them up to `POOL`; of more, in memory that does not grow, those outermost along random directions. A corner
    is outermost along many, so that it is lost only where it sticks out by less than others by noise.

    Parameters
    ----------
    onto : Projection
    seed : int
        Of the directions, and of the first ones that corners are looked for along.
    """

    def __init__(self, onto: Projection, seed: int = 0) -> None:
        self.onto, self.seed, self.seen = onto, seed, 0
        self._places: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []

    def update(self, pixels: np.ndarray) -> Corners:
        """Show spectra (n, B); those with NaN or infinity count, but are left out. Returns self."""
        known = np.flatnonzero(np.isfinite(pixels).all(1))
        self._places.append(known + self.seen)
        self._kept.append(self.onto.coordinates(pixels[known]))
        self.seen += len(pixels)
        if sum(map(len, self._kept)) > POOL:
            places, kept = self._all()
            outer = outermost(self.onto.lifted(kept) if self.onto.perspective else kept, self.seed)
            self._places, self._kept = [places[outer]], [kept[outer]]
        return self

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._kept:
            return np.empty(0, int), np.empty((0, self.onto.basis.shape[1]))
        return np.concatenate(self._places), np.concatenate(self._kept)

    def found(self, count: int, average: int = 1) -> Endmembers:
        """The corners.

        Parameters
        ----------
        count : int
            p, as for `projection`.
        average : int
            Pixels that an endmember is the mean of: those that have most of its corner, `NEAR` at least. The outermost
            of many noisy pixels is outermost by its noise [1]_; 1 is the published algorithm.

        Raises
        ------
        DataError
            Fewer pixels than that, or pixels that are too few different ones.

        References
        ----------
        .. [1] Nadisic, Gillis & Kervazo 2023, Smoothed separable nonnegative matrix factorization,
           doi:10.1016/j.laa.2023.07.013.
        """
        places, kept = self._all()
        points = self.onto.lifted(kept)
        valid = np.isfinite(points).all(1)
        places, kept, points = places[valid], kept[valid], points[valid]
        if len(points) < count:
            raise DataError(f"{len(points)} pixels with data are fewer than {count} endmembers; ask for fewer.")
        rng, best, most = np.random.default_rng(self.seed), None, -inf
        for _ in range(RUNS):
            chosen = _run(points, count, rng)
            volume = float(np.linalg.slogdet(points[chosen])[1])
            if len(set(chosen)) == count and volume > most:
                best, most = chosen, volume
        if best is None:
            raise DataError(f"the pixels are mixtures of fewer than {count} spectra; ask for fewer endmembers.")
        mean = np.array([kept[near].mean(0) for near in _nearest(points, best, average)])
        return Endmembers(self.onto.spectra(mean), places[best], most / np.log(10))


def vca(pixels: np.ndarray, count: int, seed: int = 0) -> Endmembers:
    """Endmembers of spectra in memory; for a scene see `projection` and `Corners`.

    Parameters
    ----------
    pixels : array (n, B)
        Those with NaN or infinity are left out.
    count : int
        p.
    seed : int

    Raises
    ------
    ParameterError, DataError
        As `projection` and `Corners.found`.
    """
    pixels = np.asarray(pixels, np.float64)
    known = pixels[np.isfinite(pixels).all(1)]
    if len(known) < count:
        raise DataError(f"{len(known)} pixels with data are fewer than {count} endmembers; ask for fewer.")
    onto = projection(known.T @ known / len(known), known.mean(0), count)
    return Corners(onto, seed).update(pixels).found(count)


def outermost(points: np.ndarray, seed: int) -> np.ndarray:
    """Indices, sorted, of points (n, d) that lie outermost along many random directions of their whitened cloud."""
    valid = np.flatnonzero(np.isfinite(points).all(1))
    cloud = points[valid] - points[valid].mean(0)
    values, vectors = np.linalg.eigh(cloud.T @ cloud)
    white = vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    directions = np.random.default_rng(seed).standard_normal((DIRECTIONS, len(values))) @ white.T
    every = np.arange(DIRECTIONS)
    best = np.full((2, DIRECTIONS), [[-np.inf], [np.inf]])
    where = np.zeros((2, DIRECTIONS), int)
    for start in range(0, len(cloud), BLOCK):
        # single precision, a block small enough for the cache: four times as fast
        along = directions.astype(np.float32) @ cloud[start : start + BLOCK].T.astype(np.float32)
        for side, at, beyond in ((0, along.argmax(1), np.greater), (1, along.argmin(1), np.less)):
            value = along[every, at]
            better = beyond(value, best[side])
            best[side, better], where[side, better] = value[better], at[better] + start
    return valid[np.unique(where)]


def _run(points: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Algorithm 1, lines 15 to 26: each corner is outermost along a direction orthogonal to the corners before."""
    corners = np.zeros((count, count))
    corners[-1, 0] = 1.0
    chosen = []
    for i in range(count):
        direction = rng.random(count)
        # twice: what rounding leaves of the corners in the direction would pick one of them again
        for _ in range(2):
            direction = direction - corners @ (np.linalg.pinv(corners) @ direction)
        direction /= np.linalg.norm(direction)
        chosen.append(int(np.abs(points @ direction).argmax()))
        corners[:, i] = points[chosen[-1]]
    return chosen


def _nearest(points: np.ndarray, corners: list[int], average: int) -> list[np.ndarray]:
    """Of each corner, itself and the points that have most of it."""
    if average <= 1:
        return [np.array([corner]) for corner in corners]
    out = []
    for corner, share in zip(corners, np.linalg.solve(points[corners].T, points.T), strict=True):
        order = np.argsort(-share, kind="stable")[:average]
        out.append(np.union1d([corner], order[share[order] >= NEAR]))
    return out
