"""Stripes: offsets of detector lines, band by band, told from the scene by what the other bands show of the line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hsgeo.methods.restoration.gaps import filled
from hsgeo.observation.lines import Lines
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.scene.window import Window

#: lines across from which the first look predicts a line
NEAR = 5

#: standard errors by which an offset must differ from 0
SURE = 4.0

#: samples that a line needs
ENOUGH = 16

#: rounds of the robust fit
TURNS = 20

#: pieces of a line that tell whether it is off all along
PIECES = 8

#: weight of a band's own scatter along a line, of 7 degrees of freedom, beside that of the bands around
OWN = 0.75

#: lines fitted at a time
AT_ONCE = 256

#: times that a line's scene differs more from that of the lines beside it than in most lines, where it may be an offset
JUMP = 20.0

#: bands on each side that tell what a line's bands have in common
AROUND = 8

#: robust standard errors beyond which a band has no say in what a line's scene is (Tukey's biweight, 95 % efficient)
TUKEY = 4.685

Read = Callable[[Window], np.ndarray]


def line_offsets(
    read: Read, lines: Lines, noise: np.ndarray, scene: np.ndarray, estimate: Read | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of all lines of all bands, 0 where they are not beyond doubt; and lines that are off in all bands alike.

    The scene's spectra explain most of what such a line is off, and so it may be the scene that is so there.

    A line's offset is the median along it (the mean of those of its pieces) of what the image differs from an estimate
    of it without stripes; at first
    it is that of the line's mean from the means of the lines beside it, since means of all bands are off by the same
    spectra as the scene, and medians are not. What the scene itself has there lies in the scene's subspace and is taken
    off: it is fitted to all bands of the line robustly, since striped bands are few in one line.

    Parameters
    ----------
    read : callable
        Of a window, (B, h, w); NaN where a sample is missing.
    lines : Lines
    noise : array (B,)
        Standard deviation.
    scene : array (B, p)
        Basis of the scene's spectra.
    estimate : callable, optional
        Of a window, the image without stripes.

    Returns
    -------
    array (B, n), bool array (n,)
    """
    levels, counts = pieces(read, lines, len(noise), estimate)
    count = counts.sum(0)
    share = counts / np.maximum(count, 1)
    whole = np.where(count > 0, (share * levels).sum(0), np.nan)
    if estimate is None:
        whole, levels = whole - beside(whole[:, None], lines)[:, 0], levels - beside(levels, lines)
    error = noise[:, None] * np.sqrt(np.pi / 2 / np.maximum(count, 1))  # of a median
    known = count >= ENOUGH
    whole, levels = np.nan_to_num(whole), np.where(counts > 0, levels, whole)
    own, parts = _own(whole, levels, error, scene, known)
    common = _jumps((whole - own) / error, (levels - parts) / error, share, known)
    own, doubt = _alone(own / error, parts / error, share)
    return np.where((np.abs(own) > SURE * doubt) & known, own * error, 0.0), common


