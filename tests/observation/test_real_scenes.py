"""Noise, PSF and response on real scenes, degraded by the fusion protocol."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import loadmat

from hsgeo.observation.estimate import estimate_observation
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.observation.psf import Psf
from hsgeo.unmixing.subspace import subspace

DATA = os.environ.get("HSGEO_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="HSGEO_DATA does not name the folder of real scenes")

CENTRES = np.array([490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190.0])
WIDTHS = np.array([65, 35, 30, 15, 15, 20, 115, 20, 90, 180.0])


def load(*parts: str) -> dict:
    path = Path(DATA or "", *parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return loadmat(path)


def jasper():
    found = load("jasper", "jasperRidge2_R198.mat")
    z = found["Y"].astype(float).reshape(198, 100, 100, order="F")
    return z / z.max(), np.linspace(380, 2500, 224)[found["SlectBands"].ravel().astype(int) - 1]


def airport():
    z = np.maximum(load("abu", "abu-airport-1.mat")["data"].transpose(2, 0, 1).astype(float), 0)
    kept = np.setdiff1d(np.arange(224), np.r_[0:3, 105:113, 151:167])
    places = np.round(np.linspace(0, len(kept) - 1, len(z))).astype(int)
    return np.minimum(z / np.percentile(z, 99.9), 1.5), np.linspace(380, 2500, 224)[kept][places]


def protocol(z, nm):
    """(patch, response, noise of the HSI, noise of the MSI) at ratio 4, 35 and 40 dB."""
    rng = np.random.default_rng(0)
    response = np.exp(-4 * np.log(2) * ((nm - CENTRES[:, None]) / WIDTHS[:, None]) ** 2)
    response /= response.sum(1, keepdims=True)
    rows, columns = (Psf(4, 4).matrix(n, 4) for n in z.shape[1:])
    y, x = rows @ z @ columns.T, np.tensordot(response, z, 1)
    levels = np.sqrt((y**2).mean() / 10**3.5), np.sqrt((x**2).mean() / 10**4)
    y = y + levels[0] * rng.standard_normal(y.shape)
    x = x + levels[1] * rng.standard_normal(x.shape)
    return SimpleNamespace(hsi=y.astype(np.float32), msi=[x.astype(np.float32)]), response, *levels


@pytest.mark.parametrize("scene", [jasper, airport])
def test_blind_estimate_of_a_degraded_scene(scene):
    z, nm = scene()
    patch, response, noise_hsi, noise_msi = protocol(z, nm)
    statistics = SpectralStatistics(len(z)).update(patch.hsi.reshape(len(z), -1).T)
    noise = statistics.noise_std()
    assert np.median(noise) == pytest.approx(noise_hsi, rel=0.06)
    assert (abs(noise / noise_hsi - 1) < 0.2).mean() > 0.95
    assert 9 <= subspace(statistics, noise).p <= 18
    found = estimate_observation([patch], 4, (1,), wavelengths=nm)
    assert found.psf.fwhm == pytest.approx((4, 4), rel=0.02)
    assert np.median(found.sensor_noise) == pytest.approx(noise_msi, rel=0.12)
    assert (abs(found.sensor_noise / noise_msi - 1) < 0.35).all()
    spectra = z.reshape(len(z), -1) - z.reshape(len(z), -1).mean(1, keepdims=True)
    want = response @ spectra
    assert (((found.response - response) @ spectra) ** 2).mean() < 0.015**2 * (want**2).mean()


def test_a_real_pair_shows_its_misregistration():
    """Hyperion and ALI of EO-1, delivered on one grid, lie half a pixel apart; knowing it, the PSF comes out right."""
    found = load("paris", "paris_data_hs_ms.mat")
    z, x = (found[key].transpose(2, 0, 1).astype(float) for key in ("HSim", "MSim"))
    rows, columns = (Psf(3, 3).matrix(n, 3) for n in z.shape[1:])
    patch = SimpleNamespace(hsi=rows @ z @ columns.T, msi=[x])
    still = estimate_observation([patch], 3, (1,))
    moved = estimate_observation([patch], 3, (1,), shift=True)
    assert (moved.psf.shift_y, moved.psf.shift_x) == pytest.approx((0.15, 0.5), abs=0.15)
    assert moved.psf.fwhm == pytest.approx((3, 3), rel=0.06)
    assert np.median(moved.residuals) < 0.5 * np.median(still.residuals)
    assert np.median(moved.noise_msi) < 0.6 * np.median(still.noise_msi)
