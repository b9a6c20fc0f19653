from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pyproj import Transformer

from hsgeo.errors import ParameterError, SensorError
from hsgeo.observation.srf import response_matrix
from hsgeo.scene.model import geobox_of
from hsgeo.sensors import load_sensor
from hsgeo.simulation.generator import make_pair, make_truth
from hsgeo.simulation.pair import PairSpec
from hsgeo.simulation.render import look_up, sample, sampling

SHAPE = (20, 18)


@pytest.fixture(scope="module")
def pair():
    return make_pair(SHAPE, seed=3)


@pytest.fixture(scope="module")
def clean():
    """The same land without noise, on grids that line up."""
    return make_pair(SHAPE, seed=3, noise=False, aligned=True)


def test_shapes_bands_and_storage(pair):
    assert pair.hsi.shape == (242, 20, 18) and pair.truth.shape == (242, 60, 54)
    assert pair.msi.sizes["band"] == 10
    assert pair.hsi.attrs["dtype"] == "int16" and pair.msi.attrs["dtype"] == "uint16"
    assert pair.labels.shape == (60, 54) and pair.endmembers.shape == (len(pair.materials), 242)
    raw = pair.hsi.values / pair.hsi["scale"].values[:, None, None]
    np.testing.assert_allclose(raw, np.rint(raw), atol=2e-3)
    assert geobox_of(pair.hsi).crs.epsg == 32633


def test_the_truth_shares_edges_with_the_hsi_and_the_msi_does_not(pair):
    hsi, msi, truth = (geobox_of(s) for s in (pair.hsi, pair.msi, pair.truth))
    assert truth.boundingbox == hsi.boundingbox and truth.resolution.x == 10 and hsi.resolution.x == 30
    offset = (msi.affine.c - truth.affine.c) / 10, (msi.affine.f - truth.affine.f) / 10
    assert all(0.1 < o % 1 < 0.9 for o in offset)
    assert msi.affine.c % 10 == 0 and msi.affine.f % 10 == 0
    ours, theirs = truth.boundingbox, msi.boundingbox
    assert theirs.left < ours.left and theirs.top > ours.top and theirs.bottom < ours.bottom
    assert theirs.right < ours.right  # ends short in the east
    overlap = (min(ours.right, theirs.right) - ours.left) / (ours.right - ours.left)
    assert overlap > 0.8


def test_a_seed_is_one_land_and_another_seed_another(pair):
    again = make_pair(SHAPE, seed=3)
    for name in ("hsi", "msi", "truth"):
        np.testing.assert_array_equal(getattr(pair, name).values, getattr(again, name).values)
    other = make_pair(SHAPE, seed=4)
    assert np.abs(other.truth.values - pair.truth.values).mean() > 0.01
    alone = make_truth(SHAPE, seed=3)
    np.testing.assert_array_equal(alone.scene.values, pair.truth.values)
    np.testing.assert_array_equal(alone.labels, pair.labels)


def test_reflectance_is_within_bounds_and_abundances_are_fractions(pair):
    assert pair.truth.values.min() >= 0 and pair.truth.values.max() <= 1
    np.testing.assert_allclose(pair.abundances.sum(0), 1, atol=1e-5)
    assert pair.abundances.min() >= -1e-6
    np.testing.assert_array_equal(pair.labels, pair.abundances.argmax(0))
    present = (pair.abundances.max((1, 2)) > 0.3).sum()
    assert present >= 15  # a small land still holds most of what a large one does


def test_truth_is_a_mixture_of_its_endmembers_with_some_variability(pair):
    mixed = np.einsum("mb,myx->byx", pair.endmembers, pair.abundances)
    error = np.sqrt(((mixed - pair.truth.values) ** 2).mean()) / np.sqrt((mixed**2).mean())
    assert 0.03 < error < 0.25


def test_the_hsi_is_the_truth_under_its_psf(clean):
    rows, columns = (clean.psf.matrix(n, 3, "reflect", k) for k, n in enumerate(clean.truth.shape[1:]))
    seen = np.einsum("iy,byx,jx->bij", rows, clean.truth.values, columns, optimize=True)
    good = clean.hsi["good"].values
    inside = np.s_[good, 2:-2, 2:-2]
    error = np.sqrt(((seen - clean.hsi.values)[inside] ** 2).mean())
    contrast = seen[inside].std((1, 2)).mean()
    assert error < 0.01 * contrast
    # half a truth pixel of displacement would be far worse
    moved = replace(clean.psf, shift_y=0.5).matrix(clean.truth.shape[1], 3, "reflect", 0)
    slipped = np.einsum("iy,byx,jx->bij", moved, clean.truth.values, columns, optimize=True)
    assert np.sqrt(((slipped - clean.hsi.values)[inside] ** 2).mean()) > 5 * error


