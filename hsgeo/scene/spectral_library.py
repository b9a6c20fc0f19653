"""Spectra beside a raster: as a table (CSV), and as an ENVI spectral library (.sli with its .hdr).

The table has all bands of the scene, NaN where a spectrum has none. The library has only the bands in which all spectra
have a value: programs that show libraries know no gaps, and tell bands by their wavelengths.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import hsgeo

from .metadata import envi_list, envi_text


def library_files(table: Path) -> list[Path]:
    """All files that `write_library` makes: the table, the library and its header."""
    return [table, table.with_suffix(".sli"), table.with_suffix(".hdr")]


def write_library(folder: Path, table: Path, spectra: np.ndarray, names: Sequence[str], scene: xr.DataArray) -> None:
    """Write spectra as ``NAME.csv``, ``NAME.sli`` and ``NAME.hdr``.

    Parameters
    ----------
    folder : path
        Where files are written under their final names.
    table : path
        Of the table in the end; gives the names.
    spectra : array (p, B)
        NaN in bands that they have not.
    names : sequence of str
        Of the spectra.
    scene : scene (B, y, x)
        Whose bands they are in.
    """
    numbers, wavelength = scene["band"].values, scene["wavelength"].values
    with open(folder / table.name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["band", "wavelength_nm", *names])
        for number, nm, column in zip(numbers, wavelength, spectra.T, strict=True):
            writer.writerow([int(number), f"{nm:.9g}", *(f"{value:.9g}" for value in column)])
    whole = np.isfinite(spectra).all(0)
    data, header = library_files(table)[1:]
    (folder / data.name).write_bytes(spectra[:, whole].astype("<f4").tobytes())
    text = library_header(names, scene.isel(band=np.flatnonzero(whole)), table)
    (folder / header.name).write_text(text, encoding="utf-8")


def library_header(names: Sequence[str], scene: xr.DataArray, table: Path) -> str:
    """The header of a library of float32 spectra in all bands of `scene`."""
    wavelength, fwhm = scene["wavelength"].values, scene["fwhm"].values
    lines = {
        "description": f"{{Endmembers by hsgeo {hsgeo.__version__}; all bands are in {envi_text(table.name)}}}",
        "samples": str(scene.sizes["band"]),
        "lines": str(len(names)),
        "bands": "1",
        "header offset": "0",
        "file type": "ENVI Spectral Library",
        "data type": "4",
        "interleave": "bsq",
        "byte order": "0",
        "z plot titles": "{Wavelength [nm], Value}",
        "spectra names": envi_list([envi_text(name) for name in names]),
    }
    if np.isfinite(wavelength).all():
        lines |= {"wavelength units": "Nanometers", "wavelength": envi_list(wavelength.tolist())}
        if np.isfinite(fwhm).all():
            lines["fwhm"] = envi_list(fwhm.tolist())
    lines["hsgeo bands"] = envi_list(scene["band"].values.tolist())
    return "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
