"""Ground held out of a training: where it is, that nothing of it is learned, and how a model tells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.errors import ModelError, ParameterError
from hsgeo.methods.generation.hud import Hud
from hsgeo.scene import write_scene
from hsgeo.tasks import HoldOut, held_out, train_hud
from hsgeo.tasks.hold_out import HELD, SEEN, cells, guarded

from .conftest import TINY


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.8])
def test_cells_have_the_share_and_are_spread(share: float) -> None:
    unseen = cells(640, 800, 20) < share
    blocks = unseen.reshape(32, 20, 40, 20)
    assert (blocks.all((1, 3)) == blocks.any((1, 3))).all()
    assert unseen.mean() == pytest.approx(share, abs=0.01)
    quarters = blocks.any((1, 3)).reshape(4, 8, 4, 10).mean((1, 3))
    assert np.abs(quarters - share).max() < 0.06


@pytest.mark.parametrize("guard", [0, 1, 3])
def test_the_guard_keeps_tests_away_from_what_is_seen(guard: int) -> None:
    unseen = np.random.default_rng(0).random((9, 11)).repeat(8, 0).repeat(8, 1) < 0.4
    found = guarded(unseen, guard)
    assert ((found == SEEN) == ~unseen).all()
    seen = np.argwhere(~unseen)
    for place in np.argwhere(unseen):
        away = np.abs(seen - place).max(1).min()
        assert (found[tuple(place)] == HELD) == (away > guard)


def test_nothing_of_it_is_learned(made, tmp_path) -> None:
    """A scene of nonsense there gives the same model, to the last bit; elsewhere it does not."""
    scene, labels = (hsgeo.open_scene(made / name, chunks=None).load() for name in ("s.tif", "labels.tif"))
    unseen = held_out(made / "m.safetensors").values[0] != SEEN
    rng = np.random.default_rng(3)

    def tensors(values: np.ndarray, numbers: np.ndarray) -> dict[str, np.ndarray]:
        path = tmp_path / "again.safetensors"
        hold = HoldOut.of(0.25, 12, 2)
        kinds = labels.copy(data=numbers)
        train_hud(scene.copy(data=values), path, labels=kinds, hold_out=hold, params=TINY, overwrite=True)
        return load_file(path)

    want = load_file(made / "m.safetensors")
    nonsense = np.where(unseen, rng.uniform(-50, 90, scene.shape).astype(np.float32), scene.values)
    turned = np.where(unseen, 9 + labels.values % 2, labels.values)
    found = tensors(nonsense, turned)
    assert set(found) == set(want) and all(np.array_equal(found[name], want[name]) for name in want)
    assert Hud.load(tmp_path / "again.safetensors").classes == ["class 3", "class 7"]
    other = tensors(np.where(unseen, scene.values, nonsense[:, ::-1]), labels.values)
    assert not np.array_equal(other["encoding.endmembers"], want["encoding.endmembers"])


def test_a_model_tells_what_it_has_not_seen(made, capsys) -> None:
    box = hsgeo.open_scene(made / "s.tif").odc.geobox
    told, written = held_out(made / "m.safetensors"), hsgeo.open_scene(made / "m_held_out.tif", chunks=None)
    want = guarded(cells(48, 52, 12) < 0.25, 2)
    assert told.odc.geobox == box and set(np.unique(want)) == {0, 1, 2}
    np.testing.assert_array_equal(told.values[0], want)
    np.testing.assert_array_equal(written.values[0], want)
    assert written.attrs["dtype"] == "uint8" and written.odc.geobox == box
    record = json.loads(hsgeo.open_scene(made / "tiles" / "tile_1.tif").attrs["tags"]["HSGEO_PROVENANCE"])
    pixels = {"seen": int((want == 0).sum()), "held": int((want == 2).sum())}
    assert record["held_out"] == {"what": "0.25", "cell": 12, "guard": 2, "pixels": pixels}


def test_measures_of_tiles_say_it_too(made, capsys) -> None:
    assert (
        run(["assess", str(made / "tiles"), "--reference", str(made / "s.tif"), "--no-networks", "--block", "16"]) == 0
    )
    pixels = Hud.load(made / "m.safetensors").about["held_out"]["pixels"]
    assert f"learned from {pixels['seen']} pixels of its scene, {pixels['held']} are" in capsys.readouterr().out


def test_a_raster_says_what_is_held_out(made, tmp_path, capsys) -> None:
    mask = np.zeros((1, 48, 52))
    mask[0, 20:30, 30:45] = 1
    write_scene(on_grid(mask, 30), tmp_path / "mask.tif", dtype="uint8")
    model = tmp_path / "m.safetensors"
    options = [f"--set={name}={list(v) if isinstance(v, tuple) else v}" for name, v in TINY.items()]
    command = [
        "train",
        "hud",
        str(made / "s.tif"),
        "-o",
        str(model),
        *options,
        "--hold-out",
        str(tmp_path / "mask.tif"),
    ]
    assert run([*command, "--guard", "1"]) == 0
    assert f"{8 * 13} pixels for testing, {48 * 52 - 150} learned from" in capsys.readouterr().out
    np.testing.assert_array_equal(held_out(model).values[0] > 0, mask[0] == 1)
    assert (tmp_path / "m_held_out.tif").exists()
    assert run([*command, "--json"]) == 2 and "exists" in capsys.readouterr().err
    assert run([*command[:-2], "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] is None
    assert held_out(model) is None and not (tmp_path / "m_held_out.tif").exists()


def test_what_cannot_be_held_out_says_so(made, tmp_path, capsys) -> None:
    write_scene(on_grid(np.ones((1, 48, 52)), 30), tmp_path / "all.tif", dtype="uint8")
    write_scene(on_grid(np.zeros((1, 48, 52)), 30), tmp_path / "none.tif", dtype="uint8")
    out = str(tmp_path / "no.safetensors")
    for more, said in (
        (["1.5"], "a share is above 0 and below 1"),
        (["0.01", "--hold-out-cell", "40"], "nothing of"),
        ([str(tmp_path / "all.tif")], "would be held out; give a raster that is 0 where to learn from."),
        ([str(tmp_path / "none.tif")], "nothing of"),
        ([str(tmp_path / "no.tif")], "no such file"),
        (["0.25", "--hold-out-cell", "0"], "at least 1 pixel"),
        (["0.25", "--hold-out-cell", "12", "--guard", "9"], "--guard 9"),
        (["0.25", "--hold-out-cell", "12"], "no 32 x 32 pixels are left"),
    ):
        assert run(["train", "hud", str(made / "s.tif"), "-o", out, "--hold-out", *more]) == 2
        text = capsys.readouterr().err
        assert said in text and text.count("\n") <= 2, text
    for more, said in (
        (["--hold-out-cell", "8"], "--hold-out-cell is of --hold-out"),
        (["--guard", "2"], "--guard is of --hold-out"),
        (["--hold-out", str(tmp_path / "none.tif"), "--hold-out-cell", "8"], "leave it out with a raster"),
    ):
        assert run(["train", "hud", str(made / "s.tif"), "-o", out, *more]) == 2
        assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if "no.safe" in p.name or p.name.startswith(".")] == []
    with pytest.raises(ParameterError, match="smaller cells"):
        HoldOut.of(0.5, 1000).map(hsgeo.open_scene(made / "s.tif"), 12)
    with pytest.raises(ModelError, match="no such model"):
        held_out(tmp_path / "none.safetensors")
