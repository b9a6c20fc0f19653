"""``hsgeo assess`` of generated tiles: folders, companions, what is refused, and what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsgeo.cli.app import run
from hsgeo.scene import open_scene, write_scene
from tests.conftest import NM, spectral_fields, write_raster

FAST = ["--no-networks", "--stride", "4"]


def succeed(arguments, capfd):
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 0, err
    return out, err


def refused(arguments, capfd, *words):
    assert run([str(a) for a in arguments]) == 2
    out, err = capfd.readouterr()
    message = [line for line in err.splitlines() if line.startswith("hsgeo: error: ")]
    assert out == "" and len(message) == 1 and "Traceback" not in err
    for word in words:
        assert word in message[0], message[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """scene.tif of 64 x 72 pixels, and tiles/ with two crops of it, each with companions that are no tiles."""
    monkeypatch.chdir(tmp_path)
    data = spectral_fields(64, 72, 40) + 20 * np.random.default_rng(0).standard_normal((40, 64, 72))
    scene = np.rint(data).astype(np.int16)
    write_raster(Path("scene.tif"), scene, 30, wavelengths=NM)
    write_raster(Path("labels.tif"), (scene[:1] > np.median(scene[0])).astype(np.uint8) + 1, 30)
    Path("tiles").mkdir()
    for name, y, x in (("one", 8, 12), ("two", 32, 40)):
        cut = scene[:, y : y + 32, x : x + 32]
        write_raster(Path(f"tiles/{name}.tif"), cut, 30, wavelengths=NM, left=8e5)
        write_raster(Path(f"tiles/{name}_abundances.tif"), cut[:3].astype(np.float32), 30)
        classes = (cut[:1] > np.median(scene[0])).astype(np.uint8) + 1
        write_raster(Path(f"tiles/{name}_classes.tif"), classes, 30)
    return tmp_path


def test_a_folder_of_tiles_is_measured_beside_its_scene(folder, capfd):
    out, _ = succeed(["assess", "tiles", "--reference", "scene.tif", "--json", *FAST], capfd)
    report = json.loads(out)
    assert report["point_fidelity"] == pytest.approx(1, abs=1e-6)
    assert report["block_diversity"] == pytest.approx(1, abs=1e-5)
    assert report["measured"]["tiles"] == 2 and report["measured"]["stride"] == 4
    places = {m["tile"]: (m["real_row"], m["real_column"]) for m in report["memorisation"]}
    assert places == {"one.tif": (8, 12), "two.tif": (32, 40)}
    assert "fid" in report and report["fid"] is None and "told_apart" not in report
    assert report["details"]["classes"]["source"].endswith("clusters of the scene")
    out, _ = succeed(["assess", "tiles", "--reference", "scene.tif", *FAST, "--pairs", "p.png"], capfd)
    assert "point fidelity" in out and "2 tiles, 2 blocks of 32 x 32 pixels" in out
    assert Path("p.png").read_bytes()[:4] == b"\x89PNG"
    refused(["assess", "tiles", "--reference", "scene.tif", *FAST, "--pairs", "p.png"], capfd, "p.png", "--overwrite")


def test_networks_judge_by_default(folder, capfd):
    report = json.loads(succeed(["assess", "tiles", "--reference", "scene.tif", "--json"], capfd)[0])
    assert report["fid"] >= 0 and report["inception_score"] >= 1 and 0 <= report["told_apart"] <= 1
    out, _ = succeed(["assess", "tiles", "--reference", "scene.tif"], capfd)
    assert "told from real blocks" in out and "±" in out


def test_labels_take_the_maps_beside_the_tiles(folder, capfd):
    command = ["assess", "tiles", "--reference", "scene.tif", "--labels", "labels.tif", "--json", *FAST]
    report = json.loads(succeed(command, capfd)[0])
    assert 0 < report["layout_distance"] < 0.5 and report["details"]["classes"]["source"] == "the label raster"
    write_raster(Path("tiles/one_classes.tif"), np.ones((1, 8, 8), np.uint8), 30)
    refused(command, capfd, "one_classes.tif", "one.tif")


def test_classes_that_are_not_those_of_the_labels(folder, capfd):
    """None of them in both is refused, some are noted; and endmembers are no classes of labels."""
    command = ["assess", "tiles", "--reference", "scene.tif", "--json", *FAST, "--labels"]
    with rasterio.open("labels.tif") as source:
        values = source.read()
    write_raster(Path("other.tif"), 5 + values, 30)
    refused([*command, "other.tif"], capfd, "other.tif has classes 6, 7, the tiles 1, 2: none is in both")
    write_raster(Path("some.tif"), np.where(values == 1, 2, 3).astype(np.uint8), 30)
    notes = json.loads(succeed([*command, "some.tif"], capfd)[0])["notes"]
    assert "classes 1 of the tiles are not among those of some.tif, and count as none." in notes
    with rasterio.open("tiles/two_classes.tif", "r+") as target:
        target.update_tags(CLASS_1="endmember 1")
    refused([*command, "labels.tif"], capfd, "endmembers", "leave --labels out")


def test_a_tile_that_is_missing_is_named(folder, capfd):
    Path("tiles/two.tif").unlink()
    refused(["assess", "tiles", "--reference", "scene.tif", *FAST], capfd, "tiles/two.tif is missing", "two_")
    for left in Path("tiles").glob("one*"):
        left.unlink()
    refused(["assess", "tiles", "--reference", "scene.tif", *FAST], capfd, "tiles/two.tif is missing", "two_")
    refused(["assess", "gone", "--reference", "scene.tif", "--pairs", "p.png"], capfd, "gone: no such file or folder")


def test_labels_on_another_grid_are_said_to_be_it(folder, capfd):
    classes = open_scene("labels.tif", chunks=None).values.astype(np.uint8)
    for left, gsd in ((8e5, 30), (500007.0, 30), (500000.0, 60)):
        write_raster(Path("off.tif"), classes, gsd, left=left)
        command = ["assess", "tiles", "--reference", "scene.tif", "--labels", "off.tif", *FAST]
        refused(command, capfd, "off.tif: labels on another grid than scene.tif", "gdalwarp -r near")


def test_zarr_tiles_and_single_rasters(folder, capfd):
    write_scene(open_scene("tiles/one.tif"), "one.zarr")
    command = ["assess", "one.zarr", "--reference", "scene.tif", "--json"]
    refused(command, capfd, "do not overlap")  # a result like any other, until it says that it was generated
    report = json.loads(succeed([*command, "--generated", *FAST], capfd)[0])
    assert report["measured"]["tiles"] == 1 and report["memorised_most"] == pytest.approx(1)
    Path("stores").mkdir()
    for name in ("a", "b"):
        write_scene(open_scene("tiles/two.tif"), f"stores/{name}.zarr")
    report = json.loads(succeed(["assess", "stores", "--reference", "scene.tif", "--json", *FAST], capfd)[0])
    assert report["measured"]["tiles"] == 2
    with rasterio.open("tiles/one.tif", "r+") as target:
        target.update_tags(HSGEO_PROVENANCE=json.dumps({"software": "hsgeo", "parameters": {"command": "generate"}}))
    report = json.loads(succeed(["assess", "tiles/one.tif", "--reference", "scene.tif", "--json", *FAST], capfd)[0])
    assert report["measured"]["tiles"] == 1


def test_what_is_no_tile_is_assessed_as_before(folder, capfd):
    same = json.loads(succeed(["assess", "scene.tif", "--reference", "scene.tif", "--json"], capfd)[0])
    assert same["rmse"] == 0 and "point_fidelity" not in same
    Path("wrapped").mkdir()
    Path("scene.tif").rename("wrapped/scene.tif")
    alone = json.loads(succeed(["assess", "wrapped", "--reference", "wrapped/scene.tif", "--json"], capfd)[0])
    assert alone["rmse"] == 0
    Path("bands").mkdir()
    for band in (2, 3):
        write_raster(Path(f"bands/x_B{band:02}.tif"), np.full((1, 64, 72), 7 + band, np.int16), 30)
    report = json.loads(succeed(["assess", "bands", "--reference", "bands", "--json"], capfd)[0])
    assert report["rmse"] == 0


def test_what_cannot_be_measured_is_refused(folder, capfd):
    write_raster(Path("few.tif"), np.ones((7, 64, 72), np.int16), 30)
    refused(["assess", "tiles", "--reference", "few.tif"], capfd, "one.tif has 40 bands", "few.tif 7")
    refused(["assess", "tiles", "--reference", "scene.tif", "--block", "33"], capfd, "one.tif", "--block")
    refused(["assess", "tiles", "--reference", "scene.tif", "--orientations", "3"], capfd, "--orientations")
    refused(["assess", "tiles", "--reference", "scene.tif", "--report", "r.html"], capfd, "--report", "--pairs")
    refused(["assess", "tiles", "--reference", "scene.tif", "--pairs", "p.jpg"], capfd, "p.jpg", ".png")
    refused(["assess", "tiles", "--reference", "scene.tif", "--pairs", "nowhere/p.png"], capfd, "nowhere")
    refused(["assess", "scene.tif", "--reference", "scene.tif", "--labels", "labels.tif"], capfd, "--labels")
    refused(["assess", "tiles", "--generated"], capfd, "--reference")
    refused(["assess", "tiles", "--generated", "--hsi", "scene.tif", "--msi", "scene.tif"], capfd, "--reference")
    refused(["assess", "scene.tif", "--reference", "scene.tif", "--no-networks"], capfd, "--generated")
    Path("empty").mkdir()
    refused(["assess", "empty", "--reference", "scene.tif", "--generated"], capfd, "empty", "no tiles")
    refused(["assess", "tiles", "--reference", "scene.tif", "--labels", "few.tif"], capfd, "few.tif", "7 bands")