def test_light_is_conserved(clean):
    good = clean.hsi["good"].values
    ratio = clean.hsi.values[good].mean((1, 2)) / clean.truth.values[good].mean((1, 2))
    np.testing.assert_allclose(ratio, 1, atol=0.03)  # up to what the PSF brings in from beyond the edge
    for fwhm in (8.0, 12.0, 36.0):
        weights = sampling(80, -20.0, 10 / 3, np.arange(5.0, 200.0, 10.0), fwhm)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("ratio", [3, 4])
def test_a_ramp_stays_on_its_line_whatever_the_ratio_and_offset(ratio):
    cell, start = 10 / 3, -100.0
    ramp = (start + (np.arange(150) + 0.5) * cell)[None] * np.ones((150, 1))
    for begin in (0.0, 3.7, -6.2):
        centres = begin + (np.arange(6) + 0.5) * ratio * 10
        weights = sampling(150, start, cell, centres, 1.2 * ratio * 10)
        np.testing.assert_allclose(sample(ramp, weights, weights), centres[None] * np.ones((6, 1)), atol=2e-3)


def test_the_msi_is_the_truth_through_its_response(clean):
    bands = [load_sensor("sentinel-2a").band(n) for n in clean.msi["band_name"].values.tolist()]
    response = response_matrix(bands, clean.truth["wavelength"].values, clean.truth["fwhm"].values)
    expected = np.einsum("bB,Byx->byx", response, clean.truth.values)
    assert np.sqrt(((expected - clean.msi.values) ** 2).mean()) < 2e-3


def test_a_misregistration_moves_the_msi_alone():
    still, moved = (make_pair(SHAPE, seed=1, noise=False, shift=s) for s in ((0, 0), (2, -3)))
    np.testing.assert_array_equal(still.hsi.values[:, :, :], moved.hsi.values)
    a, b = still.msi.values, moved.msi.values
    np.testing.assert_allclose(b[:, 2:, :-3], a[:, :-2, 3:], atol=1.01e-4)


def test_pixels_look_at_the_same_ground_on_turned_grids():
    rng = np.random.default_rng(0)
    image = rng.random((2, 120, 110)).astype(np.float32)
    cell, start, fwhm = 10 / 3, -60.0, 12.0
    y, x = 3.1 + np.arange(0, 250, 10.0), -1.7 + np.arange(0, 220, 10.0)
    exact = np.stack(
        [sample(b, sampling(120, start, cell, y, fwhm), sampling(110, start, cell, x, fwhm)) for b in image]
    )
    grid = np.meshgrid(y, x, indexing="ij")
    np.testing.assert_allclose(look_up(image, start, cell, fwhm, (grid[0], grid[1])), exact, atol=4e-3)
    away = look_up(image, start, cell, fwhm, (grid[0] + 1e4, grid[1]))
    assert np.isnan(away).all()


def test_an_msi_in_another_crs_shows_the_same_land(pair):
    other = make_pair(SHAPE, seed=3, msi_crs="EPSG:32632")
    box = geobox_of(other.msi)
    assert box.crs.epsg == 32632
    rows, columns = np.mgrid[: box.shape[0], : box.shape[1]] + 0.5
    east, north = Transformer.from_crs(32632, 32633, always_xy=True).transform(*(box.affine * (columns, rows)))
    place = ~geobox_of(other.truth).affine * (east, north)
    x, y = (np.floor(p).astype(int) for p in place)
    inside = (x >= 0) & (y >= 0) & (x < 54) & (y < 60)
    nir = np.abs(other.truth["wavelength"].values - 833).argmin()
    there = other.truth.values[nir, y[inside], x[inside]]
    here = other.msi.sel(band=7).values[inside]
    assert other.msi["band_name"].values[6] == "B8" and np.isfinite(here).all()
    assert np.corrcoef(here, there)[0, 1] > 0.93


def test_native_bands_come_on_their_own_grids_and_repeated_on_the_finest():
    pair = make_pair((12, 12), seed=2, native=True)
    fine, coarse = pair.native
    assert fine["band_name"].values.tolist() == ["B2", "B3", "B4", "B8"]
    assert coarse["band_name"].values.tolist() == ["B5", "B6", "B7", "B8A", "B11", "B12"]
    assert geobox_of(fine).boundingbox == geobox_of(coarse).boundingbox
    assert geobox_of(coarse).resolution.x == 20
    names = pair.msi["band_name"].values.tolist()
    assert names == ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"]
    assert pair.msi["gsd"].values.tolist() == [10, 10, 10, 20, 20, 20, 10, 20, 20, 20]
    repeated = pair.msi.values[names.index("B11")]
    np.testing.assert_array_equal(repeated[::2, ::2], coarse.values[4])
    np.testing.assert_array_equal(repeated[::2, ::2], repeated[1::2, 1::2])
    np.testing.assert_array_equal(pair.msi.values[names.index("B8")], fine.values[3])
    assert pair.msi_psfs[0] is None and 1.5 < pair.msi_psfs[1].fwhm_y < 2.5


