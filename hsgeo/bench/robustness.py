"""`hsgeo bench fusion --robustness`: what wrong assumptions about the sensors cost each method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import shift as moved
from xarray import DataArray

from hsgeo.bench.fusion import measure
from hsgeo.bench.protocols import Case, cases, degraded
from hsgeo.errors import InputError

#: scenes of the table
SCENES = ("jasper", "abu-airport-2", "abu-urban-2")


def faults(case: Case) -> dict[str, Case]:
    """The same scene with one thing wrong at a time: what the fusion is told, or what the images are like."""
    assert case.psf is not None and case.response is not None
    nm = case.reference["wavelength"].values
    psf, msi = case.psf, case.msi
    shifted = np.stack([np.interp(nm - 5.0, nm, row) for row in case.response])
    return {
        "nothing wrong": case,
        "PSF 20 % too narrow": replace(case, psf=replace(psf, fwhm_y=0.8 * psf.fwhm_y, fwhm_x=0.8 * psf.fwhm_x)),
        "PSF 20 % too wide": replace(case, psf=replace(psf, fwhm_y=1.2 * psf.fwhm_y, fwhm_x=1.2 * psf.fwhm_x)),
        "SRF shifted by 5 nm": replace(case, response=shifted / shifted.sum(1, keepdims=True)),
        "SNR 25 dB": _noisier(case, 25.0),
        "MSI 0.5 fine pixel off": replace(case, msi=_moved(msi, 0.5)),
    }


def robustness(
    folder: str | Path,
    methods: Sequence[str] = ("gsa", "subspace", "hsr-diff"),
    params: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """PSNR of each method under each fault, SRF and PSF given, no registration.

    Yields
    ------
    dict
        fault, method, psnr (mean over scenes, dB), loss (against nothing wrong, dB), scenes.

    Raises
    ------
    InputError
        None of the scenes lies under the folder.
    """
    root = Path(folder)
    found = [case for name in SCENES for case in cases(root, name)]
    if not found:
        raise InputError(f"{root}: none of {', '.join(SCENES)} is there; give the folder of the scenes with --data.")
    tables = [faults(case) for case in found]
    for method in methods:
        whole = None
        for fault in tables[0]:
            own = params if method == "hsr-diff" else None
            values = [measure(table[fault], method, known=True, params=own)["psnr"] for table in tables]
            mean = float(np.mean(values))
            whole = mean if whole is None else whole
            scenes = {case.name: v for case, v in zip(found, values, strict=True)}
            yield {"fault": fault, "method": method, "psnr": mean, "loss": whole - mean, "scenes": scenes}


def _noisier(case: Case, snr: float) -> Case:
    """The case made anew with both images at `snr` dB."""
    reference = case.reference
    return degraded(
        case.name, reference.values.astype(float), reference["wavelength"].values, case.ratio, snr=(snr, snr)
    )


def _moved(msi: DataArray, pixels: float) -> DataArray:
    """An image whose content lies `pixels` south and east of where it should."""
    values = np.stack([moved(band, (pixels, pixels), order=3, mode="mirror") for band in msi.values])
    return msi.copy(data=values.astype(np.float32))
