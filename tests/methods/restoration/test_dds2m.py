"""The self-supervised restoration as a method: tiles agree, gaps are filled, and what cannot serve is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.restoration import dds2m
from hsgeo.methods.restoration.base import RestoredTile, Restorer, get_restoration
from hsgeo.methods.restoration.dds2m import Alone, Dds2mParams, Dds2mRestorer, Mixed
from hsgeo.methods.restoration.variational import reverse
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window
from tests.methods.restoration.test_subspace import SIGMA, inputs, noisy, rmse, truth

SHAPE = 40, 44


def fitted(y: np.ndarray, **params) -> Dds2mRestorer:
    task = params.pop("task", "denoise")
    return get_restoration("dds2m").fit(inputs(y, task=task), Dds2mParams(**params))


def tile(model: Restorer, y: np.ndarray, core: Window) -> np.ndarray:
    outer = core.grow(model.halo)
    return model.apply(SceneSource(on_grid(y, 30)).read(outer), outer, core).values


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return truth(SHAPE, 12)


@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_tiles_are_parts_of_the_whole(z, monkeypatch, task) -> None:
    monkeypatch.setattr(dds2m, "BLOCK", 16)
    monkeypatch.setattr(dds2m, "MARGIN", 4)
    y = noisy(z)
    y[:, 5:8, 20:24] = np.nan
    model = fitted(y, steps=3, task=task)
    whole = tile(model, y, Window(0, SHAPE[0], 0, SHAPE[1]))
    core = Window(16, 32, 16, 44)
    np.testing.assert_allclose(tile(model, y, core), whole[(slice(None), *core.slices)], atol=1e-6)
    assert np.isfinite(whole).all() == (task == "inpaint")
    weights = np.zeros(40)
    for start in (0, 16, 32):
        weights[max(0, start - 4) : start + 20] += dds2m._ramp(start, 40)
    np.testing.assert_allclose(weights, 1)


def test_threads_change_nothing(z, monkeypatch) -> None:
    y, whole, seen = noisy(z), Window(0, SHAPE[0], 0, SHAPE[1]), []
    model, before = fitted(y, steps=2, task="inpaint"), torch.get_num_threads()
    monkeypatch.setattr(dds2m, "reverse", lambda *a, **k: seen.append(torch.get_num_threads()) or reverse(*a, **k))
    try:
        torch.set_num_threads(3)
        tile(model, y, whole)
        assert seen == [1] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_networks_have_a_share_where_they_are_better(z, monkeypatch) -> None:
    """Handed what is near the truth in place of what they make, and then far from it."""
    y, whole = noisy(z), Window(0, SHAPE[0], 0, SHAPE[1])
    model = fitted(y)
    fast = tile(model.space, y, whole)
    assert isinstance(model, Mixed)
    truth_there = torch.as_tensor(model.space.coefficients(z.astype(np.float32)))

    def handed(off: float) -> RestoredTile:
        def run(evidence, settings, estimate, seed, callback):
            callback(1, truth_there + off)

        monkeypatch.setattr(dds2m, "reverse", run)
        outer = whole.grow(model.halo)
        return model.apply(SceneSource(on_grid(y, 30)).read(outer), outer, whole)

    near, far = handed(0.0), handed(10.0)
    assert near.stats["networks"] > 0.6 * z[0].size and far.stats["networks"] < 0.02 * z[0].size
    assert rmse(near.values, z) < 0.6 * rmse(fast, z)
    assert rmse(far.values, z) < 1.1 * rmse(fast, z)


def test_noise_goes(z) -> None:
    y, whole = noisy(z), Window(0, SHAPE[0], 0, SHAPE[1])
    model = fitted(y)
    assert rmse(tile(model, y, whole), z) < 1.02 * rmse(tile(model.space, y, whole), z)


def test_a_gap_is_filled(z) -> None:
    y = noisy(z)
    y[:, 20:24, 10:15] = np.nan
    model = fitted(y, task="inpaint")
    x = tile(model, y, Window(0, SHAPE[0], 0, SHAPE[1]))
    there = np.isfinite(y)
    assert np.isfinite(x).all() and rmse(x[there], z[there]) < 0.6 * SIGMA
    mean = np.broadcast_to(np.nanmean(y, (1, 2))[:, None, None], y.shape)
    assert rmse(x[~there], z[~there]) < rmse(mean[~there], z[~there])


def test_the_published_configuration_runs_on_the_bands(z) -> None:
    y = noisy(z[:, :16, :16])
    model = fitted(y, configuration="paper", steps=2)
    assert isinstance(model, Alone) and not model.whitened and model.settings.shape.endmembers == 10
    assert np.isfinite(tile(model, y, Window(0, 16, 0, 16))).all()


def test_what_cannot_serve(z) -> None:
    y = noisy(z)
    y[np.random.default_rng(0).random(y.shape) < 0.8] = np.nan
    with pytest.raises(DataError):
        fitted(y, task="inpaint")
    with pytest.raises(ParameterError, match="1000 at most"):
        fitted(noisy(z), steps=5000)