def test_dead_bands_are_zero_and_lost_bands_are_noise(pair):
    flags = np.array([b.flag for b in load_sensor("hyperion").bands])
    dead = flags == "uncalibrated"
    assert {0, 6, 57, 75, 224, 241} <= set(np.flatnonzero(dead)) and not dead[[7, 56, 76, 223]].any()
    assert (pair.hsi.values[dead] == 0).all() and (pair.hsi.values[~dead].std((1, 2)) > 0).all()
    np.testing.assert_array_equal(pair.hsi["good"].values, flags == "")
    assert (pair.hsi["bad_reason"].values[dead] == "uncalibrated").all()
    assert (pair.noise_hsi[dead] == 0).all()
    wet = flags == "water vapour"
    assert pair.noise_hsi[wet].max() > 10 * pair.noise_hsi[flags == ""].min()


def test_noise_is_as_strong_as_told(pair):
    quiet = make_pair(SHAPE, seed=3, noise=False)
    live = pair.noise_hsi > 0
    noise = (pair.hsi.values - quiet.hsi.values)[live]
    # stripes add 5 % and the strong ones a little more
    ratio = noise.std((1, 2)) / pair.noise_hsi[live]
    assert 0.97 < np.median(ratio) < 1.15
    nm = pair.hsi["wavelength"].values
    level = pair.truth.values.mean((1, 2)) / np.where(live, pair.noise_hsi, np.inf)
    assert 0.3 / pair.noise_hsi[np.abs(nm - 700).argmin()] > 120
    assert level[np.abs(nm - 2200).argmin()] < 60
    msi = (pair.msi.values - quiet.msi.values).std((1, 2))
    np.testing.assert_allclose(msi, pair.noise_msi, rtol=0.05)
    assert (quiet.noise_hsi == 0).all()


def test_radiance_is_a_gain_and_an_offset_of_reflectance(clean):
    radiance = make_pair(SHAPE, seed=3, noise=False, aligned=True, quantity="radiance")
    assert radiance.hsi["scale"].values[[0, 69, 70, 241]].tolist() == [1 / 40, 1 / 40, 1 / 80, 1 / 80]
    for band in (20, 110, 150):
        slope, offset = np.polyfit(clean.truth.values[band].ravel(), radiance.truth.values[band].ravel(), 1)
        fit = slope * clean.truth.values[band] + offset
        np.testing.assert_allclose(fit, radiance.truth.values[band], atol=1e-3 * slope)
        assert slope > 0 and offset > 0
    blue, nir = (np.abs(clean.truth["wavelength"].values - w).argmin() for w in (480, 860))
    assert 20 < radiance.truth.values[blue].mean() < 150 > radiance.truth.values[nir].mean() > 20


def test_a_leaning_swath_leaves_nodata_wedges():
    pair = make_pair((24, 24), seed=0, swath_tilt=12.0)
    gone = np.isnan(pair.hsi.values).all(0)
    assert 0.05 < gone.mean() < 0.4 and gone[0, 0] != gone[-1, 0]
    assert not np.isnan(pair.hsi.values[:, ~gone]).any() and np.isfinite(pair.truth.values).all()


def test_other_sensors_and_ratios():
    pair = make_pair((10, 9), seed=5, ratio=2, gsd=15.0, hsi_sensor="enmap", msi_sensor="landsat-8")
    assert pair.truth.shape[1:] == (20, 18) and geobox_of(pair.hsi).resolution.x == 30
    assert pair.hsi.sizes["band"] == len(load_sensor("enmap").bands) and pair.msi.sizes["band"] >= 6


@pytest.mark.parametrize(
    "options",
    [
        {"quantity": "counts"}, {"ratio": 0}, {"shift": (40, 0)}, {"aligned": True, "msi_crs": "EPSG:3035"},
        {"seed": -1}, {"shape": (0, 4)},
    ],
)  # fmt: skip
def test_impossible_wishes_are_refused(options):
    with pytest.raises(ParameterError):
        PairSpec(**options)
    with pytest.raises(SensorError):
        make_pair((4, 4), hsi_sensor="hyperoin")
