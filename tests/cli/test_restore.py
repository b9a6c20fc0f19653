"""`hsgeo restore` as a user runs it, and `hsgeo.restore`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.errors import ParameterError
from hsgeo.scene import write_scene
from hsgeo.tasks import outputs
from tests.methods.restoration.test_subspace import SIGMA, noisy, truth

#: the stored values are reflectance x 10000
SCALE = 1e-4


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A noisy scene of int16 with a gap, a band that is not good, and a truth beside it."""
    folder = tmp_path_factory.mktemp("restore")
    z = truth()
    y = noisy(z)
    y[:, 10:14, 20:24] = np.nan
    nm = np.linspace(450, 900, len(y))
    for name, values in (("y", y), ("z", z)):
        scene = on_grid(values, 30, nm, 10.0)
        scene = scene.assign_coords(
            scale=("band", np.full(len(y), SCALE)),
            good=("band", np.arange(len(y)) != 4),
            bad_reason=("band", ["smile" if i == 4 else "" for i in range(len(y))]),
        )
        scene.attrs |= {"dtype": "int16", "nodata": -9999.0}
        write_scene(scene, folder / f"{name}.tif")
    return folder


@pytest.fixture
def inside(made, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("y.tif", "z.tif"):
        Path(name).write_bytes((made / name).read_bytes())
    return tmp_path


def succeed(arguments, capfd) -> str:
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 0, err
    return out


def refused(arguments, capfd, *words: str) -> None:
    before = {p: p.read_bytes() for p in Path.cwd().rglob("*") if p.is_file()}
    assert run([str(a) for a in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "Traceback" not in err
    for word in words:
        assert word in err, err
    assert {p: p.read_bytes() for p in Path.cwd().rglob("*") if p.is_file()} == before


def values(path: str) -> np.ndarray:
    return hsgeo.open_scene(path, chunks=None).values


def test_a_scene_is_restored_with_all_that_it_was(inside, capfd) -> None:
    out = succeed(["restore", "y.tif", "--residual", "r.tif"], capfd)
    for word in ("y_restored.tif", "r.tif", "23 restored", "smile", "bands 5 left as they are", "x the noise"):
        assert word in out
    with rasterio.open("y.tif") as before, rasterio.open("y_restored.tif") as after, rasterio.open("r.tif") as rest:
        assert (after.dtypes, after.nodata, after.scales, after.transform, after.crs) == (
            before.dtypes, before.nodata, before.scales, before.transform, before.crs,
        )  # fmt: skip
        assert after.tags(3)["wavelength"] == before.tags(3)["wavelength"]
        record = json.loads(after.tags()["HSGEO_PROVENANCE"])
        assert record["parameters"]["command"] == "restore" and record["parameters"]["task"] == "denoise"
        assert set(rest.dtypes) == {"float32"} and rest.tags(3)["wavelength"] == before.tags(3)["wavelength"]
    x, y, z, r = (values(f"{name}.tif") for name in ("y_restored", "y", "z", "r"))
    np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
    np.testing.assert_array_equal(x[4], y[4])
    seen, own = np.isfinite(y[0]), np.arange(len(y)) != 4
    assert np.sqrt(((x - z)[own][:, seen] ** 2).mean()) < SIGMA / 5
    np.testing.assert_allclose(r[:, seen], (y - x)[:, seen], atol=SCALE)  # the rounding of the stored values


def test_the_report(inside, capfd) -> None:
    report = json.loads(succeed(["restore", "y.tif", "-o", "x.tif", "--json"], capfd))
    assert report["output"] == "x.tif" and report["driver"] == "GTiff" and report["task"] == "denoise"
    assert report["bands"]["dropped"] == {"5": "smile"} and len(report["bands"]["kept"]) == 23
    np.testing.assert_allclose(list(report["noise_std"].values()), SIGMA, rtol=0.1)
    assert "5" not in report["noise_std"] and "6" in report["noise_std"]
    assert report["removed"]["over_noise"] == pytest.approx(1, abs=0.08)
    assert abs(report["removed"]["space"]) < 0.05 and abs(report["removed"]["spectrum"]) < 0.05
    assert report["saturated"] == 0 and not [n for n in report["notes"] if "what was removed" in n]


def test_what_was_removed_is_judged(inside, capfd) -> None:
    """Stripes are no white noise: neighbours along a column share them."""
    y = values("y.tif")
    y[8:12] += np.random.default_rng(0).normal(0, 2 * SIGMA, y.shape[2])
    write_scene(on_grid(y, 30, np.linspace(450, 900, len(y))), "s.tif")
    report = json.loads(succeed(["restore", "s.tif", "-o", "x.tif", "--json", "--set", "dimension=2"], capfd))
    assert report["removed"]["over_noise"] > 1.1
    (note,) = [n for n in report["notes"] if "what was removed" in n]
    assert "shared by neighbouring" in note and "--residual" in note


def test_what_is_left_is_said(inside, capfd) -> None:
    y = values("y.tif")
    y[:14, 30:34] = np.nan
    write_scene(on_grid(y, 30, np.linspace(450, 900, len(y))), "h.tif")
    report = json.loads(succeed(["restore", "h.tif", "-o", "x.tif", "--json"], capfd))
    assert [n for n in report["notes"] if n.startswith("240 pixels (7.2%) lack more than half of their bands")]


@pytest.mark.parametrize(
    ("made_of", "words"),
    [
        (np.ones((1, 9, 9)), ("w.tif", "same value everywhere")),
        (np.random.default_rng(0).random((1, 9, 9)), ("w.tif", "a scene of 1 band", "three are needed")),
        (np.full((5, 9, 9), np.nan), ("w.tif", "no pixel with data")),
        (np.random.default_rng(0).random((5, 1, 1)), ("w.tif", "one pixel alone has data")),
    ],
)
def test_scenes_that_cannot_be_restored(inside, capfd, made_of, words) -> None:
    write_scene(on_grid(made_of.astype(np.float32), 30), "w.tif")
    refused(["restore", "w.tif"], capfd, *words)


def test_tiles_change_nothing(inside, capfd) -> None:
    succeed(["restore", "y.tif", "-o", "a.tif"], capfd)
    succeed(["restore", "y.tif", "-o", "b.tif", "--tile", "19"], capfd)
    np.testing.assert_allclose(values("a.tif"), values("b.tif"), atol=1.01 * SCALE)  # a half may round either way


def test_python_gives_the_same(inside, capfd) -> None:
    succeed(["restore", "y.tif", "-o", "a.tif", "--dtype", "float32"], capfd)
    scene = hsgeo.restore("y.tif")
    assert isinstance(scene, xr.DataArray) and scene.chunks is not None and list(scene.attrs["notes"]) == []
    np.testing.assert_allclose(scene.values, values("a.tif"), atol=1e-6)
    with pytest.raises(ParameterError, match="no parameter 'dimensoin'"):
        hsgeo.restore("y.tif", dimensoin=3).compute()


def test_a_plan_writes_nothing(inside, capfd) -> None:
    before = set(inside.iterdir())
    out = succeed(["restore", "y.tif", "--dry-run", "--residual", "r.tif"], capfd)
    for word in (
        "y_restored.tif (int16",
        "not written",
        "r.tif",
        "56 x 60",
        "24, of which 23 good",
        "denoise, subspace",
    ):
        assert word in out
    assert set(inside.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.tif"], ("none.tif",)),
        (["y.tif", "-o", "z.tif"], ("z.tif exists", "--overwrite")),
        (["y.tif", "-o", "y.tif", "--overwrite"], ("would replace the input",)),
        (["y.tif", "-o", "x.tif", "--residual", "x.tif"], ("--residual", "different paths")),
        (["y.tif", "--method", "subspase"], ("subspase", "Did you mean 'subspace'")),
        (["y.tif", "--task", "polish"], ("polish", "denoise")),
        (["y.tif", "--set", "dimension=100"], ("between 1 and the 23 bands",)),
        (["y.tif", "--set", "dimension=few"], ("dimension='few'", "whole number")),
        (["y.tif", "--bands", "1-2"], ("three are needed",)),
        (["y.tif", "-o", "x.jpg"], ("x.jpg",)),
    ],
)
def test_refused(inside, capfd, arguments, words) -> None:
    refused(["restore", *arguments], capfd, *words)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_it_is_gone_on_with(inside, capfd) -> None:
    common = ["restore", "y.tif", "-o", "x.tif", "--tile", "10"]
    command = [sys.executable, "-m", "hsgeo", *common, "--progress", "json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    deadline = time.monotonic() + 120
    for line in process.stderr:
        assert time.monotonic() < deadline
        if '"apply"' in line and '"done": 3' in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in err and not Path("x.tif").exists()
    refused([*common, "--resume", "--set", "dimension=4"], capfd, "x.tif: --resume", "parameters.dimension")
    report = json.loads(succeed([*common, "--resume", "--json"], capfd))
    assert report["tiles"]["resumed"] >= 3 and report["tiles"]["done"] + report["tiles"]["resumed"] == 36
    succeed(["restore", "y.tif", "-o", "whole.tif", "--tile", "10"], capfd)
    np.testing.assert_array_equal(values("x.tif"), values("whole.tif"))


def test_stripes_gaps_and_noise_by_one_command(inside, capfd) -> None:
    """What was found is said and stored; destripe and inpaint change nothing else."""
    y = values("y.tif").copy()
    y[7, :, 15], y[:, 30] = 0.0, y[:, 30] + 0.05 * (np.arange(len(y)) % 5 == 0)[:, None]
    scene = hsgeo.open_scene("y.tif", chunks=None)
    write_scene(scene.copy(data=y), "s.tif")
    stored = {}
    for task in ("destripe", "inpaint", "all"):
        report = json.loads(succeed(["restore", "s.tif", "-o", f"{task}.tif", "--task", task, "--json"], capfd))
        assert report["defects"]["stuck_columns"] == {"8": [15]}, task
        stored[task] = rasterio.open(f"{task}.tif").read()
    before = rasterio.open("s.tif").read()
    changed = (stored["destripe"] != before).any((0, 2))
    assert changed[30] and changed.sum() <= 2 and (stored["destripe"][7, :, 15] == before[7, :, 15]).all()
    gap = np.zeros(before.shape, bool)
    gap[:, 10:14, 20:24], gap[7, :, 15] = True, True
    gap[4] = False  # a band that is not good is left alone
    np.testing.assert_array_equal(stored["inpaint"] != before, gap)
    z = values("z.tif")
    assert np.abs(stored["all"] * SCALE - z)[gap].mean() < SIGMA / 2
    out = succeed(["restore", "s.tif", "-o", "all.tif", "--task", "all", "--overwrite"], capfd)
    for word in ("stuck columns", "in band 8", "striped rows", "filled"):
        assert word in out
    assert "not found" not in out
    out = succeed(["restore", "z.tif", "-o", "none.tif", "--task", "destripe"], capfd)
    assert "not found" in out and "stuck lines, striped lines" in out


def test_masks_hide_samples_on_their_own_grid(inside, capfd) -> None:
    """A mask of half the pixels' size, one of every band, one beside the scene, one that covers it."""
    scene = hsgeo.open_scene("y.tif", chunks=None)
    box, shape = scene.odc.geobox, scene.shape
    with rasterio.open("y.tif") as source:
        profile = {"crs": source.crs, "driver": "GTiff", "dtype": "uint8"}
        move = source.transform

    def mask(name: str, data: np.ndarray, transform) -> None:
        with rasterio.open(
            name, "w", count=len(data), height=data.shape[1], width=data.shape[2], transform=transform, **profile
        ) as target:
            target.write(data)

    fine = np.zeros((1, 2 * shape[1], 2 * shape[2]), np.uint8)
    fine[0, 60:70, 40:52] = 1
    mask("fine.tif", fine, move @ rasterio.Affine.scale(0.5))
    every = np.zeros(shape, np.uint8)
    every[9, 30:35, 20:26] = 255
    mask("every.tif", every, move)
    before = rasterio.open("y.tif").read()
    own = before == -9999
    own[4] = False
    for name, bands in (("fine.tif", slice(None)), ("every.tif", 9)):
        succeed(["restore", "y.tif", "-o", "x.tif", "--task", "inpaint", "--mask", name, "--overwrite"], capfd)
        hidden = own.copy()
        hidden[bands, 30:35, 20:26] = True
        hidden[4] = False
        changed = rasterio.open("x.tif").read() != before
        assert not (changed & ~hidden).any() and changed[hidden].mean() > 0.99
    mask("zeros.tif", np.zeros((1, *shape[1:]), np.uint8), move)
    assert run(["restore", "y.tif", "-o", "x.tif", "--task", "inpaint", "--mask", "zeros.tif", "--overwrite"]) == 0
    assert "zeros.tif: the mask is zero or nodata everywhere and hides nothing" in capfd.readouterr().err
    mask("all.tif", np.ones((1, *shape[1:]), np.uint8), move)
    refused(
        ["restore", "y.tif", "-o", "n.tif", "--task", "inpaint", "--mask", "all.tif"], capfd, "all.tif", "every pixel"
    )
    refused(["restore", "y.tif", "-o", "all.tif", "--task", "inpaint", "--mask", "all.tif"], capfd, "all.tif")
    refused(["restore", "y.tif", "-o", "n.tif", "--task", "inpaint", "--mask", "none.tif"], capfd, "none.tif")
    far = move @ rasterio.Affine.translation(5000, 0)
    mask("far.tif", np.ones((1, 9, 9), np.uint8), far)
    refused(
        ["restore", "y.tif", "-o", "n.tif", "--task", "inpaint", "--mask", "far.tif"], capfd, "far.tif", "does not meet"
    )
    assert box == hsgeo.open_scene("x.tif", chunks=None).odc.geobox


def test_quality_is_told_without_changing_anything(inside, capfd) -> None:
    """Levels within a tenth, and the lines that were spoilt; a scene without faults has none."""
    y = values("y.tif").copy()
    y[7, :, 15], y[11] = 0.0, 0.2
    y[:, 30] += 0.1 * (np.arange(len(y)) % 5 == 0)[:, None]
    write_scene(hsgeo.open_scene("y.tif", chunks=None).copy(data=y), "s.tif")
    found = json.loads(succeed(["info", "s.tif", "--quality", "--json"], capfd))["quality"]
    assert found["dead_bands"] == {"12": "the same value everywhere"} and found["stuck_columns"] == {"8": [15]}
    assert {"1", "6", "11", "16", "21"} <= set(found["striped_rows"])
    np.testing.assert_allclose(list(found["noise_std"].values()), SIGMA, rtol=0.1)
    out = succeed(["info", "s.tif", "--quality"], capfd)
    for word in ("stuck columns", "striped rows", "dead bands", "12"):
        assert word in out
    assert "no dead or hot ones" in succeed(["info", "y.tif", "--quality"], capfd)


def test_quality_of_a_part(inside, capfd) -> None:
    """The same extent and bands as a restoration would have."""
    left, _, _, top = rasterio.open("y.tif").bounds
    part = ["--bands", "6-15", "--bbox", f"{left},{top - 900},{left + 1050},{top}"]
    found = json.loads(succeed(["info", "y.tif", "--quality", "--json", *part], capfd))
    assert found["shape"] == [10, 30, 35] and list(found["quality"]["noise_std"]) == [str(b) for b in range(6, 16)]
    succeed(["restore", "y.tif", "-o", "x.tif", *part], capfd)
    assert values("x.tif").shape == (10, 30, 35)


def test_what_rests_on_little_is_said(inside, capfd) -> None:
    """Few pixels, few steps; and what measured samples are off is not called noise."""
    y = values("y.tif").copy()
    some = np.zeros(y.shape[1:], bool)
    some[20:23, 20:23] = True
    write_scene(hsgeo.open_scene("y.tif", chunks=None).copy(data=np.where(some, y, np.nan)), "few.tif")
    notes = json.loads(succeed(["restore", "few.tif", "-o", "f.tif", "--json"], capfd))["notes"]
    assert any(note.startswith("9 pixels have most of their bands") for note in notes)
    gap = y.copy()
    gap[:, 10:14, 10:14] = np.nan
    write_scene(hsgeo.open_scene("y.tif", chunks=None).copy(data=gap), "gap.tif")
    report = json.loads(succeed(["restore", "gap.tif", "-o", "g.tif", "--task", "inpaint", "--json"], capfd))
    assert "noise_std" not in report and 0 < report["misfit_std"]["1"] < 2 * SIGMA
    assert not any("pixels have most" in note or "steps" in note for note in report["notes"])
    common = ["restore", "gap.tif", "--task", "inpaint", "--method", "dds2m", "--steps", "2", "-o", "d.tif", "--json"]
    assert any(note.startswith("2 steps") for note in json.loads(succeed(common, capfd))["notes"])


def test_options_of_one_method_are_not_for_the_other(inside, capfd) -> None:
    refused(["restore", "y.tif", "-o", "n.tif", "--steps", "3"], capfd, "--steps", "dds2m")
    refused(["restore", "y.tif", "-o", "n.tif", "--method", "dds2m", "--steps", "9999"], capfd, "1000 at most")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_what_was_measured_stays_to_the_last_bit(dtype, tmp_path, monkeypatch, capfd) -> None:
    """Also of values that float32 does not hold."""
    monkeypatch.chdir(tmp_path)
    z = truth((40, 44), 8)
    size = {"uint8": 200, "int32": 4e8}.get(dtype, 1e4)
    stored = (z / z.max() * size + (np.pi * 1e-9 if dtype == "float64" else 0)).astype(dtype)
    missing = np.random.default_rng(0).random(z.shape) < 0.1
    stored[missing] = 0
    profile = {
        "driver": "GTiff",
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6),
        "nodata": 0,
    }
    with rasterio.open("x.tif", "w", count=8, height=40, width=44, dtype=dtype, **profile) as target:
        target.write(stored)
    succeed(["restore", "x.tif", "-o", "y.tif", "--task", "inpaint", "--tile", "16", "-q"], capfd)
    with rasterio.open("y.tif") as source:
        found = source.read()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[~missing], stored[~missing])
    assert (found[missing] != 0).mean() > 0.99


def test_a_mask_that_has_changed_is_another_run(inside, capfd, monkeypatch) -> None:
    """The file of the same name, of the same size."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def hide(rows: slice) -> None:
        mask = np.zeros((1, 56, 60), np.float32)
        mask[:, rows] = 1
        scene = on_grid(mask, 30)
        scene.attrs |= {"dtype": "uint8"}
        Path("m.tif").unlink(missing_ok=True)
        write_scene(scene, "m.tif")

    command = ["restore", "y.tif", "--task", "inpaint", "--mask", "m.tif", "-o", "x.tif"]
    hide(slice(5, 9))
    with monkeypatch.context() as patch:
        patch.setattr(outputs.Outputs, "publish", stop)
        assert run(command) == 130
    assert "--resume" in capfd.readouterr().err
    hide(slice(6, 10))
    refused([*command, "--resume"], capfd, "x.tif: --resume", "masks")
    hide(slice(5, 9))
    report = json.loads(succeed([*command, "--resume", "--json"], capfd))
    assert report["tiles"]["done"] == 0
