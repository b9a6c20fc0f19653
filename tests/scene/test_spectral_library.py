"""Spectra as a table and as an ENVI spectral library."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import rasterio

from hsgeo.bench.protocols import on_grid
from hsgeo.scene.spectral_library import library_files, write_library


def made(folder: Path, wavelength: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, str]]:
    """Three spectra in seven bands, of which the third has no value; and the header's keys."""
    spectra = np.random.default_rng(0).random((3, 7))
    spectra[:, 2] = np.nan
    scene = on_grid(np.zeros((7, 2, 2)), 30.0, wavelength, 10.0).assign_coords(band=np.arange(11, 18))
    write_library(folder, folder / "s.csv", spectra, ["grass", "a, b", "soil"], scene)
    text = (folder / "s.hdr").read_text()
    assert text.startswith("ENVI\n")
    return spectra, dict(re.findall(r"^([^=\n]+?) = (.*)$", text, re.M))


def test_the_table_has_all_bands(tmp_path) -> None:
    spectra, _ = made(tmp_path, np.linspace(400, 1000, 7))
    rows = list(csv.reader((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["band", "wavelength_nm", "grass", "a, b", "soil"]
    values = np.array(rows[1:], float)
    np.testing.assert_array_equal(values[:, 0], np.arange(11, 18))
    np.testing.assert_allclose(values[:, 1], np.linspace(400, 1000, 7))
    np.testing.assert_allclose(values[:, 2:], spectra.T, rtol=1e-8)
    assert np.isnan(values[2, 2:]).all()


def test_the_library_is_what_envi_reads(tmp_path) -> None:
    """One line a spectrum, only bands with values; its values where an ENVI image of that header has them."""
    spectra, header = made(tmp_path, np.linspace(400, 1000, 7))
    assert header["file type"] == "ENVI Spectral Library"
    assert (header["samples"], header["lines"], header["bands"]) == ("6", "3", "1")
    assert header["spectra names"] == "{grass, a; b, soil}" and header["wavelength units"] == "Nanometers"
    assert header["wavelength"] == "{400.0, 500.0, 700.0, 800.0, 900.0, 1000.0}"
    assert header["hsgeo bands"] == "{11, 12, 14, 15, 16, 17}" and header["fwhm"].count("10.0") == 6
    # GDAL knows no libraries: the same file as an image
    image = tmp_path / "image.img"
    image.write_bytes((tmp_path / "s.sli").read_bytes())
    text = (tmp_path / "s.hdr").read_text().replace("ENVI Spectral Library", "ENVI Standard")
    (tmp_path / "image.hdr").write_text(text)
    with rasterio.open(image) as source:
        np.testing.assert_allclose(source.read(1), spectra[:, [0, 1, 3, 4, 5, 6]], rtol=1e-6)


def test_no_wavelengths_no_key(tmp_path) -> None:
    _, header = made(tmp_path)
    assert not {"wavelength", "wavelength units", "fwhm"} & set(header) and "hsgeo bands" in header
    assert [p.name for p in library_files(Path("a/s.csv"))] == ["s.csv", "s.sli", "s.hdr"]
