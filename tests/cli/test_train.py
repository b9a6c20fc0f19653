"""`hsgeo train hsr-diff`, and `hsgeo fuse` with what it makes, as a user runs them."""

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
import rasterio
import torch

from hsgeo.cli.app import run
from hsgeo.methods.fusion.weights import Weights, load_weights
from tests.conftest import spectral_fields, write_raster
from tests.methods.pairs import make_case, write_case

QUICK = """
gain: full
training:
  network: {width: 4, sr_blocks: [1], blocks: [1]}
  patches: [16]
  batch: 1
  variants: 2
  checks: 4
  learning_rate: 0.01
"""
PAIR = ["hsi.tif", "msi.tif"]
TRAIN = ["train", "hsr-diff", *PAIR, "-o", "m.safetensors"]
QUICKLY = ["--no-register", "--config", "quick.yaml", "--start", "none", "--steps", "20"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """hsi.tif (24 x 22 x 12, 20 m), msi.tif (3 bands, 10 m), scene.tif (a reference, 10 m), quick.yaml."""
    folder = tmp_path_factory.mktemp("train")
    c = make_case(shape=(24, 22), ratio=2, bands=12, windows=(((0.1, 0.2), (0.5, 0.2), (0.8, 0.2)),))
    write_case(c, folder, np.linspace(430, 900, 12), 430 + 470 * np.array([0.1, 0.5, 0.8]))
    fields = np.rint(spectral_fields(54, 60, 20)).astype(np.int16)
    write_raster(folder / "scene.tif", fields, 10, wavelengths=np.linspace(430, 1000, 20))
    (folder / "quick.yaml").write_text(QUICK)
    return folder


@pytest.fixture
def inside(made, tmp_path, monkeypatch) -> Path:
    for path in made.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new_files() -> set[str]:
    return {p.name for p in Path.cwd().iterdir()} - {"hsi.tif", "msi.tif", "scene.tif", "quick.yaml"}


def succeed(arguments, capfd) -> tuple[str, str]:
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 0, err
    return out, err


def refused(arguments, capfd, *words: str) -> str:
    """Exit code 2, one short sentence that holds the words, and nothing new on disk."""
    before = {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*")}
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 2 and out == "" and "Traceback" not in err, err
    (message,) = [line for line in err.splitlines() if line.startswith("hsgeo: error: ")]
    assert len(message) < 420
    for word in words:
        assert word in message, message
    assert {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*")} == before
    return message


def test_a_pair_is_trained_on_and_fused_by_it(inside, capfd):
    out, err = succeed([*TRAIN, *QUICKLY], capfd)
    assert new_files() == {"m.safetensors", "m.log.json", "m.png"}
    assert "20 steps" in out and "m.png" in out and "dB" in out
    assert "2 examples" in err and "step 20 of 20" in err and "held-back" in err
    command = ["fuse", *PAIR, "--method", "hsr-diff", "--model", "m.safetensors", "--no-register", "--json"]
    report = json.loads(succeed([*command, "-o", "fitted.tif"], capfd)[0])
    assert report["model"] == "m.safetensors" and "one scale down" in report["gain_of_model"] and report["steps"] == 1
    full = json.loads(succeed([*command, "-o", "full.tif", "--set", "gain=full", "--tile", "24"], capfd)[0])
    assert full["gain_of_model"] == "all of its correction taken" and full["tiles"]["done"] == 4
    succeed(["fuse", *PAIR, "--no-register", "-o", "plain.tif", "-q"], capfd)
    values = []
    for name in ("full", "plain"):
        with rasterio.open(f"{name}.tif") as source:
            values.append(source.read().astype(float))
    change = np.abs(values[0] - values[1])
    assert 0 < change.mean() < 0.05 * values[1].mean()
    out, _ = succeed([*command[:-1], "-o", "said.tif"], capfd)
    assert "m.safetensors, one step: " in out and "measured on" in out


def test_by_default_the_model_of_the_package_serves_and_is_begun_from(inside, capfd):
    few = ["--steps", "1", "--set", "patches=[16]", "--set", "batch=1", "--set", "variants=1", "--no-register"]
    succeed([*TRAIN, *few, "--set", "learning_rate=1e-9", "-q"], capfd)
    package, own = load_weights(), Weights.load("m.safetensors")
    assert own.settings.network == package.settings.network and own.about["ratios"] == [2, 2]
    for name, value in package.network.state_dict().items():
        torch.testing.assert_close(own.network.state_dict()[name], value, rtol=0, atol=1e-6)
    report = json.loads(succeed(["fuse", *PAIR, "--method", "hsr-diff", "-o", "o.tif", "--json"], capfd)[0])
    assert report["model"] == package.name and report["output"] == "o.tif"


def test_json_and_quiet(inside, capfd):
    out, err = succeed([*TRAIN, *QUICKLY, "--json", "-q", "--progress", "json"], capfd)
    report = json.loads(out)
    assert report["output"] == "m.safetensors" and report["steps"] == 20 and report["examples"] == 2
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["stage"] for line in lines} == {"examples", "train"}
    assert [line["done"] for line in lines if line["stage"] == "train"][-1] == 20
    out, err = succeed([*TRAIN, *QUICKLY, "-q", "--overwrite"], capfd)
    assert out == err == ""


def test_references_at_a_range_of_ratios(inside, capfd):
    command = ["train", "hsr-diff", "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "2-3", *QUICKLY]
    assert json.loads(succeed([*command, "--json"], capfd)[0])["examples"] == 2
    weights = Weights.load("m.safetensors")
    assert weights.about["ratios"] == [2, 3] and weights.settings.network.width == 4 and weights.settings.steps == 20
    fuse = ["fuse", *PAIR, "--method", "hsr-diff", "--model", "m.safetensors", "--no-register"]
    succeed([*fuse, "-o", "out.tif", "-q"], capfd)
    again = ["train", "hsr-diff", "scene.tif", "-o", "n.safetensors", "--reference", "--ratio", "5", *QUICKLY]
    succeed([*again, "--start", "m.safetensors", "--steps", "1", "--msi-sensor", "sentinel-2a", "-q"], capfd)
    refused([*fuse, "-o", "new.tif", "--model", "n.safetensors"], capfd, "n.safetensors", "ratio 5", "has 2", "--train")


def test_fuse_trains_first(inside, capfd):
    command = ["fuse", *PAIR, "--method", "hsr-diff", "--train", "--no-register", "--config", "quick.yaml"]
    command += ["--set", "training.steps=8", "--set", "training.network.width=8"]
    out, err = succeed([*command, "-o", "f.tif", "--json"], capfd)
    report = json.loads(out)
    assert new_files() == {"f.tif", "f.safetensors", "f.log.json", "f.png"}
    assert report["model"] == "f.safetensors" and "step 8 of 8" in err
    weights = Weights.load("f.safetensors")
    assert weights.settings.steps == 8 and weights.settings.network.width == 8 and weights.settings.patches == (16,)
    with rasterio.open("f.tif") as source:
        assert source.count == 12 and "f.safetensors" in source.tags()["HSGEO_PROVENANCE"]
    refused([*command, "-o", "f.tif"], capfd, "f.tif exists", "--overwrite")
    Path("f.tif").unlink()
    refused([*command, "-o", "f.tif"], capfd, "f.safetensors exists", "--overwrite")
    succeed([*command, "-o", "f.tif", "--resume", "-q"], capfd)  # the model is there already
    assert Path("f.tif").exists()


def test_fuse_checks_everything_before_it_trains(inside, capfd):
    command = ["fuse", *PAIR, "-o", "f.tif", "--train", "--config", "quick.yaml"]
    refused(["fuse", *PAIR, "-o", "f.tif", "--train"], capfd, "--train", "--method hsr-diff")
    command += ["--method", "hsr-diff"]
    refused([*command, "--set", "training.stepps=3"], capfd, "training.stepps", "Did you mean 'steps'")
    refused([*command, "--set", "gain=half"], capfd, "gain='half'", "fitted or full")
    refused([*command, "--set", "gian=full"], capfd, "gian", "Did you mean 'gain'")
    refused([*command, "--uncertainty", "nowhere/std.tif"], capfd, "nowhere")
    refused([*command, "--flags", "f.tif"], capfd, "different paths")
    refused([*command, "--steps", "3000", "--model", "none.safetensors"], capfd, "none.safetensors: no such model")
    Path("f.png").write_bytes(b"precious")
    refused(command, capfd, "f.png exists")
    Path("f.png").unlink()
    out, _ = succeed([*command, "--dry-run", "--samples", "4"], capfd)
    assert "f_std.tif; not written" in out and "hsr-diff, " in out and "samples 4" in out
    assert "on this pair first" in out and new_files() == set()


def test_steps_and_samples(inside, capfd):
    succeed([*TRAIN, *QUICKLY, "-q"], capfd)
    fuse = ["fuse", *PAIR, "--method", "hsr-diff", "--model", "m.safetensors", "--no-register", "-o", "o.tif"]
    more = ["--steps", "2", "--samples", "2", "--json"]
    report = json.loads(succeed([*fuse, *more], capfd)[0])
    assert (report["steps"], report["samples"]) == (2, 2) and "2 samples" in report["uncertainty"]
    assert report["outputs"] == {"uncertainty": "o_std.tif"}
    with rasterio.open("o_std.tif") as source:
        beside = source.read()
    assert len(beside) == 12 and (beside > 0).all()
    succeed([*fuse, *more, "--overwrite", "--uncertainty", "std.tif"], capfd)
    with rasterio.open("std.tif") as source:
        assert (source.read() == beside).all()
    refused([*fuse, *more], capfd, "o.tif exists")
    Path("o.tif").unlink()
    refused([*fuse, *more], capfd, "o_std.tif exists")
    refused([*fuse, "--overwrite", "--steps", "3000"], capfd, "steps is 3000", "1 to 2000")
    for option in ("--steps", "--samples"):
        assert run([*fuse, option, "0"]) == 2
    capfd.readouterr()
    for option, value in (("--model", "m.safetensors"), ("--steps", "4"), ("--samples", "2")):
        refused(
            ["fuse", *PAIR, "-o", "p.tif", option, value], capfd, f"{option}: method subspace takes none", "hsr-diff"
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*TRAIN[:2], "hsi.tif", "-o", "m.safetensors"], ["hsi.tif", "two scenes", "--reference"]),
        ([*TRAIN[:2], "hsi.tif", "msi.tif", "scene.tif", "-o", "m.safetensors"], ["two scenes"]),
        ([*TRAIN[:2], "hsy.tif", "msi.tif", "-o", "m.safetensors"], ["hsy.tif", "hsi.tif"]),
        ([*TRAIN[:2], "msi.tif", "hsi.tif", "-o", "m.safetensors"], ["msi.tif", "hsi.tif"]),
        ([*TRAIN[:2], "hsi.tif", "tiny.tif", "-o", "m.safetensors"], ["tiny.tif", "too small", "16 x 16"]),
        ([*TRAIN[:2], *PAIR, "-o", "m.pt"], ["m.pt", ".safetensors"]),
        ([*TRAIN[:2], *PAIR, "-o", "nowhere/m.safetensors"], ["nowhere"]),
        ([*TRAIN, "--ratio", "3"], ["--ratio", "--reference"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference"], ["--ratio"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "x"], ["--ratio 'x'", "2-8"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "2-"], ["--ratio '2-'", "2-8"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "8-2"], ["--ratio 8-2"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "1"], ["--ratio 1"]),
        ([*TRAIN[:2], "scene.tif", "-o", "m.safetensors", "--reference", "--ratio", "70"], ["scene.tif", "too small"]),
        ([*TRAIN[:2], "bare.tif", "-o", "m.safetensors", "--reference", "--ratio", "2"], ["bare.tif", "--sensor"]),
        ([*TRAIN, "--msi-sensor", "sentinel-2x"], ["sentinel-2x", "sentinel-2"]),
        ([*TRAIN, "--set", "stepps=3"], ["stepps", "Did you mean 'steps'"]),
        ([*TRAIN, "--set", "network.widht=3"], ["network.widht", "Did you mean 'width'"]),
        ([*TRAIN, "--set", "network.width=5"], ["network.width=5", "multiple of 2"]),
        ([*TRAIN, "--set", "network.kind=cdformer", "--set", "network.heads=3"], ["network.heads=3", "width 4"]),
        ([*TRAIN, "--set", "patches=[4]"], ["patches", "at least 8"]),
        ([*TRAIN, "--set", "patches=[]"], ["patches", "list of at least 1"]),
        ([*TRAIN, "--set", "network=[1"], ["network=[1", "YAML"]),
        ([*TRAIN, "--set", "network=3"], ["network=3"]),
        ([*TRAIN, "--set", "patches=3", "--set", "patches.x=3"], ["patches is 3 already"]),
        ([*TRAIN, "--set", "steps"], ["'steps'", "KEY=VALUE"]),
        ([*TRAIN, "--set", "process.steps=2001"], ["process.steps=2001", "2000"]),
        ([*TRAIN, "--config", "nosuch"], ["nosuch", "hsr-diff"]),
        ([*TRAIN, "--config", "scene.tif"], ["scene.tif", "YAML"]),
        ([*TRAIN, "--device", "tpu"], ["tpu"]),
        ([*TRAIN, "--start", "quick.yaml"], ["quick.yaml", "not a model file"]),
        ([*TRAIN, "--gsd", "-1"], ["-1"]),
    ],
    ids=lambda value: " ".join(value[2:]) if "train" in value else "",
)
def test_what_is_wrong_is_told_in_one_sentence(inside, capfd, arguments, words):
    with rasterio.open("msi.tif") as source:
        values = source.read()
    write_raster(Path("tiny.tif"), values[:, :20, :20], 10, wavelengths=430 + 470 * np.array([0.1, 0.5, 0.8]))
    write_raster(Path("bare.tif"), np.ones((20, 40, 40), np.int16), 10)
    refused([*arguments[:2], *QUICKLY, *arguments[2:]], capfd, *words)  # of an option given twice the last one counts


def test_wrong_usage(inside, capfd):
    for arguments in ([*TRAIN[:2]], [*TRAIN[:2], *PAIR], ["train", "hsr-dif", *PAIR], [*TRAIN, "--minutes", "-1"]):
        assert run(arguments) == 2
        assert "Traceback" not in capfd.readouterr().err
    assert new_files() == set()


def test_an_existing_model_stays(inside, capfd):
    for taken in ("m.safetensors", "m.log.json", "m.png"):
        Path(taken).write_bytes(b"precious")
        refused([*TRAIN, *QUICKLY], capfd, f"{taken} exists", "--overwrite")
        Path(taken).unlink()


def test_no_input_is_replaced_by_the_curves(inside, capfd):
    Path("m.png").symlink_to("msi.tif")
    given = [*TRAIN[:2], "hsi.tif", "m.png", *TRAIN[4:], *QUICKLY, "--overwrite"]
    refused(given, capfd, "m.png would replace the input m.png")


def start(arguments: list[str], ready) -> subprocess.Popen:
    """Start a command and wait until it is as far as `ready` says."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hsgeo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


def interrupt(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert "interrupted" in err and "--resume" in err and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_in_the_training_it_is_gone_on_with(inside, capfd):
    """Ctrl-C in `fuse --train`; the rest is that of an uninterrupted one."""
    command = ["fuse", *PAIR, "--method", "hsr-diff", "--train", "--no-register", "--config", "quick.yaml"]
    command += ["--set", "training.steps=40"]
    work = Path("f.safetensors.training")
    interrupt(start([*command, "-o", "f.tif"], (work / "state.pt").exists))
    assert new_files() == {work.name}
    refused([*command, "-o", "f.tif", "--resume", "--seed", "5"], capfd, "f.safetensors.training", "seed", "--resume")
    _, err = succeed([*command, "-o", "f.tif", "--resume"], capfd)
    assert "going on from step" in err and new_files() == {"f.tif", "f.safetensors", "f.log.json", "f.png"}
    succeed([*command, "-o", "whole.tif", "-q"], capfd)
    assert Path("f.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    with rasterio.open("f.tif") as first, rasterio.open("whole.tif") as second:
        np.testing.assert_array_equal(first.read(), second.read())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupted_among_the_examples_it_is_gone_on_with(inside, capfd):
    command = [*TRAIN, *QUICKLY, "--set", "variants=16"]
    work = Path("m.safetensors.training")
    interrupt(start(command, (work / "examples.zarr" / "2").exists))
    assert new_files() == {work.name} and not (work / "examples.json").exists()
    report = json.loads(succeed([*command, "--resume", "--json"], capfd)[0])
    assert report["examples"] == 16 and report["steps"] == 20
    assert new_files() == {"m.safetensors", "m.log.json", "m.png"}


def test_help(capfd):
    out, _ = succeed(["train", "--help"], capfd)
    assert "hsr-diff" in out and "..." not in out.split("Commands:")[1]
    out, _ = succeed(["train", "hsr-diff", "--help"], capfd)
    for word in ("--reference", "--ratio", "--start", "--minutes", "--resume", "--json", "one scale down"):
        assert word in out
    out, _ = succeed(["fuse", "--help"], capfd)
    for word in ("--model", "--train", "--samples", "hsr-diff: steps of the sampler"):
        assert word in out
