"""Scenes of more than 100 GB: opening costs no more than that of a small one."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rasterio

from hsgeo.scene import open_scene

from .opening import NORTH_UP, ramp, tif

BANDS, HEIGHT, WIDTH = 224, 15000, 20000


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Imports and GDAL's own start belong to nobody's opening."""
    open_scene(tif(tmp_path_factory.mktemp("warm") / "a.tif", ramp(2, 3, 4)))


def timed(**options):
    begin = time.perf_counter()
    scene = open_scene(**options)
    return scene, time.perf_counter() - begin


@pytest.mark.usefixtures("warm")
def test_geotiff(tmp_path):
    path = tmp_path / "big.tif"
    profile = {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "interleave": "band",
        "SPARSE_OK": True,
        "BIGTIFF": "YES",
    }
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=BANDS,
        height=HEIGHT,
        width=WIDTH,
        dtype="int16",
        crs="EPSG:32633",
        transform=NORTH_UP,
        **profile,
    ) as dataset:
        dataset.write(np.full((BANDS, 2, 2), 7, "int16"), window=((9000, 9002), (11000, 11002)))
    for chunks in ("auto", None):
        scene, seconds = timed(path=path, chunks=chunks)
        assert seconds < 1
        assert scene.nbytes > 200e9
        part = scene[:, 8999:9003, 10999:11003].values
        assert part.sum() == 7 * 4 * BANDS
    blocks = np.prod([len(c) for c in open_scene(path).chunks])
    assert blocks < 5000
    subset, seconds = timed(path=path, bands="1-20", bbox=(540000, 5500000, 545000, 5505000))
    assert seconds < 1
    assert subset.shape == (20, 500, 500)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_envi(tmp_path, interleave):
    path = tmp_path / f"big.{interleave}"
    with open(path, "wb") as file:
        file.truncate(BANDS * HEIGHT * WIDTH * 2)
    assert path.stat().st_size > 100e9
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {WIDTH}\nlines = {HEIGHT}\nbands = {BANDS}\nheader offset = 0\ndata type = 2\n"
        f"interleave = {interleave}\nbyte order = 0\n"
        f"map info = {{UTM, 1, 1, 500000, 5600000, 30, 30, 33, North, WGS-84}}\n"
    )
    for chunks in ("auto", None):
        scene, seconds = timed(path=path, chunks=chunks, sensor="enmap")
        assert seconds < 1
        assert scene.shape == (BANDS, HEIGHT, WIDTH)
    begin = time.perf_counter()
    assert scene[:, 9000:9064, 7000:7064].values.shape == (BANDS, 64, 64)
    assert time.perf_counter() - begin < 3  # GDAL alone reads whole lines: seconds to minutes
    assert scene[5:8, 100:110].values.max() == 0
