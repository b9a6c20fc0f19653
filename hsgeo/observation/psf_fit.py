"""The width of the PSF between the two images: the one at which they agree best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from .coarse import Samples
from .psf import Psf

#: prior spread of the log of the width, and of the log of the ratio between both axes
_WIDTH, _SHAPE = 0.25, 0.15

#: neighbouring coarse pixels share their errors: so many count as one
_SHARED = 4

#: widths tried first, relative to the prior's
_SCAN = np.geomspace(0.4, 2.2, 12)


@dataclass(frozen=True)
class PsfFit:
    """The PSF found, the standard error of the log of its width, and what the data alone would say."""

    psf: Psf
    error: float
    from_data: bool


class Agreement:
    """How badly the degraded MSI is explained by the HSI: mean over bands of log(1 - R^2), whatever gain and offset.

    A measure relative to the variance of the degraded image, so that a wider blur does not win by leaving less to
    explain.

    Parameters
    ----------
    samples : Samples
    regressors : per group, per band, array (n, k)
        What a band is explained by, its mean included.
    """

    def __init__(self, samples: Samples, regressors: Sequence[Sequence[np.ndarray] | np.ndarray]) -> None:
        self.samples = samples
        self.spans = [
            np.linalg.qr(_centred(r))[0] if isinstance(r, np.ndarray) else [np.linalg.qr(_centred(m))[0] for m in r]
            for r in regressors
        ]
        self.bands = sum(g.bands for g in samples.groups)
        self.pixels = sum(samples.count(k) * g.bands for k, g in enumerate(samples.groups)) / self.bands

    def __call__(self, psf: Psf) -> float:
        total = 0.0
        for k, span in enumerate(self.spans):
            msi = self.samples.msi(k, psf)
            x = msi - msi.mean(1, keepdims=True)
            for i, row in enumerate(x):
                q = span if isinstance(span, np.ndarray) else span[i]
                energy = float(row @ row)
                part = q.T @ row
                left = energy - float(part @ part)
                total += np.log(max(left / max(energy, 1e-300), 1e-9)) if energy > 0 else 0.0
        return total / self.bands


def fit_psf(agreement: Agreement, prior: Psf, *, shift: bool = False) -> PsfFit:
    """Most probable Gaussian per axis, given the images and a log-normal prior about `prior`.

    Parameters
    ----------
    agreement : Agreement
    prior : Psf
        Expected, from the MTF or the ratio; it decides where the images say little.
    shift : bool
        Also find the shift of the coarse pixels against the fine ones.
    """
    weight = agreement.bands * agreement.pixels / _SHARED / 2
    centre = np.log(np.array(prior.fwhm))

    def psf_of(v: np.ndarray) -> Psf:
        y, x = np.exp(centre + v[0] + np.array([0.5, -0.5]) * v[1])
        dy, dx = v[2:] if shift else (0.0, 0.0)
        return Psf(float(y), float(x), shift_y=float(dy), shift_x=float(dx))

    def cost(v: np.ndarray) -> float:
        penalty = (v[0] / _WIDTH) ** 2 / 2 + (v[1] / _SHAPE) ** 2 / 2 + (v[2:] ** 2).sum() / 2
        v = np.r_[np.clip(v[0], np.log(0.2), np.log(3.0)), np.clip(v[1], -1, 1), v[2:]]
        return weight * agreement(psf_of(v)) + penalty

    free = 4 if shift else 2
    scan = [cost(np.r_[np.log(f), np.zeros(free - 1)]) for f in _SCAN]
    start = np.r_[np.log(_SCAN[int(np.argmin(scan))]), np.zeros(free - 1)]
    simplex = start + np.vstack([np.zeros(free), np.diag([0.1, 0.08, 0.3, 0.3][:free])])
    found = minimize(
        cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 2e-3, "fatol": 1e-2}
    ).x
    step = np.zeros(free)
    step[0] = 0.05
    bend = (cost(found + step) + cost(found - step) - 2 * cost(found)) / step[0] ** 2
    error = 1 / np.sqrt(max(bend, 1 / _WIDTH**2))
    return PsfFit(psf_of(found), float(error), bool(error < 0.7 * _WIDTH))


def _centred(matrix: np.ndarray) -> np.ndarray:
    return matrix - matrix.mean(0)
