"""Missing samples filled: any pattern, tiles alike, and what is there as it was."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.methods.fusion.missing import bridge
from hsgeo.methods.restoration import completion, inpainting
from hsgeo.methods.restoration.base import RestorationInputs
from hsgeo.methods.restoration.completion import Space, learned
from hsgeo.methods.restoration.inpainting import Inpainter, fitted_inpainter
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window
from tests.methods.restoration.test_subspace import truth

SHAPE = 72, 80


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return truth(SHAPE).astype(np.float32)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).mean()))


def bridged(y: np.ndarray) -> np.ndarray:
    return np.stack([bridge(band[None], np.nanmean(band)[None])[0] for band in y])


def fitted(y: np.ndarray) -> Inpainter:
    inputs = RestorationInputs(SceneSource(on_grid(y, 30)), np.ones(len(y), bool), [""] * len(y), task="inpaint")
    return fitted_inpainter(inputs)


def test_four_fifths_missing(z) -> None:
    missing = np.random.default_rng(0).random(z.shape) < 0.8
    y = np.where(missing, np.nan, z)
    filled = learned([y])[1][0]
    assert rmse(filled[missing], z[missing]) < 0.25 * rmse(bridged(y)[missing], z[missing])


def test_a_hole_in_all_bands_and_a_band_lost_in_part(z) -> None:
    y = z.copy()
    y[:, 30:40, 33:45] = np.nan
    y[10, :, :40] = np.nan
    model = fitted(y)
    whole = Window(0, SHAPE[0], 0, SHAPE[1])
    x = model.apply(y, whole, whole).values
    hole, lost = (slice(None), slice(30, 40), slice(33, 45)), (10, slice(None), slice(0, 40))
    assert rmse(x[hole], z[hole]) < rmse(bridged(y)[hole], z[hole])
    off = np.abs(x[lost] - z[lost])  # of materials that the band saw elsewhere
    assert np.quantile(off, 0.75) < 0.02 * z[lost].std()


def test_a_band_is_refitted_to_its_samples() -> None:
    """Against least squares with the prior as further equations, in float64."""
    rng = np.random.default_rng(3)
    bands, p, shape = 6, 2, (5, 6)
    space = Space(rng.standard_normal(bands), np.linalg.qr(rng.standard_normal((bands, p)))[0], np.ones(p), 0.2)
    data, found = rng.standard_normal((bands, *shape)), rng.standard_normal((p, *shape))
    known = rng.random(data.shape) < 0.5
    lost = np.arange(1, bands)
    shown = completion._refitted(space, [found], [np.where(known, data, np.nan)], [known], lost)
    np.testing.assert_allclose(shown[0], space.shown[0], rtol=1e-6)
    terms = np.column_stack([np.ones(found[0].size), found.reshape(p, -1).T])
    for band in lost:
        have = known[band].ravel()
        left = np.vstack([terms[have] / np.sqrt(0.2), np.sqrt(bands) * np.eye(1 + p)])
        right = np.concatenate([data[band].ravel()[have] / np.sqrt(0.2), np.sqrt(bands) * space.shown[band]])
        np.testing.assert_allclose(shown[band], np.linalg.lstsq(left, right)[0], rtol=1e-5)


def test_one_solve_is_the_posterior_mean() -> None:
    """Against the dense normal equations of each pixel, in float64."""
    rng = np.random.default_rng(1)
    bands, p, shape = 7, 3, (4, 5)
    basis = np.linalg.qr(rng.standard_normal((bands, p)))[0]
    one = Space(rng.standard_normal(bands), basis, rng.uniform(0.5, 2, p), 0.3)
    data, known = rng.standard_normal((bands, *shape)).astype(np.float32), rng.random((bands, *shape)) < 0.5
    prior = rng.standard_normal((p, *shape)).astype(np.float32)
    one32 = Space(one.mean.astype(np.float32), basis.astype(np.float32), one.variance, 0.3)
    found = completion._solved(np.where(known, data, np.nan), known, prior, one32)
    for y in range(shape[0]):
        for x in range(shape[1]):
            have = known[:, y, x]
            e, d = basis[have], data[have, y, x] - one.mean[have]
            left = e.T @ e / one.error + np.diag(1 / one.variance)
            a = np.linalg.solve(left, e.T @ d / one.error + prior[:, y, x] / one.variance)
            np.testing.assert_allclose(found[:, y, x], a, atol=2e-5)


def test_large_scenes_are_filled_in_blocks_of_their_own(z, monkeypatch) -> None:
    """Whatever the tiles, and next to as well as at once."""
    missing = np.random.default_rng(2).random(z.shape) < 0.7
    y = np.where(missing, np.nan, z)
    at_once = fitted(y)
    x = at_once.apply(y, Window(0, *SHAPE[:1], 0, SHAPE[1]), Window(0, SHAPE[0], 0, SHAPE[1])).values
    monkeypatch.setattr(inpainting, "BLOCK", 32)
    model = fitted(y)
    model.whole = None
    source = SceneSource(on_grid(y, 30))

    def tile(core: Window) -> np.ndarray:
        outer = core.grow(model.halo)
        return model.apply(source.read(outer), outer, core).values

    blocks = tile(Window(0, SHAPE[0], 0, SHAPE[1]))
    part = Window(32, 64, 64, 80)
    np.testing.assert_array_equal(tile(part), blocks[(slice(None), *part.slices)])
    assert rmse(blocks[missing], z[missing]) < 1.1 * rmse(x[missing], z[missing])
    step = np.abs(np.diff(blocks - x, axis=2))
    assert step[:, :, 31::32].mean() < 1.5 * step.mean() + 1e-4  # no seam between blocks


def test_nothing_missing_is_nothing_done(z) -> None:
    model = fitted(z)
    model.whole = None
    whole = Window(0, SHAPE[0], 0, SHAPE[1])
    np.testing.assert_array_equal(model.apply(z, whole, whole).values, z)
