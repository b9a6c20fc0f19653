"""A result is held against each MSI band, whatever their order, GSDs, and the bands left out among them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.observation.psf import Psf
from hsgeo.quality.consistency import check_consistency, degrade
from hsgeo.scene import make_scene
from tests.conftest import spectral_fields

BANDS, HEIGHT, WIDTH, RATIO = 12, 36, 48, 4
PSF, COARSE = Psf(4.0, 4.0), Psf(2.0, 2.0)


class Pair:
    """An HSI, MSI bands 4 and 1 at its ratio and 5 and 2 at twice the fine pixel; 0 and 3 left out."""

    ratio, multiple = RATIO, RATIO

    def __init__(self, truth, response):
        self.fine = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 5e5, 0, -10, 58e5), "EPSG:32633")
        groups = ((4, 1), 1, None), ((5, 2), 2, COARSE)
        self.groups = tuple(SimpleNamespace(bands=bands, ratio=ratio) for bands, ratio, _ in groups)
        self.hsi = degrade(truth, PSF, RATIO)
        self.msi = [degrade(np.tensordot(response[list(b)], truth, 1), psf, ratio) for b, ratio, psf in groups]

    def read_hsi(self, window):
        return self.hsi[(slice(None), *window.slices)]

    def read_msi(self, k, window):
        return self.msi[k][(slice(None), *window.slices)]


@pytest.fixture
def setting():
    truth = spectral_fields(HEIGHT, WIDTH, BANDS).astype(np.float64)
    response = np.random.default_rng(0).random((6, BANDS)) ** 4
    response /= response.sum(1, keepdims=True)
    response[[0, 3]] = 0
    pair = Pair(truth, response)
    observation = SimpleNamespace(response=response, offset=np.zeros(6), psf=PSF, group_psfs=(None, COARSE))
    return truth, pair, observation


def test_the_truth_reproduces_every_band(setting):
    truth, pair, observation = setting
    found = check_consistency(make_scene(truth, pair.fine), pair, observation, np.ones(BANDS, bool)).summary()
    assert found["consistency"]["hsi_rmse"] < 1e-3 and found["consistency"]["hsi_sam"] < 0.05
    assert found["consistency"]["msi_rmse"] < 1e-3
    assert 0 <= found["d_lambda"] < 1e-3 and 0 <= found["d_s"] < 0.2


def test_an_error_shows_where_it_is_seen(setting):
    truth, pair, observation = setting
    wrong = truth.copy()
    wrong[3] += 50
    found = check_consistency(make_scene(wrong, pair.fine), pair, observation, np.ones(BANDS, bool)).summary()
    expected = 50 * observation.response[[4, 1, 5, 2], 3]
    sizes = np.repeat([HEIGHT * WIDTH, HEIGHT * WIDTH / 4], 2)
    mean = np.sqrt((expected**2 * sizes).sum() / sizes.sum())
    assert found["consistency"]["msi_rmse"] == pytest.approx(mean, rel=1e-3)
    assert found["consistency"]["hsi_rmse"] == pytest.approx(50 / np.sqrt(BANDS), rel=1e-3)
