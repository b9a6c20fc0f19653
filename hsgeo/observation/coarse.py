"""The multispectral image on the hyperspectral grid, for the pixels where the comparison is fair."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .psf import Psf, coarse_size

#: part of the PSF's weight that must fall on data; less only where too few pixels would be left
_COVER = (0.99, 0.95, 0.8, 0.5, 0.1)


class PatchLike(Protocol):
    """A window of both images; NaN where there is no data."""

    @property
    def hsi(self) -> np.ndarray:
        """(B, h, w)."""
        ...

    @property
    def msi(self) -> Sequence[np.ndarray]:
        """One (b_k, h * s / r_k, w * s / r_k) per group of bands of one GSD."""
        ...


@dataclass(frozen=True)
class Degraded:
    """Bands of one group on the coarse grid: values (b_k, h, w), and the part of the PSF that found data (h, w)."""

    values: np.ndarray
    cover: np.ndarray


@dataclass(frozen=True)
class Group:
    """One group of bands, patch by patch: values with 0 for missing, and a mask of what is there."""

    ratio: float
    psf: Psf | None
    step: int
    values: list[np.ndarray]
    known: list[np.ndarray]

    @classmethod
    def of(cls, patches: Sequence[PatchLike], k: int, ratio: int, group_ratio: int, psf: Psf | None) -> Group:
        """Group `k`, whose pixels are `group_ratio` fine pixels wide and whose own PSF is `psf` (fine pixels)."""
        values: list[np.ndarray] = []
        known: list[np.ndarray] = []
        for patch in patches:
            x = np.asarray(patch.msi[k], dtype=np.float64)
            there = np.isfinite(x).all(0)
            values.append(np.asarray(np.where(there, x, 0.0)))
            known.append(np.asarray(there, dtype=np.float64))
        return cls(ratio / group_ratio, psf, group_ratio, values, known)

    @property
    def bands(self) -> int:
        return self.values[0].shape[0]

    def own_psf(self, psf: Psf) -> Psf:
        """The blur from this group's pixels to the coarse ones, in pixels of the group, for a PSF in fine pixels."""
        return psf.beyond(self.psf).scaled(1 / self.step)

    def noise_gain(self, psf: Psf) -> float:
        """Variance of white noise of variance 1 on this group's grid after the blur."""
        own = self.own_psf(psf)
        weights = [own.kernel1d(self.ratio, axis)[1] for axis in (0, 1)]
        return float(np.prod([(w**2).sum() for w in weights]))

    def degrade(self, i: int, psf: Psf) -> Degraded:
        """Patch `i` blurred and sampled at the centres of the coarse pixels, weights renormalised over the data."""
        own = self.own_psf(psf)
        height, width = self.known[i].shape
        rows, columns = _inner(own, height, self.ratio, 0), _inner(own, width, self.ratio, 1)
        cover = rows @ self.known[i] @ columns.T
        values = rows @ self.values[i] @ columns.T
        return Degraded(values / np.maximum(cover, 1e-9), cover)


class Samples:
    """Coarse pixels of all patches that are used: coefficients of the HSI, and the MSI degraded to them.

    Parameters
    ----------
    coefficients : list of array (p, h, w)
        NaN where the HSI has no data.
    groups : sequence of Group
    widest : Psf
        Pixels are chosen so that even this PSF, the widest that will be tried, finds data.
    enough : int
        With fewer pixels, those nearer to edges are admitted too.
    """

    def __init__(self, coefficients: list[np.ndarray], groups: Sequence[Group], widest: Psf, enough: int = 100) -> None:
        self.groups = groups
        there = [np.isfinite(c).all(0) for c in coefficients]
        self.where: list[list[np.ndarray]] = []
        self.coefficients: list[np.ndarray] = []
        for group in groups:
            covers = [group.degrade(i, widest).cover for i in range(len(coefficients))]
            for least in _COVER:
                chosen = [(c >= least) & t for c, t in zip(covers, there, strict=True)]
                if sum(int(c.sum()) for c in chosen) >= enough:
                    break
            self.where.append(chosen)
            parts = [c[:, w] for c, w in zip(coefficients, chosen, strict=True)]
            self.coefficients.append(np.concatenate(parts, 1))

    def count(self, k: int) -> int:
        """Coarse pixels used with group `k`."""
        return self.coefficients[k].shape[1]

    def thinned(self, most: int) -> Samples:
        """The same with about `most` pixels: some patches only, evenly picked."""
        counts = [int(w.sum()) for w in self.where[0]]
        total = sum(counts)
        if total <= most or len(counts) < 2:
            return self
        kept = np.unique(np.linspace(0, len(counts) - 1, max(2, len(counts) * most // total)).astype(int))
        few = copy(self)
        few.where, few.coefficients = [], []
        for k, chosen in enumerate(self.where):
            ends = np.cumsum([0, *(int(w.sum()) for w in chosen)])
            empty = [np.zeros_like(w) for w in chosen]
            few.where.append([w if i in kept else empty[i] for i, w in enumerate(chosen)])
            few.coefficients.append(np.concatenate([self.coefficients[k][:, ends[i] : ends[i + 1]] for i in kept], 1))
        return few

    def msi(self, k: int, psf: Psf) -> np.ndarray:
        """Group `k` at its pixels through `psf`, (b_k, n)."""
        group = self.groups[k]
        parts = [group.degrade(i, psf).values[:, w] for i, w in enumerate(self.where[k]) if w.any()]
        return np.concatenate(parts, 1) if parts else np.empty((group.bands, 0))


def _inner(psf: Psf, n: int, ratio: float, axis: int) -> np.ndarray:
    """Blur and decimation without a boundary: what lies outside has no weight, and rows no longer sum to 1."""
    index, weight = psf.rows(coarse_size(n, ratio), ratio, axis)
    inside = (index >= 0) & (index < n)
    out = np.zeros((len(index), n))
    np.add.at(out, (np.nonzero(inside)[0], index[inside]), weight[inside])
    return out
