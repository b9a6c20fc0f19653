"""Real scenes, where ``HSGEO_DATA`` names the folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsgeo.scene import open_scene
from hsgeo.scene.bands import native_bands

DATA = Path(os.environ.get("HSGEO_DATA", "/nonexistent"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="HSGEO_DATA does not name a folder of real scenes")


def test_berlin_pair():
    hsi = open_scene(DATA / "berlin" / "EnMAP_BerlinUrbanGradient.hdr")
    assert hsi.shape == (177, 80, 60)
    assert hsi.attrs["nodata"] == -99
    np.testing.assert_allclose(hsi["wavelength"].values[[0, -1]], [460, 2409])
    np.testing.assert_allclose(hsi["fwhm"].values[0], 5.8)
    assert hsi["band_name"].values[0] == "band 8"
    with rasterio.open(DATA / "berlin" / "EnMAP_BerlinUrbanGradient.bsq") as dataset:  # compressed: through GDAL
        np.testing.assert_array_equal(hsi.values, dataset.read())
    msi = open_scene(DATA / "berlin" / "HighResolution_BerlinUrbanGradient.bsq", chunks=None)
    assert msi.shape == (4, 660, 494)
    np.testing.assert_allclose(msi["wavelength"].values, [484.3, 558.4, 646.5, 804.6])


def test_wavelengths_in_names_only():
    scene = open_scene(DATA / "berlin" / "urbangradient" / "HyMap02_Berlin_Urban_Gradient_2009.bsq")
    np.testing.assert_allclose(scene["wavelength"].values[:2], [455.4, 469.4])
    assert np.isfinite(scene["wavelength"].values).all()


def test_enmap_potsdam():
    scene = open_scene(DATA / "potsdam" / "enmap_potsdam_nw.tif")
    assert scene.attrs["sensor"] == "enmap"
    assert (np.flatnonzero(~scene["good"].values) + 1).tolist() == list(range(130, 136))
    values = scene.values
    missing = np.isnan(values).all(axis=(1, 2))
    assert (np.flatnonzero(missing) + 1).tolist() == list(range(130, 136))
    assert not np.isnan(values[~missing]).any()


def test_sentinel2_patch():
    scene = open_scene(DATA / "sentinel2_patch", chunks=None)
    assert scene.shape == (12, 120, 120)
    stem = DATA / "sentinel2_patch" / "S2A_MSIL2A_20170617T113321_36_85_"
    for gsd in (10, 20, 60):
        part = native_bands(scene, gsd)
        for name, values in zip(part["band_name"].values.tolist(), part.values, strict=True):
            with rasterio.open(f"{stem}{name}.tif") as dataset:
                assert part.odc.geobox.affine == dataset.transform
                np.testing.assert_array_equal(values, np.where(dataset.read(1) == 0, np.nan, dataset.read(1)))


def test_aviris():
    scene = open_scene(DATA / "aviris_small" / "AV_mastercal_testdata.bsq")
    np.testing.assert_allclose(scene["wavelength"].values[0], 394.935486, rtol=1e-12)
    assert abs(scene.odc.geobox.affine.b) > 1
    radiance = open_scene(DATA / "aviris_small" / "ang20160910t185702_2rdn_img")
    assert radiance.attrs["sensor"] == "aviris-ng"
    np.testing.assert_allclose(radiance["wavelength"].values[:2], [376.44, 381.45])
