"""Training from scenes to a model: what is written, interruptions, and what cannot be trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr

from hsgeo.engine.progress import NullProgress, Stage
from hsgeo.errors import BandError, DataError, OutputExistsError, OutputWriteError, ParameterError, ResumeError
from hsgeo.methods.fusion.examples import ExampleStore
from hsgeo.methods.fusion.training import Training
from hsgeo.methods.fusion.weights import Weights
from hsgeo.scene import open_scene
from hsgeo.sensors import Band
from hsgeo.simulation.reduced import GAUSSIAN_MSI
from hsgeo.tasks import FusionJob, FusionOptions, RunOptions, WriteOptions, train
from hsgeo.tasks.examples import _part, jittered, variants
from hsgeo.tasks.training import settings_of
from tests.conftest import spectral_fields, write_raster
from tests.methods.pairs import make_case, write_case

QUICK: dict[str, Any] = {
    "network": {"width": 4, "sr_blocks": [1], "blocks": [1]},
    "patches": [16],
    "batch": 1,
    "variants": 2,
    "checks": 3,
    "steps": 6,
}
PLAIN = FusionOptions(register=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """hsi.tif (30 x 32 x 16, 20 m), msi.tif (4 bands, 10 m), scene.tif and other.tif (references, 10 m)."""
    folder = tmp_path_factory.mktemp("training")
    nm = np.linspace(430, 900, 16)
    write_case(make_case(shape=(30, 32), ratio=2, bands=16), folder, nm, 430 + 470 * np.array([0.1, 0.35, 0.6, 0.85]))
    for seed, name in enumerate(("scene", "other")):
        fields = np.rint(spectral_fields(60, 66 - 6 * seed, 24, seed))
        write_raster(folder / f"{name}.tif", fields.astype(np.int16), 10, wavelengths=np.linspace(430, 1000, 24))
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A working folder with the scenes."""
    for path in made.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inside(place, monkeypatch) -> Path:
    """The same without the time that curves take."""
    monkeypatch.setattr("hsgeo.tasks.training.draw_curves", lambda log, path: path.write_bytes(b"drawn"))
    return place


def new_files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"hsi.tif", "msi.tif", "scene.tif", "other.tif"}


def trained(output: str = "m.safetensors", *inputs: str, **changes: Any) -> dict[str, Any]:
    given = {"start": None, "params": QUICK, "options": PLAIN, "device": "cpu"} | changes
    return train(list(inputs) or ["hsi.tif", "msi.tif"], output, **given)


class Interrupts(NullProgress):
    """Ctrl-C after some units of a stage."""

    def __init__(self, name: str, after: int) -> None:
        super().__init__()
        self.name, self.after = name, after

    def stage(self, name: str, total: float | None = None) -> Stage:
        stage = super().stage(name, total)
        if name == self.name:
            advance = stage.advance

            def stopped(n: float = 1) -> None:
                advance(n)
                if stage.done >= self.after:
                    raise KeyboardInterrupt

            stage.advance = stopped  # type: ignore[method-assign]
        return stage


def test_a_pair_gives_a_model_its_log_and_its_curves(place):
    said: list[str] = []
    report = trained(said=said.append)
    assert new_files(place) == {"m.safetensors", "m.log.json", "m.png"}
    weights, log = Weights.load("m.safetensors"), json.loads(Path("m.log.json").read_text())
    assert weights.about["ratios"] == [2, 2] and weights.about["scenes"] == ["hsi.tif", "msi.tif"]
    assert weights.about["steps"] == 6 and weights.settings == settings_of(QUICK) and weights.about["bands"] is None
    assert [e["step"] for e in log["entries"]] == [0, 2, 4, 6] and log["entries"][0]["loss"] is None
    assert all(np.isfinite(e["loss"]) for e in log["entries"][1:]) and log["report"] == report
    assert report["validation_gain_db"] == max(e["validation_gain_db"] for e in log["entries"])
    assert report["parameters"] == sum(v.numel() for v in weights.network.parameters()) and report["steps"] == 6
    assert report["examples"] == 2 and report["seconds"] > 0 and report["loss"] == log["entries"][-1]["loss"]
    with rasterio.open("m.png") as picture:
        assert picture.driver == "PNG" and picture.height > 300 and np.ptp(picture.read()) > 100
    assert said[0].startswith("making examples") and "2 examples" in said[1] and "6 steps" in said[1]
    assert [text.split(",")[0] for text in said[2:6]] == [f"step {n} of 6" for n in (0, 2, 4, 6)]
    best = max(log["entries"], key=lambda e: e["validation_gain_db"])["step"]
    assert said[6:] == ([f"the weights of step {best} are kept: they are the best"] if best < 6 else [])


