"""The zarr store, as xarray alone sees it and as a scene."""

from __future__ import annotations

import asyncio
import errno
import pickle
import shutil
import threading
import time
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from hsgeo.errors import OutputWriteError, ParameterError, SceneReadError
from hsgeo.scene import open_scene, write_scene
from hsgeo.scene.zarr_store import open_zarr_scene

from .writing import WAVELENGTHS, full_scene


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "a.zarr"
    write_scene(full_scene(varied=False), path)
    return path


def test_xarray_alone_sees_physical_values(store):
    """One scale for all bands: CF attributes decode it, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(store)
    np.testing.assert_allclose(dataset["scene"].values, full_scene(varied=False).values, atol=1e-6)
    assert np.isnan(dataset["scene"].values).sum() == np.isnan(full_scene().values).sum()
    np.testing.assert_array_equal(dataset["wavelength"].values, WAVELENGTHS)
    assert dataset["wavelength"].attrs["units"] == "nm" and dataset["band_name"].values.tolist()[2] == "SWIR"
    assert dataset["scene"].isel(band=2)["bad_reason"].values.item() == "water vapour"
    assert dataset["scene"].odc.geobox == full_scene().odc.geobox
    assert set(full_scene().coords) <= set(dataset.coords)


def test_xarray_alone_sees_stored_values_where_scales_differ(tmp_path):
    write_scene(full_scene(), tmp_path / "a.zarr")
    scene = xr.open_zarr(tmp_path / "a.zarr")["scene"]
    assert "stored values" in scene.attrs["comment"]
    np.testing.assert_allclose(scene * scene["scale"] + scene["offset"], full_scene().values, atol=1e-6)


def test_chunks_suit_windows(tmp_path):
    scene = full_scene().isel(band=[0] * 200, y=[0] * 600, x=[0] * 300)
    grid = full_scene().odc.geobox
    scene = scene.assign_coords(
        y=grid.affine.f + grid.affine.e * (np.arange(600) + 0.5),
        x=grid.affine.c + grid.affine.a * (np.arange(300) + 0.5),
    )
    write_scene(scene.drop_vars("spatial_ref").odc.assign_crs(grid.crs), tmp_path / "a.zarr")
    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["scene"]
    assert array.dtype == np.int16 and array.chunks == (50, 256, 256) and array.metadata.zarr_format == 3
    assert array.nchunks_initialized == array.nchunks


def test_options(tmp_path):
    write_scene(full_scene(), tmp_path / "a.zarr", creation={"chunk": 16, "LEVEL": "9"})
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["scene"].chunks == (4, 16, 16)
    for wrong in ({"COMPRESS": "ZSTD"}, {"CHUNK": "x"}, {"CHUNK": 0}, {"LEVEL": 99}):
        with pytest.raises(ParameterError, match="--co"):
            write_scene(full_scene(), tmp_path / "b.zarr", creation=wrong)


def test_lazy_windows(store):
    scene = open_zarr_scene(store, chunks=None)
    assert scene.chunks is None and not isinstance(scene.variable._data, np.ndarray)
    whole = full_scene(varied=False).values
    copy = pickle.loads(pickle.dumps(scene))
    for opened in (scene, copy):
        part = opened.isel(band=[3, 0], y=[30, 2, 3], x=slice(4, 9))
        np.testing.assert_allclose(part.values, whole[[3, 0]][:, [30, 2, 3], 4:9], atol=1e-6)
        np.testing.assert_allclose(opened.isel(band=1, y=slice(None, None, -7), x=5), whole[1, ::-7, 5], atol=1e-6)
        assert opened.isel(y=slice(0, 0)).values.shape == (4, 0, 53)
    assert scene.dtype == np.float32


def test_dask_chunks(store):
    assert open_zarr_scene(store).chunks == ((4,), (37,), (53,))
    assert open_zarr_scene(store, {"y": 10, "x": -1}).chunks[1] == (10, 10, 10, 7)
    scene = open_scene(store, bands="1-2", bbox=(500100, 5799600, 500500, 5799900))
    np.testing.assert_allclose(scene.values, full_scene(varied=False)[:2, 4:14, 3:17].values, atol=1e-6)


def test_a_lost_chunk_is_no_data(store):
    """zarr's own rule: a chunk that is not there holds the fill value, which is nodata here."""
    (store / "scene" / "c" / "0" / "0" / "0").unlink()
    assert np.isnan(open_zarr_scene(store).values).all()


def test_what_is_no_scene_of_ours(tmp_path, store):
    xr.Dataset({"t": ("time", np.arange(3))}).to_zarr(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(SceneReadError, match=r"not a scene that hsgeo wrote: it holds t \(time\)"):
        open_zarr_scene(tmp_path / "other.zarr")
    (store / "zarr.json").write_text("{")
    with pytest.raises(SceneReadError, match="not a zarr store that can be read"):
        open_zarr_scene(store)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(SceneReadError):
        open_zarr_scene(tmp_path / "empty.zarr")


def test_a_damaged_chunk_is_said(store):
    chunk = store / "scene" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(SceneReadError, match=r"a\.zarr cannot be read: a chunk is damaged"):
        _ = open_zarr_scene(store, chunks=None).values


def test_nothing_is_written_to_a_folder_that_was_given_up(tmp_path, monkeypatch):
    """zarr raises at the first chunk that fails while its threads go on with the others."""
    import zarr.storage._local as local
    from zarr.core.buffer import default_buffer_prototype

    from hsgeo.scene.zarr_folder import QuietFolder

    entered, go = threading.Event(), threading.Event()
    put = local._put

    def slow(*args, **kwargs):
        entered.set()
        go.wait(30)
        return put(*args, **kwargs)

    monkeypatch.setattr(local, "_put", slow)
    folder = QuietFolder(tmp_path / "a.zarr")
    value = default_buffer_prototype().buffer.from_bytes(b"1")
    writer = threading.Thread(target=lambda: asyncio.run(folder.set("c/0", value)))
    writer.start()
    assert entered.wait(30)
    stopper = threading.Thread(target=folder.stop)
    stopper.start()
    stopper.join(0.2)
    assert stopper.is_alive()  # the write under way is waited for
    go.set()
    stopper.join(30)
    assert not stopper.is_alive() and (tmp_path / "a.zarr/c/0").read_bytes() == b"1"
    writer.join()
    shutil.rmtree(tmp_path / "a.zarr")
    with pytest.raises(OSError, match="given up"):
        asyncio.run(folder.set("c/1", value))
    assert list(tmp_path.iterdir()) == []


def test_a_slow_thread_leaves_nothing_behind_a_write_that_failed(tmp_path, monkeypatch):
    import zarr.storage._local as local

    put, failed, ended = local._put, threading.Event(), []

    def uneven(path, value, **kwargs):
        if "/c/" not in str(path) or "/scene/" not in str(path):
            return put(path, value, **kwargs)
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, "broken")
        time.sleep(0.5)  # the folder is given up meanwhile
        ended.append(put(path, value, **kwargs))
        return ended[-1]

    monkeypatch.setattr(local, "_put", uneven)
    monkeypatch.setattr("hsgeo.scene.zarr_store.CHUNK_BYTES", 1)  # each band a chunk
    with pytest.raises(OutputWriteError, match=r"a\.zarr cannot be written \(broken\)"):
        write_scene(full_scene(), tmp_path / "a.zarr")
    time.sleep(1)
    assert ended and list(tmp_path.iterdir()) == []
