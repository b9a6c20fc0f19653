"""Sensors like those of a pair, so that a network trained on it alone is not bound to one blur, response and noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.observation.psf import Psf

#: standard deviation of the shift of an MSI band, nm; largest factor of its width and of the PSF's; largest change of
#: either image's signal to noise, dB
CENTRE_NM, WIDTH, BLUR, SNR_DB = 4.0, 1.14, 1.14, 2.0

#: distance of HSI bands whose wavelengths are not known, nm
USUAL_NM = 10.0


def jittered(model: SubspaceModel, nm: np.ndarray | None, rng: np.random.Generator) -> SubspaceModel:
    """The model of a pair whose PSF, responses and noise are a little others.

    Parameters
    ----------
    model : SubspaceModel
    nm : array (B_model,), optional
        Wavelengths of the model's bands.

    Returns
    -------
    SubspaceModel
        Its prior is still the old one; `hsgeo.methods.fusion.calibration.reduced` makes the images that belong to it.
    """
    hsi, msi = (float(10 ** (rng.uniform(-SNR_DB, SNR_DB) / 20)) for _ in range(2))
    nm = USUAL_NM * np.arange(len(model.basis)) if nm is None else nm
    responses = [np.stack([_moved(row, nm, rng) for row in r]) for r in model.responses]
    basis, gauges = hsi * model.basis, [msi * g for g in model.gauges]
    *groups, last = model.sensors
    sensors = [replace(s, matrix=r @ basis / g[:, None]) for s, r, g in zip(groups, responses, gauges, strict=True)]
    return replace(
        model,
        basis=basis,
        noise=hsi * model.noise,
        responses=responses,
        gauges=gauges,
        sensors=[*sensors, replace(last, psf=_wider(last.psf, _factor(BLUR, rng)))],
        covariance=model.covariance / hsi**2,
        mean=model.mean / hsi,
        spread=model.spread / hsi**2,
    )


def _moved(response: np.ndarray, nm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One band's response (B,) moved and widened about its centre, of the same sum."""
    shift, width = rng.normal(0, CENTRE_NM), _factor(WIDTH, rng)
    total = response.sum()
    if total <= 0:
        return response
    centre, order = float(response @ nm / total), np.argsort(nm)
    moved = np.interp(centre + (nm - centre - shift) / width, nm[order], response[order], left=0.0, right=0.0)
    return moved * (total / moved.sum()) if moved.sum() > 0 else response


def _factor(largest: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(-np.log(largest), np.log(largest))))


def _wider(psf: Psf, factor: float) -> Psf:
    return replace(psf, fwhm_y=psf.fwhm_y * factor, fwhm_x=psf.fwhm_x * factor)