def test_the_seed_decides_everything(inside):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(name))
        trained(f"{name}.safetensors", seed=seed)
    a, b, c = (Path(f"{n}.safetensors").read_bytes() for n in "abc")
    assert a == b and a != c


def test_references_serve_a_range_of_ratios_in_turn(inside, monkeypatch):
    names: list[tuple[str, int]] = []
    add = ExampleStore.add
    monkeypatch.setattr(ExampleStore, "add", lambda self, e: (names.append((e.name, e.ratio)), add(self, e)))
    trained("m.safetensors", "scene.tif", "other.tif", reference=True, ratio=(2, 3), params={**QUICK, "variants": 4})
    assert [n for n, _ in names[:4]] == ["scene", "other"] * 2 and {r for _, r in names} == {2, 3} and len(names) == 8
    about = Weights.load("m.safetensors").about
    assert about["ratios"] == [2, 3] and about["scenes"] == ["scene.tif", "other.tif"] and about["sensors"] == []


def test_an_example_of_a_reference_tells_its_fusion_from_the_truth(inside, monkeypatch):
    """The weighted mean square of the targets is 1; a network that says nothing would leave that error."""
    seen = []
    for example in variants(open_scene("scene.tif", chunks=None), (2, 4), [GAUSSIAN_MSI], 0, settings_of(QUICK)):
        known = np.isfinite(example.target)
        assert known.all() and example.target.shape[1:] == (1, *example.own.shape[2:])
        assert example.target.shape[-1] % example.ratio == 0 and 57 <= example.target.shape[-1] <= 66
        squares = (example.target**2).mean((1, 2, 3))
        assert example.weight @ squares == pytest.approx(1, rel=1e-4)
        seen.append((example.ratio, example.target.shape[-2:]))
    assert len(seen) == 2


def test_bands_are_left_out_and_moved_but_never_too_many():
    bands = [Band(str(i), 500.0 + 50 * i, 30.0) for i in range(10)]
    drawn = [jittered(bands, np.random.default_rng(seed), 0.6) for seed in range(60)]
    assert {len(d) for d in drawn} == {7, 8, 9, 10}
    first = {b.name: b for b in bands}
    moves = np.array([b.centre_nm - first[b.name].centre_nm for d in drawn for b in d])
    widths = np.array([b.fwhm_nm / 30 for d in drawn for b in d])
    assert (
        6 < moves.std() < 10
        and abs(moves.mean()) < 1.5
        and 1 / 1.301 < widths.min() < 0.8 < 1.25 < widths.max() < 1.301
    )
    assert all(int(a.name) < int(b.name) for d in drawn for a, b in pairwise(d))
    assert {len(jittered(bands[:2], np.random.default_rng(s), 0.6)) for s in range(9)} == {2}
    assert {len(jittered(bands, np.random.default_rng(s), 1.0)) for s in range(9)} == {10}


