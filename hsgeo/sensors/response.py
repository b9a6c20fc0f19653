"""The relative spectral response of bands on any grid of wavelengths."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .model import Band, Sensor

#: a Gaussian ends here, in FWHM from its centre (1.5e-5 of the peak)
GAUSSIAN_REACH = 2.0


def response_at(
    bands: Sensor | Band | Iterable[Band], grid_nm: np.ndarray | Iterable[float], *, normalise: bool = True
) -> np.ndarray:
    """Response of each band at each wavelength.

    The table of the band is interpolated linearly and is zero outside; a band without a table is a Gaussian of its
    centre and FWHM, exp(-4 ln 2 (x - centre)^2 / FWHM^2), cut at two FWHM.

    Parameters
    ----------
    bands : Sensor, Band or bands
        b bands.
    grid_nm : array (n,)
        Wavelengths in nm, in any order. NaN gives 0.
    normalise : bool
        Rows sum to 1, and are all zero where the grid does not meet the band. Otherwise the peak of a Gaussian is 1
        and a table keeps its own values.

    Returns
    -------
    array (b, n), float64
    """
    if isinstance(bands, Sensor):
        bands = bands.bands
    elif isinstance(bands, Band):
        bands = (bands,)
    grid = np.asarray(list(grid_nm) if not isinstance(grid_nm, np.ndarray) else grid_nm, dtype=np.float64).ravel()
    rows = [_row(band, grid) for band in bands]
    out = np.array(rows, dtype=np.float64).reshape(len(rows), grid.size)
    if normalise:
        total = out.sum(axis=1, keepdims=True)
        np.divide(out, total, out=out, where=total > 0)
    return out


def _row(band: Band, grid: np.ndarray) -> np.ndarray:
    if band.response is not None:
        wavelengths, values = band.response
        row = np.interp(grid, wavelengths, values, left=0.0, right=0.0)
    else:
        distance = (grid - band.centre_nm) / band.fwhm_nm
        row = np.where(np.abs(distance) <= GAUSSIAN_REACH, np.exp(-4 * np.log(2) * distance**2), 0.0)
    return np.where(np.isfinite(grid), row, 0.0)


def centre_and_fwhm(wavelengths: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Centroid and full width between the outermost crossings of half the peak, in nm, of a tabulated response."""
    weight = np.gradient(wavelengths) * values
    centre = float((weight * wavelengths).sum() / weight.sum())
    half = values.max() / 2
    above = np.flatnonzero(values >= half)
    first, last = int(above[0]), int(above[-1])
    left, right = wavelengths[first], wavelengths[last]
    if first > 0:
        left = np.interp(half, values[first - 1 : first + 1], wavelengths[first - 1 : first + 1])
    if last < values.size - 1:
        right = np.interp(-half, -values[last : last + 2], wavelengths[last : last + 2])
    return centre, float(right - left)
