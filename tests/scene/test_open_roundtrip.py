"""What `write_scene` writes, `open_scene` reads: coordinates along band, grid and values, in every format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from hsgeo.scene import make_scene, open_scene, write_scene
from hsgeo.scene.model import BAND_COORDS

from .opening import NORTH_UP


@pytest.mark.parametrize("name", ["a.tif", "a.img", "a.bil", "a.bip", "a.zarr"])
@pytest.mark.parametrize("chunks", ["auto", None])
def test_everything_along_band_comes_back(tmp_path, name, chunks):
    stored = np.random.default_rng(0).integers(0, 9999, (4, 30, 40)).astype("int16")
    stored[1, 2, 3] = -9999
    scale, offset = np.array([1e-4, 1e-4, 2e-4, 1e-3]), np.array([0, 0.1, 0, -1.0])
    values = np.where(stored == -9999, np.nan, stored * scale[:, None, None] + offset[:, None, None]).astype("float32")
    tags = [{"mine": "0"}, {}, {"mine": "{2, %}"}, {"gsd_origin": "500000.0 5600000.0", "gsd_resampling": "nearest"}]
    scene = make_scene(
        values,
        GeoBox((30, 40), NORTH_UP, "EPSG:32633"),
        attrs={"dtype": "int16", "nodata": -9999.0, "sensor": "sentinel-2a", "tags": {"text": "é, {x}\ny"}},
        band_name=["B2", "B, 3", "B4", "B05"],
        wavelength=[492.4400001, 559.85, 664.62, 704.11],
        fwhm=[64.0, 35.0, 31.0, 14.0],
        good=[True, False, True, True],
        bad_reason=["", "stripes", "", ""],
        scale=scale,
        offset=offset,
        units=["r", "r", "r", "q"],
        gsd=[10, 10, 10, 20],
        band_tags=[json.dumps(t) for t in tags],
    )
    write_scene(scene, tmp_path / name)
    again = open_scene(tmp_path / name, chunks=chunks)
    assert again.odc.geobox == scene.odc.geobox
    np.testing.assert_allclose(again.values, scene.values, atol=1e-6)
    for key in ("band_name", "wavelength", "fwhm", "good", "bad_reason", "scale", "offset", "units", "gsd"):
        assert again[key].values.tolist() == scene[key].values.tolist(), key
    assert [json.loads(t) for t in again["band_tags"].values.tolist()] == tags
    assert {k: again.attrs[k] for k in ("dtype", "nodata", "sensor")} == {
        "dtype": "int16",
        "nodata": -9999.0,
        "sensor": "sentinel-2a",
    }
    assert again.attrs["tags"]["text"] == "é, {x}\ny"
    part = open_scene(tmp_path / name, chunks=chunks, bands="600-800nm", bbox=(500100, 5599800, 500200, 5599900))
    np.testing.assert_allclose(part.values, scene.values[2:, 10:20, 10:20], atol=1e-6)


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("chunks", ["auto", {"y": 4}, None])
def test_coordinates_are_in_memory_however_the_values_are_chunked(pair, tmp_path, suffix, chunks):
    path = tmp_path / f"a{suffix}"
    write_scene(open_scene(pair[0]), path)
    scene = open_scene(path, chunks=chunks, bands="3-9")
    assert (scene.chunks is None) == (chunks is None)
    assert all(isinstance(scene[name].variable._data, np.ndarray) for name in BAND_COORDS)
    assert "dask" not in repr(scene.coords)
    assert scene.odc.geobox == open_scene(path, chunks=None).odc.geobox