def _jumps(scene: np.ndarray, parts: np.ndarray, share: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Lines (n,) whose scene (B, n), in standard errors, jumps as in no others, and all along, by parts (P, B, n)."""
    scene = np.where(known, scene, 0.0)
    size = np.sqrt(np.square(scene).sum(0))
    along = (np.nan_to_num(parts) * scene).sum(1) / np.maximum(size, 1e-300)
    steady = size > SURE * _scatter(along[:, None], size[None], share.mean(1, keepdims=True))[0]
    return steady & (size > JUMP * np.median(size)) & (size > SURE)


def pieces(read: Read, lines: Lines, bands: int, estimate: Read | None) -> tuple[np.ndarray, np.ndarray]:
    """Of pieces of all lines, `PIECES` or a pixel each: levels (P, B, n) and how many samples have a part in them."""
    levels, counts = [], []
    strips = list(lines.strips(bands))
    for first, end in strips:
        window = Window(*lines.window(first, end))
        values = read(window)
        rest = filled(values) if estimate is None else values - estimate(window)
        known, rest = (lines.upright(image, first) for image in (np.where(np.isfinite(rest), values, np.nan), rest))
        edges = np.linspace(0, end - first, min(-(-PIECES // len(strips)), end - first) + 1).astype(int)
        for part in map(slice, edges[:-1], edges[1:]):
            counts.append(np.isfinite(known[:, part]).sum(1))
            levels.append(_mean(rest[:, part]) if estimate is None else np.nan_to_num(median(rest[:, part], 1)))
    return np.stack(levels), np.stack(counts)


def differences(read: Read, lines: Lines, bands: int) -> SpectralStatistics:
    """Statistics of the differences of neighbours along the lines, in which no line has an offset."""
    found = SpectralStatistics(bands)
    for first, end in lines.strips(bands):
        values = read(Window(*lines.window(first, end)))
        along = 1 if lines.along == "columns" else 2
        found.update(np.diff(values, axis=along).reshape(bands, -1).T)
    return found


def beside(values: np.ndarray, lines: Lines) -> np.ndarray:
    """The median of the lines around each one, of values (B, rows, n)."""
    size = 1 + (NEAR - 1) * lines.step
    wide = np.pad(values, ((0, 0), (0, 0), (size // 2, size // 2)), constant_values=np.nan)
    return np.stack([median(sliding_window_view(band, size, 1), -1) for band in wide])


def median(values: np.ndarray, axis: int) -> np.ndarray:
    """The median of what is not NaN; NaN where nothing is. A fifth of the time of `numpy.nanmedian` on short axes."""
    ordered, count = np.sort(values, axis), np.isfinite(values).sum(axis, keepdims=True)  # NaN comes last
    low, high = (np.take_along_axis(ordered, at, axis) for at in (np.maximum(count - 1, 0) // 2, count // 2))
    return ((low + high) / 2).squeeze(axis)


def _own(
    offsets: np.ndarray, parts: np.ndarray, error: np.ndarray, scene: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What of offsets (B, n) with standard errors the scene does not explain, its basis (B, p); and of parts (P, B, n).

    The scene's part is fitted twice: kept as small as it is in most lines, and free. A free fit can take one band's
    stripe away with each of its p dimensions; it is believed where it takes away more. Where spectra explain all bands
    to a standard error at once, which noise of that size hardly allows, the line is the scene's. Parts are fitted as
    the whole.
    """
    whitened = scene.T[:, :, None] / error  # (p, B, n)
    size = np.square(whitened).sum(1).T + 1e-300
    alone = (whitened * (np.where(known, offsets, 0.0) / error)).sum(1).T / size
    usual = np.maximum(1.4826**2 * np.median(alone**2 * size, 0), 1.0) / size
    own, rest = np.empty_like(offsets), np.empty_like(parts)
    for start in range(0, offsets.shape[1], AT_ONCE):
        block = slice(start, start + AT_ONCE)
        each = np.ascontiguousarray(whitened[..., block].transpose(2, 1, 0))  # line by line
        seen = np.concatenate([offsets[None, :, block], parts[..., block]]) / error[:, block]
        seen = np.where(known[:, block], seen, 0.0).transpose(2, 1, 0)
        fits = [_robust(each, seen, known[:, block].T, prior[block]) for prior in (1 / usual, 1e-9 * size)]
        striped = [(np.abs(z[..., 0]) > SURE).sum(1) for z in fits]
        best = np.where((striped[0] > striped[1] + scene.shape[1])[:, None, None], fits[1], fits[0])
        plain = _robust(each, seen, known[:, block].T, 1e-9 * size[block], 1)
        best = np.where((np.abs(plain[..., 0]) < 1).all(1)[:, None, None], plain, best)
        own[:, block], rest[..., block] = best[..., 0].T, best[..., 1:].transpose(2, 1, 0)
    return own * error, rest * error


def _robust(
    white: np.ndarray, seen: np.ndarray, known: np.ndarray, prior: np.ndarray, turns: int = TURNS
) -> np.ndarray:
    """Residual (n, B, 1 + P) of offsets in standard errors, fitted by a basis (n, B, p) with a prior precision (n, p).

    The first of them decides on the weights of bands, which are alike at first.
    """
    weight, first = known.astype(float), seen[..., :1]
    ridge = np.eye(prior.shape[1]) * prior[:, None]
    for turn in range(turns):
        weighted = (white * weight[..., None]).transpose(0, 2, 1)
        left = weighted @ white + ridge
        far = np.abs(first - white @ np.linalg.solve(left, weighted @ first))[..., 0]
        # absolute deviations first, which need no good start
        weight = known * (1 / np.maximum(far, 1) if turn < TURNS // 2 else np.maximum(1 - (far / TUKEY) ** 2, 0) ** 2)
    return np.where(known[..., None], seen - white @ np.linalg.solve(left, weighted @ seen), 0.0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Of lines (B, rows, n); 0 where a line has nothing."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(1, dtype=np.float64) / np.maximum(known.sum(1), 1)


def _scatter(parts: np.ndarray, whole: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Standard error (B, n) of what lines are off, in units of that by noise, as the parts (P, B, n) of each differ."""
    return np.sqrt(np.square(share * (parts - whole)).sum(0) * len(parts) / (len(parts) - 1))


def _alone(own: np.ndarray, parts: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What of offsets (B, n), in standard errors, is a stripe's, and how many of these its error is.

    A stripe is the same all along its line, as its `parts` (P, B, n) tell, which have a `share` each. What changes
    along the line more than noise does is scene that the fit has missed, and so is what most of the bands around share,
    unless that is the same all along: on EnMAP's Potsdam such scene was up to 20 standard errors in 20 to 40 bands side
    by side, and changed by its own size.
    """
    scatter = _scatter(parts, own, share)
    windows = around(own)
    shared = median(windows, -1)
    spread = 1.4826 * median(np.abs(windows - shared[..., None]), -1)
    steady = np.zeros(own.shape, bool)
    if len(lines := np.flatnonzero((np.abs(shared) > SURE).any(0))):
        each, shares = (np.stack([median(around(p), -1) for p in parts[..., lines]]), share[..., lines])
        mean = (shares * each).sum(0)
        steady[:, lines] = np.abs(mean) > SURE * _scatter(each, mean, shares)
    scene = np.where(steady | (np.abs(shared) < 1), 0.0, np.clip(shared, np.minimum(own, 0), np.maximum(own, 0)))
    differing = median(around(scatter), -1)
    return own - scene, np.max([np.ones_like(own), np.where(steady, 0, spread), differing, OWN * scatter], 0)


def around(values: np.ndarray) -> np.ndarray:
    """Of values (B, n) those of the bands around each, (B, n, 2 AROUND + 1); NaN beyond the ends."""
    wide = np.pad(values, ((AROUND, AROUND), (0, 0)), constant_values=np.nan)
    return sliding_window_view(wide, 2 * AROUND + 1, 0)
