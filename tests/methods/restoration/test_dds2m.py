"""The self-supervised restoration as a method: tiles agree, gaps are filled, and what cannot serve is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.restoration import dds2m
from hsgeo.methods.restoration.base import get_restoration
from hsgeo.methods.restoration.dds2m import Dds2mParams, Dds2mRestorer
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window
from tests.methods.restoration.test_subspace import SIGMA, inputs, noisy, rmse, truth

SHAPE = 40, 44


def fitted(y: np.ndarray, **params) -> Dds2mRestorer:
    task = params.pop("task", "denoise")
    return get_restoration("dds2m").fit(inputs(y, task=task), Dds2mParams(**params))


def tile(model: Dds2mRestorer, y: np.ndarray, core: Window) -> np.ndarray:
    outer = core.grow(model.halo)
    return model.apply(SceneSource(on_grid(y, 30)).read(outer), outer, core).values


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return truth(SHAPE, 12)


def test_tiles_are_parts_of_the_whole(z, monkeypatch) -> None:
    monkeypatch.setattr(dds2m, "BLOCK", 16)
    monkeypatch.setattr(dds2m, "MARGIN", 4)
    y = noisy(z)
    model = fitted(y, steps=3)
    model.halo = 20
    whole = tile(model, y, Window(0, SHAPE[0], 0, SHAPE[1]))
    core = Window(16, 32, 16, 44)
    np.testing.assert_array_equal(tile(model, y, core), whole[(slice(None), *core.slices)])
    weights = np.zeros(40)
    for start in (0, 16, 32):
        weights[max(0, start - 4) : start + 20] += dds2m._ramp(start, 40)
    np.testing.assert_allclose(weights, 1)


def test_noise_goes_and_a_gap_is_filled(z) -> None:
    y = noisy(z)
    y[:, 20:24, 10:15] = np.nan
    model = fitted(y)
    x = tile(model, y, Window(0, SHAPE[0], 0, SHAPE[1]))
    there = np.isfinite(y)
    assert np.isfinite(x).all() and rmse(x[there], z[there]) < 0.6 * SIGMA
    assert rmse(x[~there], z[~there]) < z.std()


def test_the_published_configuration_runs_on_the_bands(z) -> None:
    y = noisy(z[:, :16, :16])
    model = fitted(y, configuration="paper", steps=2)
    assert not model.whitened and model.settings.shape.endmembers == 10
    assert np.isfinite(tile(model, y, Window(0, 16, 0, 16))).all()


def test_what_cannot_serve(z) -> None:
    y = noisy(z)
    y[np.random.default_rng(0).random(y.shape) < 0.8] = np.nan
    with pytest.raises(DataError):
        fitted(y, task="inpaint")
    with pytest.raises(ParameterError, match="1000 at most"):
        fitted(noisy(z), steps=5000)
