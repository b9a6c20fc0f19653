"""What two scenes say about their sensors, gathered for a fit: good bands, wavelengths, MSI bands, MTF."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import SensorError
from hsgeo.methods.base import FusionInputs
from hsgeo.scene.align import AlignedPair
from hsgeo.sensors import Band, Sensor, load_sensor, mean_mtf


def fusion_inputs(pair: AlignedPair, msi: xr.DataArray, **given: Any) -> FusionInputs:
    """Inputs of a fit on `pair`, whose MSI was made from the scene `msi`.

    Parameters
    ----------
    pair : AlignedPair
    msi : scene (b, y, x)
        As it was given to `align`.
    **given
        Fields of `FusionInputs` that are known: ``response``, ``psf``, ``noise_hsi``, ``noise_msi``.
    """
    hsi = pair.hsi
    inputs = FusionInputs(
        pair,
        good=np.asarray(hsi["good"].values, bool),
        wavelengths=_known(hsi["wavelength"].values),
        fwhm=_known(hsi["fwhm"].values),
        msi_bands=msi_bands(msi),
        hsi_mtf=sensor_mtf(hsi),
        bad_reason=hsi["bad_reason"].values.tolist(),
        numbers=hsi["band"].values,
    )
    return replace(inputs, **given)


def sensor_mtf(scene: xr.DataArray) -> float | None:
    """Modulation transfer of a scene's sensor at its Nyquist frequency, where its table knows it."""
    table = _table(scene)
    return None if table is None else mean_mtf(table.bands)


def msi_bands(msi: xr.DataArray) -> list[Band] | None:
    """The sensor table's entry of each MSI band, Gaussians of its own wavelengths, or None where neither is known."""
    centres, widths = msi["wavelength"].values, msi["fwhm"].values
    names = [str(n) or f"band {i}" for i, n in enumerate(msi["band_name"].values, 1)]
    bands: list[Band | None] = [None] * len(names)
    table = _table(msi)
    if table is not None:
        bands = [band or _nearest(table.bands, centre) for band, centre in zip(table.find(names), centres, strict=True)]
        if None in bands and len(table.bands) == len(names):
            bands = list(table.bands)
    out = []
    for band, name, centre, width in zip(bands, names, centres, widths, strict=True):
        if band is None:
            if not np.isfinite(centre):
                return None
            band = Band(name, float(centre), float(width) if np.isfinite(width) and width > 0 else 0.06 * float(centre))
        out.append(band)
    return out


def _nearest(bands: tuple[Band, ...], centre: float) -> Band | None:
    """The band whose centre a file's wavelength means: within a fifth of its width."""
    if not np.isfinite(centre):
        return None
    best = min(bands, key=lambda b: abs(b.centre_nm - centre))
    return best if abs(best.centre_nm - centre) <= max(0.2 * best.fwhm_nm, 3.0) else None


def _known(values: np.ndarray) -> np.ndarray | None:
    return values if np.isfinite(values).any() else None


def _table(scene: xr.DataArray) -> Sensor | None:
    """The table of a scene's sensor, where both are known."""
    try:
        return load_sensor(str(scene.attrs["sensor"])) if scene.attrs.get("sensor") else None
    except SensorError:
        return None
