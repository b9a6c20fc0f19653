"""Spectra as abundances of endmembers and what these miss, and back: the space in which scenes are generated.

HUD (Shen et al. 2025) decodes abundances by fixed endmembers, so that all its spectra lie on one simplex. Real spectra
lie about it. What the mixture misses is split by what neighbouring pixels share: what they share is kept along a few
directions and drawn together with the abundances, so it has the scene's covariance, belongs to its materials, and is
as smooth in space; what they do not share has the covariance between bands that is measured, pixel by pixel.
Both are in units of what the endmembers of a pixel vary by: a hundredth of a roof's reflectance is all of water's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hsgeo.methods.generation.simplex import Floor, bound, unbound
from hsgeo.unmixing.abundances import fcls

#: least standard deviation of a channel, by which it is divided
LEAST = 1e-6

#: least amplitude of an endmember, of that which its brightness would have in the mean of the scene
SPREAD = 0.1

#: least norm of an endmember that weights its abundances, of the brightest's
DARKEST = 1e-3

#: pixels count by their brightness, to which this share of the median brightness is added, to the power -2
DARK = 0.3

#: least variance of what mixtures miss, of the largest, in which neighbours are compared
FAINT = 1e-10

#: share of the scene's pixels at the limit of a band from which that is where the recording cut them off: what moves
#: about their mean crosses it, and has another mean and covariance when it is cut off once more
CUT = 0.02

#: weight by which endmembers stay what they were found as, in pixels in which there is nothing else
STAY = 1.0


@dataclass(frozen=True)
class Encoding:
    """How spectra of B bands become a state of p + q channels, each of mean 0 and variance 1 over the scene.

    Attributes
    ----------
    endmembers : array (p, B)
        In the scene's units.
    filters, directions : arrays (q, B)
        Products of what mixtures miss with the first are what there is of the second.
    amplitudes : array (p, q)
        Of each endmember along each direction; a mixture has their mean by its abundances.
    powers : array (p,)
        The same of what is left.
    noise : array (B, B)
        Symmetric root of the covariance of what is left, in units of `powers`.
    offset, scale : arrays (p + q,)
        Mean of the channels before, and by what they are divided.
    low, high : arrays (p + q,)
        Least and largest value of the state over the scene.
    weights : array (p,)
        Of the abundances in their logarithms.
    least, most : arrays (B,)
        Of each band over the scene; infinite where the recording cut it off.
    floor : float or "published"
        See `hsgeo.methods.generation.simplex`.
    """

    endmembers: np.ndarray
    filters: np.ndarray
    directions: np.ndarray
    amplitudes: np.ndarray
    powers: np.ndarray
    noise: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    least: np.ndarray
    most: np.ndarray
    floor: Floor

    @property
    def channels(self) -> int:
        """p + q."""
        return len(self.offset)

    def encoded(self, spectra: np.ndarray, device: str = "cpu") -> np.ndarray:
        """The state (p + q, h, w), float32, of spectra (B, h, w); NaN where a band is missing."""
        pixels = spectra.reshape(len(spectra), -1).T.astype(np.float64)
        abundances = fcls(pixels, self.endmembers, device)
        along = (pixels - abundances @ self.endmembers) @ self.filters.T
        shares = unbound(abundances.T, self.floor, self.weights)
        raw = np.concatenate([shares, np.arcsinh(along / (abundances @ self.amplitudes)).T])
        state = (raw - self.offset[:, None]) / self.scale[:, None]
        return state.reshape(-1, *spectra.shape[1:]).astype(np.float32)

    def decoded(
        self, state: np.ndarray, variability: bool = True, noise: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a state (p + q, ...) shows.

        Parameters
        ----------
        state : array (p + q, ...)
        variability : bool
            With what mixtures miss; else spectra are mixtures of the endmembers alone.
        noise : array (B, ...), optional
            Standard normal; what neighbouring pixels do not share, the sensor's noise above all, is made of it.

        Returns
        -------
        abundances : float32 array (p, ...)
            Not negative, of sum 1.
        spectra : float32 array (B, ...)
            Mixtures alone, or else within each band's range over the scene.
        """
        p, shape = len(self.endmembers), (-1, *(1,) * (state.ndim - 1))
        raw = state.astype(np.float64) * self.scale.reshape(shape) + self.offset.reshape(shape)
        abundances = bound(raw[:p], self.floor, self.weights)
        spectra = np.tensordot(self.endmembers.T, abundances, 1)
        if variability:
            along = np.sinh(raw[p:]) * np.tensordot(self.amplitudes.T, abundances, 1)
            spectra += np.tensordot(self.directions.T, along, 1)
        if noise is not None:
            spectra += np.tensordot(self.powers, abundances, 1) * np.tensordot(self.noise, noise, 1)
        if variability or noise is not None:
            np.clip(spectra, self.least.reshape(shape), self.most.reshape(shape), out=spectra)
        return abundances.astype(np.float32), spectra.astype(np.float32)


