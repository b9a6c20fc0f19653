"""Open a scene, whatever it is stored as: one function, headers only."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.core.indexing import LazilyIndexedArray

from hsgeo.errors import InputError, SceneNotFoundError, SceneReadError

from . import envi
from .bands import BandInfo, columns
from .geotiff import Header, read_header
from .identify import identify, native_gsds
from .lazy import LazyArray, RasterArray, chunked, plan_chunks
from .model import BAND_COORDS, make_scene
from .notes import log_note
from .products import apply_fill
from .select import select_bands, window_of

_ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")


def open_scene(
    path: str | os.PathLike[str],
    *,
    sensor: str | None = None,
    chunks: Any = "auto",
    bands: str | Sequence[int] | None = None,
    bbox: Sequence[float] | None = None,
    notes: list[str] | None = None,
) -> xr.DataArray:
    """Open a scene lazily: a GeoTIFF or anything else GDAL reads, ENVI, zarr, or a folder of single-band files.

    Only headers are read. Values are physical (stored * scale + offset), NaN where there is no data.

    Parameters
    ----------
    path : path
        A raster, an ENVI header or its data file, a ``.zarr`` folder, or a folder of band files at one or several
        resolutions (Sentinel-2, Landsat, Hyperion L1T), which become one scene on the finest of their grids.
    sensor : str, optional
        Name of a sensor, or YAML file of one, for wavelengths and flags that the file lacks.
    chunks : "auto", None or mapping
        ``auto``: dask chunks of all bands and about 96 MB along the blocks of the file. None: no dask, but a lazily
        indexed array that reads the window asked for; it can be pickled. A mapping goes to xarray's ``chunk``.
    bands : str or sequence of int, optional
        Band numbers ``1-20,35``, wavelengths ``450-900nm``, names ``B02``.
    bbox : (left, bottom, right, top), optional
        In the CRS of the scene; pixels that it touches are kept.
    notes : list of str, optional
        What was guessed or left out is appended here (and logged on the logger ``hsgeo``: what changes the meaning of
        the data, such as guessed wavelengths, as a warning).

    Returns
    -------
    scene (band, y, x)
        See `hsgeo.scene.model`.

    Raises
    ------
    SceneNotFoundError, SceneReadError, DataError, BandError, GridError, SensorError, ParameterError
        One sentence with what is wrong and what to do.
    """

    def say(text: str) -> None:
        log_note(text)
        if notes is not None:
            notes.append(text)

    array: LazyArray
    kind, target = locate(path)
    if kind == "zarr":
        return _open_zarr(target, sensor, chunks, bands, bbox, say)
    if kind == "folder":
        from .folder import open_folder

        found = open_folder(Path(target), sensor, say)
        if isinstance(found, Path):  # the folder is the wrapping of one raster
            return open_scene(found, sensor=sensor, chunks=chunks, bands=bands, bbox=bbox, notes=notes)
        array, header = found
    else:
        header = _open_raster(target, kind, sensor, say)
        array = RasterArray(header.source)
    scene = scene_of(array, header, source=str(path))
    return finish(scene, header.block, chunks, bands, bbox)


def scene_of(array: LazyArray, header: Header, source: str) -> xr.DataArray:
    """The scene of a lazily read array and its header."""
    pixel = abs(header.geobox.resolution.x)
    for info in header.infos:
        if not np.isfinite(info.gsd):
            info.gsd = pixel
    attrs = {
        "dtype": header.stored,
        "nodata": header.nodata,
        "sensor": header.sensor,
        "tags": header.tags,
        "domains": header.domains,
        "source": source,
        "driver": header.driver,
        "interleave": header.interleave,
    }
    numbers = header.numbers or list(header.source.indexes[: len(header.infos)])
    if len(numbers) != len(header.infos):
        numbers = list(range(1, len(header.infos) + 1))
    return make_scene(LazilyIndexedArray(array), header.geobox, attrs=attrs, band=numbers, **columns(header.infos))


def finish(
    scene: xr.DataArray,
    block: tuple[int, int],
    chunks: Any,
    bands: str | Sequence[int] | None,
    bbox: Sequence[float] | None,
) -> xr.DataArray:
    """The part asked for, in the chunks asked for."""
    origin = (0, 0)
    if bands is not None:
        scene = select_bands(scene, bands)
    if bbox is not None:
        window = window_of(scene, bbox)
        rows, cols = window.slices
        scene, origin = scene.isel(y=rows, x=cols), (window.y0, window.x0)
    count, height, width = (int(n) for n in scene.shape)
    plan = plan_chunks((count, height, width), block, scene.dtype.itemsize, origin)
    return chunked(scene, plan, chunks)


def _open_raster(target: str, driver: str, sensor: str | None, say: Callable[[str], None]) -> Header:
    if driver == "ENVI" and (longer := envi.check_size(Path(target))):
        say(longer)
    header = read_header(target, driver or None)
    for text in header.said:
        say(text)
    complete(header, target, sensor, say, texts=sensor_texts(target, header))
    apply_fill(header, target, say)
    return header


def complete(header: Header, name: str, sensor: str | None, say: Callable[[str], None], texts: Sequence[str]) -> None:
    """Add to a header what the sensor's table knows."""
    header.sensor = identify(header.infos, name=name, sensor=sensor, written=header.sensor, texts=texts, say=say)
    crs = header.geobox.crs
    if header.sensor and crs is not None and crs.projected and "HSGEO_PROVENANCE" not in header.tags:
        native_gsds(header.infos, header.sensor, abs(header.geobox.resolution.x), name, say)


