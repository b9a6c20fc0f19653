"""Detector lines whose samples are no measurement: stuck at one value, or many times as noisy as the others."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

from hsgeo.methods.restoration.gaps import usable
from hsgeo.methods.restoration.stripes import ENOUGH, Read, median
from hsgeo.observation.lines import Lines
from hsgeo.scene.window import Window

#: share of a line's samples that are one value, where it is stuck
STUCK = 0.95

#: times that a hot line is noisier than others
HOT = 5.0

#: lines around one that tell how noisy they are
AROUND = 11

#: share of a band's lines that may be stuck; of what has more the band has nothing to say
MOST = 0.9

#: share of a band's lines from which they are no longer the exception
MANY = 0.2

#: median absolute deviation of normal noise of variance 1
DEVIATION = 0.6745


def stuck_lines(read: Read, lines: Lines, bands: int) -> np.ndarray:
    """Lines next to all of whose samples are one value, while the nearest others on both sides vary.

    Parameters
    ----------
    read : callable
        Of a window, (B, h, w); NaN where a sample is missing.
    lines : Lines
    bands : int
        B.

    Returns
    -------
    bool array (B, n)
    """
    spreads, same, counts = [], [], []
    for first, end in lines.strips(bands):
        values = lines.upright(read(Window(*lines.window(first, end))), first)
        middle = median(values, 1)[:, None]
        known = np.isfinite(values).sum(1)
        spreads.append(median(np.abs(values - middle), 1))
        same.append(np.where(known > 0, (values == middle).sum(1) / np.maximum(known, 1), 1))
        counts.append(known)
    enough = np.sum(counts, 0) >= ENOUGH
    still = (np.min(same, 0) >= STUCK) & enough
    varies = median(np.stack(spreads), 0) > 0
    few = still.sum(1) <= MOST * np.maximum(enough.sum(1), 1)
    return still & _beside_what_varies(varies, enough & ~still) & few[:, None]


def _beside_what_varies(varies: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Lines (B, n) whose nearest ones that are `told` of vary, on both sides where there are two."""
    n, at = told.shape[1], np.arange(told.shape[1])
    before = np.maximum.accumulate(np.where(told, at, -1), 1)
    after = np.minimum.accumulate(np.where(told, at, n)[:, ::-1], 1)[:, ::-1]
    padded = np.pad(varies, ((0, 0), (0, 1)), constant_values=True)  # beyond either end
    both = np.take_along_axis(padded, before, 1) & np.take_along_axis(padded, after, 1)
    return both & told.any(1, keepdims=True)


def hot_lines(read: Read, lines: Lines, noise: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Lines that are `HOT` times as noisy as the lines around them, and as most of their band.

    The noise of a line is what its differences along it hold outside of the scene's subspace. Where many lines of a
    band are so it is the scene that changes there, and none is named.

    Parameters
    ----------
    read : callable
        Of a window, (B, h, w); NaN where a pixel lacks bands.
    lines : Lines
    noise : array (B,)
        Standard deviation.
    scene : array (B, p)
        Basis of the scene's spectra.

    Returns
    -------
    bool array (B, n)
    """
    inside = np.linalg.pinv(scene / noise[:, None]) / noise
    spreads, counts = [], []
    for first, end in lines.strips(len(noise)):
        change = np.diff(read(Window(*lines.window(first, end))), axis=1 if lines.along == "columns" else 2)
        known = np.isfinite(change) & usable(change)
        rest = change - np.tensordot(scene, np.tensordot(inside, np.where(known, change, 0), 1), 1)
        rest = lines.upright(np.where(known, rest, np.nan), first)
        spreads.append(median(np.abs(rest), 1))
        counts.append(np.isfinite(rest).sum(1))
    spread = np.nan_to_num(median(np.stack(spreads), 0))
    enough = np.sum(counts, 0) >= ENOUGH
    usual = np.maximum(median(spread, 1), DEVIATION * noise)[:, None]
    hot = (spread > HOT * np.maximum(median_filter(spread, (1, AROUND * lines.step)), usual)) & enough
    few = hot.sum(1) <= MANY * enough.sum(1)
    return hot & few[:, None]
