"""What a fusion writes: refused before any work where it cannot be, and its provenance."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import rasterio

from hsgeo.engine import cluster, devices
from hsgeo.errors import ParameterError
from hsgeo.scene import open_scene
from hsgeo.tasks import FusionJob, FusionOptions, RunOptions, WriteOptions, convert, demo, simulate
from hsgeo.tasks.outputs import block_options

BICUBIC = FusionOptions("bicubic", register=False)


class Unfitted(FusionJob):
    """A job that fails the test once work begins."""

    @property
    def model(self):
        raise AssertionError("work began")


@pytest.mark.parametrize(
    ("creation", "more", "says"),
    [
        ({"COMPRES": "ZSTD"}, {}, "COMPRESS"),
        ({"COMPRESS": "JPEG"}, {}, "int16"),
        ({"PREDICTOR": "3"}, {"dtype": "float32", "flags": "flags.tif"}, r"flags\.tif"),
        ({"COMPRESS": "LZW"}, {"flags": "flags.zarr"}, "zarr"),
    ],
)
def test_creation_options_are_refused_before_the_fit(pair, tmp_path, creation, more, says):
    job = Unfitted(*pair, BICUBIC)
    flags = tmp_path / more["flags"] if "flags" in more else None
    write = WriteOptions(creation=creation, dtype=more.get("dtype"))
    with pytest.raises(ParameterError, match=says):
        job.write(tmp_path / "out.tif", write, flags=flags)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_them_too(pair, tmp_path):
    with pytest.raises(ParameterError, match="COMPRESS"):
        FusionJob(*pair, BICUBIC).plan(tmp_path / "out.tif", WriteOptions(creation={"COMPRES": "ZSTD"}))


def test_convert_and_simulate_refuse_them_before_they_open_anything(tmp_path):
    write = WriteOptions(creation={"COMPRES": "ZSTD"})
    with pytest.raises(ParameterError, match="COMPRESS"):
        convert(tmp_path / "missing.tif", tmp_path / "a.tif", write=write)
    with pytest.raises(ParameterError, match="COMPRESS"):
        simulate(tmp_path / "missing.tif", tmp_path / "folder", ratio=3, write=write)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_out_of_reach_is_told_before_anything_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "REACH_TIMEOUT", 0.3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ParameterError, match="no dask scheduler answers"):
            FusionJob(tmp_path / "missing.tif", tmp_path / "missing.tif", run=RunOptions(scheduler=where))


def test_outputs_need_different_paths(pair, tmp_path):
    with pytest.raises(ParameterError, match="different paths"):
        Unfitted(*pair, BICUBIC).write(tmp_path / "out.tif", flags=tmp_path / "." / "out.tif")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_device_that_is_not_here_is_told_before_anything_is_opened(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(devices, "cuda_count", lambda: 0)
    run = RunOptions(device="cuda", workers=workers)
    with pytest.raises(ParameterError, match="--device cuda: torch finds no CUDA GPU"):
        FusionJob(tmp_path / "missing.tif", tmp_path / "missing.tif", run=run)
    with pytest.raises(ParameterError, match="no CUDA GPU"):
        demo(tmp_path / "d", run=run)
    assert list(tmp_path.iterdir()) == []


def test_the_devices_of_a_scheduler_are_not_looked_for_here(monkeypatch):
    monkeypatch.setattr(devices, "cuda_count", lambda: 0)
    monkeypatch.setattr(cluster, "check_scheduler", lambda address: None)
    RunOptions(device="cuda", scheduler="tcp://elsewhere:8786").check()


def provenance(path):
    with rasterio.open(path) as dataset:
        return json.loads(dataset.tags()["HSGEO_PROVENANCE"])


def test_provenance_says_what_went_in_and_what_came_out(pair, tmp_path):
    out, again = tmp_path / "out.tif", tmp_path / "again.tif"
    FusionJob(*pair, FusionOptions("bicubic", register=False, bands="1-20")).write(out, WriteOptions(dtype="float32"))
    record = provenance(out)
    hsi, msi = record["inputs"]
    assert hsi["name"] == "hsi.tif" and len(hsi["sha256_header"]) == 64
    assert [hsi[k] for k in ("dtype", "bands", "gsd")] == ["int16", 20, 30.0]
    assert [msi[k] for k in ("dtype", "bands", "gsd")] == ["uint16", 6, 10.0]
    with rasterio.open(pair[0]) as one, rasterio.open(pair[1]) as two:
        assert [hsi["nodata"], msi["nodata"]] == [one.nodata, two.nodata]
    assert record["output"] == {"dtype": "float32", "nodata": record["output"]["nodata"], "bands": 20, "gsd": 10.0}
    convert(out, again, bands="3-7", write=WriteOptions(nodata=-1.0))
    second = provenance(again)
    assert second["inputs"][0]["bands"] == 5 and second["previous"]["output"] == record["output"]
    assert second["output"] == {"dtype": "float32", "nodata": -1.0, "bands": 5, "gsd": 10.0}
    simulate(out, tmp_path / "pair", ratio=3)
    assert provenance(tmp_path / "pair" / "hsi.tif")["output"]["gsd"] == 30.0


def test_the_same_pair_by_another_method(pair):
    job = FusionJob(*pair, FusionOptions("gsa", register=False), params={})
    before = job.scene().values
    other = job.by("bicubic")
    np.testing.assert_array_equal(other.scene().values, FusionJob(*pair, BICUBIC).scene().values)
    assert (job.arguments["method"], other.arguments["method"]) == ("gsa", "bicubic")
    np.testing.assert_array_equal(job.scene().values, before)


def test_blocks_divide_tiles():
    class Tiles:
        def __init__(self, tile, shape):
            self.chunks, self.shape = (5, *tile), (5, *shape)

    assert block_options(Tiles((768, 768), (2000, 2000))) == {"BLOCKXSIZE": "384", "BLOCKYSIZE": "384"}
    assert block_options(Tiles((512, 512), (400, 512))) == {}  # one tile
    assert block_options(Tiles((509, 509), (2000, 2000))) == {}  # a prime
    assert block_options(Tiles((256, 512), (2000, 2000))) == {}


@pytest.mark.slow
def test_what_the_demo_made_is_known_for_what_it_is(tmp_path):
    notes = demo(tmp_path / "d", size=16)["fusion"]["notes"]
    assert not [note for note in notes if "recorded" in note]
    scene = open_scene(tmp_path / "d" / "sentinel2_like.tif", notes=(said := []))
    assert np.unique(scene["gsd"].values).tolist() == [10.0] and said == []
