"""Bands lost as a whole: which are told, by what, and what of the scene they change."""

from __future__ import annotations

import numpy as np
import pytest

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.methods.restoration.lost import LostBands
from hsgeo.scene import make_scene
from hsgeo.tasks import RestorationJob, RestorationOptions
from tests.methods.restoration.test_subspace import truth

SHAPE = 40, 44


def told(lost: list[int], known: list[int], wavelength: list[float]) -> list[int]:
    return LostBands.of(np.array(lost), np.array(known), np.array(wavelength)).bands.tolist()


def test_which_are_told() -> None:
    count = 12
    numbers, nowhere = list(range(count)), [np.nan] * count
    for lost in ([3], [3, 4], [3, 4, 5, 6], [3, 8]):
        assert told(lost, [b for b in numbers if b not in lost], nowhere) == lost
    assert told([0, 3, 11], numbers[1:3] + numbers[4:11], nowhere) == [3]  # none lies beyond the others
    assert told([3, 4, 5, 6, 7], [0, 1, 2, 8, 9, 10, 11], nowhere) == []
    turned = [float(w) for w in reversed(range(count))]
    assert told([0, 3, 11], numbers[1:3] + numbers[4:11], turned) == [3]
    # two detectors overlap: where a band lies decides, not its number
    overlap = [0, 1, 2, 9, 4, 5, 6, 7, 8, 9, 10, 11]
    assert told([3], numbers[:3] + numbers[4:], [400 + 10.0 * w for w in overlap]) == []
    assert told([3], [0, 1, 2, 4, 5], [400.0, 410, 420, 415, 430, 440, *range(450, 456)]) == [3]


def test_a_quadratic_is_told_within_its_curvature_and_a_line_exactly() -> None:
    at = np.array([400.0, 410, 425, 430, 450, 460])
    values = np.stack([2 * at - 3, (at / 100) ** 2], -1).reshape(6, 1, 2)
    spoilt = values.copy()
    spoilt[2:4] = np.nan
    lost = LostBands.of(np.array([2, 3]), np.array([0, 1, 4, 5]), at)
    where = np.ones(values.shape, bool)
    where[3, 0, 1] = False
    assert lost.fill(spoilt, where) == 3
    np.testing.assert_allclose(spoilt[2:4, 0, 0], values[2:4, 0, 0])
    assert abs(spoilt[2, 0, 1] - values[2, 0, 1]) < 0.01 and np.isnan(spoilt[3, 0, 1])


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_lost_band_is_filled_and_named(tmp_path, value) -> None:
    z = truth(SHAPE, 12).astype(np.float32)
    y = z.copy()
    y[5], y[:, 10:12, 10:12], y[:, -6:, -6:] = value, np.nan, np.nan
    scene = on_grid(y, 30)
    scene = make_scene(scene.values, scene.odc.geobox, wavelength=np.linspace(400, 1000, 12))
    job = RestorationJob(scene, RestorationOptions("inpaint"))
    report = job.write(tmp_path / "x.tif")
    x = hsgeo.open_scene(tmp_path / "x.tif").values
    assert report["bands"]["interpolated"] == [6] and "6" not in report["bands"]["dropped"]
    inside = np.ones(SHAPE, bool)
    inside[-6:, -6:] = False
    off = np.abs(x[5] - z[5])[inside]
    assert np.median(off) < 0.25 * z[5].std()
    assert np.isnan(x[4][~inside]).all() and np.isfinite(x[:, inside]).all()
    measured = np.isfinite(y)
    measured[5] = False
    np.testing.assert_array_equal(x[measured], y[measured])


def test_a_flagged_band_is_left(tmp_path) -> None:
    z = truth(SHAPE, 12).astype(np.float32)
    z[5] = 0
    scene = on_grid(z, 30)
    scene = make_scene(scene.values, scene.odc.geobox, good=np.arange(12) != 5)
    x = hsgeo.restore(scene, task="inpaint")
    np.testing.assert_array_equal(x.values, z)
