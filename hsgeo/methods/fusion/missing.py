"""Samples that an image lacks (nodata, clouds, scene corners): found, flagged and bridged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from hsgeo.methods.fusion.solver import Sensor
from hsgeo.scene.window import Window

#: widths of the windows from which a gap is bridged, one after the other, and where they end (in widths)
BRIDGE = (1.0, 2.0, 3.0)
REACH = 2.5


def bridge(values: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Gaps (NaN) in values (n, h, w) filled from the pixels around them, by normalised convolution.

    A gap's pixel takes the narrowest window that meets data; what lies deeper becomes `fallback` (n,). The reach is
    bounded, so the result is a local one.
    """
    known = np.isfinite(values).all(0)
    if known.all():
        return values
    out = np.where(known, values, 0.0)
    weight = known.astype(values.dtype)
    left = ~known
    for width in BRIDGE:
        if not left.any():
            break
        mass = gaussian_filter(weight, width, mode="nearest", truncate=REACH)
        reached = left & (mass > 1e-3)
        if reached.any():
            for band, source in enumerate(np.where(known, values, 0.0)):
                near = gaussian_filter(source, width, mode="nearest", truncate=REACH)
                out[band][reached] = near[reached] / mass[reached]
        left &= ~reached
    out[:, left] = fallback[:, None]
    return out


def bridge_each(values: np.ndarray) -> np.ndarray:
    """`bridge` of each band (n, h, w) by itself; what lies deeper in a gap than it reaches stays NaN."""
    known = np.isfinite(values)
    out, left = values.copy(), ~known
    source, weight = np.where(known, values, 0), known.astype(values.dtype)
    for width in BRIDGE:
        bands = np.flatnonzero(left.any((1, 2)))
        if not len(bands):
            break
        near, mass = (
            gaussian_filter(part[bands], (0, width, width), mode="nearest", truncate=REACH) for part in (source, weight)
        )
        reached = left[bands] & (mass > 1e-3)
        out[bands] = np.where(reached, near / np.where(reached, mass, 1), out[bands])
        left[bands] &= ~reached
    return out


def regress(
    coarse: np.ndarray, seen: Sequence[np.ndarray], sensors: Sequence[Sensor], mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Gaps in the coefficients (p, h, w), filled from the MSI where it has data, else from the pixels around.

    The MSI, averaged over the coarse pixel, predicts the coefficients linearly (mean and covariance of the scene's
    coefficients); what this misses in the pixels around the gap is bridged and added, so that there is no step.

    Parameters
    ----------
    seen : sequence of arrays (b_k, h * s / r_k, w * s / r_k)
        MSI groups in units of their noise.
    sensors : sequence of Sensor
        The groups', then the HSI's.
    """
    known = np.isfinite(coarse).all(0)
    if known.all():
        return coarse
    means, matrices, noises = [], [], []
    for x, sensor in zip(seen, sensors[:-1], strict=True):
        n, rest = divmod(sensors[-1].ratio, sensor.ratio)
        if rest == 0:
            means.append(x.reshape(len(x), x.shape[1] // n, n, x.shape[2] // n, n).mean((2, 4)))
            matrices.append(sensor.matrix)
            noises.append(np.full(len(x), 1 / n**2))
    if means:
        low, c = np.concatenate(means), np.concatenate(matrices)
        gain = np.linalg.solve(c @ covariance @ c.T + np.diag(np.concatenate(noises)), c @ covariance).T
        predicted = mean[:, None, None] + np.einsum("pb,bhw->phw", gain, low - (c @ mean)[:, None, None])
        missed = bridge(np.where(known, coarse - predicted, np.nan), np.zeros(len(coarse)))
        coarse = np.where(known, coarse, predicted + missed)
    return bridge(coarse, mean)


def covered(seen: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """HSI pixels (h, w) in which any MSI group has data.

    A gap of the HSI alone is a gap of the model; where nothing is seen the bridge stands in for the HSI.
    """
    out = np.zeros(shape, bool)
    for x in seen:
        known = np.isfinite(x).any(0)
        rows = np.arange(known.shape[0]) * shape[0] // known.shape[0]
        columns = np.arange(known.shape[1]) * shape[1] // known.shape[1]
        np.logical_or.at(out, (rows[:, None], columns[None, :]), known)
    return out


def flag_pixels(
    hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, ratios: Sequence[int]
) -> np.ndarray:
    """`TileResult.flags` over the core: `hsi` and each of `msi` have the bands first, over `outer` at their ratios."""
    lacks_hsi = ~_over(np.isfinite(hsi).any(0), outer, core, ratios[-1])
    lacks_msi = np.ones(core.shape, bool)
    for x, ratio in zip(msi, ratios[:-1], strict=True):
        lacks_msi &= ~_over(np.isfinite(x).any(0), outer, core, ratio)
    return lacks_msi.astype(np.uint8) + 2 * lacks_hsi.astype(np.uint8)


def _over(present: np.ndarray, outer: Window, core: Window, ratio: int) -> np.ndarray:
    """A mask on the grid of `ratio`, over the core on the fine grid."""
    start = core.shift(-(outer.y0 // ratio) * ratio, -(outer.x0 // ratio) * ratio)
    rows = np.arange(start.y0, start.y1) // ratio
    columns = np.arange(start.x0, start.x1) // ratio
    return present[rows[:, None], columns[None, :]]
