"""Stripes, stuck and hot lines: found where they were put, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.methods.restoration.base import RestorationInputs, get_restoration
from hsgeo.methods.restoration.chain import Chain, diagnosed, fitted_chain
from hsgeo.methods.restoration.destriping import destriped
from hsgeo.methods.restoration.mended import Mended
from hsgeo.observation.lines import Lines
from hsgeo.scene.window import Window
from tests.methods.restoration.test_subspace import SIGMA, noisy, truth

SHAPE = 96, 80


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return truth(SHAPE)


def striped(z: np.ndarray, lines: Lines, seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Stripes on a tenth of the lines of a third of the bands, and those stripes (B, n)."""
    rng = np.random.default_rng(seed)
    offsets = np.zeros((len(z), lines.count))
    for band in rng.choice(len(z), len(z) // 3, replace=False):
        chosen = rng.choice(lines.count // lines.step, lines.count // lines.step // 10, replace=False)
        for line in chosen:
            offsets[band, line * lines.step : (line + 1) * lines.step] = rng.choice([-1, 1]) * rng.uniform(1, 3) * SIGMA
    return z + offsets[:, lines.of_window(0, z.shape[1], 0, z.shape[2])], offsets


def chain(y: np.ndarray, task: str, mask: np.ndarray | None = None) -> Chain:
    scene = on_grid(y, 30)
    from hsgeo.scene.masks import Mask

    hiding = None if mask is None else Mask.of(scene, on_grid(mask[None].astype(np.float32), 30))
    inputs = RestorationInputs(Mended(scene, hiding), np.ones(len(y), bool), [""] * len(y))
    return fitted_chain(task, get_restoration("subspace"), inputs)


def applied(model: Chain, y: np.ndarray, core: Window | None = None) -> np.ndarray:
    core = core or Window(0, y.shape[1], 0, y.shape[2])
    outer = core.grow(model.halo)
    source = Mended(on_grid(y, 30))
    return model.apply(source.read(outer), outer, core).values


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(a - b))))


@pytest.mark.parametrize("along", ["columns", "rows"])
def test_stripes_are_taken_off_and_nothing_else_is_touched(z, along: str) -> None:
    y, offsets = striped(z, Lines(SHAPE, along))
    y = noisy(y)
    x = applied(chain(y, "destripe"), y)
    found = y - x
    put = offsets[:, Lines(SHAPE, along).of_window(0, SHAPE[0], 0, SHAPE[1])]
    assert rmse(found, put) < 0.1 * rmse(put, 0)
    assert rmse(found[put == 0], 0) < 0.014 * SIGMA  # a tenth of what noise does to a median, sqrt(pi / 2 / 80)


@pytest.mark.parametrize("adjacent", [4, 8, 16])
def test_a_stripe_of_many_bands_side_by_side(adjacent: int) -> None:
    y, put = noisy(truth(SHAPE, 60)), slice(15, 15 + adjacent)
    y[put, :, 33] += 3 * SIGMA
    found = y - applied(chain(y, "destripe"), y)
    np.testing.assert_allclose(found[put, :, 33], 3 * SIGMA, rtol=0.2)
    found[put, :, 33] = 0
    assert rmse(found, 0) < 0.014 * SIGMA


def test_stripes_along_the_track_of_a_turned_scene(z) -> None:
    from tests.scene.test_footprint import turned

    seen = turned(0.22, SHAPE, 60, 78)
    y, offsets = striped(z, Lines(SHAPE, "columns", 0.22))
    y = np.where(seen, noisy(y), np.nan).astype(np.float32)
    model = chain(y, "destripe")
    assert model.estimates["defects"]["track_slope"] == pytest.approx(0.22, abs=0.015)
    put = offsets[:, Lines(SHAPE, "columns", 0.22).of_window(0, SHAPE[0], 0, SHAPE[1])]
    found = y - applied(model, y)
    put[:, ~seen] = np.nan
    assert rmse(found, put) < 0.5 * rmse(put, 0)


def test_a_scene_without_stripes_keeps_its_roads(z) -> None:
    """A line of the scene that runs along a column is no stripe: all bands see it."""
    y = z.copy()
    y[:, :, 33] = 0.4 * y[:, :, 33] + 0.6 * z[:, 40:41, 40]
    y[:, 10:90, 60] = z[:, 70:71, 12]
    for image in (y, noisy(y)):
        assert rmse(applied(chain(image, "destripe"), image), image) < 0.02 * SIGMA


