"""The point spread function of the coarse image, on the grid of the fine one.

Pixel edges of the two grids coincide, so the centre of coarse pixel i lies at ``ratio * i + (ratio - 1) / 2`` in
fine pixels: between two pixels where the ratio is even. Everything here samples there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, log, pi, sqrt
from typing import Literal

import numpy as np
from scipy.special import ndtr

from hsgeo.errors import ParameterError

Boundary = Literal["reflect", "circular"]

#: FWHM of a Gaussian in standard deviations
FWHM_PER_SIGMA = 2 * sqrt(2 * log(2))

#: a Gaussian is cut off at this many standard deviations
CUT = 4.0


@dataclass(frozen=True)
class Psf:
    """A separable point spread function: a Gaussian per axis, optionally convolved with the detector's box.

    Parameters
    ----------
    fwhm_y, fwhm_x : float
        Full width at half maximum of the Gaussian in fine pixels; 0 samples the centre alone.
    box_y, box_x : float
        Width of the detector in fine pixels; 0 for none. With a box, the weight of a fine pixel is the integral
        over its area, otherwise the value at its centre.
    shift_y, shift_x : float
        Where the centre of the response lies, relative to the centre of the coarse pixel, in fine pixels.
    """

    fwhm_y: float
    fwhm_x: float
    box_y: float = 0.0
    box_x: float = 0.0
    shift_y: float = 0.0
    shift_x: float = 0.0

    def __post_init__(self) -> None:
        if not all(np.isfinite(v) and v >= 0 for v in (self.fwhm_y, self.fwhm_x, self.box_y, self.box_x)):
            raise ParameterError(f"the widths of a PSF must be finite and not negative, not {self}.")

    @property
    def fwhm(self) -> tuple[float, float]:
        """(y, x) in fine pixels."""
        return self.fwhm_y, self.fwhm_x

    def radius(self, axis: int) -> float:
        """Half the width of the support along `axis` (0 = y, 1 = x) in fine pixels, the shift included."""
        sigma, box, shift = self._along(axis)
        return max(CUT * sigma + box / 2, 0.5) + abs(shift) + (0.5 if box else 0.0)

    def scaled(self, factor: float) -> Psf:
        """The same PSF on a grid whose pixels are `factor` times smaller."""
        return Psf(*(factor * v for v in self._values()))

    def beyond(self, finer: Psf | None) -> Psf:
        """What must follow the Gaussian `finer` to arrive at this PSF (variances subtract, never negative, and so do
        shifts)."""
        if finer is None:
            return self
        left = [sqrt(max(a * a - b * b, 0.0)) for a, b in zip(self.fwhm, finer.fwhm, strict=True)]
        dy, dx = self.shift_y - finer.shift_y, self.shift_x - finer.shift_x
        return replace(self, fwhm_y=left[0], fwhm_x=left[1], shift_y=dy, shift_x=dx)

    def kernel1d(self, ratio: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Weights by which coarse pixel 0 sees the fine pixels along `axis`.

        Returns
        -------
        offsets : int array (k,)
            Index of the fine pixel; negative ones lie before the first.
        weights : array (k,)
            At least 0, sum 1.
        """
        index, weight = self.rows(1, ratio, axis)
        return index[0], weight[0]

    def taps(
        self, n: int, ratio: float, boundary: Boundary = "reflect", axis: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `matrix` as index (m, k) and weight (m, k); an index may occur twice in a row."""
        m = coarse_size(n, ratio)
        index, weight = self.rows(m, ratio, axis)
        if boundary == "circular":
            return index % n, weight
        if boundary != "reflect":
            raise ParameterError(f"the boundary is 'reflect' or 'circular', not {boundary!r}.")
        index = index % (2 * n)
        return np.where(index < n, index, 2 * n - 1 - index), weight

    def matrix(self, n: int, ratio: float, boundary: Boundary = "reflect", axis: int = 0) -> np.ndarray:
        """Blur and decimation along one axis as a dense matrix (n / ratio, n), rows >= 0 that sum to 1.

        ``reflect`` mirrors at the edge of the image (the edge pixel is repeated). The ratio need not be whole (a
        20 m band on a 30 m grid: 3/2), but n / ratio must be.
        """
        index, weight = self.taps(n, ratio, boundary, axis)
        out = np.zeros((len(index), n))
        np.add.at(out, (np.arange(len(index))[:, None], index), weight)
        return out

    def transfer(self, n: int, ratio: int, axis: int = 0) -> np.ndarray:
        """The blur over the n frequencies of the DFT, shifted so that every ratio-th sample is a block centre.

        ``ifft(fft(z) * transfer)[::ratio]`` equals ``matrix(n, ratio, "circular") @ z``. Complex (n,).
        """
        index, weight = self.kernel1d(ratio, axis)
        return np.exp(2j * np.pi * np.outer(np.fft.fftfreq(n), index)) @ weight

    def transfer2d(self, height: int, width: int, ratio: int) -> np.ndarray:
        """Product of the transfers of both axes, complex (height, width)."""
        return self.transfer(height, ratio, 0)[:, None] * self.transfer(width, ratio, 1)[None, :]

    def _values(self) -> tuple[float, float, float, float, float, float]:
        return self.fwhm_y, self.fwhm_x, self.box_y, self.box_x, self.shift_y, self.shift_x

    def _along(self, axis: int) -> tuple[float, float, float]:
        """(sigma, box, shift) of one axis."""
        fwhm, box, shift = self._values()[axis::2]
        return fwhm / FWHM_PER_SIGMA, box, shift

    def rows(self, m: int, ratio: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Index and weight (m, k) of the fine pixels that the first m coarse ones see, on a grid without end."""
        sigma, box, shift = self._along(axis)
        centre = ratio * np.arange(m) + (ratio - 1) / 2 + shift
        reach = self.radius(axis) - abs(shift) + 1e-9
        first = np.ceil(centre - reach)
        count = floor(2 * reach) + 1
        index = first[:, None] + np.arange(count)
        distance = index - centre[:, None]
        weight = _boxed(distance, sigma, box) if box else _gauss(distance, sigma)
        weight = np.where(abs(distance) <= reach, weight, 0.0)
        return index.astype(np.int64), weight / weight.sum(1, keepdims=True)


def psf_from_mtf(mtf: float, ratio: float, fine_mtf: float | None = None) -> Psf:
    """The Gaussian PSF with a given modulation transfer at the coarse grid's Nyquist frequency.

    Parameters
    ----------
    mtf : float
        Modulation transfer at 0.5 cycles per coarse pixel, detector included, above 0 and below 1.
    ratio : float
        Fine pixels per coarse pixel.
    fine_mtf : float, optional
        The same of the fine sensor at *its* Nyquist frequency: the result is then the blur from the fine image to
        the coarse one, not from the ground.

    Notes
    -----
    A Gaussian of standard deviation sigma transfers exp(-2 pi^2 sigma^2 f^2); at f = 0.5 / ratio.
    """
    for value in (mtf, fine_mtf):
        if value is not None and not 0 < value < 1:
            raise ParameterError(f"the MTF at Nyquist lies between 0 and 1, not {value}.")
    own = 0.0 if fine_mtf is None else -2 * log(fine_mtf) / pi**2
    fwhm = FWHM_PER_SIGMA * sqrt(max(-2 * log(mtf) / pi**2 * ratio**2 - own, 0.0))
    return Psf(fwhm, fwhm)


def coarse_size(n: int, ratio: float) -> int:
    """Coarse pixels along an axis of `n` fine ones.

    Raises
    ------
    ParameterError
        `ratio` does not divide `n`.
    """
    m = round(n / ratio)
    if m < 1 or abs(m * ratio - n) > 1e-6 * n:
        raise ParameterError(f"{n} pixels are no whole number of blocks of {ratio:g}.")
    return m


def margin(psf: Psf, ratio: int) -> int:
    """Coarse pixels beyond a window that its pixels' PSF reaches, the larger of both axes."""
    return max(0, ceil((max(psf.radius(0), psf.radius(1)) - ratio / 2) / ratio))


def _gauss(distance: np.ndarray, sigma: float) -> np.ndarray:
    square = distance**2
    least = square.min(1, keepdims=True)
    return np.exp(-np.minimum((square - least) / (2 * max(sigma, 1e-6) ** 2), 700.0))


def _boxed(distance: np.ndarray, sigma: float, box: float) -> np.ndarray:
    """Integral over the unit pixel at `distance` of a Gaussian convolved with a box."""

    def twice_integrated(u: np.ndarray) -> np.ndarray:
        if sigma == 0:
            return np.maximum(u, 0.0)
        return u * ndtr(u / sigma) + sigma / sqrt(2 * pi) * np.exp(-((u / sigma) ** 2) / 2)

    f, half = twice_integrated, box / 2
    return (f(distance + half + 0.5) - f(distance + half - 0.5)) - (f(distance - half + 0.5) - f(distance - half - 0.5))
