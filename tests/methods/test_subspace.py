"""The fast fusion on small in-memory pairs."""

from __future__ import annotations

import pickle
from functools import lru_cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from hsgeo.errors import BandError, DataError, ParameterError
from hsgeo.methods.base import get_method, method_names, observe, read_tile
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams
from hsgeo.observation.psf import Psf
from hsgeo.scene.window import Window

from .pairs import Case, MemoryPair, degrade, fuse_tiles, make_case, psnr, sam

#: MSI bands of a visible group at the fine GSD and a short-wave one at twice that
VISIBLE = ((0.08, 0.1), (0.18, 0.1), (0.28, 0.1), (0.4, 0.12))
SHORT = ((0.7, 0.15), (0.9, 0.15))


@lru_cache(maxsize=4)
def case(**options) -> Case:
    return make_case(**options)


def fitted(c: Case, **params):
    return SubspaceFusion().fit(c.inputs(), SubspaceParams(**params))


def test_beats_interpolation_and_the_plain_baseline():
    c = case()
    ours = fuse_tiles(fitted(c), c.pair).values
    others = {n: fuse_tiles(get_method(n).fit(c.inputs()), c.pair).values for n in ("gsa", "bicubic")}
    assert psnr(ours, c.truth) > psnr(others["gsa"], c.truth) + 3
    assert psnr(others["gsa"], c.truth) > psnr(others["bicubic"], c.truth) + 3
    assert sam(ours, c.truth) < 0.7 * sam(others["gsa"], c.truth)


@pytest.mark.parametrize("tile", [16, 40, 200])
def test_tiled_equals_whole(tile: int):
    c = case()
    model = fitted(c)
    whole = fuse_tiles(model, c.pair).values
    tiled = fuse_tiles(model, c.pair, tile).values
    assert np.abs(tiled - whole).max() < 1e-4 * (whole.max() - whole.min())


def test_more_halo_changes_nothing():
    """The halo is longer than the operator's memory, in the middle of a scene where nothing is mirrored."""
    c = case(shape=(60, 60))
    model = fitted(c)
    core = Window(104, 136, 104, 136)
    near, far = (model.apply(*read_tile(c.pair, o), o, core) for o in (core.grow(model.halo), core.grow(104)))
    span = c.truth.max() - c.truth.min()
    assert np.abs(near.values - far.values).max() < 5e-5 * span


@pytest.mark.parametrize("tile", [8, 16, 512])
def test_a_scene_of_seven_by_five_pixels(tile: int):
    c = case(shape=(7, 5))
    model = fitted(c)
    whole = fuse_tiles(model, c.pair).values
    assert np.isfinite(whole).all()
    assert np.abs(fuse_tiles(model, c.pair, tile).values - whole).max() < 1e-4 * (whole.max() - whole.min())
    assert psnr(whole, c.truth) > 32


@pytest.mark.parametrize("ratio", [2, 3, 5])
def test_other_ratios(ratio: int):
    c = case(shape=(16, 18), ratio=ratio)
    plain = fuse_tiles(get_method("bicubic").fit(c.inputs()), c.pair).values
    assert psnr(fuse_tiles(fitted(c), c.pair).values, c.truth) > psnr(plain, c.truth) + 5


def test_the_result_reproduces_both_images_to_their_noise():
    c = case()
    result = fuse_tiles(fitted(c), c.pair, 32)
    s = result.stats
    for name in ("hsi", "msi"):
        assert 0.3 < np.sqrt(s[f"{name}_chi2"] / s[f"{name}_count"]) < 1.15
    assert s["hsi_count"] == c.pair.hsi_values.size
    assert s["msi_count"] == c.pair.msi_values[0].size
    z = result.values.astype(float)
    hsi = (degrade(z, c.psf, 4) - c.pair.hsi_values) / c.noise_hsi[:, None, None]
    msi = (np.einsum("kb,bhw->khw", c.response, z) - c.pair.msi_values[0]) / c.noise_msi[:, None, None]
    np.testing.assert_allclose(s["hsi_chi2"] / s["hsi_count"], (hsi**2).mean(), rtol=0.02)
    np.testing.assert_allclose(s["msi_chi2"] / s["msi_count"], (msi**2).mean(), rtol=0.02)


