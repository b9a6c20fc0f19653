"""Two images brought to the same footing: the MSI blurred to the HSI's resolution, the HSI's bands that match it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import ndimage

#: reach of the search for a shift, in coarse pixels
REACH = 4
#: coarse pixels of MSI needed around a window of the HSI: the reach, and the tail of the blur
MARGIN = REACH + 2
#: share of the blur that must lie on samples that are there
COVER = 0.98


@dataclass(frozen=True)
class Field:
    """The MSI of a window blurred to the HSI's resolution, as cubic splines."""

    splines: np.ndarray  # (b, H, W) coefficients
    cover: np.ndarray  # (H, W) how much of the blur lies on samples that are there
    alive: np.ndarray  # (b,) whether the band varies
    ratio: int

    @classmethod
    def of(cls, msi: np.ndarray, ratio: int) -> Field:
        # a band that is wholly absent must not take the others with it
        there = np.isfinite(msi)
        usable = there.mean(axis=(1, 2)) > 0.5 * there.any(axis=0).mean()
        present = there[usable].all(axis=0) if usable.any() else np.zeros(msi.shape[1:], bool)
        sigma = ratio / 2.355  # Gaussian of FWHM one coarse pixel
        cover = _blur(present.astype(np.float64), sigma)
        splines = np.zeros(msi.shape)
        alive = np.zeros(len(msi), bool)
        for k in np.flatnonzero(usable):
            values = np.where(present, msi[k], 0).astype(np.float64)
            level = values[present].mean() if present.any() else 0.0
            smooth = _blur(np.where(present, values - level, 0), sigma) / np.maximum(cover, 1e-3)
            spread = float(smooth[present].std()) if present.any() else 0.0
            alive[k] = spread > 1e-6 * max(abs(level), 1e-12)
            splines[k] = ndimage.spline_filter(np.where(cover > 1e-3, smooth, 0), order=3, mode="mirror")
        return cls(splines, cover, alive, ratio)

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse pixels of the window without its margin."""
        height, width = self.cover.shape
        return height // self.ratio - 2 * MARGIN, width // self.ratio - 2 * MARGIN

    def at(self, shift: np.ndarray, where: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """(b, h, w) at the centres of the coarse pixels `where` moved by `shift`, and whether they are known."""
        s = self.ratio
        starts = [(MARGIN + part.start) * s + (s - 1) / 2 + d for part, d in zip(where, shift, strict=True)]
        shape = tuple(part.stop - part.start for part in where)
        values, cover = self._sample(float(s), starts, shape)
        return values, cover > COVER

    def lattice(self, where: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Values and cover every half coarse pixel, from `REACH` coarse pixels before `where` to as many after."""
        s = self.ratio
        starts = [(MARGIN - REACH + part.start) * s + (s - 1) / 2 for part in where]
        return self._sample(s / 2, starts, tuple(2 * (part.stop - part.start) - 1 + 4 * REACH for part in where))

    def _sample(self, step: float, starts: list[float], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        def at_steps(image: np.ndarray, order: Literal[1, 3]) -> np.ndarray:
            return ndimage.affine_transform(image, np.array([step, step]), starts, shape, order=order, prefilter=False)

        return np.stack([at_steps(spline, 3) for spline in self.splines]), at_steps(self.cover, 1)


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(values, sigma, mode="constant", truncate=4.0)


Part = tuple[np.ndarray, tuple[slice, slice]]
Pool = list[tuple[np.ndarray, Field, tuple[slice, slice]]]


def matched_components(
    cubes: Sequence[np.ndarray], hsi_waves: np.ndarray | None, msi_waves: np.ndarray | None, most: int = 10
) -> list[np.ndarray] | None:
    """Each window's leading principal components (p, h, w) of the HSI bands near the MSI's, NaN where missing."""
    finite = [np.isfinite(c) for c in cubes]
    share = np.mean([f.mean(axis=(1, 2)) for f in finite], axis=0) if cubes else np.zeros(0)
    usable = share > 0.9 * share.max() if share.size else share.astype(bool)
    if hsi_waves is not None and msi_waves is not None and np.isfinite(msi_waves).any():
        known = msi_waves[np.isfinite(msi_waves)]
        near = (np.abs(np.asarray(hsi_waves)[:, None] - known[None, :]) <= 60).any(axis=1)
        if (usable & near).sum() >= 4:
            usable &= near
    index = np.flatnonzero(usable)
    if index.size == 0:
        return None
    pixels = np.concatenate([c[index][:, f[index].all(axis=0)] for c, f in zip(cubes, finite, strict=True)], axis=1)
    pixels = pixels.astype(np.float64)
    if pixels.shape[1] < 16:
        return None
    mean, spread = pixels.mean(axis=1, keepdims=True), pixels.std(axis=1, keepdims=True)
    varies = spread[:, 0] > 1e-9 * np.maximum(np.abs(mean[:, 0]), 1e-12)
    if not varies.any():
        return None
    index, mean, spread = index[varies], mean[varies], spread[varies]
    scaled = (pixels[varies] - mean) / spread
    values, vectors = np.linalg.eigh(scaled @ scaled.T / scaled.shape[1])
    count = int(np.clip(pixels.shape[1] // 20, 1, min(most, index.size)))
    basis = vectors[:, ::-1][:, :count] / np.sqrt(np.maximum(values[::-1][:count], 1e-12))
    out = []
    for cube in cubes:
        flat = (cube[index].reshape(index.size, -1) - mean) / spread
        out.append((basis.T @ flat).reshape(count, *cube.shape[1:]))
    return out


def in_parts(cube: np.ndarray, most: int, least: int = 10) -> list[Part]:
    """Cut a window into at most `most` x `most` parts of at least `least` coarse pixels a side, to vote apart."""
    _, height, width = cube.shape
    cuts = []
    for length in (height, width):
        number = int(np.clip(length // least, 1, most))
        edges = np.linspace(0, length, number + 1).round().astype(int).tolist()
        cuts.append([slice(a, b) for a, b in pairwise(edges)])
    return [(cube[:, rows, cols], (rows, cols)) for rows in cuts[0] for cols in cuts[1]]


def pairs(pool: Pool, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HSI components (n, p) and blurred MSI (n, b) of all pixels known in both under a shift."""
    left, right = [], []
    for components, field, where in pool:
        values, known = field.at(shift, where)
        known = known & np.isfinite(components).all(axis=0)
        left.append(components[:, known].T)
        right.append(values[:, known].T)
    return np.concatenate(left), np.concatenate(right)


def fit_linear(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Regression weights (p + 1, b) of `right` on `left` and one, and the R2 of each column."""
    if len(left) < 3 * (left.shape[1] + 1):
        return None
    design = np.column_stack([left, np.ones(len(left))])
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, design.T @ right)
    residual = ((right - design @ weights) ** 2).sum(axis=0)
    total = ((right - right.mean(axis=0)) ** 2).sum(axis=0)
    return weights, np.where(total > 0, 1 - residual / np.maximum(total, 1e-300), 0.0)


def explained(pool: Pool, shift: np.ndarray) -> float:
    """Mean over the MSI's bands of the R2 with which the HSI explains them."""
    fit = fit_linear(*pairs(pool, shift))
    alive = np.any([f.alive for _, f, _ in pool], axis=0)
    return float(fit[1][alive].mean()) if fit is not None and alive.any() else 0.0