def fitted_encoding(
    images: Iterable[np.ndarray],
    endmembers: np.ndarray,
    most: int,
    rounds: int = 0,
    device: str = "cpu",
    *,
    floor: Floor,
    brightness: float,
) -> tuple[Encoding, float]:
    """The encoding of a scene by its endmembers.

    Parameters
    ----------
    images : iterable of arrays (B, h, w)
        Parts of the scene, each pixel once; NaN where a band is missing.
    endmembers : array (p, B)
    most : int
        Directions beside the mixture at most: those in which neighbouring pixels are more alike than by chance.
    rounds : int
        Times that the endmembers are fitted to the pixels by their abundances, and these again to them.
    floor : float or "published"
        See `hsgeo.methods.generation.simplex`.
    brightness : float
        Power of the endmembers' norms by which abundances are weighted.

    Returns
    -------
    Encoding
    cosine : float
        Of the scene's pixels and what the encoding makes of them, in the mean.
    """
    parts = [np.asarray(image, np.float64) for image in images]
    known = [np.asarray(np.isfinite(part).all(0)) for part in parts]
    pixels = np.concatenate([part[:, here].T for part, here in zip(parts, known, strict=True)])
    lengths = np.linalg.norm(pixels, axis=1)
    weights = 1 / np.maximum(lengths + DARK * np.median(lengths), 1e-300)
    endmembers, abundances = refined(pixels, weights, np.asarray(endmembers, np.float64), rounds, device)
    missed = pixels - abundances @ endmembers
    filters, directions = _autocorrelated(missed * weights[:, None], known, most)
    along = missed @ filters.T
    left = missed - along @ directions
    bright = np.linalg.norm(endmembers, axis=1)
    found = [_amplitudes(sizes, abundances, weights, bright) for sizes in np.abs(along).T]
    amplitudes = np.array(found).reshape(-1, len(endmembers)).T
    powers = _amplitudes(np.linalg.norm(left, axis=1), abundances, weights, bright)
    relative = left / (abundances @ powers)[:, None]
    values, vectors = np.linalg.eigh(relative.T @ relative / len(relative))
    counting = np.maximum(bright / bright.max(), DARKEST) ** brightness
    shares = unbound(abundances.T, floor, counting)
    raw = np.concatenate([shares, np.arcsinh(along / (abundances @ amplitudes)).T])
    offset, scale = raw.mean(1), np.maximum(raw.std(1), LEAST)
    made = bound(shares, floor, counting).T @ endmembers + along @ directions
    size = lengths * np.linalg.norm(made, axis=1)
    encoding = Encoding(
        endmembers=endmembers,
        filters=filters,
        directions=directions,
        amplitudes=amplitudes,
        powers=powers,
        noise=(vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T,
        offset=offset,
        scale=scale,
        low=(raw.min(1) - offset) / scale,
        high=(raw.max(1) - offset) / scale,
        weights=counting,
        least=_limits(pixels, pixels.min(0), -np.inf),
        most=_limits(pixels, pixels.max(0), np.inf),
        floor=floor,
    )
    return encoding, float(((pixels * made).sum(1)[size > 0] / size[size > 0]).mean())


def _limits(pixels: np.ndarray, limits: np.ndarray, none: float) -> np.ndarray:
    """Limits (B,) of pixels (n, B), `none` where more than `CUT` of them are there."""
    return np.where((pixels == limits).mean(0) > CUT, none, limits)


def refined(
    pixels: np.ndarray, weights: np.ndarray, endmembers: np.ndarray, rounds: int, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Endmembers (p, B) by weighted least squares of the pixels (n, B), in turn with their abundances (n, p).

    Found at corners, endmembers are extremes of a material, and what mixtures miss of it is off to one side. Little
    weight keeps them where they were where hardly a pixel tells.
    """
    abundances, found = fcls(pixels, endmembers, device), endmembers
    for _ in range(rounds):
        weighted = abundances * np.square(weights)[:, None]
        stay = STAY * np.square(weights).mean() * np.eye(len(found))
        found = np.linalg.solve(weighted.T @ abundances + stay, weighted.T @ pixels + stay @ endmembers)
        abundances = fcls(pixels, found, device)
    return found, abundances


def _autocorrelated(missed: np.ndarray, known: list[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters (q, B) of the most alike neighbours, and the directions (q, B) in which what they find lies.

    They are maximum autocorrelation factors (Switzer & Green 1984), whatever their power: of variance 1, uncorrelated,
    and all that is left is uncorrelated with them. Pairs put together at random tell what there is by chance.
    """
    first, second = _neighbours(known)
    values, vectors = np.linalg.eigh(missed.T @ missed / len(missed))
    there = values > FAINT * values[-1]
    white = vectors[:, there] / np.sqrt(values[there])
    seen = missed @ white
    alike, factors = np.linalg.eigh(_symmetric(seen[first], seen[second]))
    by_chance = seen[np.random.default_rng(0).permutation(second)]
    floor = np.linalg.eigvalsh(_symmetric(seen[first], by_chance))[-1]
    count = min(int((alike > floor).sum()), most)
    filters = (white @ factors[:, ::-1][:, :count]).T
    return filters, filters @ (vectors * values) @ vectors.T


def _symmetric(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product = one.T @ other / max(len(one), 1)
    return (product + product.T) / 2


def _neighbours(known: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pixels side by side, and one above the other, among those that are known in all parts."""
    first, second, start = [], [], 0
    for here in known:
        number = np.where(here, start + np.cumsum(here).reshape(here.shape) - 1, -1)
        for one, other in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
            both = (one >= 0) & (other >= 0)
            first.append(one[both])
            second.append(other[both])
        start += int(here.sum())
    return np.concatenate(first), np.concatenate(second)


def _amplitudes(sizes: np.ndarray, abundances: np.ndarray, weights: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Amplitudes (p,) of endmembers, whose means by the abundances (n, p) are nearest to `sizes` (n,) in the scene's
    dark as in its bright pixels; `bright` (p,) are the endmembers' norms."""
    weighted = abundances * weights[:, None]
    gram = weighted.T @ weighted
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)))
    found = nnls(root.T, np.linalg.solve(root, weighted.T @ (weights * sizes)))[0]
    return np.maximum(found, np.maximum(SPREAD * (weights * sizes).mean() * bright, 1e-300))
