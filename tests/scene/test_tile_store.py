"""The store of many tiles, as xarray alone sees it and as scenes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import xarray as xr

from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.errors import SceneReadError
from hsgeo.scene import open_scene, write_scene
from hsgeo.scene.labels import class_names
from hsgeo.scene.tile_store import MARKS, is_tile_store, open_tiles
from tests.methods.restoration.test_subspace import noisy, truth

TINY = ["--set", "widths=[8,12]", "--set", "blocks=1", "--set", "batch=2", "--set", "crop=16", "--set", "steps=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene of int16 with a bad band, labels, and its tiles in both formats, whole and in parts."""
    folder = tmp_path_factory.mktemp("tiles")
    scene = on_grid(np.clip(noisy(truth((60, 64)), 0.005), 0, 3), 30, np.linspace(400, 900, 24), 10.0)
    good = np.arange(24) != 5
    scene = scene.assign_coords(good=("band", good), bad_reason=("band", np.where(good, "", "bbl")))
    scene = scene.assign_coords(scale=("band", np.full(24, 1e-4)), band_name=("band", [f"b {i}" for i in range(24)]))
    write_scene(scene, folder / "s.tif", dtype="int16", nodata=-32768)
    classes = np.where(np.arange(64) < 32, 3, 7) * np.ones((1, 60, 1))
    write_scene(on_grid(classes.astype(np.float32), 30), folder / "labels.tif", dtype="uint8", nodata=0)
    scene, model, labels = (str(folder / name) for name in ("s.tif", "m.safetensors", "labels.tif"))
    assert run(["train", "hud", scene, "-o", model, "--endmembers", "4", "--labels", labels, *TINY, "-q"]) == 0
    drawn = ["generate", scene, "--model", model, "--count", "3", "--size", "40", "--steps", "2", "-q"]
    for out, more in (
        ("tifs", []),
        ("both", ["--format", "zarr"]),
        ("store.zarr", ["--format", "zarr", "--tile", "24", "--co", "CHUNK=16"]),
    ):
        assert run([*drawn, "-o", str(folder / out), *more]) == 0
    return folder


@pytest.mark.parametrize("name", ["both/tiles.zarr", "store.zarr"])
def test_xarray_alone_sees_physical_values_and_places(folder, name) -> None:
    dataset = xr.open_zarr(folder / name)
    assert dataset["reflectance"].dims == ("tile", "band", "y", "x") and dataset.attrs["synthetic"] is True
    assert dataset["abundances"].dims == ("tile", "endmember", "y", "x")
    assert dataset["classes"].dims == ("tile", "y", "x")
    assert dataset["endmember"].values.tolist() == [f"endmember {i}" for i in range(1, 5)]
    np.testing.assert_allclose(dataset["wavelength"].values, np.linspace(400, 900, 24))
    assert "good" in dataset["reflectance"].coords and not dataset["good"].values[5]
    kinds = dataset["classes"].attrs
    assert kinds["flag_values"] == [3, 7] and kinds["flag_meanings"] == "class_3 class_7"
    for i in range(3):
        one = dataset.isel(tile=i)
        for part in ("reflectance", "abundances", "classes"):
            beside = "" if part == "reflectance" else f"_{part}"
            with rasterio.open(folder / f"tifs/tile_{i + 1}{beside}.tif") as source:
                scene = open_scene(source.name, chunks=None)
                values = one[part].values.reshape(scene.shape)
                step = 1.1e-4 if part == "reflectance" else 1e-4  # one of the stored integers, where parts differ
                expected = np.nan_to_num(scene.values, nan=-1)
                close = np.abs(np.nan_to_num(values.astype(float), nan=-1) - expected) <= step
                assert close.mean() > (0.999 if part == "classes" else 0.9999)
                assert source.transform.to_gdal() == tuple(one["geotransform"].values)
                assert dataset["spatial_ref"].attrs["crs_wkt"] == source.crs.to_wkt() or source.crs == rasterio.CRS(
                    rasterio.CRS.from_wkt(dataset["spatial_ref"].attrs["crs_wkt"])
                )


def test_tiles_are_scenes(folder) -> None:
    for i, (name, scene, classes) in enumerate(open_tiles(folder / "both/tiles.zarr"), 1):
        beside = open_scene(folder / f"tifs/tile_{i}.tif", chunks=None)
        assert name == f"tiles.zarr, tile {i}" and scene.odc.geobox == beside.odc.geobox
        np.testing.assert_array_equal(scene.values, beside.values)
        np.testing.assert_array_equal(scene.isel(band=[3, 0], y=slice(5, 30, 4), x=7), beside.values[[3, 0], 5:30:4, 7])
        for key in ("band_name", "wavelength", "good", "bad_reason", "scale"):
            np.testing.assert_array_equal(scene[key].values, beside[key].values)
        kinds = open_scene(folder / f"tifs/tile_{i}_classes.tif", chunks=None)
        np.testing.assert_array_equal(classes.values, kinds.values)
        assert set(np.unique(classes.values)) <= {3, 7} and scene.attrs["tags"]["SYNTHETIC"] == "yes"
        for mark in MARKS:
            assert scene.attrs["tags"][mark] == beside.attrs["tags"][mark]
        assert class_names(classes.attrs["tags"]) == class_names(kinds.attrs["tags"]) == {3: "class 3", 7: "class 7"}


def test_catalogues_tell_alike_how_scaled_integers_are_stored(folder) -> None:
    for i in (1, 2, 3):
        raster, store = (
            json.loads((folder / name / f"tile_{i}.json").read_text())["assets"] for name in ("tifs", "both")
        )
        for name, asset in store.items():
            assert asset["raster:bands"] == raster[name]["raster:bands"]
        first = store["reflectance"]["raster:bands"][0]
        assert (first["data_type"], first["nodata"], first["scale"], first["offset"]) == ("int16", -32768, 1e-4, 0)


def test_a_store_is_assessed_as_its_tiles(folder, capfd) -> None:
    found = {}
    rest = ["--reference", str(folder / "s.tif"), "--labels", str(folder / "labels.tif"), "--no-networks", "--json"]
    for name in ("tifs", "both", "both/tiles.zarr"):
        assert run(["assess", str(folder / name), *rest, "--stride", "4"]) == 0
        found[name] = json.loads(capfd.readouterr().out)
    for name in ("both", "both/tiles.zarr"):
        assert found[name]["measured"]["tiles"] == 3
        for key in ("point_fidelity", "block_diversity", "layout_distance"):
            assert found[name][key] == pytest.approx(found["tifs"][key], rel=1e-6)
        assert found[name]["memorisation"][0]["tile"].startswith("tiles.zarr, tile ")


def test_what_is_no_such_store(folder, tmp_path) -> None:
    write_scene(open_scene(folder / "s.tif"), tmp_path / "scene.zarr")
    assert not is_tile_store(tmp_path / "scene.zarr") and not is_tile_store(tmp_path)
    with pytest.raises(SceneReadError, match="generate --format zarr"):
        list(open_tiles(tmp_path / "scene.zarr"))
    with pytest.raises(SceneReadError, match="holds generated tiles"):
        open_scene(folder / "both/tiles.zarr")
    items = {f"tile_{i}.json" for i in (1, 2, 3)}
    assert {p.name for p in (folder / "both").iterdir()} == items | {
        "tiles.zarr",
        "contact_sheet.png",
        "collection.json",
    }
    assert (folder / "store.zarr/contact_sheet.png").read_bytes()[:4] == b"\x89PNG"
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
