"""Pixels that lack some of their bands: dead columns, saturated samples, bands that are masked here and there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsgeo.methods.fusion.missing import bridge_each
from hsgeo.observation.noise import SpectralStatistics

#: share of its bands that a pixel must have to be worked with
LEAST = 0.5

#: weight of what the whole scene tells of the coefficients of a pixel that lacks bands; on mixed noise 0.3 gives 0.1 to
#: 0.3 dB over all of it and over next to none
WEAK = 0.3

#: pixels solved for at a time
AT_ONCE = 1 << 15


def usable(spectra: np.ndarray) -> np.ndarray:
    """Pixels (h, w) of spectra (B, h, w) that have enough of their bands."""
    return np.isfinite(spectra).mean(0) >= LEAST


def filled(spectra: np.ndarray, noise: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Spectra (B, h, w) whose single missing samples are bridged band by band; other gaps stay.

    Parameters
    ----------
    spectra : array (B, h, w)
    noise : array (B,), optional
        Standard deviation of white noise that what is bridged gets, as the samples around it have.
    seed : int
        Of that noise.
    """
    lacking = ~np.isfinite(spectra) & usable(spectra)
    if not lacking.any():
        return spectra
    out, bands = spectra.copy(), np.flatnonzero(lacking.any((1, 2)))
    some, gone = spectra[bands], lacking[bands]
    found = bridge_each(some)
    found = np.where(np.isnan(found), np.nanmean(some, axis=(1, 2), keepdims=True), found)
    out[bands] = np.where(gone, found, some)
    if noise is not None:
        drawn = np.random.default_rng(seed).standard_normal(int(lacking.sum()))
        out[lacking] += (drawn * np.broadcast_to(noise[:, None, None], lacking.shape)[lacking]).astype(out.dtype)
    return out


def noise_of_what_is_there(samples: Sequence[np.ndarray]) -> np.ndarray | None:
    """Standard deviation of each band's noise in samples (B, h, w), some of whose pixels lack bands; None if none does.

    What is bridged has next to no noise, and so the variance that all samples show is that of the known share.
    """
    known = [np.isfinite(s)[:, usable(s)] for s in samples]
    share = sum(k.sum(1) for k in known) / max(1, sum(k.shape[1] for k in known))
    if (share == 1).all():
        return None
    statistics = SpectralStatistics(len(share))
    for sample in samples:
        statistics.update(filled(sample).reshape(len(share), -1).T)
    return statistics.noise_std() / np.sqrt(np.maximum(share, LEAST))


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
