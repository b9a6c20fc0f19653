"""Trained networks on disk: whole and the same again, or refused in one sentence."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hsgeo.cli.app import run
from hsgeo.errors import ModelError, OutputWriteError
from hsgeo.methods.fusion.settings import NetworkParams, ProcessParams, TrainingParams
from hsgeo.methods.fusion.weights import FORMAT, Weights, load_weights

SMALL = NetworkParams(width=4, sr_blocks=(1,), blocks=(2, 1))
ABOUT = {"ratios": [2, 8], "bands": None, "scenes": ["a", "b"], "sensors": [], "steps": 7, "validation_gain_db": 1.5}


def made(network: NetworkParams = SMALL, **about) -> Weights:
    settings = TrainingParams(network=network, process=ProcessParams(steps=3, levels=500), patches=(16, 32))
    w = Weights.untrained(settings, (7, 25, 1), seed=3)
    torch.manual_seed(4)
    with torch.no_grad():
        for value in w.network.parameters():
            value.normal_()
    return replace(w, about={**ABOUT, **about})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made().save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(
    "network",
    [SMALL, NetworkParams(width=4, sr_stream=False, fold=1), NetworkParams(kind="cdformer", width=8, depth=1, heads=2)],
)
def test_what_is_written_is_read_again_to_the_bit(tmp_path: Path, network: NetworkParams) -> None:
    first = made(network)
    first.save(tmp_path / "m.safetensors")
    again = Weights.load(tmp_path / "m.safetensors")
    assert (again.settings, again.channels, again.name) == (
        first.settings,
        first.channels,
        str(tmp_path / "m.safetensors"),
    )
    assert {k: again.about[k] for k in ABOUT} == ABOUT and again.about["version"]
    assert not again.network.training
    mine, theirs = first.network.state_dict(), again.network.state_dict()
    assert list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) for k in mine)
    inputs = torch.randn(2, 7, 9, 9), torch.rand(2), torch.randn(2, 25, 9, 9)
    with torch.inference_mode():
        assert torch.equal(first.network.eval()(*inputs), again.network(*inputs))
    again.save(tmp_path / "n.safetensors")
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.safetensors", "n.safetensors"]


def test_an_untrained_network_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (Weights.untrained(TrainingParams(network=SMALL), (7, 25, 1), s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    state = [w.network.state_dict()["signal_in.weight"] for w in (one, same, other)]
    assert torch.equal(state[0], state[1]) and not torch.equal(state[0], state[2])


def header(path: Path, **changes) -> None:
    """Rewrite a model file with another header; None takes a key out."""
    state = load_file(path)
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    about = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["hsgeo"])
    about = {k: v for k, v in {**about, **changes}.items() if v is not None}
    save_file(state, path, {"hsgeo": json.dumps(about)})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without(path: Path) -> None:
    state, about = load_file(path), made().about
    state.pop("out.weight")
    settings = {"settings": made().settings.model_dump(mode="json"), "channels": [7, 25, 1]}
    save_file(state, path, {"hsgeo": json.dumps({"format": FORMAT, "method": "hsr-diff", **settings, **about})})


DAMAGES = {
    "truncated": (cut, "not a model file"),
    "empty": (lambda p: p.write_bytes(b""), "not a model file"),
    "a few bytes": (lambda p: p.write_bytes(b"abc"), "not a model file"),
    "a text": (lambda p: p.write_text("not a model\n" * 50), "not a model file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a model file"),
    "a pickle": (lambda p: torch.save(made().network.state_dict(), p), "not a model file"),
    "no header of ours": (lambda p: save_file(load_file(p), p), "not a model of hsr-diff"),
    "a header that is no JSON": (lambda p: save_file(load_file(p), p, {"hsgeo": "{"}), "not a model file"),
    "a header that is a list": (lambda p: save_file(load_file(p), p, {"hsgeo": "[1]"}), "not a model of hsr-diff"),
    "of another method": (lambda p: header(p, method="hud"), "not a model of hsr-diff"),
    "of another format": (lambda p: header(p, format=FORMAT + 1, version="9.9"), "written by hsgeo 9.9"),
    "of no format": (lambda p: header(p, format=None), "train it again"),
    "other settings": (lambda p: header(p, settings={"network": {"kind": "unet"}}), "does not fit itself"),
    "no settings": (lambda p: header(p, settings=None), "does not fit itself"),
    "other channels": (lambda p: header(p, channels=[7, 26, 1]), "does not fit itself"),
    "two channels": (lambda p: header(p, channels=[7, 26]), "does not fit itself"),
    "channels that are a word": (lambda p: header(p, channels="abc"), "does not fit itself"),
    "a missing tensor": (without, "does not fit itself"),
    "missing": (lambda p: p.unlink(), "no such model"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_serve_is_refused_in_one_sentence(file: Path, damage: str) -> None:
    spoil, words = DAMAGES[damage]
    spoil(file)
    with pytest.raises(ModelError, match=words) as caught:
        Weights.load(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and "train" in message and "\n" not in message and len(message) < 420


@pytest.mark.parametrize("damage", ["truncated", "of another format", "missing"])
def test_the_command_line_says_so_and_ends_with_2(pair, file, tmp_path, capfd, damage: str) -> None:
    DAMAGES[damage][0](file)
    before = sorted(tmp_path.iterdir())
    for command in (
        ["fuse", *pair, "-o", tmp_path / "out.tif", "--method", "hsr-diff", "--model", file],
        ["train", "hsr-diff", *pair, "-o", tmp_path / "n.safetensors", "--start", file],
    ):
        assert run([str(a) for a in command]) == 2
        out, err = capfd.readouterr()
        assert out == "" and f"hsgeo: error: {file}: " in err and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("about", "ratio", "bands", "words"),
    [
        ({}, 9, (30, 4), r"ratios 2 to 8, the pair has 9"),
        ({}, 1, (30, 4), r"ratios 2 to 8, the pair has 1"),
        ({"ratios": [3, 3]}, 4, (30, 4), r"ratio 3, the pair has 4"),
        ({"bands": [100, 4]}, 4, (30, 4), r"100 HSI and 4 MSI bands, the pair has 30 and 4"),
        ({"bands": [30, 8]}, 4, (30, 4), r"30 HSI and 8 MSI bands"),
    ],
)
def test_pairs_that_it_was_not_made_for_are_refused(about, ratio, bands, words) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        replace(made(**about), name="mine.safetensors").refuse(ratio, bands)
    assert str(caught.value).startswith("mine.safetensors: ") and "--train" in str(caught.value)


def test_pairs_that_it_was_made_for_are_taken() -> None:
    for ratio in (2, 5, 8):
        made().refuse(ratio, (30, 4))
    made(bands=[30, 4]).refuse(4, (30, 4))
    two = made(bands=[2, 4], wavelengths=[500.0, 700.0])
    for nm in (None, [502.0, 703.0], [np.nan, 700.0]):
        two.refuse(4, (2, 4), nm)
    with pytest.raises(ModelError, match=r"other wavelengths, the pair has bands 10 nm away"):
        two.refuse(4, (2, 4), [490.0, 690.0])
    made(wavelengths=[500.0]).refuse(4, (30, 4), [900.0])  # bound to no bands
    replace(made(), about={}).refuse(31, (1, 1))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file: Path, monkeypatch) -> None:
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputWriteError, match="No space left"):
        made(steps=8).save(file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    with pytest.raises(OutputWriteError, match="nowhere"):
        made().save(file.parent / "nowhere" / "m.safetensors")


def test_a_model_is_read_once_but_not_a_day_longer(file: Path) -> None:
    first = load_weights(str(file))
    assert load_weights(str(file)) is first
    made(steps=1000).save(file)
    os.utime(file, ns=(1, 1))
    assert load_weights(str(file)).about["steps"] == 1000
    file.unlink()
    with pytest.raises(ModelError, match="no such model"):
        load_weights(str(file))


def test_on_another_device_it_is_a_copy() -> None:
    """What is kept for later fits stays where it is."""
    first = made()
    assert first.on("cpu") is first
    moved = first.on("meta")
    assert all(value.device.type == "meta" for value in moved.network.parameters())
    assert all(value.device.type == "cpu" for value in first.network.parameters())
    assert (moved.settings, moved.channels, moved.about) == (first.settings, first.channels, first.about)
