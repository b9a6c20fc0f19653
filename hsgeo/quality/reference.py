"""Compare a result with a reference scene: match grids and bands, then stream the metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, DataError, GridError
from hsgeo.quality.metrics import SSIM_RADIUS, ReferenceMetrics, windows
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class ReferenceReport:
    """Metrics of a result against a reference (`values`: psnr, ssim, sam, ergas, uiqi, rmse) and its parts."""

    values: dict[str, float | None]
    band_rmse: np.ndarray
    wavelength: np.ndarray
    pixels: int
    bands: int


def common_window(result: xr.DataArray, reference: xr.DataArray) -> tuple[Window, Window]:
    """The pixels that two scenes share, as windows of each.

    Raises
    ------
    GridError
        Other CRS or pixel size, pixel edges that do not coincide, or no overlap.
    """
    a, b = geobox_of(result), geobox_of(reference)
    names = f"{label(result)} and {label(reference)}"
    if a.crs != b.crs:
        raise GridError(f"{names} have different CRSs; warp the reference onto the result's grid (gdalwarp -t_srs).")
    step = np.array([a.resolution.y, a.resolution.x])
    if not np.allclose(step, [b.resolution.y, b.resolution.x], rtol=1e-6):
        unit = "m" if a.crs is not None and "metre" in a.crs.units else "CRS units"
        raise GridError(
            f"{names} have pixels of {abs(step[1]):g} and {abs(b.resolution.x):g} {unit}; "
            "resample the reference to the result's grid (gdalwarp -tr -te)."
        )
    ta, tb = a.transform, b.transform
    offset = np.array([(tb.f - ta.f) / step[0], (tb.c - ta.c) / step[1]])
    whole = np.round(offset).astype(int)
    if np.abs(offset - whole).max() > 0.01:
        raise GridError(f"the pixel edges of {names} do not coincide; warp the reference with gdalwarp -te -tr.")
    dy, dx = (int(v) for v in whole)
    inside = Window(0, b.shape[0], 0, b.shape[1]).shift(dy, dx).clip(*a.shape)
    if 0 in inside.shape:
        raise GridError(f"{names} do not overlap; give a reference of the same ground.")
    return inside, inside.shift(-dy, -dx)


def common_bands(result: xr.DataArray, reference: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the bands to compare in each scene: good in both, paired by order or by wavelength.

    Raises
    ------
    BandError
        The counts differ and the wavelengths do not pair the bands, or no band is good in both.
    """
    count = result.sizes["band"]
    if count == reference.sizes["band"]:
        first = second = np.arange(count)
    else:
        a, b = result["wavelength"].values, reference["wavelength"].values
        if not (np.isfinite(a).any() and np.isfinite(b).any()):
            raise BandError(
                f"{label(result)} has {count} bands, {label(reference)} {reference.sizes['band']}, and wavelengths "
                "to pair them are missing; give both their wavelengths (--sensor)."
            )
        gap = np.abs(a[:, None] - b[None])
        gap[~np.isfinite(gap)] = np.inf
        second = gap.argmin(1)
        first = np.flatnonzero(gap.min(1) < 2.0)
        second = second[first]
    keep = result["good"].values[first] & reference["good"].values[second]
    if not keep.any():
        raise BandError(f"{label(result)} and {label(reference)} have no good band in common; nothing to compare.")
    return first[keep], second[keep]


def compare(result: xr.DataArray, reference: xr.DataArray, ratio: float | None = None) -> ReferenceReport:
    """Metrics of `result` against `reference`, streamed.

    Parameters
    ----------
    result, reference : scene (band, y, x)
        Same CRS and pixel size, pixel edges that coincide; only shared pixels and bands count.
    ratio : float, optional
        GSD of the coarse image over that of the result; ERGAS needs it.

    Raises
    ------
    GridError, BandError
        The two cannot be compared.
    DataError
        They share no valid pixel.
    """
    at, bt = common_window(result, reference)
    ai, bi = common_bands(result, reference)
    a = result.isel(band=ai, y=at.slices[0], x=at.slices[1])
    b = reference.isel(band=bi, y=bt.slices[0], x=bt.slices[1])
    height, width = at.shape
    alive, peak = np.zeros((2, len(ai)), bool), -np.inf
    for core in windows(height, width):
        for which, scene in enumerate((a, b)):
            values = scene[:, core.slices[0], core.slices[1]].values
            finite = np.isfinite(values)
            alive[which] |= finite.any((1, 2))
            if which and finite.any():
                peak = max(peak, float(values[finite].max()))
    both = alive.all(0)
    if not both.any():
        raise DataError(f"{label(result)} and {label(reference)} share no valid pixel; nothing to compare.")
    a, b = a.isel(band=both), b.isel(band=both)
    metrics = ReferenceMetrics((height, width), peak)
    for core in windows(height, width):
        outer = core.grow(SSIM_RADIUS).clip(height, width)
        metrics.update(
            a[:, outer.slices[0], outer.slices[1]].values, b[:, outer.slices[0], outer.slices[1]].values, core, outer
        )
    return ReferenceReport(
        metrics.summary(ratio), metrics.band_rmse(), a["wavelength"].values, metrics.count, int(both.sum())
    )
