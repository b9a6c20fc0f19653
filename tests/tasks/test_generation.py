"""Tiles drawn by parts: the same values whatever the parts, workers and order, also after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.diffusion import noise_field
from hsgeo.engine.plan import TilePlan
from hsgeo.errors import OutputWriteError, ParameterError, ResumeError
from hsgeo.methods.generation import work as drawing
from hsgeo.methods.generation.canvas import Canvas
from hsgeo.methods.generation.hud import Hud
from hsgeo.scene import write_scene
from hsgeo.tasks import GenerationJob, GenerationOptions, RunOptions, WriteOptions, generate, train_hud
from tests.methods.restoration.test_subspace import noisy, truth

TINY = {"widths": (8, 12), "blocks": 1, "batch": 2, "crop": 16, "steps": 3, "endmembers": 4}
KINDS = ("", "_abundances", "_classes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A scene of float32 with a bad band, labels, and models whose networks look far around each pixel."""
    folder = tmp_path_factory.mktemp("drawn")
    scene = on_grid(np.clip(noisy(truth((40, 44)), 0.005), 0, 3), 30, np.linspace(400, 900, 24), 10.0)
    good = np.arange(24) != 5
    scene = scene.assign_coords(good=("band", good), bad_reason=("band", np.where(good, "", "bbl")))
    write_scene(scene, folder / "s.tif")
    classes = (1 + (np.mgrid[:80, :80].sum(0) // 20) % 2)[None].astype(np.float32)
    write_scene(on_grid(classes, 30), folder / "labels.tif", dtype="uint8", nodata=0)
    on_scene = on_grid(classes[:, :40, :44], 30)
    for name, labels in (("m", None), ("c", on_scene)):
        train_hud(folder / "s.tif", folder / f"{name}.safetensors", params=TINY, labels=labels)
        model = Hud.load(folder / f"{name}.safetensors")
        torch.manual_seed(0)
        for value in model.network.parameters():
            value.data += 0.1 * torch.randn(value.shape)
        model.save(folder / f"{name}.safetensors")
    return folder


def drawn(folder: Path, out: Path, *, model: str = "m", tile: int | None = None, workers: int = 0, **options) -> dict:
    """A report of tiles drawn in four steps."""
    told = {"size": 70, "steps": 4, **options}
    file, how = folder / f"{model}.safetensors", RunOptions(seed=3, tile=tile, workers=workers, device="cpu")
    return generate(folder / "s.tif", out, model=file, **told, run=how)


def rasters(out: Path) -> dict[str, np.ndarray]:
    return {p.name: hsgeo.open_scene(p, chunks=None).values for p in sorted(out.glob("*.tif"))}


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Equal to rounding, 1e-5 of what values vary by; a class may differ where two abundances are equal to that."""
    assert ours.keys() == theirs.keys() and ours
    for name, values in ours.items():
        if name.endswith("_classes.tif"):
            assert (values != theirs[name]).mean() < 1e-3
        else:
            np.testing.assert_allclose(values, theirs[name], rtol=0, atol=1e-5 * np.nanstd(values), equal_nan=True)


@pytest.mark.parametrize(
    ("count", "size", "part"), [(1, 1, 1), (3, 5, 4), (7, 20, 45), (2, 64, 64), (4, 3, 100), (2, 70, 24)]
)
def test_every_pixel_of_every_tile_lies_in_one_block(count: int, size: int, part: int) -> None:
    canvas = Canvas(count, size, part)
    assert canvas.blocks == len(list(canvas.parts()))
    plan = TilePlan(*canvas.shape, tile=canvas.block)
    seen, parts = np.zeros((count, size, size), int), list(canvas.parts())
    assert len(parts) == len(plan)
    for block, expected in zip(plan, parts, strict=True):
        numbers, window = canvas.tiles(block.core)
        assert (numbers, window) == expected
        height, width = window.shape
        assert len(numbers) * height <= block.core.shape[0] and width <= block.core.shape[1]
        for number in numbers:
            place = canvas.place(number, window)
            assert block.core.y0 <= place.y0 and place.y1 <= block.core.y1 and place.x0 == block.core.x0
            seen[(number, *window.slices)] += 1
    assert (seen == 1).all()


def test_tiles_in_parts_are_whole_tiles(folder, tmp_path: Path) -> None:
    whole = drawn(folder, tmp_path / "whole", count=2)
    assert whole["parts"] == {"done": 1, "resumed": 0, "size": 70}
    expected = rasters(tmp_path / "whole")
    for tile, parts in ((24, 4 * 2 * 9), (51, 4 * 2 * 4)):
        report = drawn(folder, tmp_path / str(tile), count=2, tile=tile)
        assert report["parts"] == {"done": parts, "resumed": 0, "size": tile}
        assert_same(rasters(tmp_path / str(tile)), expected)
    # what the model itself draws in memory, decoded band by band
    model = Hud.load(folder / "m.safetensors")
    abundances, spectra = model.encoding.decoded(
        model.states((70, 70), [4], 4)[0], noise=noise_field(4, 5, len(model.bands), 0, 70, 0, 70)
    )
    np.testing.assert_allclose(expected["tile_2_abundances.tif"], abundances, atol=1e-5)
    np.testing.assert_allclose(expected["tile_2.tif"][model.bands], spectra, atol=1e-5 * spectra.std())
    assert np.isnan(expected["tile_2.tif"][5]).all() and np.nanstd(np.diff(expected["tile_1.tif"], axis=2)) > 0


def test_a_task_reads_its_part_and_what_is_seen_around_it(folder, tmp_path: Path, monkeypatch) -> None:
    seen, read = [], drawing.States._read

    def noted(self, number, window):
        seen.append(window)
        return read(self, number, window)

    monkeypatch.setattr(drawing.States, "_read", noted)
    drawn(folder, tmp_path / "out", size=150, tile=30, steps=2)
    network = Hud.load(folder / "m.safetensors").network
    most = 30 + 2 * network.reach + network.multiple
    assert len(seen) == 25 and max(max(window.shape) for window in seen) <= most < 150


def test_a_layout_is_asked_for_part_by_part(folder, tmp_path: Path) -> None:
    drawn(folder, tmp_path / "whole", model="c", layout=folder / "labels.tif")
    drawn(folder, tmp_path / "parts", model="c", layout=folder / "labels.tif", tile=32)
    drawn(folder, tmp_path / "free", model="c")
    whole, parts, free = (rasters(tmp_path / name) for name in ("whole", "parts", "free"))
    assert_same(parts, whole)
    assert np.abs(whole["tile_1_abundances.tif"] - free["tile_1_abundances.tif"]).mean() > 1e-3


def test_small_tiles_share_tasks_and_depend_on_their_seed_alone(folder, tmp_path: Path) -> None:
    report = drawn(folder, tmp_path / "some", count=7, size=20, tile=45)
    assert report["parts"]["done"] == 2
    drawn(folder, tmp_path / "each", count=7, size=20, tile=20)
    assert_same(rasters(tmp_path / "some"), rasters(tmp_path / "each"))


def test_workers_draw_the_same(folder, tmp_path: Path) -> None:
    drawn(folder, tmp_path / "here", count=2, tile=40, steps=3)
    report = drawn(folder, tmp_path / "there", count=2, tile=40, steps=3, workers=2)
    assert report["parts"]["done"] == 3 * 8
    assert_same(rasters(tmp_path / "there"), rasters(tmp_path / "here"))
    assert {p.name for p in tmp_path.iterdir()} == {"here", "there"}


def test_noise_is_drawn_at_the_start_alone_where_asked(folder, tmp_path: Path) -> None:
    """DDIM, in parts as in one; and states are those of the model."""
    for name, more in (("whole", {}), ("parts", {"tile": 32}), ("noisy", {"eta": 1.0})):
        drawn(folder, tmp_path / name, **{"eta": 0.0, "variability": False, "sensor_noise": False, **more})
    whole, parts, noisy = (rasters(tmp_path / n)["tile_1.tif"] for n in ("whole", "parts", "noisy"))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert np.nanmax(np.abs(noisy - whole)) > 1e-2
    model = Hud.load(folder / "m.safetensors")
    states = model.states((70, 70), [3], 4, 0.0)
    np.testing.assert_allclose(whole[model.bands], model.encoding.decoded(states[0], False)[1], atol=1e-5)
    with pytest.raises(ParameterError, match="--eta 2"):
        drawn(folder, tmp_path / "none", eta=2.0)


def test_without_a_folder_tiles_are_drawn_when_asked_for(folder, tmp_path: Path, monkeypatch) -> None:
    """As they would be written; one tile asked for is one drawn."""
    drawn(folder, tmp_path / "out", model="c", count=3, size=20, wanted="2")
    how = {"count": 3, "size": 20, "steps": 4, "wanted": "2", "run": RunOptions(seed=3, device="cpu")}
    tiles = hsgeo.generate(folder / "s.tif", model=folder / "c.safetensors", **how)
    seeds, states = [], Hud.states
    monkeypatch.setattr(Hud, "states", lambda self, shape, s, *rest: seeds.extend(s) or states(self, shape, s, *rest))
    second = tiles.isel(tile=1).compute(scheduler="sync")
    assert set(seeds) == {4} and tiles["seed"].values.tolist() == [3, 4, 5] and tiles.attrs["synthetic"] == "true"
    there = rasters(tmp_path / "out")
    for name, kind in (("reflectance", ""), ("abundances", "_abundances"), ("classes", "_classes")):
        written = there[f"tile_2{kind}.tif"]
        np.testing.assert_allclose(second[name].values, written.reshape(second[name].shape), atol=1e-5)
    np.testing.assert_array_equal(tiles["wavelength"], hsgeo.open_scene(folder / "s.tif")["wavelength"])


def test_the_smallest_tiles(folder, tmp_path: Path) -> None:
    """As many pixels a side as make one on the coarsest of the network's two scales."""
    drawn(folder, tmp_path / "one", size=2, count=2)
    drawn(folder, tmp_path / "store", size=2, count=2, format="zarr")
    model = Hud.load(folder / "m.safetensors")
    states = model.states((2, 2), [3, 4], 4)
    for number, state in enumerate(states, 1):
        abundances, _ = model.encoding.decoded(state)
        scene = hsgeo.open_scene(tmp_path / f"one/tile_{number}_abundances.tif", chunks=None)
        np.testing.assert_allclose(scene.values, abundances, atol=1e-5)
        assert scene.shape == (4, 2, 2) and abs(scene.odc.geobox.resolution.x) == 30


def command(folder: Path, out: Path, *more: str) -> list[str]:
    how = ["--size", "70", "--count", "2", "--steps", "4", "--tile", "24", "--seed", "3", "--device", "cpu"]
    return ["generate", str(folder / "s.tif"), "-o", str(out), *how, *more]


def killed(arguments: list[str], sign: int, until: int) -> int:
    """Start a generation and end it once so many parts are done."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hsgeo", *arguments, "--progress", "json"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    assert process.stderr is not None
    for line in process.stderr:
        assert time.monotonic() < deadline
        told = json.loads(line)
        if told["stage"] == "generate" and told["done"] >= until:
            break
    else:
        raise AssertionError(f"ended early with code {process.wait()}")
    process.send_signal(sign)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_was_killed_is_resumed(folder, tmp_path: Path, capfd, sign, code) -> None:
    model = ["--model", str(folder / "m.safetensors")]
    drawn(folder, tmp_path / "whole", count=2, tile=24)
    out = tmp_path / "out"
    assert killed(command(folder, out, *model), sign, 40) == code  # of 72, in the third pass
    assert {p.name for p in tmp_path.iterdir()} == {"whole", ".out.hsgeo-work"}
    other = tmp_path / "other.safetensors"
    changed = Hud.load(folder / "m.safetensors")
    next(changed.network.parameters()).data *= 1.5
    changed.save(other)
    for more, said in (
        ([*model, "--seed", "4"], "parameters.seed (3 before, 4 now)"),
        ([*model, "--steps", "5"], "parameters.steps (4 before, 5 now)"),
        ([*model, "--tile", "48"], "parameters.tile (24 before, 48 now)"),
        ([*model, "--no-noise"], "parameters.sensor_noise (true before, false now)"),
        (["--model", str(other)], "differs in model ("),
        (["--set", "steps=3"], "differs in model ("),
    ):
        assert run([*command(folder, out), *more, "--resume"]) == 2
        assert said in capfd.readouterr().err
    other.unlink()
    assert run(command(folder, out, *model, "--resume", "--json")) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["parts"]["resumed"] >= 40 and sum(report["parts"][k] for k in ("done", "resumed")) == 72
    ours, theirs = rasters(out), rasters(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])
    assert {p.name for p in tmp_path.iterdir()} == {"whole", "out"}


class Stop(Exception):
    pass


def test_what_was_trained_is_not_trained_again(folder, tmp_path: Path, monkeypatch) -> None:
    out, work = tmp_path / "out", tmp_path / ".out.hsgeo-work"
    how = {"size": 20, "steps": 2, "params": TINY, "run": RunOptions(device="cpu")}

    def stop(*_):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(drawing.Tiles, "__call__", stop)
        with pytest.raises(Stop):
            generate(folder / "s.tif", out, **how)
    assert not out.exists() and (work / "model.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr("hsgeo.tasks.generation.trained_on", None)
        with pytest.raises(ResumeError, match=r"training.steps \(3 before, 2 now\)"):
            generate(folder / "s.tif", out, **{**how, "params": TINY | {"steps": 2}}, write=WriteOptions(resume=True))
        generate(folder / "s.tif", out, **how, write=WriteOptions(resume=True))
    assert not work.exists()
    generate(folder / "s.tif", tmp_path / "again", **how)
    np.testing.assert_array_equal(rasters(out)["tile_1.tif"], rasters(tmp_path / "again")["tile_1.tif"])


def test_states_that_are_gone_are_not_made_up(folder, tmp_path: Path, monkeypatch) -> None:
    told, how = {"size": 70, "steps": 4}, RunOptions(tile=48, device="cpu")
    model = folder / "m.safetensors"
    call = drawing.States.__call__

    def stop(self, block, device):
        if self.step == 3 and block.col:
            raise Stop
        return call(self, block, device)

    monkeypatch.setattr(drawing.States, "__call__", stop)
    with pytest.raises(Stop):
        generate(folder / "s.tif", tmp_path / "out", model=model, **told, run=how)
    monkeypatch.undo()
    assert sorted(p.name for p in (tmp_path / ".out.hsgeo-work").glob("pass_*")) == ["pass_2", "pass_3"]
    shutil.rmtree(tmp_path / ".out.hsgeo-work" / "pass_2")
    with pytest.raises(ResumeError, match="lacks the states before step 3"):
        generate(folder / "s.tif", tmp_path / "out", model=model, **told, run=how, write=WriteOptions(resume=True))


def test_a_plan_says_what_would_be_done_and_does_nothing(folder, tmp_path: Path, capfd) -> None:
    out = tmp_path / "out"
    plan = GenerationJob(
        folder / "s.tif", GenerationOptions(size=3000, steps=7), model=folder / "m.safetensors", run=RunOptions()
    ).plan(out)
    assert plan["parts"] == {"count": 36, "size": 512, "passes": 7} and plan["dtype"] == "float32"
    assert plan["output_bytes"] == 3000**2 * (24 * 4 + 4 * 4 + 1)
    small = [*command(folder, out)[:4], "--size", "128", "--count", "40", "--dry-run"]
    assert run(small) == 0
    text = capfd.readouterr()
    assert "trained by the run" in text.out and "3 tasks of whole tiles" in text.out and "counts the end" in text.err
    assert run([*small, "--workers", "2", "--memory", "2GiB"]) == 0 and "tasks of whole" in capfd.readouterr().out
    assert (
        run([*small[:2], "-o", str(tmp_path / "out.tif"), "--dry-run"]) == 2
        and "without .tif" in capfd.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused_before_any_work(folder, tmp_path: Path) -> None:
    scene, model = folder / "s.tif", folder / "m.safetensors"
    for out, options, how, write, kind, said in (
        ("a.tif", {}, {}, {}, OutputWriteError, "without .tif"),
        ("a.zarr", {}, {}, {}, OutputWriteError, "--format zarr writes one store"),
        ("a", {"format": "zarr"}, {}, {"cog": True}, ParameterError, "--cog is for GeoTIFFs"),
        ("a", {"format": "netcdf"}, {}, {}, ParameterError, "one of tif, zarr"),
        ("a", {"format": "zarr"}, {}, {"creation": {"COMPRESS": "LZW"}}, ParameterError, "CHUNK and LEVEL"),
        ("a", {}, {"seed": -1}, {}, ParameterError, "--seed -1: at least 0"),
        ("a", {}, {"memory": "20MiB"}, {}, ParameterError, "too little"),
    ):
        with pytest.raises(kind, match=said):
            generate(
                scene,
                tmp_path / out,
                model=model,
                steps=2,
                **options,
                run=RunOptions(**how),
                write=WriteOptions(**write),
            )
    assert list(tmp_path.iterdir()) == []