@pytest.mark.parametrize("after", [3, 6])
def test_resumed_ends_where_an_uninterrupted_training_does(inside, after):
    trained("whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        trained(progress=Interrupts("train", after))
    assert new_files(inside) == {"whole.safetensors", "whole.log.json", "whole.png", "m.safetensors.training"}
    said: list[str] = []
    report = trained(resume=True, said=said.append)
    assert said[0] == {3: "going on from step 2", 6: "going on from step 4"}[after]
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes() and report["steps"] == 6
    assert {n for n in new_files(inside) if n.startswith("m.")} == {"m.safetensors", "m.log.json", "m.png"}
    entries = [json.loads(Path(f"{n}.log.json").read_text())["entries"] for n in ("m", "whole")]
    mine, theirs = ([{k: v for k, v in e.items() if k != "seconds"} for e in each] for each in entries)
    assert mine == theirs


def test_interrupted_among_the_examples(inside, monkeypatch):
    trained("whole.safetensors")
    add = ExampleStore.add

    def stopped(self: ExampleStore, example: Any) -> None:
        add(self, example)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExampleStore, "add", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained()
    assert len(ExampleStore("m.safetensors.training/examples.zarr")) == 1
    assert trained(resume=True)["examples"] == 2
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert not Path("m.safetensors.training").exists()


def test_without_resume_an_interrupted_training_is_begun_anew(inside):
    with pytest.raises(KeyboardInterrupt):
        trained(progress=Interrupts("train", 4))
    said: list[str] = []
    trained(said=said.append)
    assert any("step 0 of 6" in text for text in said) and not any("going on" in text for text in said)
    assert new_files(inside) == {"m.safetensors", "m.log.json", "m.png"}


def test_resume_needs_the_same_training(inside):
    with pytest.raises(KeyboardInterrupt):
        trained(progress=Interrupts("train", 2))
    for differs, changes in {
        "seed": {"seed": 1},
        "settings": {"params": {**QUICK, "steps": 7}},
        "options": {"options": FusionOptions(register=False, gsd=20 / 3)},
        "inputs": {"inputs": ("hsi.tif", "other.tif")},
        "ratios": {"inputs": ("hsi.tif", "msi.tif"), "reference": True, "ratio": 2},
        "msi_sensors": {"msi_sensors": ["sentinel-2a"]},
    }.items():
        with pytest.raises(ResumeError, match=rf"m\.safetensors\.training: .*differs in {differs}\."):
            trained("m.safetensors", *changes.pop("inputs", ()), resume=True, **changes)
    shutil.copy("hsi.tif", "as_it_was.tif")
    with rasterio.open("hsi.tif", "r+") as file:
        file.write(file.read() + 1)
    with pytest.raises(ResumeError, match=r"differs in inputs\."):
        trained(resume=True)
    shutil.copy("as_it_was.tif", "hsi.tif")
    assert trained(resume=True)["steps"] == 6


def test_resume_needs_the_same_start(inside):
    trained("start.safetensors")
    begun = {"start": "start.safetensors", "params": {**QUICK, "seen_noise": 0.4}}
    with pytest.raises(KeyboardInterrupt):
        trained(progress=Interrupts("train", 2), **begun)
    trained("start.safetensors", seed=3, overwrite=True)
    with pytest.raises(ResumeError, match=r"differs in start_weights\."):
        trained(resume=True, **begun)


def test_a_fusion_is_not_gone_on_with_by_another_network(inside):
    """Tiles that are done are another network's where the file has been written anew."""
    trained("w.safetensors")
    given = {
        "options": replace(PLAIN, method="hsr-diff"),
        "run": RunOptions(tile=32),
        "params": {"model": "w.safetensors"},
    }
    with pytest.raises(KeyboardInterrupt):
        FusionJob("hsi.tif", "msi.tif", progress=Interrupts("apply", 1), **given).write("o.tif")
    shutil.copy("w.safetensors", "kept.safetensors")
    trained("w.safetensors", seed=1, overwrite=True)
    go_on = WriteOptions(resume=True)
    with pytest.raises(ResumeError, match="weights"):
        FusionJob("hsi.tif", "msi.tif", **given).write("o.tif", go_on)
    other = {**given, "params": {**given["params"], "gain": "full"}}
    with pytest.raises(ResumeError, match=r"o\.tif: .*parameters\.gain"):  # before anything is trained for it
        FusionJob("hsi.tif", "msi.tif", **other).write("o.tif", go_on, prepare=lambda: pytest.fail("trained"))
    shutil.copy("kept.safetensors", "w.safetensors")
    assert FusionJob("hsi.tif", "msi.tif", **given).write("o.tif", go_on)["tiles"]["resumed"] == 1


def test_a_large_reference_is_cut_into_the_same_parts_for_all_ratios(monkeypatch):
    scene = xr.DataArray(np.arange(50 * 90).reshape(1, 50, 90), dims=("band", "y", "x"))
    monkeypatch.setattr("hsgeo.tasks.examples.PART", 40)
    parts = {
        tuple(part.values[0][[0, -1], [0, -1]]) for part in (_part(scene, np.random.default_rng(k)) for k in range(99))
    }
    corners = {(y * 90 + x, (y + 24) * 90 + x + 29) for y in (0, 25) for x in (0, 30, 60)}
    assert parts == corners  # they touch and do not overlap
    monkeypatch.setattr("hsgeo.tasks.examples.PART", 90)
    assert _part(scene, np.random.default_rng(0)).shape == scene.shape


def test_what_is_too_small_for_a_strip_is_said_to_have_none(inside):
    case = make_case(shape=(20, 32), ratio=2, bands=16)
    nm = np.linspace(430, 900, 16)
    Path("small").mkdir()
    write_case(case, Path("small"), nm, 430 + 470 * np.array([0.1, 0.35, 0.6, 0.85]))
    said: list[str] = []
    report = trained("m.safetensors", "small/hsi.tif", "small/msi.tif", said=said.append)
    assert not report["held_back"] and any("what it is trained on (too small" in text for text in said)
    said.clear()
    assert trained("n.safetensors", said=said.append)["held_back"] and any(
        "the held-back strip" in text for text in said
    )


def test_resume_with_nothing_to_resume(inside):
    said: list[str] = []
    report = trained(resume=True, said=said.append)
    assert said[0].startswith("nothing to resume") and report["steps"] == 6
    before = Path("m.safetensors").stat().st_mtime_ns
    assert trained(resume=True) == report  # it has ended: there is its report
    assert Path("m.safetensors").stat().st_mtime_ns == before
    with pytest.raises(OutputExistsError, match=r"m\.safetensors"):
        trained(resume=True, seed=5)


def test_a_model_that_cannot_be_written_can_be_had_by_resume(inside, monkeypatch):
    def full(self: Weights, path: Path) -> None:
        raise OutputWriteError(f"{path}: disk full.")

    with monkeypatch.context() as patch:
        patch.setattr(Weights, "save", full)
        with pytest.raises(OutputWriteError):
            trained()
    assert new_files(inside) == {"m.safetensors.training"}
    steps: list[str] = []
    trained(resume=True, said=steps.append)
    assert "going on from step 6" in steps[0] and Path("m.safetensors").exists()


def test_time_is_up(inside):
    report = trained(minutes=0.0)
    assert report["steps"] == 1 and Weights.load("m.safetensors").about["steps"] == 1
    steps = [e["step"] for e in json.loads(Path("m.log.json").read_text())["entries"]]
    assert steps == [0, 1]


def test_limited_time_holds_the_whole_schedule(inside, monkeypatch):
    monkeypatch.setattr(Training, "pace", lambda self: 20.0)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        trained(minutes=1.0, said=said.append, progress=Interrupts("train", 1))
    assert said[1].endswith("about 60 s for 3 steps at most") and "step 0 of 3" in said[2]
    # it turns out that there is time for more; so it does when it goes on
    assert trained(minutes=1.0)["steps"] == 6
    assert Weights.load("m.safetensors").settings.steps == 6
    with pytest.raises(KeyboardInterrupt):
        trained(minutes=1.0, progress=Interrupts("train", 2), overwrite=True)
    monkeypatch.setattr(Training, "pace", lambda self: 6.0)
    said.clear()
    trained(minutes=1.0, said=said.append, resume=True, overwrite=True)
    assert said[0].startswith("going on from step")
    assert said[1].endswith("steps at most") and Weights.load("m.safetensors").about["steps"] == 6


def test_training_goes_on_from_a_model_and_keeps_its_network(inside):
    trained("first.safetensors")
    few = {**QUICK, "steps": 1, "learning_rate": 1e-9, "average": 0.0}
    with pytest.raises(ParameterError, match=r"first\.safetensors: goes on with its own network"):
        trained(start="first.safetensors", params={**few, "network": {"width": 8}})
    trained(start="first.safetensors", params={name: v for name, v in few.items() if name != "network"})
    first, again = Weights.load("first.safetensors"), Weights.load("m.safetensors")
    assert again.settings.network == first.settings.network and again.settings.steps == 1
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=0, atol=1e-6)
    assert any(value.abs().sum() > 0 for name, value in again.network.state_dict().items() if name.startswith("out"))


