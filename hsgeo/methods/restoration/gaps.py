"""Pixels that lack some of their bands: dead columns, saturated samples, bands that are masked here and there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.sparse import csr_array

from hsgeo.observation.noise import SpectralStatistics, pixels_needed

#: share of its bands that a pixel must have to be worked with
LEAST = 0.5

#: weight of what the whole scene tells of the coefficients of a pixel that lacks bands; on mixed noise 0.3 gives 0.1 to
#: 0.3 dB over all of it and over next to none
WEAK = 0.3

#: pixels within which a missing sample has known ones on two sides, where it is bridged
NEAR = 2

#: pixels from which it is bridged, by a Gaussian of width 1
REACH = 3


def usable(spectra: np.ndarray) -> np.ndarray:
    """Pixels (h, w) of spectra (B, h, w) that have enough of their bands."""
    return np.isfinite(spectra).mean(0) >= LEAST


def filled(spectra: np.ndarray) -> np.ndarray:
    """Spectra (B, h, w), missing samples bridged band by band where data lie near on two sides; others stay."""
    lacking = ~np.isfinite(spectra) & usable(spectra)
    lacking &= _between(np.isfinite(spectra))
    if not lacking.any():
        return spectra
    out = spectra.copy()
    out[lacking] = _bridged(spectra, lacking)
    return out


def _bridged(spectra: np.ndarray, lacking: np.ndarray) -> np.ndarray:
    """Values (n,) of the samples that `lacking` marks: means of the known ones around, weighted by a Gaussian."""
    steps = np.arange(-REACH, REACH + 1)
    weights = np.exp(-(steps**2) / 2)
    wide = np.pad(spectra, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    flat, corner = wide.ravel(), np.ravel_multi_index(np.nonzero(lacking), wide.shape)
    total, mass = np.zeros(len(corner)), np.zeros(len(corner))
    for (down, one), (right, other) in product(enumerate(weights), repeat=2):
        seen = flat[corner + (down * wide.shape[2] + right)]
        known = np.isfinite(seen)
        total += one * other * np.where(known, seen, 0.0)
        mass += one * other * known
    return total / mass


def as_noisy(whole: np.ndarray, spectra: np.ndarray, noise: np.ndarray | None, seed: int = 0) -> np.ndarray:
    """What was `filled` of spectra (B, h, w), with the noise (B,) of the samples around; as it is where none is given.

    Parameters
    ----------
    whole : array (B, h, w)
        The spectra filled.
    spectra : array (B, h, w)
    noise : array (B,), optional
        Standard deviation of white noise.
    seed : int
        Of that noise.
    """
    if whole is spectra or noise is None:
        return whole
    out, bridged = whole.copy(), np.isfinite(whole) & ~np.isfinite(spectra)
    drawn = np.random.default_rng(seed).standard_normal(int(bridged.sum()))
    out[bridged] += (drawn * np.broadcast_to(noise[:, None, None], bridged.shape)[bridged]).astype(out.dtype)
    return out


def _between(known: np.ndarray) -> np.ndarray:
    """Samples (B, h, w) with known ones within `NEAR` pixels both left and right, or above and below."""
    out = np.zeros_like(known)
    for axis in (1, 2):
        wide = np.pad(known, [(0, 0), *((NEAR * (axis == i),) * 2 for i in (1, 2))])
        shifted = np.moveaxis(sliding_window_view(wide, 2 * NEAR + 1, axis), -1, 0)
        out |= reduce(np.logical_or, shifted[:NEAR]) & reduce(np.logical_or, shifted[NEAR + 1 :])
    return out


#: rounds in which what is missing is drawn, and pixels that are enough for it
ROUNDS, DRAWN = 3, 10000


#: factors of a normal distribution of spectra, least variance of a band's own, and pixels that are solved at a time
FACTORS, OWN, AT_ONCE = 30, 1e-9, 1000

#: share of the bands that pixels have, from which the others are dealt with one by one
MOST = 0.9


@dataclass(frozen=True)
class Likely:
    """Draws what pixels lack from what they have, as a normal distribution of spectra has it.

    Attributes
    ----------
    mean, covariance : arrays (B,), (B, B)
        Of spectra.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def drawn(self, spectra: np.ndarray, seed: int = 0) -> np.ndarray:
        """Spectra (B, h, w) without gaps, where pixels have enough of their bands.

        The covariance is taken as that of `FACTORS` factors, and of each band's own: so pixels are solved together,
        whichever bands each of them lacks.
        """
        known = np.isfinite(spectra).reshape(len(spectra), -1)
        some = np.flatnonzero(~known.all(0) & usable(spectra).ravel())
        if not len(some):
            return spectra
        out, rng = spectra.reshape(len(spectra), -1).copy(), np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(self.covariance)
        loadings = (vectors * np.sqrt(np.maximum(values, 0)))[:, -FACTORS:]
        variance = np.diag(self.covariance)
        own = np.maximum(variance - np.square(loadings).sum(1), OWN * variance.max())
        weighted, count = loadings / own[:, None], loadings.shape[1]
        products = (weighted[:, :, None] * loadings[:, None]).reshape(len(own), -1)
        for part in np.array_split(some, -(-len(some) // AT_ONCE)):
            have = known[:, part].T
            off = np.where(have, out[:, part].T - self.mean, 0.0)
            if have.mean() > MOST:  # what few bands would have told is taken off what all tell
                precision = products.sum(0) - csr_array(~have, dtype=float) @ products
            else:
                precision = have.astype(float) @ products
            root = torch.linalg.cholesky(torch.from_numpy(precision.reshape(-1, count, count) + np.eye(count)))
            seen = torch.linalg.solve_triangular(root, torch.from_numpy((off @ weighted)[..., None]), upper=False)
            seen += torch.from_numpy(rng.standard_normal(seen.shape))
            told = torch.linalg.solve_triangular(root.mT, seen, upper=True).numpy()
            found = self.mean + told[..., 0] @ loadings.T + np.sqrt(own) * rng.standard_normal(have.shape)
            out[:, part] = np.where(have, out[:, part].T, found).T
        return out.reshape(spectra.shape)


def noise_of_what_is_there(samples: Sequence[np.ndarray], whole: Sequence[np.ndarray]) -> np.ndarray | None:
    """Standard deviation of each band's noise in samples (B, h, w), some of whose pixels lack bands; None if none does.

    `whole` are the samples `filled`: a first guess, since what is bridged has little noise. What is missing is then
    drawn from what is there, as the statistics of the last round have it, and these are taken anew (stochastic EM:
    Celeux & Diebolt 1985).
    """
    if all(np.isfinite(s).all() for s in samples):
        return None
    bands = len(samples[0])
    sizes = np.cumsum([0] + [s[0].size for s in samples[:-1]])
    some = [s for s, before in zip(samples, sizes, strict=True) if before < DRAWN]
    statistics = _statistics(whole[: len(some)], bands)
    if statistics.n < pixels_needed(bands):
        return None
    for turn in range(ROUNDS):
        likely = Likely(statistics.mean, statistics.covariance)
        statistics = _statistics([likely.drawn(s, turn) for s in some], bands)
    return statistics.noise_std()


def _statistics(images: Sequence[np.ndarray], bands: int) -> SpectralStatistics:
    found = SpectralStatistics(bands)
    for image in images:
        found.update(image.reshape(bands, -1).T)
    return found


def coefficients(
    spectra: np.ndarray, basis: np.ndarray, noise: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Coefficients (p, h, w), float32, that explain best what each pixel has of its bands; NaN where it has too few.

    Parameters
    ----------
    spectra : array (B, h, w)
        NaN where a sample is missing.
    basis : array (B, p)
        Its columns are orthonormal after division by the noise.
    noise : array (B,)
    mean, covariance : arrays (p,), (p, p)
        Of the scene's coefficients.
    """
    count, p = basis.shape
    flat, white = spectra.reshape(count, -1), basis / noise[:, None]
    out = ((white / noise[:, None]).T.astype(np.float32)) @ flat.astype(np.float32, copy=False)
    some = np.flatnonzero(~np.isfinite(out).all(0) & usable(spectra).ravel())
    pairs, prior = (white[:, :, None] * white[:, None]).reshape(count, -1), WEAK * np.linalg.inv(covariance)
    for part in np.split(some, range(AT_ONCE, len(some), AT_ONCE)):
        known = np.isfinite(flat[:, part])
        seen = np.where(known, flat[:, part], 0.0) / noise[:, None]
        left = (known.T.astype(float) @ pairs).reshape(-1, p, p) + prior
        right = seen.T @ white + prior @ mean
        out[:, part] = np.linalg.solve(left, right[..., None])[..., 0].T
    out[:, ~usable(spectra).ravel()] = np.nan
    return out.reshape(p, *spectra.shape[1:])
