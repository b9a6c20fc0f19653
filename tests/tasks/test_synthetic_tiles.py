"""Tiles as torch takes them: what was written, what is drawn, in workers and by splits."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from torch.utils.data import ConcatDataset, DataLoader

import hsgeo
from hsgeo import SyntheticTiles
from hsgeo.errors import GridError, ModelError, ParameterError, SceneReadError
from hsgeo.methods.generation.hud import Hud
from hsgeo.scene import open_scene
from hsgeo.tasks import RunOptions, generate

from .conftest import COUNT, SEED, SIZE, STEPS

DRAWN = {"count": COUNT, "size": SIZE, "steps": STEPS, "seed": SEED}


def drawn(made, **more) -> SyntheticTiles:
    return SyntheticTiles.from_model(made / "m.safetensors", **DRAWN | more)


def same(one: dict, other: dict) -> None:
    """To rounding: a tile that is drawn alone goes through other sums than one that is drawn with others."""
    assert set(one) == set(other) == {"reflectance", "abundances", "classes"}
    for name, value in one.items():
        assert value.dtype == other[name].dtype and value.shape == other[name].shape
        spread = float(value.double().std())
        torch.testing.assert_close(value.double(), other[name].double(), rtol=0, atol=1e-4 * spread)


def test_samples_are_what_the_rasters_hold(made) -> None:
    tiles = SyntheticTiles(made / "tiles")
    assert len(tiles) == COUNT and tiles.classes == ["class 3", "class 7"] and tiles.class_values == [3, 7]
    np.testing.assert_array_equal(tiles.bands, np.delete(np.arange(24), 5))
    np.testing.assert_allclose(tiles.wavelengths, np.delete(np.linspace(400, 900, 24), 5))
    for i, sample in enumerate(tiles):
        stem = made / "tiles" / f"tile_{i + 1}"
        assert [v.dtype for v in sample.values()] == [torch.float32, torch.float32, torch.int64]
        want = open_scene(f"{stem}.tif", chunks=None).values
        np.testing.assert_array_equal(sample["reflectance"], np.delete(want, 5, 0))
        with rasterio.open(f"{stem}_abundances.tif") as shares, rasterio.open(f"{stem}_classes.tif") as classes:
            np.testing.assert_array_equal(sample["abundances"], shares.read())
            np.testing.assert_array_equal(np.array([3, 7])[sample["classes"]], classes.read(1))
        assert torch.isfinite(sample["reflectance"]).all() and sample["reflectance"].shape == (23, SIZE, SIZE)
    assert i == COUNT - 1


@pytest.mark.parametrize("name", ["stored", "alone.zarr"])
def test_a_store_gives_the_same(made, tmp_path, name) -> None:
    store, folder = SyntheticTiles(made / name), SyntheticTiles(made / "tiles")
    assert len(store) == COUNT and store.seeds == folder.seeds and store.classes == folder.classes
    assert store.class_values == folder.class_values
    np.testing.assert_array_equal(store.bands, folder.bands)
    np.testing.assert_allclose(store.wavelengths, folder.wavelengths)
    for one, other in zip(pickle.loads(pickle.dumps(store)), folder, strict=True):
        same(one, other)
    for split in ("train", "val"):
        assert SyntheticTiles(made / name, split).seeds == SyntheticTiles(made / "tiles", split).seeds
    place = shutil.copytree(made / name, tmp_path / name)
    inside = place if name.endswith(".zarr") else place / "tiles.zarr"
    assert "SYNTHETIC_SEED" not in str(json.loads((inside / "zarr.json").read_text())["attributes"])
    shutil.rmtree(inside / "seed")
    (inside / "zarr.json").write_text((inside / "zarr.json").read_text().replace('"seed"', '"lost"'))
    with pytest.raises(SceneReadError, match="incomplete"):
        SyntheticTiles(place)


def test_what_is_drawn_is_what_generate_writes(made) -> None:
    written, tiles = SyntheticTiles(made / "tiles"), drawn(made)
    assert tiles.classes == written.classes and tiles.seeds == written.seeds == list(range(SEED, SEED + COUNT))
    np.testing.assert_array_equal(tiles.bands, written.bands)
    np.testing.assert_allclose(tiles.wavelengths, written.wavelengths)
    for i in range(COUNT):
        same(tiles[i], written[i])
    spread = [float((tiles[0][k].float() - tiles[1][k].float()).abs().max()) for k in ("reflectance", "abundances")]
    assert min(spread) > 0.01


@pytest.mark.parametrize("stored", ["int16"])
def test_values_are_physical(made, tmp_path, stored) -> None:
    """Reflectance x 10000 on disk is reflectance in a sample, to the rounding of whole numbers."""
    scene = open_scene(made / "s.tif", chunks=None)
    scaled = scene.assign_coords(scale=("band", np.full(24, 1e-4))).assign_attrs(dtype="int16", nodata=-32768)
    options = {"count": 1, "size": SIZE, "steps": STEPS}
    generate(scaled, tmp_path / "t", model=made / "m.safetensors", **options, run=RunOptions(seed=SEED))
    with rasterio.open(tmp_path / "t" / "tile_1.tif") as tile:
        assert tile.dtypes[0] == stored
    found = SyntheticTiles(tmp_path / "t")[0]["reflectance"]
    torch.testing.assert_close(found, SyntheticTiles(made / "tiles")[0]["reflectance"], rtol=0, atol=0.51e-4)


def test_without_variability_and_noise(made, tmp_path) -> None:
    plain = drawn(made, variability=False, sensor_noise=False, count=1)
    options = {"count": 1, "size": SIZE, "steps": STEPS, "variability": False, "sensor_noise": False}
    run = RunOptions(seed=SEED)
    generate(made / "s.tif", tmp_path / "t", model=made / "m.safetensors", **options, run=run)
    same(plain[0], SyntheticTiles(tmp_path / "t")[0])
    assert float((plain[0]["reflectance"] - drawn(made)[0]["reflectance"]).std()) > 1e-3
    noiseless = drawn(made, sensor_noise=False)[0]
    off = drawn(made)[0]["reflectance"] - noiseless["reflectance"]
    assert 0 < float(off.std()) < 0.02 and torch.equal(noiseless["classes"], drawn(made)[0]["classes"])


def test_noise_at_each_step_is_a_choice(made, tmp_path) -> None:
    noisy = drawn(made, eta=1.0, count=1)[0]
    options = {"count": 1, "size": SIZE, "steps": STEPS, "eta": 1.0}
    generate(made / "s.tif", tmp_path / "t", model=made / "m.safetensors", **options, run=RunOptions(seed=SEED))
    same(noisy, SyntheticTiles(tmp_path / "t")[0])
    assert not torch.equal(noisy["abundances"], drawn(made)[0]["abundances"])


def test_classes_are_asked_for_in_turn(made, tmp_path) -> None:
    tiles = drawn(made, classes=["class 7", 3], count=4)
    for i, name in enumerate(("7", "3", "7", "3")):
        run = RunOptions(seed=SEED + i)
        options = {"count": 1, "size": SIZE, "steps": STEPS, "wanted": name}
        out = tmp_path / f"t{i}"
        generate(made / "s.tif", out, model=made / "m.safetensors", **options, run=run)
        same(tiles[i], SyntheticTiles(out)[0])
    free = drawn(made)
    assert all(not torch.equal(tiles[i]["abundances"], free[i]["abundances"]) for i in range(4))
    laid = drawn(made, layout=made / "labels.tif")[0]
    options = {"count": 1, "size": SIZE, "steps": STEPS, "layout": made / "labels.tif"}
    generate(
        made / "s.tif", tmp_path / "l", model=made / "m.safetensors", **options, run=RunOptions(seed=SEED)
    )  # fmt: skip
    same(laid, SyntheticTiles(tmp_path / "l")[0])


def test_it_is_a_sequence_as_others_are(made) -> None:
    for tiles in (SyntheticTiles(made / "tiles"), drawn(made)):
        same(tiles[-1], tiles[COUNT - 1])
        same(tiles[np.int64(1)], tiles[1])
        for index in (COUNT, -COUNT - 1):
            with pytest.raises(IndexError, match=f"of {COUNT}"):
                tiles[index]
        with pytest.raises(TypeError):
            tiles["1"]
        assert sum(1 for _ in tiles) == COUNT and f"{COUNT} tiles" in repr(tiles)
        again = pickle.loads(pickle.dumps(tiles))
        same(again[2], tiles[2])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(made, method) -> None:
    """Both kinds, after torch has been at work in this process."""
    tiles = ConcatDataset([SyntheticTiles(made / "tiles"), drawn(made)])
    first = [tiles[i] for i in range(2 * COUNT)]
    batches = list(DataLoader(tiles, batch_size=3, num_workers=2, multiprocessing_context=method))
    assert [len(batch["classes"]) for batch in batches] == [3, 3, 3, 1]
    for i, want in enumerate(first):
        same({name: value[i % 3] for name, value in batches[i // 3].items()}, want)


def test_a_batch_of_a_model_is_drawn_together(made, monkeypatch) -> None:
    tiles, calls = drawn(made), []
    states = Hud.states
    monkeypatch.setattr(Hud, "states", lambda self, *given, **more: calls.append(given) or states(self, *given, **more))
    (batch,) = DataLoader(tiles, batch_size=COUNT)
    assert len(calls) == 1 and len(batch["classes"]) == COUNT


def test_transforms_are_of_a_sample(made) -> None:
    def pixels(sample: dict) -> tuple[torch.Tensor, torch.Tensor]:
        return sample["reflectance"].flatten(1).T, sample["classes"].flatten()

    spectra, classes = SyntheticTiles(made / "tiles", transform=pixels)[0]
    plain = SyntheticTiles(made / "tiles")[0]
    assert spectra.shape == (SIZE**2, 23) and torch.equal(spectra[SIZE + 2], plain["reflectance"][:, 1, 2])
    assert int(classes[SIZE + 2]) == int(plain["classes"][1, 2])


def test_splits_are_those_of_the_catalogue_and_share_no_seed(made) -> None:
    whole = SyntheticTiles(made / "tiles")
    parts = {name: SyntheticTiles(made / "tiles", split=name) for name in ("train", "val")}
    seeds = {name: set(part.seeds) for name, part in parts.items()}
    assert seeds["train"] | seeds["val"] == set(whole.seeds) and not seeds["train"] & seeds["val"]
    assert len(parts["train"]) > len(parts["val"]) > 0
    for name, part in parts.items():
        assert drawn(made, split=name).seeds == part.seeds
        same(part[0], whole[whole.seeds.index(part.seeds[0])])
    more = drawn(made, split="val", count=500)
    assert len(more) == pytest.approx(100, abs=3) and set(more.seeds[: len(parts["val"])]) == seeds["val"]
    assert len(drawn(made, split="test", count=500, shares="0.5/0.2/0.3")) == pytest.approx(150, abs=3)


def test_values_of_labels_find_their_classes(made) -> None:
    tiles = SyntheticTiles(made / "tiles")
    values = np.array([[3, 7, 0], [5, np.nan, 9]])
    np.testing.assert_array_equal(tiles.places(values), [[0, 1, -100], [-100, -100, -100]])


def test_what_cannot_serve_says_so(made, tmp_path) -> None:
    with pytest.raises(SceneReadError, match="nowhere is no folder"):
        SyntheticTiles(tmp_path / "nowhere")
    with pytest.raises(SceneReadError, match=r"has no collection\.json"):
        SyntheticTiles(tmp_path)
    with pytest.raises(ParameterError, match=r"tiles: no tile is of the split 'valid'.*train \(\d\), val \(\d\)"):
        SyntheticTiles(made / "tiles", split="valid")
    broken = shutil.copytree(made / "tiles", tmp_path / "broken")
    (broken / "tile_2_classes.tif").unlink()
    tiles = SyntheticTiles(broken)
    tiles[0]
    with pytest.raises(SceneReadError, match=r"tile_2_classes\.tif is missing"):
        tiles[1]
    (broken / "tile_3.json").write_text("{}")
    with pytest.raises(SceneReadError, match="broken is no folder of hsgeo generate, or incomplete"):
        SyntheticTiles(broken)
    with pytest.raises(ModelError, match="no such model"):
        SyntheticTiles.from_model(tmp_path / "m.safetensors", count=1)
    for more, said in (
        ({"count": 0}, "--count 0"),
        ({"steps": 2000}, "1000 at most"),
        ({"size": 1}, "2 pixels at least"),
        ({"classes": "forest"}, "the model has class 3, class 7"),
        ({"classes": [3, "forest"]}, "the model has class 3, class 7"),
        ({"classes": 3, "layout": made / "labels.tif"}, "give one of them"),
        ({"shares": "1"}, "train/val"),
    ):
        with pytest.raises(ParameterError, match=said):
            drawn(made, **more)
    with pytest.raises(GridError, match="less than a tile of 60"):
        drawn(made, size=60, layout=made / "labels.tif")


def test_torch_is_loaded_with_it_alone() -> None:
    assert "SyntheticTiles" in dir(hsgeo)
    code = "import sys, hsgeo; a = 'torch' in sys.modules; hsgeo.SyntheticTiles; print(a, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
