"""The pattern of a sensor: offsets of lines of bands most of whose lines are off, and of lines side by side.

A scene's levels change from line to line as a random walk does, in few directions of the spectrum; offsets of detector
elements are white from line to line, in all bands. The variance of a band's offsets is what its lines differ by beyond
that, as far as both halves of the lines agree; each is then told by Wiener's filter.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct, idct
from scipy.ndimage import binary_opening, median_filter

from hsgeo.methods.restoration.stripes import ENOUGH, SURE, Read, around, median, pieces
from hsgeo.observation.lines import Lines

#: variances of the step from one line to the next that a scene is tried with, in those of a line's error
STEPS = np.concatenate([[0.0], np.logspace(-5, 6, 34)])

#: times the variance of a line's error from which that of a band's offsets is a pattern: less is left to the noise, and
#: two fifths of the lines of a band seem no more, however far off
LEAST = 4.0

#: lines from which a spread is known, and around which a level is taken
FEW, WIDE = 16, 21

#: errors from which a line has no say in what the scene is
FAR = 3.0

#: rounds of the scene's part and the spread of the rest
ROUNDS = 4

#: lines side by side that no look at the nearest lines can tell, and standard errors from which they are off
RUN, CLEAR = 4, 2 * SURE

#: variance of the logarithm of the square of a median absolute deviation, times the number of values
MEDIAN = 5.4


def pattern(read: Read, lines: Lines, noise: np.ndarray, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the lines of bands that are striped all over, and of `RUN` or more lines side by side in other bands.

    A band's mean offset, and what offsets have in common with the scene's own changes from line to line, stay.

    Parameters
    ----------
    read : callable
        Of a window, (B, h, w); NaN where a sample is missing.
    lines : Lines
    noise : array (B,)
        Standard deviation.
    scene : array (B, p)
        Basis of the scene's spectra.

    Returns
    -------
    two arrays (B, n)
    """
    levels, counts = _halves(*pieces(read, lines, len(noise), None), lines.step)
    count = counts.sum(0)
    share = counts / np.maximum(count, 1)
    known = (count >= ENOUGH) & (share.min(0) > 0.1)
    seen = np.flatnonzero(known.mean(0) > 0.5)
    if len(seen) < FEW:
        return np.zeros((len(noise), lines.count)), np.zeros((len(noise), lines.count))
    levels, known, share = levels[..., seen], known[:, seen], share[..., seen]
    usual = median(np.where(known, count[:, seen], np.nan), 1)
    error = (noise / np.sqrt(np.fmax(usual, ENOUGH)))[:, None]  # fmax, where a band has nothing
    whole = _interpolated((share * levels).sum(0), known)
    apart = _interpolated(np.sqrt(share.prod(0)) * (levels[0] - levels[1]), known)  # no offset, the same error

    total, near = error, whole
    for _ in range(ROUNDS):
        inside = np.linalg.svd(scene / total, full_matrices=False)[0]
        free = 1 - np.square(inside).sum(1)
        fit = inside @ (inside.T @ (near / total)) * total
        rest = whole - fit
        spread = _deviation(np.diff(rest), known[:, 1:] & known[:, :-1]) / np.sqrt(2 * free)
        level = median_filter(rest, (1, WIDE), mode="reflect")
        total = np.maximum(error, spread[:, None])
        near = fit + np.where(np.abs(rest - level) > FAR * total, level, rest)
    # the scene's directions by how much lines differ in them, that the walk may be slow in most
    inside = inside @ np.linalg.svd(np.diff(inside.T @ (near / total)), full_matrices=False)[0]

    white, part = _white(near / total, inside, free)
    own = white * total + whole - near
    differing = _white(apart / total, inside, free)[0] * total
    of_all, of_error = (np.square(_deviation(v, known)[:, None] / error) / part for v in (own, differing))
    of_error = np.maximum(np.maximum(of_error, median(around(of_error), -1)), 1)
    sure = max(LEAST, np.expm1(SURE * np.sqrt(MEDIAN / len(seen))))
    variance = np.where(of_all - of_error > sure * of_error, of_all - of_error, 0.0)  # in those of the error

    apart = apart - inside @ (inside.T @ (apart / total)) * total
    off, far = rest - level, CLEAR * np.maximum(total, error * np.sqrt(of_error))
    clear = known & (variance == 0) & (np.abs(off) > far) & (np.abs(apart) < np.abs(off) / 2)
    wide = np.any([binary_opening(clear & (side * off > 0), np.ones((1, RUN))) for side in (-1, 1)], 0)
    every = np.zeros((2, len(noise), -(-lines.count // lines.step)))
    every[:, :, seen] = np.where(known, own * variance / (variance + 1), 0.0), np.where(wide, off, 0.0)
    dense, runs = np.repeat(every, lines.step, -1)[..., : lines.count]
    return dense, runs


def _halves(levels: np.ndarray, counts: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels and counts (2, B, n) of halves of lines a pixel wide, of those of pieces (P, B, n) of finer lines."""
    pad = ((0, 0), (0, 0), (0, -levels.shape[-1] % step))
    sums, counts = (
        np.pad(v, pad).reshape(*v.shape[:2], -1, step).sum(-1) for v in (np.nan_to_num(levels) * counts, counts)
    )
    half = len(sums) // 2
    sums, counts = (np.stack([v[:half].sum(0), v[half:].sum(0)]) for v in (sums, counts))
    return sums / np.maximum(counts, 1), counts


def _interpolated(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values (B, n), those that are not known by the lines around."""
    at = np.arange(values.shape[1])
    return np.stack([np.interp(at, at[k], v[k]) if k.any() else 0 * v for v, k in zip(values, known, strict=True)])


def _deviation(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Standard deviation (B,) of normal values about 0 by the median of their size; 0 where none is known."""
    return 1.4826 * np.nan_to_num(median(np.abs(np.where(known, values, np.nan)), 1))


def _white(levels: np.ndarray, inside: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of levels (B, n), with errors of variance 1, is no random walk; and the share (B, 1) of an error in it.

    The directions (B, p) of the scene's spectra, orthonormal, walk by themselves; `free` is what they leave of bands.
    """
    along = inside.T @ levels
    scene, of_scene = _unwalked(along, np.ones(len(along)))
    rest, of_rest = _unwalked(levels - inside @ along, free)
    return inside @ scene + rest, (np.square(inside) @ of_scene + free * of_rest)[:, None]


def _unwalked(profiles: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """White noise of a variance (k,) in profiles (k, n) that walk randomly besides, and the share (k,) of it found.

    Its posterior mean, at the most likely variance of steps; the cosine transform makes both independent. Of a
    profile's mean nothing is noise.
    """
    waves, n = dct(profiles, norm="ortho"), profiles.shape[1]
    walk = 1 / (2 - 2 * np.cos(np.pi * np.arange(1, n) / n))
    model = 1 + STEPS[:, None] * walk
    power = np.square(waves[:, 1:]) / np.maximum(variance, 1e-12)[:, None]
    cost = np.log(model).sum(1)[:, None] + (1 / model) @ power.T
    share = np.pad(1 / model[cost.argmin(0)], ((0, 0), (1, 0)))
    return idct(waves * share, norm="ortho"), share.mean(1)