def test_stuck_and_hot_lines_are_found_in_their_bands_alone(z) -> None:
    y = noisy(z)
    rng = np.random.default_rng(2)
    y[3, :, 20], y[8, 40], y[9, :, 21] = 0.0, 0.7, y.max()
    y[5, :, 50] += 10 * SIGMA * rng.standard_normal(SHAPE[0])
    y[6, 70] += 10 * SIGMA * rng.standard_normal(SHAPE[1])
    found = chain(y, "denoise").estimates["defects"]
    assert found == {
        "stuck_columns": {"3": [20], "9": [21]},
        "stuck_rows": {"8": [40]},
        "hot_columns": {"5": [50]},
        "hot_rows": {"6": [70]},
    }
    clean = chain(noisy(z), "denoise").estimates["defects"]
    assert not any(clean.values())


@pytest.mark.parametrize("width", [1, 6, 12])
def test_stuck_lines_side_by_side(z, width: int) -> None:
    """In one band, in all, and at the edge, as a frame; what is bridged across them is not hot."""
    y = noisy(z)
    y[3, 20 : 20 + width], y[:, :, 40 : 40 + width], y[:, :, :width] = 0.0, 0.0, 0.0
    found = chain(y, "inpaint").estimates["defects"]
    columns = [*range(width), *range(40, 40 + width)]
    assert found["stuck_columns"] == {str(band): columns for band in range(len(z))}
    assert found["stuck_rows"] == {"3": list(range(20, 20 + width))}
    assert not found["hot_columns"] and not found["hot_rows"]


def test_where_most_of_a_scene_is_one_value_no_line_is_stuck(z) -> None:
    """An island in masked water."""
    y = np.zeros_like(z)
    y[:, 30:60, 30:50] = noisy(z)[:, 30:60, 30:50]
    found = chain(y, "inpaint").estimates["defects"]
    assert not any(found[name] for name in ("stuck_columns", "stuck_rows"))


def test_land_beside_water_is_not_hot(z) -> None:
    """Most of some bands is still, and much of them is noisier than the rest."""
    y = noisy(z)
    rng = np.random.default_rng(5)
    still = y.copy()
    still[14:, :, :50] = 0.02 + 1e-4 * rng.standard_normal(still[14:, :, :50].shape)
    loud = y.copy()
    loud[:, :, 55:] += 9 * SIGMA * rng.standard_normal(loud[:, :, 55:].shape)
    for image in (still, loud):
        found = chain(image, "inpaint").estimates["defects"]
        assert not found["hot_columns"] and not found["hot_rows"]
        np.testing.assert_array_equal(applied(chain(image, "inpaint"), image), image)


def test_a_mask_makes_no_stripes(z) -> None:
    y = noisy(z)
    mask = np.zeros(SHAPE)
    mask[50:62, 5:17] = 1
    model = chain(y, "destripe", mask)
    assert not any(offsets.any() for _, offsets in model.source.offsets)


def test_what_was_not_seen_is_not_made_up(z) -> None:
    """Neither outside of the outline nor in a frame, unless a mask says so; a mask of the outside says nothing."""
    from tests.scene.test_footprint import turned

    seen = turned(0.22, SHAPE, 60, 78)
    y = np.where(seen, z, np.nan).astype(np.float32)
    y[:, 45:50, 40:46] = np.nan
    x = applied(chain(y, "inpaint", ~seen), y)
    np.testing.assert_array_equal(np.isfinite(x[0]), seen)
    framed = z.astype(np.float32)
    framed[:, :, :1] = 0
    model = chain(framed, "inpaint")
    assert any("frame" in note for note in model.notes)
    np.testing.assert_array_equal(applied(model, framed), framed)
    mask = np.zeros(SHAPE)
    mask[:, :1] = 1
    x = applied(chain(framed, "inpaint", mask), framed)
    assert (x[:, :, :1] != 0).all() and (x[:, :, 1:] == framed[:, :, 1:]).all()


def test_what_is_denoised_is_what_was_measured(z) -> None:
    """Lines that are no measurement stay as they are, and no other sample is spoilt by them."""
    y = noisy(z)
    y[3, :, 20], y[8, 40] = 0.0, 0.7
    x = applied(chain(y, "denoise"), y)
    np.testing.assert_array_equal(x[3, :, 20], 0)
    np.testing.assert_array_equal(x[8, 40], np.float32(0.7))
    near = x[:, 35:46, 15:26].copy()
    near[3, :, 5], near[8, 5] = np.nan, np.nan
    assert rmse(near, z[:, 35:46, 15:26]) < SIGMA / 2