def test_blind_is_near_to_given():
    c = case(shape=(30, 30))
    known = psnr(fuse_tiles(fitted(c), c.pair).values, c.truth)
    blind = SubspaceFusion().fit(c.inputs(response=None, psf=None, noise_hsi=None, noise_msi=None))
    assert psnr(fuse_tiles(blind, c.pair).values, c.truth) > known - 1.0


def holed(c: Case, hsi: bool, msi: bool) -> tuple[MemoryPair, np.ndarray]:
    """The pair with a gap in the middle of either image; the gap on the fine grid."""
    gap = np.zeros(c.pair.fine.shape, bool)
    gap[40:56, 28:44] = True
    y, x = c.pair.hsi_values.copy(), c.pair.msi_values[0].copy()
    if hsi:
        y[:, gap[::4, ::4]] = np.nan
    if msi:
        x[:, gap] = np.nan
    return MemoryPair(y, [x], 4), gap


@pytest.mark.parametrize(("hsi", "msi", "flag"), [(False, True, 1), (True, False, 2), (True, True, 3)])
def test_gaps_do_not_ring_and_fall_back(hsi: bool, msi: bool, flag: int):
    c = case()
    model = fitted(c)
    before = np.abs(fuse_tiles(model, c.pair).values - c.truth)
    pair, gap = holed(c, hsi, msi)
    result = fuse_tiles(model, pair)
    after = np.abs(result.values - c.truth)
    assert (result.flags[gap] == flag).all()
    assert (result.flags[~gap] == 0).all()
    if flag == 3:
        assert np.isnan(result.values[:, gap]).all()
    else:
        plain = np.abs(fuse_tiles(get_method("bicubic").fit(c.inputs()), c.pair).values - c.truth)
        assert np.sqrt((after[:, gap] ** 2).mean()) < (1.0 if flag == 1 else 0.8) * np.sqrt((plain[:, gap] ** 2).mean())
    assert np.isfinite(result.values[:, ~gap]).all()
    ring = binary_dilation(gap, iterations=4) & ~gap
    assert after[:, ring].max() < 1.5 * before[:, ring].max()
    assert np.sqrt((after[:, ring] ** 2).mean()) < 1.2 * np.sqrt((before[:, ring] ** 2).mean())
    beyond = binary_dilation(gap, iterations=16) & ~binary_dilation(gap, iterations=8)
    assert np.sqrt((after[:, beyond] ** 2).mean()) < 1.01 * np.sqrt((before[:, beyond] ** 2).mean())


def test_tiles_agree_across_a_gap():
    c = case()
    model = fitted(c)
    pair, _ = holed(c, False, True)
    whole, tiled = (fuse_tiles(model, pair, t).values for t in (None, 48))
    assert np.abs(tiled - whole).max() < 1e-4 * (whole.max() - whole.min())


def test_a_pixel_that_lacks_a_few_bands_is_not_lost():
    c = case()
    model = fitted(c)
    y = c.pair.hsi_values.copy()
    y[3:7, 10, 8] = np.nan
    result = fuse_tiles(model, MemoryPair(y, c.pair.msi_values, 4))
    whole = fuse_tiles(model, c.pair)
    assert (result.flags == 0).all()
    near = np.s_[:, 36:48, 28:40]
    assert np.abs(result.values[near] - whole.values[near]).max() < 0.05