def test_arrays_are_trained_on_as_files_are(inside):
    trained("a.safetensors")
    hsi, msi = (open_scene(f"{n}.tif") for n in ("hsi", "msi"))
    train([hsi, msi], "b.safetensors", start=None, params=QUICK, options=PLAIN, device="cpu")
    a, b = (Weights.load(f"{n}.safetensors").network.state_dict() for n in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("inputs", "changes", "error", "words"),
    [
        (["hsi.tif"], {}, ParameterError, r"hsi\.tif: give two scenes"),
        (["hsi.tif", "msi.tif", "scene.tif"], {}, ParameterError, "give two scenes"),
        ([], {"ratio": 3}, ParameterError, "--ratio is for --reference"),
        (["scene.tif"], {"reference": True}, ParameterError, "needs --ratio"),
        (["scene.tif"], {"reference": True, "ratio": 1}, ParameterError, "--ratio 1: "),
        (["scene.tif"], {"reference": True, "ratio": (4, 2)}, ParameterError, "--ratio 4-2: "),
        ([], {"output": "m.pt"}, ParameterError, r"m\.pt: .*\.safetensors"),
        ([], {"output": "nowhere/m.safetensors"}, OutputWriteError, "nowhere"),
        ([], {"output": "hsi.tif/m.safetensors"}, OutputWriteError, r"hsi\.tif"),
        ([], {"params": {"widht": 3}}, ParameterError, "widht"),
        ([], {"params": {"network": {"widht": 3}}}, ParameterError, r"network\.widht: .*Did you mean 'width'"),
        ([], {"params": {"patches": [4]}}, ParameterError, "at least 8"),
        (["scene.tif"], {"reference": True, "ratio": 70}, DataError, r"scene\.tif: too small"),
        (["hsi.tif", "tiny.tif"], {}, DataError, r"hsi\.tif and tiny\.tif: too small.*16 x 16"),
        (["scene.tif"], {"reference": True, "ratio": 2, "msi_sensors": ["nosuch"]}, Exception, "nosuch"),
        (["plain.tif"], {"reference": True, "ratio": 2}, BandError, r"plain\.tif has no wavelengths"),
        (["thermal.tif"], {"reference": True, "ratio": 2}, BandError, r"8000-12000 nm of thermal\.tif"),
    ],
)
def test_what_cannot_be_trained_on_leaves_nothing(inside, inputs, changes, error, words):
    with rasterio.open("msi.tif") as source:
        values = source.read()
    write_raster(Path("tiny.tif"), values[:, :20, :20], 10, wavelengths=430 + 470 * np.array([0.1, 0.35, 0.6, 0.85]))
    write_raster(Path("plain.tif"), np.ones((24, 60, 60), np.int16), 10)
    write_raster(Path("thermal.tif"), np.ones((24, 60, 60), np.int16), 10, wavelengths=np.linspace(8000, 12000, 24))
    before = new_files(inside)
    given = dict(changes)
    with pytest.raises(error, match=words) as caught:
        trained(given.pop("output", "m.safetensors"), *inputs, **given)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert new_files(inside) == before


@pytest.mark.parametrize("taken", ["m.safetensors", "m.log.json", "m.png"])
def test_nothing_is_replaced_unless_asked_for(inside, taken):
    Path(taken).write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=taken):
        trained()
    assert Path(taken).read_bytes() == b"precious" and new_files(inside) == {taken}
    trained(overwrite=True)
    assert Path(taken).read_bytes() != b"precious"
