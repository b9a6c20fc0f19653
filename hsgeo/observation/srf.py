"""The spectral response of a multispectral sensor over the bands of a hyperspectral one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hsgeo.errors import BandError


class BandLike(Protocol):
    """What is needed of a multispectral band: `hsgeo.sensors.Band` has it."""

    @property
    def name(self) -> str: ...

    @property
    def centre_nm(self) -> float: ...

    @property
    def fwhm_nm(self) -> float: ...

    @property
    def response(self) -> tuple[np.ndarray, np.ndarray] | None: ...


def response_matrix(bands: Sequence[BandLike], wavelengths: np.ndarray, fwhm: np.ndarray | None = None) -> np.ndarray:
    """R of X = R Z: how each multispectral band is made of the hyperspectral ones.

    The spectrum is taken as linear between the centres of the hyperspectral bands and the multispectral band
    integrates it; spectra that are linear over the band are thus exact, whatever the spacing.

    Parameters
    ----------
    bands : sequence of b bands
        A tabulated response where there is one, else a Gaussian of the centre and FWHM.
    wavelengths : array (B,)
        Centres in nm, in any order; NaN for a band that takes no part.
    fwhm : array (B,), optional
        Widths in nm. Half of one beyond the first and last centre still counts as covered.

    Returns
    -------
    array (b, B)
        Rows >= 0 that sum to 1; a row of zeros where a band lies outside the range entirely.

    Raises
    ------
    BandError
        Less than two wavelengths are known, or no band meets the range.
    """
    wavelengths = np.asarray(wavelengths, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(wavelengths))
    if known.size < 2:
        raise BandError("the wavelengths of the HSI are not known; give its sensor (--sensor).")
    order = known[np.argsort(wavelengths[known], kind="stable")]
    centres, same = np.unique(wavelengths[order], return_inverse=True)
    widths = None if fwhm is None else np.asarray(fwhm, dtype=np.float64)
    low, high = _span(wavelengths, widths)
    out = np.zeros((len(bands), wavelengths.size))
    for row, band in enumerate(bands):
        grid, value = _curve(band)
        weight = value * ((grid >= low) & (grid <= high))
        if not weight.any():
            continue
        place = np.clip(np.searchsorted(centres, grid) - 1, 0, max(centres.size - 2, 0))
        step = np.diff(centres)[place] if centres.size > 1 else np.ones_like(grid)
        part = np.clip((grid - centres[place]) / step, 0, 1) if centres.size > 1 else np.zeros_like(grid)
        hat = np.bincount(place, weight * (1 - part), centres.size)
        hat += np.bincount(np.minimum(place + 1, centres.size - 1), weight * part, centres.size)
        # bands of one wavelength (two detectors that overlap) share its weight
        out[row, order] = (hat / np.bincount(same, minlength=centres.size))[same]
        out[row] /= out[row].sum()
    if not out.any():
        raise BandError(
            f"no MSI band ({', '.join(b.name for b in bands)}) meets the HSI's range {low:.0f}-{high:.0f} nm; "
            "check the wavelengths and their unit, or name the sensors."
        )
    return out


def origin_of(band: BandLike) -> str:
    """What the shape of a band in `response_matrix` is, in words."""
    return "the table" if band.response is not None else "Gaussians of the bands' centres and widths"


def coverage(bands: Sequence[BandLike], wavelengths: np.ndarray, fwhm: np.ndarray | None = None) -> np.ndarray:
    """The part of each multispectral band's response that lies in the hyperspectral range, (b,) in 0..1."""
    low, high = _span(np.asarray(wavelengths, dtype=np.float64), fwhm)
    curves = [_curve(band) for band in bands]
    return np.array([v[(g >= low) & (g <= high)].sum() / v.sum() for g, v in curves])


def _span(wavelengths: np.ndarray, fwhm: np.ndarray | None) -> tuple[float, float]:
    known = np.isfinite(wavelengths)
    half = np.zeros_like(wavelengths) if fwhm is None else np.nan_to_num(np.asarray(fwhm, dtype=np.float64)) / 2
    return float((wavelengths - half)[known].min()), float((wavelengths + half)[known].max())


def _curve(band: BandLike) -> tuple[np.ndarray, np.ndarray]:
    """Response of a band every nm or finer: wavelengths and values >= 0."""
    if band.response is not None:
        nm, value = (np.asarray(a, dtype=np.float64) for a in band.response)
        grid = np.arange(nm.min(), nm.max() + 0.25, 0.5)
        return grid, np.maximum(np.interp(grid, nm, value), 0)
    if not (np.isfinite(band.centre_nm) and band.fwhm_nm > 0):
        raise BandError(f"the MSI band {band.name} has no centre and width; give its sensor (--sensor).")
    grid = band.centre_nm + np.linspace(-2.5, 2.5, 501) * band.fwhm_nm
    return grid, np.exp(-4 * np.log(2) * ((grid - band.centre_nm) / band.fwhm_nm) ** 2)