def test_dead_and_bad_bands():
    c = case()
    y = c.pair.hsi_values.copy()
    y[0], y[1], good = np.nan, 7.0, np.ones(len(y), bool)
    good[5] = False
    pair = MemoryPair(y, c.pair.msi_values, 4)
    inputs = Case(c.truth, pair, c.response, c.psf, c.noise_hsi, c.noise_msi).inputs(good=good)
    model = SubspaceFusion().fit(inputs)
    result = fuse_tiles(model, pair)
    assert np.isnan(result.values[:2]).all()
    assert model.bad_reason[0] == "no data"
    assert "same value" in model.bad_reason[1]
    assert model.bad_reason[5] == "flagged"
    np.testing.assert_array_equal(np.flatnonzero(~model.good), [0, 1, 5])
    bicubic = fuse_tiles(get_method("bicubic").fit(inputs), pair).values
    np.testing.assert_allclose(result.values[5], bicubic[5], atol=1e-6)
    assert psnr(result.values[6:], c.truth[6:]) > psnr(bicubic[6:], c.truth[6:]) + 5


def test_what_cannot_be_fused_is_said():
    c = case(shape=(7, 5))
    with pytest.raises(BandError, match="1 of 30 bands can be used"):
        SubspaceFusion().fit(c.inputs(good=np.arange(30) == 3))
    empty = MemoryPair(np.full_like(c.pair.hsi_values, np.nan), c.pair.msi_values, 4)
    with pytest.raises(DataError, match="no data"):
        SubspaceFusion().fit(Case(c.truth, empty, c.response, c.psf, c.noise_hsi, c.noise_msi).inputs())


def test_bands_at_two_gsds_sharpen_what_they_see():
    """20 m short-wave bands beside 10 m visible ones: the short wave gains, and the visible does not lose."""
    options = {"shape": (24, 24), "ratio": 3}
    both = case(**options, windows=(VISIBLE, SHORT), ratios=(1, 2))
    alone = case(**options, windows=(VISIBLE,), ratios=(1,))
    np.testing.assert_array_equal(both.truth, alone.truth)

    with_short, without = (fuse_tiles(fitted(c), c.pair).values for c in (both, alone))
    short, visible = np.s_[18:], np.s_[:14]
    assert psnr(with_short[short], both.truth[short]) > psnr(without[short], both.truth[short]) + 1.0
    assert psnr(with_short[visible], both.truth[visible]) > psnr(without[visible], both.truth[visible]) - 0.2

    def sharpness(values: np.ndarray) -> float:
        """Share of the truth's finest detail that is there, with the right sign."""
        fine, true = (np.diff(v[short], axis=2) for v in (values, both.truth))
        return float((fine * true).sum() / (true * true).sum())

    assert sharpness(with_short) > sharpness(without)
    upsampled = both.inputs()
    model = fitted(both)
    assert model.multiple == 6
    assert upsampled.pair.groups[1].ratio == 2
    tiled = fuse_tiles(model, both.pair, 24).values
    assert np.abs(tiled - with_short).max() < 1e-4 * (with_short.max() - with_short.min())


def test_variance_says_how_large_the_errors_are():
    c = case(shape=(30, 30))
    result = fuse_tiles(fitted(c, uncertainty=True), c.pair)
    ratio = ((result.values - c.truth) ** 2).mean((1, 2)) / result.variance.mean((1, 2))
    assert (result.variance > 0).all()
    assert 0.4 < np.median(ratio) < 3.0
    pair, gap = holed(c, False, True)
    blind_there = fuse_tiles(fitted(c, uncertainty=True), pair)
    assert blind_there.variance[:, gap].mean() > 2 * result.variance[:, gap].mean()


def test_a_model_survives_pickling():
    c = case(shape=(7, 5))
    model = fitted(c, uncertainty=True)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(fuse_tiles(model, c.pair).values, fuse_tiles(again, c.pair).values)


def test_registry():
    assert {"bicubic", "gsa", "subspace"} <= set(method_names())
    with pytest.raises(ParameterError, match="Did you mean 'subspace'"):
        get_method("subspce")


def test_observe_gives_what_the_fusion_uses():
    c = case()
    observation, good = observe(c.inputs(response=None, psf=None))
    assert good.all()
    assert observation.psf.fwhm == pytest.approx((4, 4), abs=0.3)
    given, _ = observe(c.inputs(psf=Psf(4.0, 4.0)))
    np.testing.assert_allclose(given.response, c.response)
