"""The fusion protocol on real scenes: at or above what the best peers reach, with response and PSF given.

Ratio 4, HSI at 35 dB, MSI at 40 dB; thresholds are those of a prototype of the same model, above every peer measured.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from hsgeo.methods.base import FusionInputs
from hsgeo.methods.fusion.subspace import SubspaceFusion
from hsgeo.observation.psf import Psf

from .pairs import MemoryPair, degrade, fuse_tiles, psnr, sam

DATA = os.environ.get("HSGEO_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="HSGEO_DATA does not name the folder of real scenes")

#: MSI bands of the protocol, nm
CENTRES = np.array([490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190.0])
WIDTHS = np.array([65, 35, 30, 15, 15, 20, 115, 20, 90, 180.0])

#: AVIRIS channels, 380 to 2500 nm
CHANNELS = np.linspace(380, 2500, 224)


def jasper() -> tuple[np.ndarray, np.ndarray]:
    folder = Path(str(DATA)) / "jasper"
    cube = loadmat(folder / "Jasper.mat")["Y"].astype(float).reshape(198, 100, 100, order="F")
    return cube / cube.max(), CHANNELS[loadmat(folder / "jasperRidge2_R198.mat")["SlectBands"].ravel() - 1]


def airport() -> tuple[np.ndarray, np.ndarray]:
    cube = loadmat(Path(str(DATA)) / "abu" / "abu-airport-1.mat")["data"].astype(float).transpose(2, 0, 1)
    cube = np.maximum(cube, 0)
    kept = np.delete(np.arange(224), [*range(3), *range(105, 113), *range(151, 167)])
    picked = kept[np.round(np.linspace(0, len(kept) - 1, len(cube))).astype(int)]
    return np.minimum(cube / np.percentile(cube, 99.9), 1.5), CHANNELS[picked]


@pytest.mark.parametrize(("scene", "db", "degrees"), [(jasper, 45.45, 2.98), (airport, 54.92, 0.828)])
def test_at_or_above_the_peers(scene, db: float, degrees: float):
    truth, nm = scene()
    rows = np.exp(-4 * np.log(2) * ((nm - CENTRES[:, None]) / WIDTHS[:, None]) ** 2)
    response = rows / rows.sum(1, keepdims=True)
    rng = np.random.default_rng(0)
    hsi = degrade(truth, Psf(4.0, 4.0), 4)
    msi = np.einsum("kb,bhw->khw", response, truth)
    hsi = hsi + rng.standard_normal(hsi.shape) * np.sqrt((hsi**2).mean() / 10**3.5)
    msi = msi + rng.standard_normal(msi.shape) * np.sqrt((msi**2).mean() / 1e4)
    pair = MemoryPair(hsi, [msi], 4)
    good = np.ones(len(hsi), bool)
    given = fuse_tiles(SubspaceFusion().fit(FusionInputs(pair, good, nm, response=response, psf=Psf(4.0, 4.0))), pair)
    assert psnr(given.values, truth) >= db
    assert sam(given.values, truth) <= degrees
    blind = fuse_tiles(SubspaceFusion().fit(FusionInputs(pair, good, nm)), pair)
    assert psnr(blind.values, truth) >= db - 0.3
