"""The noise of the bands of a multispectral image, from its finest structure where the scene is calm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter

#: unit-energy filters of three taps: second difference, first difference, smoothing
_SECOND = np.array([1.0, -2.0, 1.0]) / np.sqrt(6)
_FIRST = np.array([1.0, 0.0, -1.0]) / np.sqrt(2)
_SMOOTH = np.array([1.0, 2.0, 1.0]) / np.sqrt(6)

#: part of the pixels taken as calm, and the window that says how calm
_CALM, _WINDOW = 0.1, 7

#: least share of a regression's residual that is the band's own noise
_OWN = 0.25

#: no band is better than this part of its root mean square
_LEAST = 3e-4


def detail_noise(images: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation of the white noise of each band.

    The mixed second difference of an image holds noise and hardly any scene. It is taken where the scene is calm;
    how calm is judged from other differences, whose noise is independent, so that the choice does not favour low
    noise. What the same difference of the other bands predicts is scene too and is taken off by regression.

    Parameters
    ----------
    images : sequence of array (b, H, W)
        Patches; NaN where there is no data.

    Returns
    -------
    array (b,)
        Above 0. Structure finer than the pixel, where it differs between bands, counts as noise.
    """
    bands = images[0].shape[0]
    detail, activity, square, count = [], [], np.zeros(bands), 0
    for image in images:
        image = np.asarray(image, dtype=np.float64)
        there = np.isfinite(image).all(0)
        square += (image[:, there] ** 2).sum(1)
        count += int(there.sum())
        if min(image.shape[1:]) < 3:
            continue
        fine = _filtered(image, _SECOND, _SECOND)
        pairs = ((_FIRST, _SMOOTH), (_SMOOTH, _FIRST), (_FIRST, _FIRST))
        other = sum(_filtered(image, a, b) ** 2 for a, b in pairs)
        known = np.isfinite(other).all(0)
        window = min(_WINDOW, *known.shape)
        near = uniform_filter(np.where(known, other, 0.0), (0, window, window))
        whole = known & (uniform_filter(known.astype(float), window) > 0.999)
        chosen = whole if whole.any() else known
        detail.append(fine[:, chosen])
        activity.append(near[:, chosen])
    rms = np.sqrt(square / max(count, 1))
    least = np.maximum(_LEAST * rms, 1e-12)
    pixels = sum(d.shape[1] for d in detail)
    if pixels < 9:
        return np.maximum(0.01 * rms, least)
    d, a = np.concatenate(detail, 1), np.concatenate(activity, 1)
    found = [_calm_regression(d, a[i], i) for i in range(bands)]
    return np.maximum(np.sqrt(_own_part(np.array([v for v, _ in found]), np.stack([w for _, w in found]))), least)


def _calm_regression(detail: np.ndarray, activity: np.ndarray, band: int) -> tuple[float, np.ndarray]:
    """What the other bands leave of a band's detail where it is calm: variance, and their weights (b,)."""
    wanted = min(activity.size, max(int(_CALM * activity.size), 20 * len(detail)))
    calm = detail[:, np.argpartition(activity, wanted - 1)[:wanted]]
    energy = calm @ calm.T
    weights = np.zeros(len(detail))
    if len(detail) == 1 or wanted <= 3 * len(detail):
        return float(energy[band, band]) / wanted, weights
    others = np.delete(np.arange(len(detail)), band)
    part = energy[np.ix_(others, others)]
    weights[others] = np.linalg.lstsq(part, energy[others, band], rcond=1e-9)[0]
    left = energy[band, band] - weights @ energy[:, band]
    return float(max(left, 0.0)) / (wanted - len(others)), weights


def _own_part(left: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Noise variances from regression residuals, which hold the noise of the regressors too: left = v + weights^2 v."""
    own = left.copy()
    for _ in range(60):
        own = 0.5 * own + 0.5 * np.maximum(left - weights**2 @ own, _OWN * left)
    return own


def _filtered(image: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Three taps along y, then along x, without the border; NaN spreads."""
    rows = down[0] * image[:, :-2] + down[1] * image[:, 1:-1] + down[2] * image[:, 2:]
    return across[0] * rows[..., :-2] + across[1] * rows[..., 1:-1] + across[2] * rows[..., 2:]
