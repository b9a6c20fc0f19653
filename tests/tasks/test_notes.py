"""What a user is told: too few pixels, indices left out, bands recorded coarser, and what is no scene."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

import hsgeo
from hsgeo.errors import InputError
from hsgeo.observation.noise import pixels_needed
from hsgeo.scene import open_scene, write_scene
from hsgeo.scene.bands import mark_bad
from hsgeo.simulation.generator import make_pair
from hsgeo.tasks import FusionJob, FusionOptions, assess, simulate
from tests.conftest import NM

BICUBIC = FusionOptions("bicubic", register=False)


@pytest.mark.parametrize(("rows", "columns", "told"), [(2, 3, 6), (14, 17, None), (7, 10, None), (7, 9, 63)])
def test_few_pixels_are_said_in_one_sentence(pair, rows, columns, told, caplog):
    """40 bands need 70: 1.5 for each, and ten."""
    hsi = open_scene(pair[0], chunks=None)[:, :rows, :columns]
    notes = [n for n in FusionJob(hsi, pair[1], BICUBIC).notes if "mean little" in n]
    assert len(notes) == (told is not None)
    if told is not None:
        assert f"only {told} HSI pixels" in notes[0] and "40 good bands" in notes[0] and "fewer than 70" in notes[0]
        assert notes[0] in caplog.text


def test_pixels_with_gaps_do_not_count(pair):
    hsi = open_scene(pair[0], chunks=None).load().copy()
    hsi.values[5, 2:] = np.nan
    notes = [n for n in FusionJob(hsi, pair[1], BICUBIC).notes if "mean little" in n]
    assert len(notes) == 1 and "only 34 HSI pixels" in notes[0]
    hsi["good"].values[5] = False
    assert not [n for n in FusionJob(hsi, pair[1], BICUBIC).notes if "mean little" in n]


def test_pixels_needed_are_those_of_the_regression():
    assert [pixels_needed(b) for b in (3, 40, 41, 172)] == [15, 70, 72, 268]


def test_bands_are_called_by_their_numbers_in_the_file(pair, tmp_path):
    hsi = open_scene(pair[0], chunks=None, bands="8-30").load()
    hsi = mark_bad(hsi, hsi["band"].values == 10, "noisy")
    report = FusionJob(hsi, pair[1], FusionOptions(register=False)).write(tmp_path / "out.tif")
    fused = [n for n in range(8, 31) if n != 10]
    assert report["bands"] == {"kept": fused, "dropped": {"10": "noisy"}}
    assert list(report["noise_hsi_std"]) == fused


def test_python_hears_what_changes_the_meaning_and_keeps_every_note(pair, tmp_path, caplog):
    box = GeoBox((4, 5), Affine(30, 0, 500000, 0, -30, 5800000), "EPSG:32633")
    write_scene(hsgeo.make_scene(np.ones((242, 4, 5), np.float32), box), tmp_path / "plain.tif")
    hsgeo.open_scene(tmp_path / "plain.tif")
    heard = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert len(heard) == 1 and heard[0][0] == "WARNING" and "taken from hyperion" in heard[0][1]
    caplog.clear()
    with caplog.at_level("INFO", logger="hsgeo"):
        msi = open_scene(pair[1])
        msi = mark_bad(msi, msi["band"].values == 6, "striped")
        fused = hsgeo.fuse(open_scene(pair[0])[:, 2:], msi, method="bicubic")
    heard = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert sorted(fused.attrs["notes"]) == sorted(text for _, text in heard)
    assert all(type(text) is str for text in fused.attrs["notes"])
    levels = {word: level for level, text in heard for word in ("left out", "shift of") if word in text}
    assert levels == {"left out": "WARNING", "shift of": "INFO"}
    for name in ("a.tif", "a.img", "a.zarr"):
        write_scene(fused, tmp_path / name)
        again = open_scene(tmp_path / name)
        assert "notes" not in again.attrs and not any("left out" in str(t) for t in again.attrs["tags"].values())


@pytest.fixture(scope="module")
def made():
    """84 x 84 HSI pixels of 30 m, the MSI and the truth at 10 m, one grid; an eighth of the bands."""
    pair = make_pair((84, 84), 0, aligned=True)
    return replace(pair, hsi=pair.hsi[::8].load(), truth=pair.truth[::8].load())


@pytest.fixture(scope="module")
def observed(made):
    return FusionJob(made.hsi, made.msi, FusionOptions(register=False)), made.truth


@pytest.mark.parametrize("side", [12, 50])
def test_a_small_crop_has_no_qnr_and_says_how_large_it_must_be(made, observed, side):
    job, truth = observed
    edges = (0, 9) if side == 12 else (0, 7, 9, 17, 25, 34)  # anywhere among the blocks
    for y, x in zip(edges, reversed(edges), strict=True):
        part = truth[:, 3 * y : 3 * (y + side), 3 * x : 3 * (x + side)]
        report = assess(part, hsi=made.hsi, msi=made.msi, job=job)
        notes = [note for note in report["notes"] if "QNR" in note]
        if side == 12:
            assert report["qnr"] is None and len(notes) == 1
            assert "32 x 32 HSI pixels" in notes[0] and "covers 12 x 12" in notes[0]
            least = int(re.search(r"(\d+) x \1 with data are enough", notes[0])[1])
            assert least <= 50 and f"{3 * least} x {3 * least}" in notes[0]
        else:
            assert report["qnr"] is not None and notes == []


def test_bands_as_sharp_as_the_pixels_are_said_once_with_names_and_metres(made, tmp_path):
    path = tmp_path / "msi.tif"
    write_scene(made.msi[:, :90, :90], path)
    said: list[str] = []
    open_scene(path, notes=said)
    assert len(said) == 1 and "B11 (20 m)" in said[0] and "coarser than the 10 m pixels" in said[0]
    notes = [n for n in FusionJob(made.hsi, path, BICUBIC).notes if "recorded" in n]
    assert len(notes) == 1
    assert all(name in notes[0] for name in ("B5", "B6", "B7", "B8A", "B11", "B12")) and "B8," not in notes[0]
    assert "20 m" in notes[0] and "as sharp as pixels of 10 m" in notes[0]


NOT_SCENES = [
    np.zeros((3, 4, 5)),
    xr.Dataset({"a": ("x", [1])}),
    xr.DataArray(np.zeros((4, 5, 3)), dims=list("yxb")),
    7,
]


@pytest.mark.parametrize("given", NOT_SCENES, ids=lambda g: type(g).__name__)
def test_what_is_no_scene_is_refused_in_one_sentence(pair, tmp_path, given):
    calls = [
        lambda: hsgeo.fuse(given, pair[1]),
        lambda: hsgeo.fuse(pair[0], given),
        lambda: hsgeo.assess(given, reference=pair[0]),
        lambda: hsgeo.assess(pair[0], hsi=pair[0], msi=given, report=tmp_path / "r.html"),
        lambda: hsgeo.simulate(given, tmp_path / "folder", ratio=2),
        lambda: hsgeo.open_scene(given),
        lambda: hsgeo.convert(given, tmp_path / "a.tif"),
    ]
    for call, what in zip(calls, ("hsi", "msi", "result", "msi", "scene", "open_scene", "open_scene"), strict=True):
        with pytest.raises(InputError, match="make_scene") as caught:
            call()
        text = str(caught.value)
        assert what in text and type(given).__name__ in text and "a path" in text and "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_an_array_becomes_a_scene_as_the_sentence_says(pair, tmp_path):
    box = GeoBox((14, 17), Affine(30, 0, 500000, 0, -30, 5800000), "EPSG:32633")
    scene = hsgeo.make_scene(open_scene(pair[0]).values, box, wavelength=NM)
    assert hsgeo.fuse(scene, pair[1], method="bicubic", register=False).shape == (40, 42, 51)
    report = simulate(scene, tmp_path / "folder", ratio=2)
    assert report["hsi"]["shape"] == [40, 7, 8]
