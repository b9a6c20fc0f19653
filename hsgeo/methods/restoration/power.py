"""How the power of a scene's images falls with spatial frequency, measured from the scene itself.

A detector that samples every s-th fine pixel shows a frequency together with all that fold onto it, each times the
square of its transfer, and noise: a spectrum that runs on beyond the Nyquist frequency is fitted to all of that at
once, and so tells what is to be expected where nothing was resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn
from scipy.optimize import minimize

from hsgeo.observation.psf import Psf

#: least and largest corner frequency, cycles per pixel of the scene, and exponent
CORNERS = 1 / 512, 1.0
EXPONENTS = 0.5, 8.0

#: where the fits begin: (corner, exponent); the best end counts
STARTS = ((0.02, 2.5), (0.1, 3.0))

#: an alias whose squared transfer is nowhere larger is left out
UNSEEN = 1e-6


@dataclass(frozen=True)
class FallingPower:
    """P(f) = level / (1 + (f / corner)^2)^(exponent / 2) of p images, variance per DFT frequency of the fine grid.

    Parameters
    ----------
    level, corner, exponent : arrays (p,)
        `corner` in cycles per pixel of the scene, not of the fine grid.
    """

    level: np.ndarray
    corner: np.ndarray
    exponent: np.ndarray

    def __call__(self, squared: np.ndarray) -> np.ndarray:
        """Power (p, ...) at squared frequencies (...), in (cycles per pixel of the scene)^2."""
        level, corner, exponent = (
            v.reshape(-1, *[1] * np.ndim(squared)) for v in (self.level, self.corner, self.exponent)
        )
        return level * (1 + squared / corner**2) ** (-exponent / 2)


def measured_power(images: Sequence[np.ndarray], psf: Psf, scale: int) -> FallingPower:
    """The spectra under which images, blurred, decimated and with white noise of variance 1, are most probable.

    Whittle's likelihood (1953, doi:10.1007/BF02590998) of the mirrored images' periodogram, whose mean is left out.

    Parameters
    ----------
    images : sequence of arrays (p, h, w)
    psf : Psf
        In fine pixels, without a shift.
    scale : int
        Fine pixels per pixel.
    """
    parts = []
    for image in images:
        observed = dctn(image, axes=(1, 2), norm="ortho") ** 2
        parts.append((observed.reshape(len(image), -1)[:, 1:], _aliases(image.shape[1:], psf, scale)))
    found = np.array([_most_probable([(seen[q], aliases) for seen, aliases in parts]) for q in range(len(images[0]))])
    return FallingPower(*np.exp(found).T)


def _aliases(shape: tuple[int, int], psf: Psf, scale: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each alias, squared frequency and squared transfer / scale^2, (h * w - 1,), of a mirrored image."""
    axes = []
    for axis, n in enumerate(shape):
        gain = np.abs(psf.transfer(2 * n * scale, scale, axis)) ** 2
        f = np.fft.fftfreq(2 * n * scale) * scale
        axes.append([(f[a : a + n], gain[a : a + n]) for a in range(0, 2 * n * scale, 2 * n)])
    found = [
        (np.add.outer(fy**2, fx**2).ravel()[1:], np.multiply.outer(gy, gx).ravel()[1:] / scale**2)
        for fy, gy in axes[0]
        for fx, gx in axes[1]
    ]
    return [(f, g) for f, g in found if g.max(initial=0) > UNSEEN]


def _most_probable(parts: Sequence[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]) -> np.ndarray:
    """Logarithms of (level, corner, exponent) for one image's periodograms."""
    mean = np.mean(np.concatenate([seen for seen, _ in parts]))
    bounds = [(None, None), tuple(np.log(CORNERS)), tuple(np.log(EXPONENTS))]

    def unlikely(theta: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(3)
        level, corner, exponent = np.exp(theta)
        for seen, aliases in parts:
            power, slopes = np.ones_like(seen), np.zeros((3, len(seen)))
            for squared, gain in aliases:
                ratio = squared / corner**2
                part = gain * level * (1 + ratio) ** (-exponent / 2)
                power += part
                slopes += part * np.stack(
                    [np.ones_like(ratio), exponent * ratio / (1 + ratio), -exponent / 2 * np.log1p(ratio)]
                )
            total += float((np.log(power) + seen / power).sum())
            slope += slopes @ (1 / power - seen / power**2)
        return total, slope

    def level_of(corner: float, exponent: float) -> float:
        """So that the power is that observed."""
        shape = np.concatenate(
            [sum(g * (1 + f / corner**2) ** (-exponent / 2) for f, g in aliases) for _, aliases in parts]
        ).mean()
        return max(mean - 1, 0.01) / shape

    starts = [np.log([level_of(*start), *start]) for start in STARTS]
    fits = [minimize(unlikely, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    return min(fits, key=lambda fit: fit.fun).x
