"""Shared fixtures: small scenes on disk, and the folder of real data."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from hsgeo.cli import CACHE, THREADING

for _name, _value in (THREADING | CACHE).items():  # as the command line does, before torch is loaded
    os.environ.setdefault(_name, _value)
if "PYTEST_XDIST_WORKER" in os.environ:  # others run beside
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, where programs inherit deaf ears
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that none is left alone at the end."""
    items.sort(key=lambda item: item.path.name != "test_tutorials.py")


@pytest.fixture(autouse=True)
def own_logging():
    """What a command sets up for its messages ends with the test."""
    yield
    logger = logging.getLogger("hsgeo")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scenes; tests that need it are skipped without one."""
    folder = os.environ.get("HSGEO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set HSGEO_DATA to the folder of real scenes")
    return Path(folder)


def write_raster(
    path: Path, data: np.ndarray, gsd: float, *, wavelengths=None, crs="EPSG:32633", left=500000.0, top=5800000.0,
    nodata=None, transform: Affine | None = None, tags: bool = True,
) -> Path:  # fmt: skip
    """A GeoTIFF written by rasterio alone, as another program would."""
    count, height, width = data.shape
    place = transform or from_origin(left, top, gsd, gsd)
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": data.dtype}
    with rasterio.open(path, "w", crs=crs, transform=place, nodata=nodata, **profile) as target:
        target.write(data)
        for band, nm in enumerate(wavelengths if wavelengths is not None and tags else [], 1):
            target.update_tags(band, wavelength=f"{nm:.2f}", wavelength_units="Nanometers", fwhm="20")
    return path


def spectral_fields(height: int, width: int, bands: int, seed: int = 0) -> np.ndarray:
    """A smooth mixture of three spectra over (bands, height, width), reflectance x 10000, float64."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    weights = np.stack([1.2 + np.sin(9 * x + 3 * y), 1.2 + np.cos(13 * y), 1.2 + np.sin(17 * (x - y))])
    weights += (
        0.4 * (rng.uniform(size=(3, height // 6 + 1, width // 6 + 1)).repeat(6, 1).repeat(6, 2))[:, :height, :width]
    )
    weights /= weights.sum(0)
    nm = np.linspace(0, 1, bands)
    spectra = np.stack([0.1 + 0.5 * nm, 0.45 - 0.3 * nm, 0.2 + 0.25 * np.sin(6 * nm)], 1)
    return 10000 * np.tensordot(spectra, weights, 1)


NM = np.linspace(430, 2400, 40)
MSI_NM = np.array([490.0, 560.0, 665.0, 842.0, 1610.0, 2190.0])


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """(hsi.tif 14 x 17 x 40 int16 at 30 m, msi.tif 42 x 51 x 6 uint16 at 10 m), one origin."""
    folder = tmp_path_factory.mktemp("pair")
    fine = spectral_fields(42, 51, 40)
    rng = np.random.default_rng(1)
    coarse = fine.reshape(40, 14, 3, 17, 3).mean((2, 4)) + 15 * rng.standard_normal((40, 14, 17))
    rows = np.exp(-4 * np.log(2) * ((NM[None] - MSI_NM[:, None]) / 60) ** 2)
    msi = np.tensordot(rows / rows.sum(1, keepdims=True), fine, 1) + 8 * rng.standard_normal((6, 42, 51))
    return (
        write_raster(folder / "hsi.tif", np.rint(coarse).astype(np.int16), 30, wavelengths=NM, nodata=-9999),
        write_raster(folder / "msi.tif", np.rint(msi).astype(np.uint16), 10, wavelengths=MSI_NM, nodata=0),
    )
