"""The fast restoration on small scenes whose truth is known."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import BandError, DataError, ParameterError
from hsgeo.methods.restoration.base import RestorationInputs, get_restoration
from hsgeo.methods.restoration.subspace import SubspaceRestoration, SubspaceRestorationParams, SubspaceRestorer
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window

from ..pairs import landscape, materials

SIGMA = 0.08


def truth(shape: tuple[int, int] = (56, 60), bands: int = 24) -> np.ndarray:
    return np.einsum("bm,mhw->bhw", materials(bands, 6), landscape(*shape, 6, np.random.default_rng(0), 0.05))


def noisy(z: np.ndarray, sigma: float | np.ndarray = SIGMA, seed: int = 1) -> np.ndarray:
    scale = np.broadcast_to(sigma, len(z))[:, None, None]
    return (z + scale * np.random.default_rng(seed).standard_normal(z.shape)).astype(np.float32)


def inputs(y: np.ndarray, **given) -> RestorationInputs:
    given = {"good": np.ones(len(y), bool), "bad_reason": [""] * len(y)} | given
    return RestorationInputs(SceneSource(on_grid(y, 30)), **given)


def fitted(y: np.ndarray, params: dict | None = None, **given) -> SubspaceRestorer:
    return SubspaceRestoration().fit(inputs(y, **given), SubspaceRestorationParams(**(params or {})))


def whole(model: SubspaceRestorer, y: np.ndarray) -> np.ndarray:
    source, core = SceneSource(on_grid(y, 30)), Window(0, y.shape[1], 0, y.shape[2])
    return model.apply(source.read(core.grow(model.halo)), core.grow(model.halo), core).values


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).mean()))


def test_it_is_found_by_name() -> None:
    assert isinstance(get_restoration("subspace"), SubspaceRestoration)
    with pytest.raises(ParameterError, match="Did you mean 'subspace'"):
        get_restoration("subspase")


def test_noise_is_taken_out_and_the_scene_left() -> None:
    """Far more of it than the subspace alone takes out; its level is not told, and the risk reported is true."""
    z = truth()
    levels = SIGMA * np.linspace(0.5, 1.5, len(z))
    y = noisy(z, levels)
    model = fitted(y)
    np.testing.assert_allclose(model.noise, levels, rtol=0.1)
    x = whole(model, y)
    plain = np.tensordot(model.basis, model.coefficients(y), 1)
    assert rmse(x, z) < 0.45 * rmse(plain, z) < 0.3 * rmse(y, z)
    white = ((model.basis / model.noise[:, None] ** 2).T @ (x - z).reshape(len(z), -1)) ** 2
    assert float(model.estimates["passes"].split("risk ")[1].split()[0]) == pytest.approx(white.mean(), abs=0.04)
    assert model.estimates["dimension"] >= 3 and model.shares.sum() == pytest.approx(1)


def test_a_clean_scene_is_left_alone() -> None:
    z = truth().astype(np.float32)
    assert rmse(whole(fitted(z), z), z) < 1e-3 * z.max()


@pytest.mark.parametrize("core", [Window(0, 20, 0, 24), Window(21, 33, 17, 60), Window(40, 56, 3, 4)])
def test_a_tile_is_a_part_of_the_whole(core: Window) -> None:
    y = noisy(truth())
    model = fitted(y)
    model.shares = np.array([0.5, 0.2, 0.3])
    source, outer = SceneSource(on_grid(y, 30)), core.grow(model.halo)
    tile = model.apply(source.read(outer), outer, core).values
    np.testing.assert_allclose(tile, whole(model, y)[(slice(None), *core.slices)], atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.apply(source.read(outer), outer, core).values, tile)


def test_only_passes_that_are_mixed_are_made() -> None:
    y = noisy(truth())
    model = fitted(y)
    reach = []
    for shares in ([1.0, 0, 0], [0.4, 0.6, 0], [0, 0, 1.0]):
        model.shares = np.array(shares)
        reach.append(model.halo)
    assert np.diff(reach).tolist() == [25, 25]


def test_what_is_missing_is_told_by_other_bands_and_spoils_nothing() -> None:
    z = truth()
    y = noisy(z)
    y[:, 10:16, 20:26] = np.nan
    y[5, 40, 41] = np.nan
    model = fitted(y)
    x = whole(model, y)
    np.testing.assert_array_equal(np.isfinite(x), np.isfinite(y).any(0)[None].repeat(len(y), 0))
    assert abs(x[5, 40, 41] - z[5, 40, 41]) < SIGMA
    near = np.zeros(z.shape[1:], bool)
    near[8:18, 18:28] = True
    near &= np.isfinite(y[0])
    assert rmse(x[:, near], z[:, near]) < SIGMA / 3


def test_nothing_is_said_of_pixels_that_lack_most_of_their_bands() -> None:
    y = noisy(truth())
    y[3:, 20:24, 30:33] = np.nan
    y[:, 40, 40] = np.nan
    model = fitted(y)
    source, core = SceneSource(on_grid(y, 30)), Window(0, 56, 0, 60)
    found = model.apply(source.read(core.grow(model.halo)), core.grow(model.halo), core)
    assert np.isnan(found.values[:, 20:24, 30:33]).all()
    assert found.stats == {"left": 12, "pixels": 56 * 60 - 1}
    assert (found.values[:, 20:24, 28] != y[:, 20:24, 28]).all()


def test_dead_columns_in_all_bands_spoil_nothing() -> None:
    """Other columns in each band, so that hardly a pixel is complete; as good as without but for what is not there."""
    z, rng = truth(), np.random.default_rng(3)
    whole_y = noisy(z)
    y = whole_y.copy()
    for band in y:
        band[:, rng.choice(y.shape[2], 6, replace=False)] = np.nan
    assert np.isfinite(y).all(0).mean() < 0.15
    model, plain = fitted(y), fitted(whole_y)
    np.testing.assert_allclose(model.noise, SIGMA, rtol=0.1)
    x, full = whole(model, y), whole(plain, whole_y)
    assert np.isfinite(x).all()
    seen = np.isfinite(y)
    assert rmse(x[seen], z[seen]) < 1.15 * rmse(full[seen], z[seen])
    assert rmse(x[~seen], z[~seen]) < 1.15 * rmse(full[~seen], z[~seen])


def test_nothing_is_said_of_bands_that_are_not_good() -> None:
    y = noisy(truth())
    y[3], y[7] = 0.25, np.nan
    good = np.ones(len(y), bool)
    good[11] = False
    model = fitted(y, good=good, bad_reason=["water vapour" if i == 11 else "" for i in range(len(y))])
    assert [model.bad_reason[i] for i in (3, 7, 11, 12)] == ["the same value everywhere", "no data", "water vapour", ""]
    x = whole(model, y)
    for band in (3, 7, 11):
        assert np.isnan(x[band]).all() and band not in model.bands
    assert (x[12] != y[12]).mean() > 0.99


def test_a_level_that_is_given_is_believed() -> None:
    y = noisy(truth())
    model = fitted(y, noise=np.full(len(y), 2 * SIGMA))
    np.testing.assert_array_equal(model.noise, 2 * SIGMA)
    assert fitted(y, {"dimension": 4}).basis.shape == (24, 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 8)])
def test_a_scene_smaller_than_a_patch(size: tuple[int, int]) -> None:
    y = noisy(truth()[:, : size[0], : size[1]])
    if size == (1, 1):
        with pytest.raises(DataError):
            fitted(y)
        return
    x = whole(fitted(y), y)
    assert x.shape == y.shape and np.isfinite(x).all()


def test_too_few_bands() -> None:
    with pytest.raises(BandError, match="three are needed"):
        fitted(noisy(truth(bands=2)))


def test_noise_is_no_less_than_rounding() -> None:
    """A scene of four spectra and nothing else: what is removed is a small part of what is called its noise."""
    y = truth((40, 44)).astype(np.float32)
    model = fitted(y)
    assert (model.noise > 2e-6 * np.sqrt(np.square(y).mean((1, 2)))).all()
    assert (np.abs(whole(model, y) - y).mean((1, 2)) < model.noise).all()
