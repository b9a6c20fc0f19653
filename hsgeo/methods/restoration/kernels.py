"""Kernels that put images on a finer grid: the posterior mean of a Gaussian field, as a convolution of bounded reach.

A stationary field x of power P(f) per DFT frequency is seen as y = (x blurred by the PSF, every s-th pixel) + white
noise of variance 1. The s^2 frequencies that fold onto one are all that it depends on, so

    x(f) = conj(G(f)) P(f) / (sum over aliases |G|^2 P / s^2 + 1) y(f mod the coarse grid)

is exact: Wiener's filter of an aliased image (Wei, Dobigeon & Tourneret 2015, doi:10.1109/TIP.2015.2458572, solve the
same system for a white prior). In space it is one kernel, cut off where it has fallen off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hsgeo.methods.fusion.frame import good_length
from hsgeo.observation.psf import Psf

#: period, in pixels of the scene, on which kernels and errors are computed
PERIOD = 64


@dataclass(frozen=True)
class Gaussian:
    """A stationary Gaussian field on the fine grid, seen by a blurring, decimating sensor with unit noise.

    Parameters
    ----------
    power : array (p, n * scale, n * scale)
        Of each image at the fine grid's DFT frequencies.
    psf : Psf
        In fine pixels.
    scale : int
    """

    power: np.ndarray
    psf: Psf
    scale: int

    @property
    def gain(self) -> np.ndarray:
        """What makes the spectrum of y, repeated, that of the posterior mean: complex (p, n * scale, n * scale)."""
        s, (p, height, width) = self.scale, self.power.shape
        transfer = self.psf.transfer2d(height, width, s)
        seen = (np.abs(transfer) ** 2 * self.power).reshape(p, s, height // s, s, width // s).sum((1, 3)) / s**2
        return transfer.conj() * self.power / np.tile(seen + 1, (1, s, s))

    def error(self) -> np.ndarray:
        """Variance (p,) of what the posterior mean misses, mean over the pixels."""
        _, height, width = self.power.shape
        known = (self.gain * self.psf.transfer2d(height, width, self.scale)).real / self.scale**2
        return (self.power * (1 - known)).mean((1, 2))

    def kernels(self, radius: int) -> Kernels:
        """In space, `radius` pixels of the scene to each side."""
        s, (height, width) = self.scale, self.power.shape[1:]
        index = np.arange(-radius * s, (radius + 1) * s)
        values = np.fft.ifft2(self.gain).real
        return Kernels(values[:, (index % height)[:, None], index % width].astype(np.float32), s)


def frequencies(scale: int, period: int = PERIOD) -> np.ndarray:
    """Squared frequencies (n, n) of the fine grid, (cycles per pixel of the scene)^2."""
    f = np.fft.fftfreq(period * scale) * scale
    return np.add.outer(f**2, f**2)


@dataclass(frozen=True)
class Kernels:
    """What each pixel of p images adds to the fine pixels around it.

    Parameters
    ----------
    values : array (p, (2 radius + 1) * scale, (2 radius + 1) * scale)
        The fine pixels of the pixel itself are the middle ones.
    scale : int
    """

    values: np.ndarray
    scale: int

    @property
    def radius(self) -> int:
        """Pixels of the scene to each side."""
        return (self.values.shape[1] // self.scale - 1) // 2

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (p, h, w) on the fine grid, without the outer `radius` pixels: (p, (h - 2 radius) * scale, ...).

        The convolution is computed in float64, so that rounding does not depend on the tile.
        """
        s, (height, width), reach = self.scale, images.shape[1:], self.radius * self.scale
        inner = [(n - 2 * self.radius) * s for n in (height, width)]
        frame = [good_length(n) * s for n in (height, width)]
        out = torch.empty(len(images), *inner, dtype=images.dtype, device=images.device)
        wide = torch.zeros(frame, dtype=torch.float64, device=images.device)
        spread = torch.zeros_like(wide)
        side = self.values.shape[1]
        for image, kernel, target in zip(images, self.values, out, strict=True):
            wide[: height * s : s, : width * s : s] = image
            spread[:side, :side] = torch.as_tensor(kernel)
            product = torch.fft.rfft2(wide) * torch.fft.rfft2(spread)
            rows, columns = (slice(2 * reach, 2 * reach + n) for n in inner)
            target[:] = torch.fft.irfft2(product, s=frame)[rows, columns]
        return out
