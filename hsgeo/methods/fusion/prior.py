"""The prior of the detail: its covariance, how its power falls with frequency, and how it varies over the scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hsgeo.methods.fusion.frame import interpolation
from hsgeo.observation.psf import Psf

#: multiples of the prior's variance between which a pixel's local variance is interpolated
LEVELS = (0.03, 0.17, 1.0, 6.0, 36.0)

#: number of terms of the squared frequency's Fourier series, times the corner
TERMS = 1.5

#: standard deviation of the window of the local energy, fine pixels
WINDOW = 1.0


@dataclass(frozen=True)
class FallingSpectrum:
    """phi(f) = scale / (1 + (f / corner)^2)^(exponent / 2), f in cycles per fine pixel, mean 1 over the plane.

    In place of f^2 stand the first terms of its Fourier series in each axis, which changes phi by a few percent: f^2
    itself has a kink where the frequencies of a grid wrap around, with which the kernel falls no faster than the square
    of the distance, and gaps feel what lies beyond any halo.
    """

    corner: float
    exponent: float = 2.5

    def __call__(self, fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
        f = (np.arange(256) - 127.5) / 256
        return self._raw(fy, fx) / self._raw(f[:, None], f[None]).mean()

    def _raw(self, fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
        squared = self._squared(fy) + self._squared(fx)
        return (1 + squared / self.corner**2) ** (-self.exponent / 2)

    def _squared(self, f: np.ndarray) -> np.ndarray:
        """f^2, for f in -1/2 .. 1/2, as a smooth periodic function."""
        total = np.full(np.shape(f), 1 / 12)
        for n in range(1, 1 + max(1, round(TERMS / self.corner))):
            total += (-1) ** n * np.cos(2 * np.pi * n * f) / (np.pi * n) ** 2
        return total


def coarser_detail(coarse: np.ndarray, psf: Psf, ratio: int) -> np.ndarray | None:
    """The detail one scale down: coefficients (p, h, w) less their own degraded and interpolated copy.

    None where the image is too small to be degraded by `ratio`.
    """
    h, w = (n // ratio * ratio for n in coarse.shape[1:])
    if min(h, w) < ratio:
        return None
    coarse = coarse[:, :h, :w]
    rows = interpolation(h // ratio, ratio, mirrored=True) @ psf.matrix(h, ratio, "reflect", 0)
    columns = interpolation(w // ratio, ratio, mirrored=True) @ psf.matrix(w, ratio, "reflect", 1)
    return coarse - rows @ coarse @ columns.T


def positive(covariance: np.ndarray, floor: float) -> np.ndarray:
    """The nearest symmetric matrix whose eigenvalues are at least `floor`."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * np.maximum(values, floor)) @ vectors.T


def local_energy(b: torch.Tensor) -> torch.Tensor:
    """Energy of the detail b (q, H, W), whose prior is white with variance 1, in a Gaussian window: (H, W)."""
    energy = (b * b).sum(0)
    height, width = energy.shape
    fy = torch.fft.fftfreq(height, device=b.device, dtype=b.dtype)[:, None]
    fx = torch.fft.rfftfreq(width, device=b.device, dtype=b.dtype)[None]
    window = torch.exp(-2 * torch.pi**2 * WINDOW**2 * (fy**2 + fx**2))
    return torch.fft.irfft2(torch.fft.rfft2(energy) * window, s=(height, width))


def level_weights(energy: torch.Tensor, mean: float) -> torch.Tensor:
    """Weight of each of `LEVELS` (levels, H, W), summing to 1, by linear interpolation in log(energy / mean)."""
    x = torch.log(torch.clamp(energy / mean, LEVELS[0], LEVELS[-1]))
    nodes = torch.log(torch.tensor(LEVELS, dtype=energy.dtype, device=energy.device))
    right = torch.clamp(torch.searchsorted(nodes, x.contiguous()), 1, len(LEVELS) - 1)
    part = (x - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    weights = torch.zeros(len(LEVELS), *energy.shape, dtype=energy.dtype, device=energy.device)
    weights.scatter_(0, right[None], part[None])
    return weights.scatter_add_(0, right[None] - 1, 1 - part[None])
