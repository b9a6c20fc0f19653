"""``hsgeo train hud`` and ``hsgeo generate``: what is written, that the seed decides it, and what cannot serve."""

from __future__ import annotations

import json
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
from tests.methods.restoration.test_subspace import noisy, truth

TINY = ["--set", "widths=[8,12]", "--set", "blocks=1", "--set", "batch=2", "--set", "crop=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A scene of int16 with a bad band and its model."""
    folder = tmp_path_factory.mktemp("generate")
    scene = on_grid(np.clip(noisy(truth((40, 44)), 0.005), 0, 3), 30, np.linspace(400, 900, 24), 10.0)
    good = np.ones(24, bool)
    good[5] = False
    scene = scene.assign_coords(good=("band", good), bad_reason=("band", np.where(good, "", "bbl")))
    write_scene(scene.assign_coords(scale=("band", np.full(24, 1e-4))), folder / "s.tif", dtype="int16", nodata=-32768)
    model = ["train", "hud", str(folder / "s.tif"), "-o", str(folder / "m.safetensors"), "--endmembers", "4"]
    assert run([*model, "--steps", "3", *TINY, "-q"]) == 0
    return folder


def generated(folder: Path, name: str, *more: str) -> Path:
    target = folder / name
    code = run(
        ["generate", str(folder / "s.tif"), "--model", str(folder / "m.safetensors"), "--size", "20", "--steps", "3",
         "-o", str(target), *more]
    )  # fmt: skip
    assert code == 0
    return target


def test_tiles_are_scenes_with_abundances_and_classes(folder: Path, capsys) -> None:
    out = generated(folder, "tiles", "--count", "3", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["tiles"] == 3 and report["endmembers"] == 4 and report["output"] == str(out)
    splits = [json.loads((out / f"tile_{i}.json").read_text())["properties"]["hsgeo:split"] for i in (1, 2, 3)]
    assert report["seed"] == 0 and report["splits"] == {name: splits.count(name) for name in ("train", "val")}
    names = {f"tile_{i}{kind}.tif" for i in (1, 2, 3) for kind in ("", "_abundances", "_classes")}
    items = {f"tile_{i}.json" for i in (1, 2, 3)}
    assert {p.name for p in out.iterdir()} == names | items | {"collection.json", "contact_sheet.png"}
    scene = hsgeo.open_scene(folder / "s.tif", chunks=None)
    corners = set()
    for i in (1, 2, 3):
        tile, shares, classes = (
            hsgeo.open_scene(out / f"tile_{i}{kind}.tif", chunks=None) for kind in ("", "_abundances", "_classes")
        )
        assert tile.shape == (24, 20, 20) and tile.attrs["dtype"] == "int16"
        assert tile.attrs["tags"]["SYNTHETIC"] == "yes"
        np.testing.assert_allclose(tile["wavelength"], scene["wavelength"])
        assert np.isnan(tile.values[5]).all() and np.isfinite(np.delete(tile.values, 5, 0)).all()
        assert (shares.values >= 0).all() and np.abs(shares.values.sum(0) - 1).max() < 1e-5
        np.testing.assert_array_equal(classes.values[0], shares.values.argmax(0) + 1)
        box = tile.odc.geobox
        assert box.crs == scene.odc.geobox.crs and box.resolution == scene.odc.geobox.resolution
        corners.add((box.affine.c, box.affine.f))
    assert len(corners) == 3
    picture = (out / "contact_sheet.png").read_bytes()
    assert picture[:4] == b"\x89PNG"


def test_seed_and_splits_are_told(folder: Path, capsys) -> None:
    generated(folder, "told", "--count", "4", "--seed", "6")
    assert "4 of 20 pixels, 3 steps, from seed 6: 3 train, 1 val" in capsys.readouterr().out


def test_the_seed_decides_tiles_and_no_other_does(folder: Path) -> None:
    def tile(where: Path, number: int) -> np.ndarray:
        return hsgeo.open_scene(where / f"tile_{number}.tif", chunks=None).values

    first = generated(folder, "a", "--count", "2", "--seed", "7", "-q")
    again = generated(folder, "b", "--count", "1", "--seed", "8", "-q")
    np.testing.assert_array_equal(tile(first, 2), tile(again, 1))
    assert np.nanstd(tile(first, 1) - tile(first, 2)) > 0
    plain = generated(folder, "c", "--count", "1", "--seed", "8", "--no-noise", "--no-variability", "-q")
    assert np.nanstd(tile(plain, 1) - tile(again, 1)) > 0
    scene = hsgeo.open_scene(folder / "s.tif", chunks=None).values
    assert np.nanmin(tile(plain, 1)) > np.nanmin(scene) - 0.1 and np.nanmax(tile(plain, 1)) < np.nanmax(scene) + 0.1


def test_splits_are_written(folder: Path) -> None:
    out = generated(folder, "split", "--count", "4", "--split", "0.5/0/0.5", "-q")
    told = [hsgeo.open_scene(out / f"tile_{i}.tif").attrs["tags"]["SYNTHETIC_SPLIT"] for i in range(1, 5)]
    assert sorted(told) == ["test", "test", "train", "train"]
    items = [json.loads((out / f"tile_{i}.json").read_text())["properties"] for i in range(1, 5)]
    assert [item["hsgeo:split"] for item in items] == told and [item["hsgeo:seed"] for item in items] == [0, 1, 2, 3]


def written_labels(folder: Path, name: str, numbers: np.ndarray, gsd: float = 30) -> Path:
    known = np.where(numbers > 0, numbers, np.nan)[None].astype(np.float32)
    write_scene(on_grid(known, gsd), folder / name, dtype="uint8", nodata=0, overwrite=True)
    return folder / name


def test_classes_are_learned_and_asked_for(folder: Path, capsys) -> None:
    numbers = np.where(np.arange(44) < 22, 3, 7) * np.ones((40, 1))
    numbers[:3] = 0
    labels, scene, model = (
        written_labels(folder, "labels.tif", numbers),
        str(folder / "s.tif"),
        str(folder / "c.safetensors"),
    )
    train = ["train", "hud", scene, "-o", model, "--endmembers", "4", "--steps", "3", *TINY]
    assert run([*train, "--labels", str(labels)]) == 0
    assert "class 3, class 7; right of" in capsys.readouterr().out
    drawn = ["generate", scene, "--model", model, "--size", "20", "--steps", "3", "-q"]
    found = {}
    for name, more in {
        "free": [],
        "3": ["--class", "3"],
        "7": ["--class", "Class 7"],
        "as": ["--labels", str(labels)],
    }.items():
        out = folder / f"asked-{name}"
        assert run([*drawn, *more, "-o", str(out)]) == 0
        found[name] = hsgeo.open_scene(out / "tile_1_abundances.tif", chunks=None).values
        classes = hsgeo.open_scene(out / "tile_1_classes.tif", chunks=None)
        assert set(np.unique(classes.values)) <= {3, 7} and classes.attrs["tags"]["CLASS_7"] == "class 7"
    again = folder / "asked-again"  # a map of classes that was drawn is a layout itself
    assert run([*drawn, "--labels", str(folder / "asked-as" / "tile_1_classes.tif"), "-o", str(again)]) == 0
    assert all(not np.array_equal(found["free"], found[name]) for name in ("3", "7", "as"))
    out, one_of_each = str(folder / "none"), np.zeros((40, 44))
    one_of_each[5, 3:5] = 3, 7
    capsys.readouterr()
    for command, said in (
        ([*drawn, "--class", "forest"], "--class 'forest': " + model + " has class 3, class 7"),
        ([*drawn, "--class", "3", "--labels", str(labels)], "give one of them"),
        ([*drawn[:-1], "--labels", str(labels), "--size", "60"], "less than a tile of 60"),
        (
            [*drawn, "--labels", str(written_labels(folder, "l2.tif", numbers + 2))],
            "l2.tif: it has class 5, and " + model + " has class 3, class 7",
        ),
        (
            ["generate", scene, "--model", str(folder / "m.safetensors"), "--class", "3"],
            "m.safetensors knows no classes",
        ),
        (["generate", scene, "--class", "3"], "--class needs a --model that was trained with labels: hsgeo train hud"),
        (["generate", scene, "--labels", str(labels)], "--labels needs a --model that was trained with labels"),
        (
            [*train[:4], f"{out}.safetensors", "--labels", str(written_labels(folder, "l3.tif", numbers, 60))],
            "on another grid",
        ),
        ([*train[:4], f"{out}.safetensors", "--labels", scene], "labels have one band, not 24"),
        (
            [*train[:4], f"{out}.safetensors", "--labels", str(written_labels(folder, "l5.tif", one_of_each))],
            "s.tif: 2 labelled pixels with data are too few for 2 classes",
        ),
        (
            [*train[:4], f"{out}.safetensors", "--labels", str(written_labels(folder, "l4.tif", 0 * numbers))],
            "no class labels",
        ),
    ):
        assert run([*command, *([] if command[0] == "train" else ["-o", out])]) == 2
        text = capsys.readouterr().err
        assert said in text and text.count("\n") <= 2, text
        assert not Path(out).exists()


def test_classes_keep_their_values_however_large(folder: Path) -> None:
    numbers = np.where(np.arange(44) < 22, 3, 90_000) * np.ones((1, 40, 1), np.float32)
    write_scene(on_grid(numbers, 30), folder / "large.tif", dtype="int32", nodata=0)
    scene, model = str(folder / "s.tif"), str(folder / "large.safetensors")
    train = ["train", "hud", scene, "-o", model, "--labels", str(folder / "large.tif"), "--endmembers", "4"]
    assert run([*train, "--steps", "3", *TINY, "-q"]) == 0
    drawn = ["generate", scene, "--model", model, "--size", "20", "--steps", "3", "--count", "4", "-q"]
    assert run([*drawn, "-o", str(folder / "large")]) == 0
    assert run([*drawn, "-o", str(folder / "large.zarr"), "--format", "zarr"]) == 0
    tiles = np.stack([hsgeo.open_scene(folder / f"large/tile_{i}_classes.tif").values[0] for i in range(1, 5)])
    assert set(np.unique(tiles)) == {3, 90_000}
    np.testing.assert_array_equal(xr.open_zarr(folder / "large.zarr", mask_and_scale=False)["classes"].values, tiles)


def test_what_cannot_serve_says_so_and_leaves_nothing(folder: Path, capsys) -> None:
    scene, model, out = (str(folder / name) for name in ("s.tif", "m.safetensors", "none"))
    write_scene(hsgeo.open_scene(scene).isel(band=slice(0, 20)), folder / "other.tif", overwrite=True)
    for more, said in (
        ([scene, "--model", model, "--count", "0"], "--count 0: at least 1"),
        ([scene, "--model", model, "--split", "0.8"], "--split '0.8': give shares of train/val"),
        ([scene, "--model", model, "--split", "0.5/0.2/0.2"], "whose sum is 1"),
        ([scene, "--model", model, "--steps", "2000"], "this process has 1000 at most"),
        ([scene, "--model", model, "--size", "1"], "--size 1: a network of 2 scales needs 2 pixels at least"),
        ([scene, "--size", "3"], "--size 3: a network of 3 scales needs 4 pixels at least"),
        ([str(folder / "other.tif"), "--model", model], "made for 24 bands"),
        ([scene, "--model", str(folder / "no.safetensors")], "no such model"),
        ([scene, "--model", model, "--set", "steps=5"], "leave them out with --model"),
        ([scene, "--set", "crop=64"], "hold no crop of 64"),
        ([model, "--model", scene], "m.safetensors is a model, not a scene; give it as --model"),
        ([scene, "--set", "crops=16"], "no parameter 'crops'"),
    ):
        assert run(["generate", *more, "-o", out]) == 2
        text = capsys.readouterr().err
        assert said in text and text.count("\n") <= 2, text
        assert not Path(out).exists()
    generated(folder, "there", "-q")
    assert run(["generate", scene, "--model", model, "-o", str(folder / "there")]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert run(["train", "hud", scene, "-o", model]) == 2 and "exists" in capsys.readouterr().err
    assert run(["train", "hud", scene, "-o", scene]) == 2
    assert run(["train", "hud", scene, "-o", out, "--endmembers", "3", "--set", "endmembers=4"]) == 2
    assert "--set endmembers=4 and --endmembers 3: give one of the two" in capsys.readouterr().err
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_nothing_but_tiles_is_ever_replaced(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def refused(said: str, target: Path | str, *more: str, scene: Path = folder / "s.tif") -> None:
        command = ["generate", str(scene), "--model", str(folder / "m.safetensors"), "--size", "20", *more]
        for again in ([], ["--dry-run"]):
            assert run([*command, "-o", str(target), "--overwrite", *again]) == 2
            text = capsys.readouterr().err
            assert said in text and text.count("\n") <= 2, text

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.txt").write_text("mine")
    refused("holds precious.txt", mine)
    (mine / "collection.json").write_text("{}")
    refused("holds collection.json", mine)
    monkeypatch.chdir(mine)
    refused("a folder of their own", ".")
    refused(f"the folder in which the input {folder / 's.tif'} lies", folder)
    assert {p.name for p in mine.iterdir()} == {"precious.txt", "collection.json"}
    for name, kind in (("tif", "tif"), ("zarr", "zarr"), ("one.zarr", "zarr")):
        out = tmp_path / name
        out.mkdir()
        for _ in range(2):  # an empty folder, then tiles
            generated(folder, str(out), "--format", kind, "--overwrite", "-q")
        (out / "contact_sheet.png.aux.xml").touch()
        generated(folder, str(out), "--format", kind, "--overwrite", "-q", "--dry-run")
        (out / "notes.txt").touch()
        refused("holds notes.txt", out, "--format", kind)
        (out / "notes.txt").unlink()
    tile = tmp_path / "tif" / "tile_1.tif"
    refused(f"the folder in which the input {tile} lies", tile.parent, scene=tile)
    assert tile.exists()


def test_a_plan_counts_its_tasks(folder: Path, capsys) -> None:
    for count, said in (("1", "1 task of whole tiles"), ("2", "2 tasks of whole tiles")):
        generated(folder, "planned", "--dry-run", "--count", count, "--tile", "20")
        assert f"work    {said}" in capsys.readouterr().out
    generated(folder, "planned", "--dry-run", "--count", "100000", "--size", "100000")
    assert f"{100000 * (100000 // 512 + 1) ** 2} parts" in capsys.readouterr().out
    assert not (folder / "planned").exists()


def test_a_training_replaces_no_input(folder: Path, capsys) -> None:
    scene, numbers = str(folder / "s.tif"), np.ones((40, 44))
    beside = str(written_labels(folder, "mine_held_out.tif", numbers))
    before = Path(beside).read_bytes()
    for more, said in (
        (["--labels", beside, "-o", beside], "mine_held_out.tif: a model is written as .safetensors"),
        (["--labels", beside, "-o", str(folder / "mine.safetensors")], f"would replace the input {beside}"),
        (["--hold-out", beside, "-o", str(folder / "mine.safetensors")], f"would replace the input {beside}"),
    ):
        assert run(["train", "hud", scene, *more, "--overwrite", "--steps", "1", *TINY]) == 2
        assert said in capsys.readouterr().err
    assert Path(beside).read_bytes() == before


def test_a_model_of_other_units_is_noted(folder: Path, tmp_path: Path, capsys) -> None:
    scene = hsgeo.open_scene(folder / "s.tif", chunks=None)
    write_scene(scene.copy(data=scene.values * 1e4), tmp_path / "counts.tif", dtype="float32")
    for name, said in (("counts.tif", True), ("s.tif", False)):
        place = (tmp_path if said else folder) / name
        more = ["--model", str(folder / "m.safetensors"), "-o", str(tmp_path / f"of_{said}"), "--dry-run"]
        assert run(["generate", str(place), *more]) == 0
        assert ("it was trained in other units" in capsys.readouterr().err) == said


def test_seeds_begin_with_0_and_end(folder: Path, capsys) -> None:
    scene, model, out = (str(folder / name) for name in ("s.tif", "new.safetensors", "new"))
    for command in (
        ["train", "hud", scene, "-o", model],
        ["train", "hsr-diff", scene, scene, "-o", model],
        ["generate", scene, "-o", out],
        ["unmix", scene, "-o", f"{out}.tif"],
        ["restore", scene, "--task", "denoise", "-o", f"{out}.tif"],
        ["fuse", scene, scene, "-o", f"{out}.tif"],
        ["simulate", scene, "--ratio", "2", "-o", out],
        ["assess", out, "--reference", scene],
        ["demo", "-o", out],
    ):
        for seed in (-1, 2**62):
            assert run([*command, "--seed", str(seed)]) == 2
            assert f"--seed {seed}: at least 0 and below" in capsys.readouterr().err
        assert not [p for p in folder.iterdir() if p.name.startswith("new")]
    generated(folder, "last", "--seed", str(2**62 - 1), "--format", "zarr", "--count", "2", "-q")
    with pytest.raises(ParameterError, match="--seed -1: at least 0"):
        hsgeo.SyntheticTiles.from_model(folder / "m.safetensors", count=1, seed=-1)


def test_a_scene_must_have_a_crs_and_more_than_one_pixel(folder: Path, tmp_path: Path, capsys) -> None:
    scene = hsgeo.open_scene(folder / "s.tif", chunks=None)
    write_scene(scene.isel(y=slice(0, 1), x=slice(0, 1)), tmp_path / "one.tif")
    with (
        rasterio.open(folder / "s.tif") as raster,
        rasterio.open(tmp_path / "bare.tif", "w", **{**raster.profile, "crs": None}) as copy,
    ):
        copy.write(raster.read())
    bare, model, out = str(tmp_path / "bare.tif"), str(folder / "m.safetensors"), str(tmp_path / "none")
    for more in ([], ["--dry-run"], ["--model", model], ["--model", model, "--dry-run"]):
        assert run(["generate", bare, *more, "-o", out, "--progress", "json"]) == 2
        text = capsys.readouterr().err
        assert "bare.tif has no CRS; assign one" in text and "train" not in text
    assert run(["train", "hud", bare, "-o", f"{out}.safetensors"]) == 2
    assert "bare.tif has no CRS; assign one" in capsys.readouterr().err
    assert run(["train", "hud", str(tmp_path / "one.tif"), "-o", f"{out}.safetensors"]) == 2
    assert "one.tif: one pixel alone has data" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"one.tif", "bare.tif"}
