"""Alignment of pairs: grids, overlap, groups, reading, sampling."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from hsgeo.errors import ParameterError
from hsgeo.scene import Window, geobox_of, make_scene, open_scene
from hsgeo.scene.align import _shift_note, align
from hsgeo.scene.grids import whole
from hsgeo.scene.register import Shift

from .aligning import LEFT, TOP, UTM, centres, hsi_and_msi, into, north_up, painted

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def test_the_hsi_keeps_its_pixels_and_edges_coincide():
    hsi, msi = hsi_and_msi(north_up(40, 30, 30), north_up(400, 330, 3.6, LEFT - 2.4, TOP + 1.2))
    pair = align(hsi, msi, register=False)
    assert pair.ratio == 8 and pair.coarse == geobox_of(hsi) and geobox_of(pair.hsi) == pair.coarse
    assert pair.fine.shape == (320, 240) and pair.fine.affine.a == 3.75
    assert (pair.fine.affine.c, pair.fine.affine.f) == (LEFT, TOP)
    np.testing.assert_array_equal(pair.read_hsi(Window(3, 9, 2, 30)), hsi.values[:, 3:9, 2:30])
    assert any("8.33" in note and "3.75" in note for note in pair.notes)
    assert pair.shift.reason == "registration is switched off" and not pair.shift.applied


def test_the_msi_lands_on_its_ground():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(260, 250, 3.6, LEFT - 102.4, TOP + 91.2))
    pair = align(hsi, msi, register=False)
    want = painted(pair.fine, 4).values
    assert np.abs(pair.read_msi(0, whole(pair.fine)) - want).max() < 2e-3


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857"])
def test_an_msi_in_another_crs_lands_on_its_ground(crs):
    hsi_box = north_up(20, 20, 30)
    x, y = into(hsi_box, crs)(np.array([LEFT, LEFT + 600]), np.array([TOP, TOP - 600]))
    size = {"EPSG:32632": 10.0, "EPSG:4326": 0.00012, "EPSG:3857": 16.5}[crs]
    msi_box = north_up(120, 120, size, min(x) - 10 * size, max(y) + 20 * size, crs)
    east, north = centres(msi_box)
    hsi, _ = hsi_and_msi(hsi_box, hsi_box)
    msi = painted(msi_box, 2, lambda e, n, k: np.sin((e - LEFT) / 70) + np.cos((n - TOP) / 60))
    assert east.min() < LEFT and north.max() > TOP
    pair = align(hsi, msi, register=False)
    assert pair.ratio == 3
    want = painted(pair.fine, 2, lambda e, n, k: np.sin((e - LEFT) / 70) + np.cos((n - TOP) / 60)).values
    got = pair.read_msi(0, whole(pair.fine))
    assert np.isfinite(got).mean() > 0.9
    assert np.nanmax(np.abs(got - want)) < 5e-3


def test_a_geographic_hsi_gets_a_ratio_on_the_ground():
    hsi = painted(north_up(40, 40, 0.0003, 13.0, 52.5, "EPSG:4326"), 12, lambda e, n, k: e * 0 + n)
    box = GeoBox.from_bbox((13.0, 52.487, 13.013, 52.5), "EPSG:4326", resolution=0.0003).to_crs("EPSG:32633")
    msi = painted(north_up(300, 300, 5, box.boundingbox.left - 20, box.boundingbox.top + 20), 4)
    pair = align(hsi, msi, register=False)
    assert pair.ratio == 5  # 33.4 x 20.4 m on the ground: as much area as a square of 26.1 m
    assert any("not square" in note for note in pair.notes)
    assert np.isfinite(pair.read_msi(0, whole(pair.fine))).mean() > 0.95


def test_an_outline_that_the_other_crs_does_not_know():
    hsi = painted(north_up(30, 30, 100000, 2500000, 5500000, "EPSG:3035"), 12, lambda e, n, k: e * 0)
    world = north_up(720, 1440, 0.25, -180, 90, "EPSG:4326")
    lon, lat = np.meshgrid(np.arange(1440) * 0.25 - 179.875, 89.875 - np.arange(720) * 0.25)
    pair = align(hsi, make_scene(np.stack([lon, lat]).astype(np.float32), world), register=False)
    assert pair.coarse.shape == (30, 30) and pair.ratio == 5
    got = pair.read_msi(0, whole(pair.fine))
    assert np.abs(got - np.stack(centres(pair.fine, "EPSG:4326"))).max() < 0.02  # a twelfth of a pixel, over Europe


def test_only_the_overlap_is_processed_and_margins_hold_real_pixels():
    hsi, msi = hsi_and_msi(north_up(40, 40, 30), north_up(60, 50, 10, LEFT + 290, TOP - 320))
    pair = align(hsi, msi, register=False)
    # from 290 m on and 10 m high: column 9 holds one fine column, row 10 two rows
    assert pair.coarse.affine.c == LEFT + 270 and pair.coarse.affine.f == TOP - 300
    assert pair.coarse.shape == (21, 18)
    grown = Window(-3, 24, -2, 19)
    np.testing.assert_array_equal(pair.read_hsi(grown), hsi.values[:, 7:34, 7:28])
    far = pair.read_hsi(Window(-12, 1, 0, 1))
    assert np.isnan(far[:, :2]).all() and np.isfinite(far[:, 2:]).all()
    edge = pair.read_msi(0, Window(0, 63, 0, 54))
    assert np.isnan(edge[:, :2]).all() and np.isnan(edge[:, :, :2]).all()
    assert np.isfinite(edge[:, 2:62, 2:52]).all() and np.isnan(edge[:, :, 52:]).all()
    assert any("21 x 18 of the 40 x 40" in note for note in pair.notes)


def test_equal_grids_are_copied():
    hsi, msi = hsi_and_msi(north_up(7, 5, 30), north_up(30, 20, 10, LEFT - 20, TOP + 10))
    pair = align(hsi, msi)
    assert not pair.shift.applied
    np.testing.assert_array_equal(pair.read_msi(0, Window(0, 21, 0, 15)), msi.values[:, 1:22, 2:17])


@pytest.mark.parametrize(("gsd", "ratio"), [(3.75, 8), (10, 3), (9, 3), (3.3, 9), (15, 2)])
def test_gsd_overrides_the_ratio(gsd, ratio):
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(170, 170, 3.6))
    pair = align(hsi, msi, gsd=gsd, register=False)
    assert pair.ratio == ratio and pair.groups[0].ratio == 1
    assert any("does not divide" in note for note in pair.notes) == (gsd in (9, 3.3))
    want = painted(pair.fine, 4).values
    assert np.nanmax(np.abs(pair.read_msi(0, whole(pair.fine)) - want)[:, 3:-3, 3:-3]) < 0.03


@pytest.mark.parametrize("gsd", [40, 30, 1.5, 0, -3, float("nan")])
def test_a_gsd_that_cannot_be(gsd):
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(170, 170, 3.6))
    with pytest.raises(ParameterError, match=r"gsd .* m"):
        align(hsi, msi, gsd=gsd, register=False)


def sentinel_like(height, width, *, left=LEFT, top=TOP, fine=(0, 1), resampling="repeat", tagged=True):
    """Four bands on 10 m, those not in `fine` recorded at 20 m, and the 20 m samples."""
    box, native = north_up(height, width, 10, left, top), north_up(height // 2 + 1, width // 2 + 1, 20, left, top)
    rng = np.random.default_rng(0)
    sharp = rng.random((4, height, width)).astype(np.float32)
    coarse = rng.random((4, *native.shape)).astype(np.float32)
    for k in set(range(4)) - set(fine):
        if resampling == "repeat":
            sharp[k] = coarse[k].repeat(2, 0).repeat(2, 1)[:height, :width]
        elif resampling == "bilinear":
            rows, cols = ((np.arange(n) + 0.5) / 2 - 0.5 for n in (height, width))
            y, x = np.clip(rows, 0, None), np.clip(cols, 0, None)
            iy, ix = y.astype(int), x.astype(int)
            fy, fx = (y - iy)[:, None], x - ix
            c = coarse[k]
            top_row = c[np.ix_(iy, ix)] * (1 - fx) + c[np.ix_(iy, ix + 1)] * fx
            low_row = c[np.ix_(iy + 1, ix)] * (1 - fx) + c[np.ix_(iy + 1, ix + 1)] * fx
            sharp[k] = top_row * (1 - fy) + low_row * fy
    gsd = [10.0 if k in fine else 20.0 for k in range(4)]
    scene = make_scene(sharp, box, gsd=gsd, wavelength=np.array([490, 560, 700, 780.0]), fwhm=30.0, name="msi")
    return scene, coarse


def hyper(height, width, gsd=30.0):
    return painted(north_up(height, width, gsd), 12, wavelength=np.linspace(450, 850, 12), fwhm=20.0)


def test_bands_of_two_gsds_enter_on_their_own_grids():
    msi, coarse = sentinel_like(60, 66)
    pair = align(hyper(20, 22), msi, register=False)
    assert [(g.bands, g.ratio) for g in pair.groups] == [((0, 1), 1), ((2, 3), 2)]
    assert pair.ratio == 3 and pair.multiple == 6 and pair.bands == (0, 1, 2, 3)
    assert pair.groups[1].geobox.affine.a == 20 and pair.groups[1].geobox.shape == (30, 33)
    np.testing.assert_array_equal(pair.read_msi(0, Window(0, 60, 0, 66)), msi.values[:2])
    np.testing.assert_array_equal(pair.read_msi(1, Window(0, 30, 0, 33)), coarse[2:, :30, :33])
    assert any("2 fine pixels" in note for note in pair.notes)


def test_repeated_pixels_are_found_wherever_the_crop_began():
    msi, coarse = sentinel_like(60, 66)
    cut = msi.isel(y=slice(1, None), x=slice(7, None))
    pair = align(hyper(20, 22), cut, register=False)
    group = pair.groups[1]
    assert group.ratio == 2 and (group.source.affine.c - LEFT) % 20 == 0 and (TOP - group.source.affine.f) % 20 == 0
    got = pair.read_msi(1, Window(4, 20, 4, 20))
    east, north = centres(GeoBox((16, 16), group.geobox.affine * group.geobox.affine.translation(4, 4), UTM))
    i, j = ((TOP - north) // 20).astype(int), ((east - LEFT) // 20).astype(int)
    np.testing.assert_array_equal(got, coarse[2:][:, i, j])


def test_smooth_bands_said_to_be_coarse_are_averaged_back():
    msi, coarse = sentinel_like(60, 66, resampling="bilinear")
    pair = align(hyper(20, 22), msi, register=False)
    assert [g.ratio for g in pair.groups] == [1, 2]
    got = pair.read_msi(1, Window(0, 30, 0, 33))
    assert np.corrcoef(got[:, 2:-2, 2:-2].ravel(), coarse[2:, 2:28, 2:31].ravel())[0, 1] > 0.9


def test_sharp_bands_said_to_be_coarse_stay_sharp():
    msi, _ = sentinel_like(60, 66, resampling="none")
    pair = align(hyper(20, 22), msi, register=False)
    assert [(g.bands, g.ratio) for g in pair.groups] == [((0, 1, 2, 3), 1)]
    assert any("as sharp as" in note for note in pair.notes)


def test_bands_that_look_at_the_air_or_everywhere_are_left_out():
    names = ["B01", "B02", "B03", "B09"]
    box = north_up(60, 60, 10)
    msi = painted(
        box, 4, band_name=names, wavelength=np.array([443, 492, 560, 945.0]), fwhm=30.0, attrs={"sensor": "sentinel-2a"}
    )
    hsi = painted(north_up(20, 20, 30), 30, wavelength=np.linspace(400, 1000, 30))
    pair = align(hsi, msi, register=False)
    assert pair.bands == (1, 2) and any("B01, B09 left out" in note for note in pair.notes)
    assert align(hsi, msi, bands="B09,B02", register=False).bands == (1, 3)
    assert align(hsi, msi, bands=[1, 2], register=False).bands == (0, 1)
    assert align(hsi, msi.isel(band=[1, 2]), register=False).bands == (0, 1)


def test_bands_beyond_the_hsi_or_not_good_are_left_out():
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(60, 60, 10))
    msi = msi.assign_coords(
        wavelength=("band", [490.0, 560, 1610, 800]), good=("band", [True, False, True, True]), gsd=("band", [10.0] * 4)
    )
    pair = align(hsi, msi, register=False)
    assert pair.bands == (0, 3)
    assert sum("left out" in note for note in pair.notes) == 2


def test_a_pan_alone_is_used():
    hsi, _ = hsi_and_msi(north_up(20, 20, 30), north_up(9, 9, 10))
    pan = painted(north_up(60, 60, 10), 1, band_name="Pan", wavelength=585.0, fwhm=210.0, attrs={"sensor": "ali"})
    assert align(hsi, pan, register=False).bands == (0,)


def test_rows_running_upwards_are_turned():
    hsi, msi = hsi_and_msi(north_up(20, 22, 30), north_up(60, 66, 10))
    want = align(hsi, msi, register=False)
    turned = align(hsi.isel(y=slice(None, None, -1)), msi.isel(y=slice(None, None, -1)), register=False)
    assert turned.coarse == want.coarse and sum("backwards" in note for note in turned.notes) == 2
    window = Window(2, 30, 5, 40)
    np.testing.assert_array_equal(turned.read_msi(0, window), want.read_msi(0, window))
    np.testing.assert_array_equal(turned.read_hsi(Window(1, 8, 0, 9)), want.read_hsi(Window(1, 8, 0, 9)))


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (1, 4), (2, 1)])
def test_tiny_scenes(shape):
    hsi, msi = hsi_and_msi(north_up(shape[0], shape[1], 30), north_up(40, 40, 10, LEFT - 50, TOP + 60))
    pair = align(hsi, msi)
    assert pair.coarse.shape == shape and not pair.shift.applied
    (patch,) = pair.sample()
    assert patch.hsi.shape == (12, *shape) and patch.msi[0].shape == (4, 3 * shape[0], 3 * shape[1])
    assert np.isfinite(patch.msi[0]).all()


def test_an_overlap_of_one_pixel():
    hsi, msi = hsi_and_msi(north_up(10, 10, 30), north_up(30, 30, 10, LEFT + 280, TOP - 290))
    pair = align(hsi, msi)
    assert pair.coarse.shape == (1, 1) and pair.coarse.affine.c == LEFT + 270
    got = pair.read_msi(0, Window(0, 3, 0, 3))
    np.testing.assert_array_equal(np.isfinite(got[0]), [[0, 0, 0], [0, 0, 0], [0, 1, 1]])


def test_samples_fit_every_group_even_on_odd_shapes():
    msi, coarse = sentinel_like(60, 66)
    pair = align(hyper(7, 5), msi, register=False)
    (patch,) = pair.sample()
    assert patch.window == Window(0, 8, 0, 6)
    assert patch.hsi.shape == (12, 8, 6) and patch.msi[0].shape == (2, 24, 18) and patch.msi[1].shape == (2, 12, 9)
    assert np.isnan(patch.hsi[:, 7]).all() and np.isfinite(patch.hsi[:, :7, :5]).all()
    np.testing.assert_array_equal(patch.msi[1], coarse[2:, :12, :9])


def test_samples_of_a_large_scene_are_spread_and_repeatable():
    hsi, msi = hsi_and_msi(north_up(90, 70, 30), north_up(270, 210, 10))
    values = hsi.values.copy()
    values[:, :45, :35] = np.nan
    pair = align(hsi.copy(data=values), msi, register=False)
    patches = pair.sample(max_coarse_pixels=2000, size=16, seed=4)
    again = pair.sample(max_coarse_pixels=2000, size=16, seed=4)
    assert [p.window for p in patches] == [p.window for p in again]
    assert 4 <= len(patches) <= 8 and all(np.isfinite(p.hsi).any() for p in patches)
    assert max(p.window.y1 for p in patches) > 70 and max(p.window.x1 for p in patches) > 50
    for patch in patches:
        np.testing.assert_array_equal(patch.hsi, pair.read_hsi(patch.window))
        np.testing.assert_array_equal(patch.msi[0], pair.read_msi(0, patch.window.scale(3)))


def test_a_pair_can_be_pickled_and_reads_alike(tmp_path):
    hsi, msi = hsi_and_msi(north_up(20, 20, 30), north_up(170, 170, 3.6, LEFT - 3, TOP + 2))
    pair = align(hsi, msi)
    copy = pickle.loads(pickle.dumps(pair))
    window = Window(-5, 40, 17, 99)
    np.testing.assert_array_equal(copy.read_msi(0, window), pair.read_msi(0, window))
    assert copy.shift == pair.shift and copy.fine == pair.fine


def test_a_window_of_640_pixels_is_read_in_a_moment():
    hsi, msi = hsi_and_msi(north_up(80, 80, 30), north_up(680, 680, 3.6, LEFT - 10, TOP + 10))
    pair = align(hsi, msi, register=False)
    pair.read_msi(0, Window(0, 8, 0, 8))
    start = time.process_time()
    pair.read_msi(0, Window(0, 640, 0, 640))
    assert time.process_time() - start < 1.0


def test_the_berlin_pair(real_data):
    folder = real_data / "berlin"
    hsi = open_scene(folder / "EnMAP_BerlinUrbanGradient.bsq", chunks=None)
    msi = open_scene(folder / "HighResolution_BerlinUrbanGradient.bsq", chunks=None)
    pair = align(hsi, msi)
    assert pair.ratio == 8 and pair.fine.shape == (640, 480) and pair.fine.affine.a == pytest.approx(3.75)
    # found alike at ratios 3, 4 and 8, and by correlating single bands: about 3.3 m up and 2.4 m left
    assert pair.shift.applied and pair.shift.error < 0.1 and len(pair.shift.windows) > 20
    assert (pair.shift.dy, pair.shift.dx) == (pytest.approx(-0.89, abs=0.15), pytest.approx(-0.63, abs=0.15))
    other = align(hsi, msi, gsd=10).shift
    assert (other.dy * 10, other.dx * 10) == (
        pytest.approx(pair.shift.dy * 3.75, abs=0.3),
        pytest.approx(pair.shift.dx * 3.75, abs=0.3),
    )


def test_a_shift_is_told_by_the_direction_it_goes():
    box = north_up(9, 9, 10)
    text = _shift_note(replace(Shift.none("agreed"), dy=-0.334, dx=0.2, error=0.1), box, "msi.tif")
    assert "-0.33 rows, +0.20 columns" in text and "(3.34 m up, 2.00 m right, standard" in text
