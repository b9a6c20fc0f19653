"""A scene on a finer grid: registration, fidelity, tiles, gaps and what cannot be done."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import BandError, ParameterError
from hsgeo.methods.fusion.frame import interpolation
from hsgeo.methods.restoration.base import RestoredTile, get_superres
from hsgeo.methods.restoration.kernels import Gaussian
from hsgeo.methods.restoration.power import FallingPower
from hsgeo.methods.restoration.superres import SubspaceSuperres, SubspaceSuperresParams
from hsgeo.methods.restoration.superresolver import SubspaceSuperresolver
from hsgeo.observation.psf import FWHM_PER_SIGMA, Psf
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window

from .test_subspace import inputs, rmse, truth

SIGMA = 0.01


def blurred(z: np.ndarray, scale: int, fwhm: float = 1.0) -> np.ndarray:
    psf = Psf(fwhm * scale, fwhm * scale)
    return psf.matrix(z.shape[1], scale, "reflect", 0) @ z @ psf.matrix(z.shape[2], scale, "reflect", 1).T


def observed(z: np.ndarray, scale: int, sigma: float = SIGMA) -> np.ndarray:
    y = blurred(z, scale)
    return (y + sigma * np.random.default_rng(1).standard_normal(y.shape)).astype(np.float32)


def fitted(y: np.ndarray, scale: int, params: dict | None = None, **given) -> SubspaceSuperresolver:
    return SubspaceSuperres().fit(inputs(y, scale=scale, **given), SubspaceSuperresParams(**(params or {})))


def applied(model: SubspaceSuperresolver, y: np.ndarray, core: Window | None = None) -> RestoredTile:
    core = core or Window(0, model.fine[0], 0, model.fine[1])
    outer = core.grow(model.halo)
    return model.apply(SceneSource(on_grid(y, 30)).read(outer.coarsen(model.scale)), outer, core)


def spline(y: np.ndarray, scale: int) -> np.ndarray:
    rows, columns = (interpolation(n, scale, mirrored=True) for n in y.shape[1:])
    return rows @ y @ columns.T


def test_it_is_found_by_name() -> None:
    assert isinstance(get_superres("subspace"), SubspaceSuperres)
    with pytest.raises(ParameterError, match="Did you mean 'subspace'"):
        get_superres("subspase")


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("passes", [0, 2])
def test_a_ramp_stays_on_its_line(scale: int, passes: int) -> None:
    """Pixel edges coincide: fine pixel i has its centre at (i + 0.5) / scale - 0.5 pixels of the scene."""
    rows, columns = np.mgrid[0:44, 0:40].astype(float)
    slopes = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, -0.4], [0.2, 0.9]])
    level = 100 + 10 * np.arange(4)[:, None, None]
    y = level + np.tensordot(slopes, np.stack([rows, columns]), 1)
    y += 0.02 * np.random.default_rng(0).standard_normal(y.shape)
    x = applied(fitted(y, scale, {"passes": passes}), y).values
    fine = [(np.arange(n * scale) + 0.5) / scale - 0.5 for n in y.shape[1:]]
    line = level + np.tensordot(slopes, np.stack(np.meshgrid(*fine, indexing="ij")), 1)
    inside = slice(11 * scale, -11 * scale)  # beyond the reach of the mirrored edges
    off = (x - line)[:, inside, inside]
    assert np.abs(off.mean((1, 2))).max() < 0.005 and np.sqrt((off**2).mean()) < 0.03


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_is_nearer_to_the_truth_than_interpolation_and_true_to_the_scene(scale: int) -> None:
    z = truth((24 * scale, 20 * scale))
    y = observed(z, scale)
    model = fitted(y, scale)
    x, plain = applied(model, y).values, applied(fitted(y, scale, {"passes": 0}), y).values
    assert x.shape == z.shape and x.dtype == np.float32
    assert rmse(x, z) < rmse(plain, z) < 0.9 * rmse(spline(y, scale), z)
    assert 0.5 * SIGMA < rmse(blurred(x.astype(float), scale), y) < 1.1 * SIGMA
    model.floor = np.full(len(y), -np.inf)
    found = applied(model, y)
    np.testing.assert_allclose(found.removed, y - blurred(found.values.astype(float), scale), atol=1e-5)


def test_without_patches_it_is_the_posterior_mean_of_the_mirrored_scene() -> None:
    """The whole scene at once, mirrored and periodic, by the exact gain at its own frequencies."""
    scale, y = 2, observed(truth((48, 40)), 2)
    model = fitted(y, scale, {"passes": 0})
    model.floor = np.full(len(y), -np.inf)
    power = FallingPower(*np.array([[300.0, 0.06, 3.0]] * len(model.error)).T)
    double = [2 * n for n in y.shape[1:]]
    f = [np.fft.fftfreq(n * scale) * scale for n in double]
    field = Gaussian(power(np.add.outer(f[0] ** 2, f[1] ** 2)), model.psf, scale)
    model.first = field.kernels(10)
    seen = model.components.analysed(y).astype(float)
    mirror = np.concatenate([seen, seen[:, ::-1]], 1)
    mirror = np.concatenate([mirror, mirror[:, :, ::-1]], 2)
    exact = np.fft.ifft2(field.gain * np.tile(np.fft.fft2(mirror), (1, scale, scale))).real[:, : model.fine[0]]
    spectra = model.space.basis @ model.components.turn
    expected = np.tensordot(spectra, exact[:, :, : model.fine[1]], 1)
    expected += (model.space.basis @ model.space.mean)[:, None, None]
    np.testing.assert_allclose(applied(model, y).values, expected, atol=0.02 * SIGMA)


@pytest.mark.parametrize(
    ("scale", "passes", "core"),
    [
        (2, 2, Window(0, 20, 0, 16)),
        (2, 2, Window(100, 144, 80, 120)),
        (2, 1, Window(60, 70, 40, 62)),
        (3, 1, Window(12, 33, 90, 120)),
    ],
)
def test_a_tile_is_a_part_of_the_whole(scale: int, passes: int, core: Window) -> None:
    z = truth((144, 120))
    y = observed(z, scale)
    y[:, 3:6, 7:9] = np.nan
    y[4, 20:22, 20] = np.nan
    good = np.arange(len(y)) != 2
    model = fitted(y, scale, {"passes": passes}, good=good)
    whole, tile = applied(model, y), applied(model, y, core)
    assert core.grow(model.halo).clip(*model.fine) != Window(0, 144, 0, 120), "else nothing is tested"
    np.testing.assert_allclose(tile.values, whole.values[(slice(None), *core.slices)], atol=1e-5 * z.max())
    coarse = (slice(None), *core.coarsen(scale).slices)
    np.testing.assert_allclose(tile.removed, whole.removed[coarse], atol=1e-5 * z.max())
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(applied(again, y, core).values, tile.values)


def test_what_is_missing_stays_missing_and_spoils_nothing() -> None:
    z = truth((96, 100))
    whole = observed(z, 2)
    y = whole.copy()
    y[:, 10:15, 20:24] = np.nan
    y[5, 40, 41] = np.nan
    x, full = applied(fitted(y, 2), y).values, applied(fitted(whole, 2), whole).values
    np.testing.assert_array_equal(np.isfinite(x), np.isfinite(y).repeat(2, 1).repeat(2, 2))
    near = np.zeros(z.shape[1:], bool)
    near[14:36, 34:54] = True
    near &= np.isfinite(x[0])
    far = np.isfinite(x[0]) & ~near
    assert rmse(x[:, near], z[:, near]) < 1.6 * rmse(full[:, near], z[:, near])
    known = np.isfinite(x) & far
    assert rmse(x[known], z[known]) < 1.02 * rmse(full[known], z[known])


def test_what_is_not_of_the_model_is_interpolated_alone() -> None:
    """A band that is not good, and pixels that lack most of their bands."""
    y = observed(truth((64, 60)), 2)
    good = np.arange(len(y)) != 4
    model = fitted(y, 2, {"passes": 0}, good=good, bad_reason=["smile" if i == 4 else "" for i in range(len(y))])
    np.testing.assert_allclose(applied(model, y).values[4], spline(y, 2)[4], atol=1e-5)
    assert model.notes == ["not good and interpolated alone: 1 of 24 bands (smile)."]
    assert len(model.bands) == len(y) - 1 and model.bad_reason[4] == "smile"
    y[3:, 20:22, 10:13] = np.nan
    found = applied(fitted(y, 2, {"passes": 0}), y)
    np.testing.assert_allclose(found.values[:3, 40:44, 20:26], spline(y[:3], 2)[:, 40:44, 20:26], atol=1e-5)
    assert np.isnan(found.values[3:, 40:44, 20:26]).all() and found.stats == {"left": 6, "pixels": 32 * 30}


def test_nothing_is_darker_than_the_scene_shows() -> None:
    z = truth((64, 60))
    z[:, 20:40, 20:40] = 0.01
    y = observed(z, 2, 0.001)
    model = fitted(y, 2)
    x = applied(model, y).values
    basis, noise = model.space.basis, model.noise[:, None]
    held = basis @ np.linalg.lstsq(basis / noise, y.reshape(len(y), -1) / noise, rcond=None)[0]
    np.testing.assert_allclose(model.floor, np.quantile(held, 1e-3, axis=1), rtol=1e-3)
    np.testing.assert_allclose(x.min((1, 2)), model.floor, rtol=1e-5)


def test_the_psf_is_that_given_or_the_sensor_s_or_a_pixel_wide() -> None:
    y = observed(truth((48, 40)), 2)
    assert fitted(y, 2).psf == Psf(2.0, 2.0)
    assert fitted(y, 2, {"fwhm": 0.8}, mtf=0.3).psf == Psf(1.6, 1.6)
    psf = fitted(y, 3, mtf=0.3).psf
    assert np.exp(-2 * (np.pi * psf.fwhm_y / FWHM_PER_SIGMA * 0.5 / 3) ** 2) == pytest.approx(0.3)
    assert "0.30" in fitted(y, 3, mtf=0.3).report()["psf"]


def test_what_cannot_be_done_is_said() -> None:
    y = observed(truth((48, 40)), 2)
    with pytest.raises(BandError, match=r"a scene of 1 band .* three are needed"):
        fitted(y[:1], 2)