def sensor_texts(path: str, header: Header) -> list[str]:
    """The words in which a sensor may be named: file and folder name, tags, the ENVI sensor type and description."""
    place = Path(path)
    envi_domain = header.domains.get("ENVI", {})
    sensor_type = envi_domain.get("sensor_type", "").strip("{} ")
    description = re.split(r"[\\/]", envi_domain.get("description", "").strip("{} \n"))[-1]
    tags = [v for k, v in header.tags.items() if k != "HSGEO_PROVENANCE" and len(v) < 200]  # it names other files
    texts = [place.name, place.parent.name, *tags, description]
    return [t for t in [*texts, "" if sensor_type.lower() == "unknown" else sensor_type] if t]


def _open_zarr(
    target: str,
    sensor: str | None,
    chunks: Any,
    bands: str | Sequence[int] | None,
    bbox: Sequence[float] | None,
    say: Callable[[str], None],
) -> xr.DataArray:
    from .zarr_store import open_zarr_scene

    scene = open_zarr_scene(target, chunks)
    if sensor is not None or not np.isfinite(scene["wavelength"].values).any():
        infos = [
            BandInfo(**dict(zip(("name", "wavelength", "fwhm", "good", "bad_reason"), row, strict=True)))
            for row in zip(
                *(scene[k].values.tolist() for k in ("band_name", "wavelength", "fwhm")),
                (None if g else False for g in scene["good"].values.tolist()),
                scene["bad_reason"].values.tolist(),
                strict=True,
            )
        ]
        name = identify(
            infos,
            name=target,
            sensor=sensor,
            written=str(scene.attrs.get("sensor", "")),
            texts=[Path(target).name, *scene.attrs.get("tags", {}).values()],
            say=say,
        )
        keys = ("band_name", "wavelength", "fwhm", "good", "bad_reason")
        known = columns(infos)
        scene = scene.assign_coords({k: ("band", np.asarray(known[k], dtype=BAND_COORDS[k][0])) for k in keys})
        scene.attrs["sensor"] = name or scene.attrs.get("sensor", "")
    if bands is not None:
        scene = select_bands(scene, bands)
    if bbox is not None:
        rows, cols = window_of(scene, bbox).slices
        scene = scene.isel(y=rows, x=cols)
    return scene


def require_scene(given: Any, what: str, arrays: bool = True) -> None:
    """Refuse what is neither a path nor a scene in memory (which `arrays` allows).

    Raises
    ------
    InputError
        It names `what`, and says how a scene is made.
    """
    if isinstance(given, str | os.PathLike):
        return
    is_array = isinstance(given, xr.DataArray)
    if arrays and is_array and given.dims == ("band", "y", "x"):
        return
    dims = f" ({', '.join(map(str, given.dims))})" if is_array else ""
    accepted = "a path or a scene" if arrays else "a path"
    raise InputError(
        f"{what} is a {type(given).__name__}{dims}; give {accepted}. hsgeo.make_scene(values, geobox) makes a scene "
        "from an array (band, y, x) and its grid."
    )


def locate(path: str | os.PathLike[str]) -> tuple[str, str]:
    """What a path is: ("zarr" | "folder" | "ENVI" | "", what to open), "" leaving the format to GDAL.

    Raises
    ------
    SceneNotFoundError
        Nothing is there; the message names files like it.
    SceneReadError
        The file is empty, or an ENVI file that does not fit its header.
    InputError
        It is no path.
    """
    require_scene(path, "what open_scene is to open", arrays=False)
    text = os.fspath(path)
    place = Path(text)
    if not place.exists():
        if text.startswith("/vsi") or "://" in text or re.match(r"^[A-Za-z0-9_]{3,}:", text):
            return "", text
        raise SceneNotFoundError(f"{text}: no such file or folder.{_near(place)}")
    if place.is_dir():
        marked = place.suffix.lower() == ".zarr" or any((place / mark).exists() for mark in _ZARR_MARKS)
        return ("zarr" if marked else "folder"), text
    if place.stat().st_size == 0:
        raise SceneReadError(f"{text} is empty (0 bytes); copy or download it again.")
    if place.suffix.lower() == ".hdr":
        data = envi.data_of(place)
        if not envi.is_header(place):
            return "", str(data)  # another format's header, such as ESRI's
        return "ENVI", str(data)
    with open(place, "rb") as file:
        head = file.read(16)
    if head[:2] not in (b"II", b"MM") and not head.startswith((b"EHFA", b"\x89HDF", b"CDF")):
        return ("" if envi.header_of(place) is None else "ENVI"), text
    return "", text


def _near(place: Path) -> str:
    folder = place.parent
    if not folder.is_dir():
        return f" The folder {folder} does not exist either."
    names = sorted(p.name for p in folder.iterdir())
    near = difflib.get_close_matches(place.name, names, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(str(folder / n) for n in near)}?" if near else ""