def test_all_takes_off_stripes_noise_and_gaps_together(z) -> None:
    y, _ = striped(z, Lines(SHAPE))
    y = noisy(y)
    y[:, :, 11][2:9] = 0
    model = chain(y, "all")
    x = applied(model, y)
    assert rmse(x, z) < 0.35 * rmse(applied(chain(y, "denoise"), y), z)
    assert rmse(x[2:9, :, 11], z[2:9, :, 11]) < SIGMA / 2
    core = Window(30, 61, 17, 50)
    np.testing.assert_allclose(applied(model, y, core), x[(slice(None), *core.slices)], atol=2e-6)


@pytest.mark.skipif(not os.environ.get("HSGEO_DATA"), reason="HSGEO_DATA does not name the folder of real scenes")
def test_a_scene_whose_stripes_were_corrected_keeps_its_columns() -> None:
    """EnMAP's Potsdam, turned to north: what lies along a column or a row of it is the scene."""
    scene = hsgeo.open_scene(Path(os.environ["HSGEO_DATA"]) / "potsdam/enmap_potsdam_nw.tif", chunks=None)
    found = diagnosed(Mended(scene), np.asarray(scene["good"].values, bool))
    taken = destriped(found.source, found.bands, found.stripe_free).source.offsets
    assert sum(int((offsets != 0).sum()) for _, offsets in taken) < 20


def columns_taken(y: np.ndarray) -> tuple[np.ndarray, Chain]:
    """What `destripe` takes off each column of each band (B, n)."""
    model = chain(y, "destripe")
    return (y - applied(model, y)).mean(1), model


@pytest.mark.parametrize("every", [1, 2, 10])
def test_a_pattern_of_all_columns_of_a_band(z, every: int) -> None:
    """Each column of all, half or a tenth of the bands has an offset of its own; a band's mean offset is no stripe."""
    put = 1.7 * SIGMA * np.random.default_rng(3).standard_normal((len(z), SHAPE[1]))
    put *= (np.arange(len(z)) % every == 0)[:, None]
    found, _ = columns_taken(noisy(z) + put[:, None])
    put -= put.mean(1, keepdims=True)
    assert rmse(found, put) < 0.45 * rmse(put, 0)
    clean = np.arange(len(z)) % every != 0
    assert not clean.any() or rmse(found[clean], 0) < 0.014 * SIGMA


def test_columns_off_in_all_bands_are_named_and_left_whole(z) -> None:
    y = noisy(z)
    y[:, :, 25] += 4 * SIGMA
    found, model = columns_taken(y)
    assert not found[:, 25].any()
    assert any("columns 25 (" in note for note in model.notes)
    assert not columns_taken(noisy(z))[1].notes


def test_stripes_side_by_side_in_one_band(z) -> None:
    y, put = noisy(z), np.zeros((len(z), SHAPE[1]))
    put[5, 25:30], put[9, 10:16] = 3 * SIGMA, -4 * SIGMA
    found, _ = columns_taken(y + put[:, None])
    assert rmse(found, put) < 0.15 * rmse(put, 0)


def test_a_scene_without_noise_comes_back(z) -> None:
    for image in (z, np.round(z * 10000) / 10000):
        error = np.square(applied(chain(image, "destripe"), image) - image).mean((1, 2))
        assert error.max() < 1e-6 * np.square(image.max())  # 60 dB in each band


@pytest.mark.parametrize("size, columns", [(0.3, (51, 52)), (0.1, (20, 51, 52, 53))])
def test_a_road_that_shows_in_one_band_is_no_stripe_where_there_is_no_noise(z, size: float, columns: tuple) -> None:
    """The spectra of the rest, which hold a little of its paint, explain it in all bands at once."""
    rng = np.random.default_rng(1)
    road = np.zeros(SHAPE)
    road[:, columns] = rng.uniform(0.5, 1, (SHAPE[0], len(columns)))
    road[rng.integers(0, SHAPE[0], 40), rng.integers(0, SHAPE[1], 40)] += 0.05
    paint = np.where(np.arange(len(z)) == 8, 1.0, 0.02)
    image = z + size * paint[:, None, None] * road
    assert np.square(applied(chain(image, "destripe"), image) - image).max() < 1e-9
