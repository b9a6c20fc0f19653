"""The low-dimensional subspace that a scene's spectra lie in."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal, Protocol

import numpy as np

from hsgeo.errors import ParameterError

#: edges of the noise above which a direction counts as signal; on five real scenes 1.1 lets some noise in, 1.5 keeps
#: signal out
AGREED = 1.25

#: times the power that noise reaches from which a direction is kept on which neighbours do not agree
CLEAR = 1.1

#: bands from which most directions are noise's
FEW_BANDS = 12

#: where a tenth of a semicircle of radius 1 lies beyond
TENTH = 0.687


class Statistics(Protocol):
    """Number of spectra and their mean outer product; `hsgeo.observation.noise.SpectralStatistics` has both."""

    n: int

    @property
    def correlation(self) -> np.ndarray: ...


class Neighbours(Protocol):
    """Number of pairs of neighbours, and their mean outer product; `hsgeo.observation.structure` has both."""

    n: int

    @property
    def correlation(self) -> np.ndarray: ...

    def edge(self) -> float: ...


@dataclass(frozen=True)
class Subspace:
    """A basis of the spectra, orthonormal after division by the noise.

    Attributes
    ----------
    basis : array (B, p)
        E = N V in the units of the data: a spectrum is E a + noise.
    noise : array (B,)
        Standard deviation per band, the diagonal of N.
    n : int
        Spectra that it was computed from.
    criterion : str
        How p was chosen, for the log.
    """

    basis: np.ndarray
    noise: np.ndarray
    n: int
    criterion: str

    @property
    def p(self) -> int:
        """Dimension."""
        return self.basis.shape[1]

    @property
    def projection(self) -> np.ndarray:
        """(p, B): coefficients a = projection @ y, the weighted least-squares fit; their noise is white, of std 1."""
        return (self.basis / self.noise[:, None] ** 2).T


def subspace(
    statistics: Statistics,
    noise: np.ndarray,
    dimension: int | Literal["auto"] = "auto",
    *,
    min_dimension: int = 3,
    max_dimension: int = 30,
) -> Subspace:
    """Eigenvectors of the noise-whitened spectral correlation.

    Parameters
    ----------
    statistics : n and correlation (B, B)
        From one pass over the scene.
    noise : array (B,)
        Standard deviation of the noise of each band, above 0.
    dimension : int or "auto"
        p. "auto" counts the eigenvalues above the Marchenko-Pastur edge (1 + sqrt(B / n))^2, which is as far as
        noise alone reaches in n samples (doi:10.1070/SM1967v001n04ABEH001994), and above 1.1 at least: the
        noise levels are estimates themselves.
    min_dimension, max_dimension : int
        Bounds of "auto"; never more than B.

    Raises
    ------
    ParameterError
        `dimension` is outside 1..B, or a noise level is not above 0.
    """
    noise = _levels(noise)
    bands = noise.size
    values, vectors = np.linalg.eigh(statistics.correlation / np.outer(noise, noise))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    edge = _power_edge(bands, statistics.n)
    if dimension == "auto":
        count = int((values > edge).sum())
        p = min(max(count, min_dimension), max_dimension, bands)
        criterion = f"{p} dimensions: {count} of {bands} eigenvalues above {edge:.2f} noise variances"
        if p != count:
            criterion += f", kept within {min(min_dimension, bands)} to {min(max_dimension, bands)}"
    else:
        p = _asked(dimension, bands)
        criterion = f"{p} dimensions as asked; the last holds {values[p - 1]:.2f} noise variances"
    return _along(vectors[:, :p], noise, statistics, criterion)


def structured_subspace(
    statistics: Statistics, neighbours: Neighbours, noise: np.ndarray, dimension: int | Literal["auto"] = "auto"
) -> Subspace:
    """The directions in which neighbouring pixels agree, of noise-whitened spectra, and those of more power than noise.

    Noise that is white in space adds nothing to what neighbours share, so signal is found here that is far weaker than
    the noise of its own direction, and directions are not drawn to where the noise happened to be strong. What has more
    power than noise is no white noise either, though neighbours do not agree on it: it is kept too.

    Parameters
    ----------
    statistics : n and correlation (B, B)
        Mean outer product of the spectra.
    neighbours : n, correlation (B, B) and edge()
        Mean outer product of neighbours (`hsgeo.observation.structure.NeighbourStatistics`).
    noise : array (B,)
        Standard deviation of the noise of each band, above 0.
    dimension : int or "auto"
        p. "auto" counts the eigenvalues that lie `AGREED` edges above their median; one at least. Where the noise is
        not quite white, as in resampled images, the median is not 0, and the edge is that of the semicircle that the
        smaller half of the eigenvalues makes. Of what is left, those are added whose power is `CLEAR` times what
        noise reaches by chance (`subspace`).

    Raises
    ------
    ParameterError
        `dimension` is outside 1..B, or a noise level is not above 0.
    """
    noise = _levels(noise)
    bands = noise.size
    values, vectors = np.linalg.eigh(neighbours.correlation / np.outer(noise, noise))
    values, vectors = values[::-1], vectors[:, ::-1]
    more = np.empty((bands, 0))
    if dimension == "auto":
        middle, edge = 0.0, neighbours.edge()
        if bands >= FEW_BANDS:
            middle = float(np.median(values))
            edge = max(edge, (middle - float(np.quantile(values, 0.1))) / TENTH)
        edge *= AGREED
        count = int((values - middle > edge).sum())
        p = max(count, 1)
        rest = vectors[:, p:]
        powers, turned = np.linalg.eigh(rest.T @ (statistics.correlation / np.outer(noise, noise)) @ rest)
        strong = powers > CLEAR * _power_edge(bands, statistics.n)
        more = rest @ turned[:, strong][:, ::-1]
        criterion = (
            f"{p + more.shape[1]} dimensions: in {count} of {bands} directions neighbours share over {edge:.2g} "
            "of the noise's variance"
        )
        if more.shape[1]:
            criterion += f", {more.shape[1]} more have more power than noise"
    else:
        p = _asked(dimension, bands)
        criterion = f"{p} dimensions as asked; in the last neighbours share {values[p - 1]:.2g} of the noise's variance"
    return _along(np.hstack([vectors[:, :p], more]), noise, statistics, criterion)


def _along(directions: np.ndarray, noise: np.ndarray, statistics: Statistics, criterion: str) -> Subspace:
    """The subspace of orthonormal directions (B, p) of whitened spectra."""
    # an eigenvector's sign is arbitrary: the same data must give the same basis on every machine
    v = directions * np.where(directions.sum(0) < 0, -1.0, 1.0)
    return Subspace(noise[:, None] * v, noise, statistics.n, criterion)


def _power_edge(bands: int, n: int) -> float:
    """Energy from which a direction is more than noise, in noise variances; see `subspace`."""
    return max(1.1, (1 + sqrt(bands / n)) ** 2)


def _levels(noise: np.ndarray) -> np.ndarray:
    noise = np.asarray(noise, dtype=np.float64)
    if not (np.isfinite(noise).all() and (noise > 0).all()):
        raise ParameterError("the noise of every band must be above 0.")
    return noise


def _asked(dimension: int, bands: int) -> int:
    if not 1 <= dimension <= bands:
        raise ParameterError(
            f"the dimension of the subspace must lie between 1 and the {bands} bands, not {dimension}."
        )
    return int(dimension)
