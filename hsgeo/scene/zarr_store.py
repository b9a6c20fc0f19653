"""Scenes in zarr (format 3): stored values in one array, the grid and everything per band as coordinates.

Where all bands share scale and offset the array carries them as CF attributes, and ``xarray.open_zarr`` alone gives
physical values; where they differ it gives stored values, and the coordinates ``scale`` and ``offset`` lead to
physical ones. `open_zarr_scene` gives a scene in both cases.
"""

from __future__ import annotations

import base64
import json
import math
import os
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from xarray.core.indexing import LazilyIndexedArray

from hsgeo.errors import ParameterError, SceneReadError

from .encode import decode
from .lazy import LazyArray, chunked, float_type, plan_chunks
from .metadata import Metadata, unit_side
from .model import BAND_COORDS, make_scene
from .staging import require_space
from .window import Window

NAME = "scene"
#: attribute of a group that holds generated tiles, and its value (`tile_store`)
KIND, TILES = "hsgeo_kind", "generated tiles"
#: pixels and bytes of a chunk
CHUNK_SIDE = 256
CHUNK_BYTES = 8 << 20
_UNITS = {"wavelength": "nm", "fwhm": "nm"}


class ZarrSink:
    """A zarr store that is being written, in a folder of its own.

    Parameters
    ----------
    folder : path
        Where the store is written under its final name.
    target : path
        Where it will be, for messages.
    meta : Metadata
    creation : mapping
        ``CHUNK`` (pixels a side), ``LEVEL`` (of zstd).
    name : str
        Of the variable.

    Attributes
    ----------
    block : (rows, columns)
        Windows given to `write` start at multiples of it, so that each chunk is written once.
    """

    def __init__(self, folder: Path, target: Path, meta: Metadata, creation: Mapping[str, Any]) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        from .zarr_folder import QuietFolder

        side, level = array_options(target, creation)
        self.meta, self.target, self.path = meta, target, folder / target.name
        self.needed = meta.nbytes
        unit = side * max(1, unit_side(meta) // side)
        self.block = (unit, unit)
        count, height, width = meta.shape
        deep = max(1, CHUNK_BYTES // (side * side * meta.dtype.itemsize))
        chunk = (-(-count // -(-count // deep)), min(side, height), min(side, width))
        self._folder = QuietFolder(self.path)
        try:
            self._group = zarr.create_group(self._folder, zarr_format=3, attributes={"Conventions": "CF-1.8"})
            self._array = self._group.create_array(
                NAME,
                shape=meta.shape,
                chunks=chunk,
                dtype=meta.dtype,
                fill_value=blank_of(meta),
                compressors=BloscCodec(cname="zstd", clevel=level, shuffle="shuffle"),
                dimension_names=("band", "y", "x"),
                attributes=array_attributes(meta),
            )
            self._write_coordinates()
        except BaseException:
            self.close()
            raise

    def _write_coordinates(self) -> None:
        meta = self.meta
        write_band_coordinates(self._group, meta)
        grid = xr_coords(
            GeoBox(meta.shape[1:], meta.transform, meta.crs or None), crs_coord_name="spatial_ref", dims=("y", "x")
        )
        for name, coordinate in grid.items():
            dims = tuple(map(str, coordinate.dims))
            write_coordinate(self._group, str(name), coordinate.values, dims, dict(coordinate.attrs))

    def write(self, raw: np.ndarray, window: Window, nodata: float | None) -> None:
        """All bands of one window."""
        require_space(self.target, raw.nbytes, self.needed)
        self._array[(slice(None), *window.slices)] = raw

    def finish(self, nodata: float | None) -> None:
        """Complete the attributes and gather the metadata in one place, for a quick opening."""
        if nodata is not None and nodata != self.meta.nodata:
            self._array.update_attributes(array_attributes(self.meta.with_nodata(nodata)))
        consolidate(self.path)

    def close(self) -> None:
        """Nothing is written afterwards, nor by a thread that has not heard of an error yet."""
        self._folder.stop()


def write_band_coordinates(group: Any, meta: Metadata) -> None:
    """Everything that is known of each band, as coordinates along ``band`` of a zarr group."""
    for key in ("band", *BAND_COORDS):
        # bands are counted in the file that a scene is opened from, which is now this one
        values = np.arange(1, meta.count + 1) if key == "band" else meta.columns[key]
        if key == "band_tags":
            values = np.array([json.dumps(dict(extra)) for extra in meta.extra])
        write_coordinate(group, key, values, ("band",), {"units": _UNITS[key]} if key in _UNITS else {})


def write_coordinate(
    group: Any, name: str, values: np.ndarray, dims: tuple[str, ...], attrs: Mapping[str, Any]
) -> None:
    """One small array of numbers or texts in a zarr group."""
    text = values.dtype.kind == "U"
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=str if text else values.dtype,
        dimension_names=dims or None,
        attributes=dict(attrs),
    )
    array[...] = values.astype(object) if text else values


def consolidate(path: Path) -> None:
    """Gather the metadata of a store in one place, for a quick opening."""
    import zarr

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)


def array_options(target: Path, creation: Mapping[str, Any]) -> tuple[int, int]:
    known = {"CHUNK": CHUNK_SIDE, "LEVEL": 3}
    for key, text in creation.items():
        if key.upper() not in known:
            raise ParameterError(f"--co {key}: {target} is zarr, which knows CHUNK and LEVEL only.")
        try:
            known[key.upper()] = int(text)
        except ValueError:
            raise ParameterError(f"--co {key}={text}: a whole number.") from None
    if known["CHUNK"] < 1 or not 0 <= known["LEVEL"] <= 9:
        raise ParameterError("--co: CHUNK is at least 1, LEVEL 0 to 9.")
    return known["CHUNK"], known["LEVEL"]


def array_attributes(meta: Metadata) -> dict[str, Any]:
    """The attributes of the array: those of the scene, and CF's for whoever opens it with xarray alone."""
    scale, offset, units = meta["scale"], meta["offset"], set(meta["units"])
    attrs: dict[str, Any] = {
        "dtype": meta.dtype.name,
        "nodata": _json_number(meta.nodata),
        "sensor": meta.sensor,
        "tags": dict(meta.tags),
        "domains": {k: dict(v) for k, v in meta.domains.items()},
        "grid_mapping": "spatial_ref",
        "coordinates": " ".join([*BAND_COORDS, "spatial_ref"]),
    }
    if len(set(scale)) == 1 and len(set(offset)) == 1:
        if scale[0] != 1:
            attrs["scale_factor"] = scale[0]
        if offset[0] != 0:
            attrs["add_offset"] = offset[0]
    else:
        attrs["comment"] = "stored values; physical = stored * scale + offset, which are coordinates along band"
    if meta.nodata is not None and math.isfinite(meta.nodata):
        attrs["_FillValue"] = _cf_fill(meta.nodata, meta.dtype)
    if len(units) == 1 and (unit := units.pop()):
        attrs["units"] = unit
    return attrs


def blank_of(meta: Metadata) -> Any:
    """The value of an array where nothing was written."""
    return 0 if meta.nodata is None else _fill(meta.nodata, meta.dtype)


def _fill(nodata: float, dtype: np.dtype) -> Any:
    return float(nodata) if dtype.kind == "f" else min(max(int(nodata), np.iinfo(dtype).min), np.iinfo(dtype).max)


def _cf_fill(nodata: float, dtype: np.dtype) -> Any:
    """As xarray keeps it in zarr 3: floats as base64 of eight bytes."""
    if dtype.kind == "f":
        return base64.standard_b64encode(struct.pack("<d", nodata)).decode()
    return _fill(nodata, dtype)


def _json_number(value: float | None) -> Any:
    return value if value is None or math.isfinite(value) else repr(value)


@dataclass(frozen=True)
class ZarrArray(LazyArray):
    """Physical values of a store's array, read window by window; holds a path, so it can be pickled.

    `index` picks a scene out of an array of more dimensions, whose last two are y and x.
    """

    path: str
    stored: str
    shape: tuple[int, int, int]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None
    name: str = NAME
    index: tuple[int, ...] = ()
    dtype: np.dtype = field(init=False)
    _open: list[Any] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", float_type(self.stored))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _array(self) -> Any:
        import zarr

        if not self._open:
            self._open.append(zarr.open_array(self.path, path=self.name, mode="r"))
        return self._open[0]

    def _block(self, bands: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        if not bands.size or not rows.size or not cols.size:
            return np.empty((bands.size, rows.size, cols.size), self.dtype)
        spans = [(int(i.min()), int(i.max()) + 1) for i in (bands, rows, cols)]
        try:
            array = self._array()
            inside = tuple(slice(*span) for span in spans)
            raw = array[(*self.index, *inside[-(array.ndim - len(self.index)) :])]
        except Exception as error:
            raise SceneReadError(f"{self.path} cannot be read: a chunk is damaged or missing ({error}).") from error
        raw = raw.reshape([stop - start for start, stop in spans])
        for axis, (index, span) in enumerate(zip((bands, rows, cols), spans, strict=True)):
            if index.size != span[1] - span[0] or (np.diff(index) != 1).any():
                raw = np.take(raw, index - span[0], axis=axis)
        scale, offset = (np.array(v)[bands] for v in (self.scale, self.offset))
        return decode(np.asarray(raw), scale, offset, self.nodata)


def open_zarr_scene(path: str | os.PathLike[str], chunks: Any = "auto") -> xr.DataArray:
    """Open a zarr store that `write_scene` made; only its metadata is read.

    Parameters
    ----------
    path : path
    chunks : "auto", None or mapping
        As in `open_scene`.

    Returns
    -------
    scene (band, y, x)

    Raises
    ------
    SceneReadError
        Not such a store.
    """
    text = os.fspath(path)
    with opened(text) as store:
        variable = _variable(store, text)
        columns = {k: store[k].values.tolist() for k in ("band", *BAND_COORDS) if k in store.variables}
        bare = attributes_of(variable, text)
        scale, offset = scaling_of(variable, columns)
        count, height, width = (int(n) for n in variable.shape)
        array = ZarrArray(text, variable.dtype.name, (count, height, width), scale, offset, bare["nodata"])
        chunk = variable.encoding.get("preferred_chunks", {})
        box = _geobox(store, variable, text)
    scene = make_scene(LazilyIndexedArray(array), box, attrs=bare, **{**columns, "scale": scale, "offset": offset})
    block = int(chunk.get("y", CHUNK_SIDE)), int(chunk.get("x", CHUNK_SIDE))
    plan = plan_chunks(array.shape, block, scene.dtype.itemsize)
    return chunked(scene, plan, chunks)


def opened(path: str) -> xr.Dataset:
    """A store as xarray sees it, values as they are stored.

    Raises
    ------
    SceneReadError
        It cannot.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            warnings.filterwarnings("ignore", message="Failed to open Zarr store with consolidated")
            return xr.open_zarr(path, chunks=None, mask_and_scale=False, decode_times=False, decode_coords="all")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SceneReadError(f"{path} is not a zarr store that can be read ({reason}).") from error


def _variable(store: xr.Dataset, path: str) -> xr.DataArray:
    if NAME in store and store[NAME].dims == ("band", "y", "x") and "wavelength" in store.coords:
        return store[NAME]
    if store.attrs.get(KIND) == TILES:
        raise SceneReadError(f"{path} holds generated tiles; hsgeo assess reads them, and xarray.open_zarr.")
    listed = ", ".join(f"{k} ({', '.join(map(str, v.dims))})" for k, v in store.data_vars.items()) or "nothing"
    raise SceneReadError(f"{path} is not a scene that hsgeo wrote: it holds {listed}; write it with hsgeo convert.")


def attributes_of(variable: xr.DataArray, path: str) -> dict[str, Any]:
    attrs = variable.attrs
    nodata = attrs.get("nodata")
    return {
        "dtype": variable.dtype.name,
        "nodata": None if nodata is None else float(nodata),
        "sensor": attrs.get("sensor", ""),
        "tags": dict(attrs.get("tags", {})),
        "domains": {k: dict(v) for k, v in attrs.get("domains", {}).items()},
        "source": path,
        "driver": "zarr",
    }


def scaling_of(variable: xr.DataArray, columns: Mapping[str, list[Any]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    count = variable.sizes["band"]
    pairs = (("scale", "scale_factor", 1.0), ("offset", "add_offset", 0.0))
    scale, offset = (
        tuple(float(v) for v in np.broadcast_to(columns.get(own, variable.attrs.get(cf, default)), (count,)))
        for own, cf, default in pairs
    )
    return scale, offset


def _geobox(store: xr.Dataset, variable: xr.DataArray, path: str) -> GeoBox:
    """The grid: exactly as written from the affine beside the CRS, otherwise from the coordinates."""
    reference = store["spatial_ref"].attrs if "spatial_ref" in store.variables else {}
    numbers = str(reference.get("GeoTransform", "")).split()
    if len(numbers) == 6:
        affine = Affine.from_gdal(*(float(n) for n in numbers))
        return GeoBox((variable.sizes["y"], variable.sizes["x"]), affine, reference.get("crs_wkt") or None)
    box = variable.odc.geobox
    if not isinstance(box, GeoBox):
        raise SceneReadError(f"{path}: the store has no regular grid of pixels.")
    return box
