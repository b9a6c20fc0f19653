"""`hsgeo restore --task superres` as a user runs it, and `hsgeo.restore`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.errors import ParameterError
from hsgeo.scene import write_scene
from tests.methods.restoration.test_subspace import truth
from tests.methods.restoration.test_superres import SIGMA, observed, spline

from .test_restore import refused, succeed, values

#: the stored values are reflectance x 10000
SCALE = 1e-4


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    """A scene of int16 with a gap and a band that is not good, on pixels of 10 m."""
    monkeypatch.chdir(tmp_path)
    y = observed(truth((96, 84)), 2)
    y[:, 10:13, 20:22] = np.nan
    scene = on_grid(y, 10, np.linspace(450, 900, len(y)), 10.0)
    scene = scene.assign_coords(
        scale=("band", np.full(len(y), SCALE)),
        good=("band", np.arange(len(y)) != 4),
        bad_reason=("band", ["smile" if i == 4 else "" for i in range(len(y))]),
    )
    scene.attrs |= {"dtype": "int16", "nodata": -9999.0}
    write_scene(scene, "y.tif")
    return tmp_path


@pytest.mark.parametrize("scale", [2, 3])
def test_a_scene_is_made_finer_with_all_that_it_was(inside, capfd, scale) -> None:
    out = succeed(["restore", "y.tif", "--task", "superres", "--scale", scale, "-o", "x.tif"], capfd)
    for word in ("x.tif", "23 restored", "bands 5 interpolated", "FWHM 1.00", "misfit"):
        assert word in out, out
    with rasterio.open("y.tif") as before, rasterio.open("x.tif") as after:
        t = before.transform
        assert after.shape == (48 * scale, 42 * scale) and after.bounds == before.bounds and after.crs == before.crs
        assert after.transform == Affine(t.a / scale, 0, t.c, 0, t.e / scale, t.f)
        assert (after.dtypes, after.nodata, after.scales) == (before.dtypes, before.nodata, before.scales)
        for band in (1, 3, 24):
            for tag in ("wavelength", "fwhm", "bbl"):
                assert after.tags(band).get(tag) == before.tags(band).get(tag)
        assert after.tags(3)["wavelength"] and after.descriptions == before.descriptions
        record = json.loads(after.tags()["HSGEO_PROVENANCE"])["parameters"]
        assert (record["task"], record["scale"]) == ("superres", scale)
    x, y = values("x.tif"), values("y.tif")
    np.testing.assert_array_equal(np.isnan(x), np.isnan(y).repeat(scale, 1).repeat(scale, 2))
    again = hsgeo.open_scene("x.tif")
    assert again["gsd"].values.tolist() == pytest.approx([10 / scale] * len(y))
    seen = np.isfinite(x[0])
    if scale == 2:
        z, plain = truth((96, 84)), spline(np.where(np.isfinite(y), y, 0), 2)
        assert np.sqrt(((x - z)[:, seen] ** 2).mean()) < 0.8 * np.sqrt(((plain - z)[:, seen] ** 2).mean())


def test_the_report(inside, capfd) -> None:
    """2 is the scale where none is asked for; nothing but white noise is missed, of the level that was added."""
    report = json.loads(succeed(["restore", "y.tif", "-o", "x.tif", "--task", "superres", "--json"], capfd))
    assert report["task"] == "superres" and report["scale"] == 2 and report["grid"]["shape"] == [96, 84]
    assert report["bands"]["dropped"] == {"5": "smile"} and "removed" not in report
    np.testing.assert_allclose(list(report["noise_std"].values()), SIGMA, rtol=0.15)
    assert report["misfit"]["over_noise"] == pytest.approx(1, abs=0.1)
    assert report["notes"] == ["not good and interpolated alone: 1 of 24 bands (smile)."]


def test_lines_that_are_no_measurement_are_said(inside, capfd) -> None:
    y = values("y.tif").copy()
    y[3, :, 12] = 0.0
    write_scene(hsgeo.open_scene("y.tif", chunks=None).copy(data=y), "s.tif")
    notes = json.loads(succeed(["restore", "s.tif", "-o", "x.tif", "--task", "superres", "--json"], capfd))["notes"]
    assert any("1 detector line is stuck" in note for note in notes)


def test_tiles_change_nothing_and_python_gives_the_same(inside, capfd) -> None:
    common = ["restore", "y.tif", "--task", "superres", "--scale", "2", "--dtype", "float32", "--set", "passes=1"]
    succeed([*common, "-o", "a.tif"], capfd)
    succeed([*common, "-o", "b.tif", "--tile", "19"], capfd)
    a = values("a.tif")
    np.testing.assert_allclose(values("b.tif"), a, atol=1e-5)
    scene = hsgeo.restore("y.tif", task="superres", scale=2, passes=1)
    assert scene.chunks is not None and scene.shape == a.shape
    np.testing.assert_allclose(scene.values, a, atol=1e-6)


def test_a_plan_writes_nothing(inside, capfd) -> None:
    before = set(inside.iterdir())
    out = succeed(["restore", "y.tif", "--task", "superres", "--scale", "4", "--dry-run"], capfd)
    assert "192 x 168" in out and "superres" in out
    assert set(inside.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "2"], ("--scale is for --task superres",)),
        (["--task", "superres", "--scale", "5"], ("2, 3 or 4 times finer",)),
        (["--task", "superres", "--scale", "1"], ("2, 3 or 4 times finer",)),
        (["--task", "superres", "--residual", "r.tif"], ("--residual", "finer")),
        (["--task", "superres", "--bands", "1-1"], ("a scene of 1 band", "three are needed")),
        (["--task", "superres", "--set", "fwhm=0"], ("fwhm=0", "more than 0")),
        (["--task", "superres", "--set", "fwhm=wide"], ("fwhm='wide'",)),
        (["--task", "superres", "--method", "subspase"], ("Did you mean 'subspace'",)),
    ],
)
def test_refused(inside, capfd, arguments, words) -> None:
    refused(["restore", "y.tif", *arguments], capfd, *words)


def test_other_tasks_know_no_scale() -> None:
    with pytest.raises(ParameterError, match="--scale is for --task superres; denoise keeps"):
        hsgeo.restore(on_grid(observed(truth((48, 40)), 2), 30), scale=3)
