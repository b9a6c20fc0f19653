"""The pattern of a sensor that is off in most of its lines: offsets of all lines of a band, as far as they are told."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct, idct
from scipy.ndimage import median_filter

from hsgeo.methods.restoration.stripes import ENOUGH, SURE, Read, around, median, pieces
from hsgeo.observation.lines import Lines

#: variances of the step from one line to the next, in those of a line's level, that a scene is tried with
STEPS = np.concatenate([[0.0], np.logspace(-5, 6, 34)])

#: times the variance of a line's error from which that of offsets is a pattern: a quarter of all lines, however far off,
#: makes it seem so much
LEAST = 4.0

CLIP = 3.0

#: lines from which a spread is known
LINES = 16


def pattern(read: Read, lines: Lines, noise: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Offsets of all lines of the bands of which most lines are off; 0 in other bands."""
    offsets = np.zeros((len(noise), lines.count))
    halves, counts = _halves(*pieces(read, lines, len(noise), None), lines.step)
    count = counts.sum(0)
    share = counts / np.maximum(count, 1)
    known = (count >= ENOUGH) & (share.min(0) > 0.1)
    seen = np.flatnonzero(known.mean(0) > 0.5)
    if len(seen) < LINES:
        return offsets
    halves, known, share = halves[..., seen], known[:, seen], share[..., seen]
    error = noise * np.sqrt(median(1 / np.where(known, count[:, seen], np.nan), 1))
    error = np.nan_to_num(error, nan=np.inf)
    whole, apart = ((share * halves).sum(0), np.sqrt(share.prod(0)) * (halves[0] - halves[1]))
    whole, apart = (_interpolated(v, known) for v in (whole, apart))
    total, near = error, whole
    for _ in range(4):
        inside = np.linalg.svd(scene / total[:, None], full_matrices=False)[0]
        kept = 1 - np.square(inside).sum(1)
        fit = inside @ (inside.T @ (near / total[:, None])) * total[:, None]
        rest = whole - fit
        spread = _robust(np.diff(rest, axis=1), known[:, 1:] & known[:, :-1]) / np.sqrt(2 * kept)
        level = median_filter(rest, (1, 21), mode="reflect")
        total = np.maximum(error, spread)
        near = fit + np.where(np.abs(rest - level) > CLIP * total[:, None], level, rest)
    inside = inside @ np.linalg.svd(np.diff(inside.T @ (near / total[:, None])), full_matrices=False)[0]
    own, free = _rough(near / total[:, None], inside, kept)
    own += (whole - near) / total[:, None]
    differing, _ = _rough(apart / total[:, None], inside, kept)
    of_all, of_error = (np.square(total / error * _robust(v, known)) / free for v in (own, differing))
    of_error = np.maximum(np.maximum(of_error, median(around(of_error[:, None]), -1)[:, 0]), 1)
    sure = max(LEAST, np.expm1(SURE * np.sqrt(5.4 / len(seen))))
    found = np.where(of_all - of_error > sure * of_error, of_all - of_error, 0.0)
    share = found / (found + 1)
    offsets = np.where(known, own * total[:, None] * share[:, None], 0.0)
    out = np.zeros((len(noise), -(-lines.count // lines.step)))
    out[:, seen] = offsets
    return np.repeat(out, lines.step, 1)[:, : lines.count]


def _halves(levels, counts, step):
    n = levels.shape[-1]
    wide = -(-n // step) * step
    pad = ((0, 0), (0, 0), (0, wide - n))
    levels, counts = np.pad(levels * counts, pad), np.pad(counts, pad)
    half = len(levels) // 2
    out = []
    for v in (levels, counts):
        v = v.reshape(*v.shape[:2], -1, step).sum(-1)
        out.append(np.stack([v[:half].sum(0), v[half:].sum(0)]))
    return out[0] / np.maximum(out[1], 1), out[1]


def _interpolated(values, known):
    at = np.arange(values.shape[1])
    return np.stack([np.interp(at, at[k], v[k]) if k.any() else 0.0 * v for v, k in zip(values, known, strict=True)])


def _robust(values, known):
    return 1.4826 * np.nan_to_num(median(np.abs(np.where(known, values, np.nan)), 1))


def _rough(white, inside, kept):
    """What of levels (B, n) of errors of variance 1 no smooth scene explains, and the share of an error that it holds."""
    one = inside.T @ white
    rest = white - inside @ one
    one, of_one = _unsmooth(one, np.ones(len(one)))
    rest, of_rest = _unsmooth(rest, kept)
    return inside @ one + rest, np.square(inside) @ of_one + kept * of_rest


def _unsmooth(profiles, variance):
    """Of profiles (k, n) that are a random walk with white noise of a variance (k,) that noise."""
    waves = dct(profiles, norm="ortho")
    n = profiles.shape[1]
    walk = 1 / (2 - 2 * np.cos(np.pi * np.arange(1, n) / n))
    power = np.square(waves[:, 1:]) / variance[:, None]
    model = 1 + STEPS[:, None] * walk
    cost = np.log(model).sum(1)[:, None] + (1 / model) @ power.T
    noise = 1 / model[cost.argmin(0)]
    noise = np.pad(noise, ((0, 0), (1, 0)))
    return idct(waves * noise, norm="ortho"), noise.mean(1)
