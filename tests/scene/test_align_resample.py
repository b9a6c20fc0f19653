"""Resampling: half pixels, windows, missing samples, aliasing, any pair of grids."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from hsgeo.scene import Window, make_scene
from hsgeo.scene.grids import PixelMap, grouped, overlap, whole, zoomed
from hsgeo.scene.resample import Resampler, cubic

from .aligning import LEFT, TOP, UTM, centres, into, north_up, painted


def ramp(east, north, k):
    return (east - LEFT) * 0.01 if k == 0 else (north - TOP) * 0.01


def onto(scene, source, target):
    return Resampler.onto(scene, source, target)


def inside(values, pixels=4):
    return values[:, pixels:-pixels, pixels:-pixels]


GRIDS = {
    "finer": north_up(60, 50, 3.75, LEFT + 51.3, TOP - 47.1),
    "a little coarser": north_up(40, 40, 10.4, LEFT + 51.3, TOP - 47.1),
    "three times coarser": north_up(14, 15, 30, LEFT + 61.3, TOP - 47.1),
    "2.7 times coarser": north_up(14, 15, 27, LEFT + 61.3, TOP - 47.1),
    "half a pixel": north_up(40, 40, 10, LEFT + 55, TOP - 45),
    "rows upwards": GeoBox((30, 30), Affine(10, 0, LEFT + 101, 0, 10, TOP - 402), UTM),
}


@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_a_ramp_stays_on_its_line(target):
    source = north_up(60, 60, 10)
    got = onto(painted(source, 2, ramp), source, target).read(whole(target))
    east, north = centres(target)
    want = np.stack([ramp(east, north, 0), ramp(east, north, 1)])
    # the ramp rises 0.1 a source pixel; a widened kernel sampled at whole pixels is off by some thousandths of one
    tolerance = 0.001 if target.affine.a > 10.5 else 0.0001
    assert np.abs(inside(got, 1) - inside(want, 1)).max() < tolerance


def test_a_ramp_stays_on_its_line_in_another_zone():
    source = north_up(120, 120, 10)
    corner = into(source, "EPSG:32632")([LEFT + 300], [TOP - 300])
    target = north_up(50, 50, 9, corner[0][0], corner[1][0], "EPSG:32632")
    got = onto(painted(source, 2, ramp), source, target)
    assert got.mapping.linear is None
    east, north = centres(target)
    assert np.abs(got.read(whole(target)) - np.stack([ramp(east, north, 0), ramp(east, north, 1)])).max() < 1e-4


def test_matches_a_direct_sum_over_the_kernel():
    rng = np.random.default_rng(1)
    source, target = north_up(12, 13, 10), north_up(5, 4, 23, LEFT + 7, TOP - 9)
    data = rng.random((1, 12, 13)).astype(np.float32)
    data[0, 4, 5] = np.nan
    got = onto(make_scene(data, source), source, target).read(whole(target))[0]
    for row, col in np.ndindex(5, 4):
        y, x = (row + 0.5) * 2.3 + 0.9, (col + 0.5) * 2.3 + 0.7
        rows, cols = np.mgrid[-8:21, -8:22]
        weight = cubic((rows + 0.5 - y) / 2.3) * cubic((cols + 0.5 - x) / 2.3)
        weight /= weight.sum()
        total = used = 0.0
        for (r, c), w in np.ndenumerate(weight):
            r, c = r - 8, c - 8
            if 0 <= r < 12 and 0 <= c < 13 and np.isfinite(data[0, r, c]):
                total, used = total + w * float(data[0, r, c]), used + w
        want = total / used if used >= 0.4999 else np.nan
        np.testing.assert_allclose(got[row, col], want, rtol=1e-5)


def rough(source, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.random((3, *source.shape)).astype(np.float32)
    data[:, rng.random(source.shape) < 0.02] = np.nan
    data[0, 20:35, 30:44] = np.nan
    return make_scene(data, source)


@pytest.mark.parametrize(
    "target",
    [north_up(150, 140, 3.75, LEFT - 20, TOP + 11), north_up(30, 28, 25, LEFT + 3, TOP), "zone"],
    ids=["finer", "coarser", "another zone"],
)
def test_windows_equal_the_whole(target):
    source = north_up(60, 60, 10)
    if target == "zone":
        x, y = into(source, "EPSG:32632")([LEFT], [TOP])
        target = north_up(70, 60, 9.3, x[0] - 10, y[0] + 30, "EPSG:32632")
    reader = onto(rough(source), source, target)
    everything = reader.read(whole(target))
    assert 0.02 < np.isnan(everything).mean() < 0.6
    rng = np.random.default_rng(3)
    for _ in range(12):
        y0, x0 = (int(v) for v in rng.integers(-20, 60, 2))
        window = Window(y0, y0 + int(rng.integers(1, 40)), x0, x0 + int(rng.integers(1, 40)))
        seen = window.clip(*target.shape)
        part = reader.read(window)
        assert part.shape == (3, *window.shape) and part.dtype == np.float32
        rows, cols = seen.within(window).slices
        np.testing.assert_allclose(part[:, rows, cols], everything[(slice(None), *seen.slices)], atol=1e-6)


def test_parallel_and_gathered_interpolation_agree():
    source = north_up(60, 60, 10)
    for gsd in (3.3, 10.3, 17.0):
        target = north_up(int(500 / gsd), int(480 / gsd), gsd, LEFT + 31, TOP - 27)
        reader = onto(rough(source), source, target)
        assert reader.mapping.linear is not None
        np.testing.assert_allclose(reader.read(whole(target)), reader._gather(whole(target)), atol=1e-6)


def test_coarser_targets_do_not_alias():
    source = north_up(90, 90, 10)
    rows, cols = np.mgrid[:90, :90]
    checks = make_scene(((-1.0) ** (rows + cols))[None].astype(np.float32), source)
    for gsd in (20.0, 27.0, 36.0):
        target = north_up(20, 20, gsd, LEFT + 93, TOP - 97)
        assert np.abs(onto(checks, source, target).read(whole(target))).max() < 0.02


def test_interpolation_never_reaches_over_a_hole_or_the_edge():
    source = north_up(40, 40, 10)
    data = np.ones((1, 40, 40), np.float32)
    data[0, 10:20, 10:20] = np.nan
    target = north_up(110, 110, 5, LEFT - 50, TOP + 50)
    got = onto(make_scene(data, source), source, target).read(whole(target))[0]
    present = np.zeros((110, 110), bool)
    present[10:90, 10:90] = True
    present[30:50, 30:50] = False
    corners = np.zeros_like(present)
    for y, x in np.ndindex(2, 2):  # at a hole's corner three quarters of the kernel see data
        corners[(30, 49)[y], (30, 49)[x]] = True
    np.testing.assert_array_equal(np.isfinite(got) | corners, present | corners)
    np.testing.assert_allclose(got[np.isfinite(got)], 1, rtol=1e-6)


def test_grids_that_coincide_are_copied():
    source = north_up(30, 30, 10)
    scene = rough(north_up(60, 60, 10)).isel(y=slice(0, 30), x=slice(0, 30))
    reader = onto(scene, source, north_up(10, 12, 10, LEFT + 70, TOP - 40))
    assert reader.copies and reader.mapping.offset == (4, 7)
    np.testing.assert_array_equal(reader.read(Window(0, 10, 0, 12)), scene.values[:, 4:14, 7:19])
    beyond = reader.read(Window(-6, 2, 20, 25))
    np.testing.assert_array_equal(beyond[:, 2:, :3], scene.values[:, :6, 27:])
    assert np.isnan(beyond[:, :2]).all() and np.isnan(beyond[:, :, 3:]).all()


def test_two_spellings_of_one_crs_are_one():
    source = north_up(30, 30, 10)
    old = GeoBox(source.shape, source.affine, CRS(UTM).proj.to_wkt("WKT1_ESRI"))
    assert PixelMap.between(old, source).offset == (0, 0)
    assert PixelMap.between(north_up(30, 30, 10, crs="EPSG:25833"), source).offset == (0, 0)


def test_lazy_scenes_read_alike():
    source = north_up(60, 60, 10)
    scene = rough(source)
    target = north_up(50, 50, 4, LEFT + 33, TOP - 41)
    want = onto(scene, source, target).read(whole(target))
    np.testing.assert_array_equal(onto(scene.chunk(x=17, y=13), source, target).read(whole(target)), want)


def test_far_outside_is_nan():
    source = north_up(30, 30, 10)
    for crs, east, north in ((UTM, LEFT + 9000, TOP), ("EPSG:32632", 500000.0, 1000.0), ("EPSG:3031", 0.0, 0.0)):
        target = north_up(9, 9, 10, east, north, crs)
        assert np.isnan(onto(painted(source), source, target).read(whole(target))).all()


def test_group_grids_share_the_fine_grids_edges():
    coarse = north_up(5, 7, 30)
    fine = zoomed(coarse, 3)
    assert fine.shape == (15, 21) and fine.affine.c == LEFT and fine.affine.a == 10
    twenty = grouped(fine, 2)
    assert twenty.shape == (8, 11) and twenty.affine.a == 20 and twenty.affine.f == TOP


def test_overlap_takes_pixels_that_a_fine_centre_touches():
    coarse = north_up(10, 10, 30)
    assert overlap(coarse, north_up(60, 60, 10, LEFT - 100, TOP + 100), 3) == Window(0, 10, 0, 10)
    # the image ends 6 m, then 4 m, inside the pixel: the first fine centre lies at 5 m
    assert overlap(coarse, north_up(30, 36, 1, LEFT, TOP), 3) == Window(0, 1, 0, 2)
    assert overlap(coarse, north_up(30, 34, 1, LEFT, TOP), 3) == Window(0, 1, 0, 1)
    assert overlap(coarse, north_up(9, 9, 30, LEFT + 300, TOP), 3) is None
