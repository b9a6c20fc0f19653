"""Write a scene: windows along the blocks of the output, one writer, all metadata, whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from hsgeo.errors import InputError, OutputExistsError, OutputWriteError, ParameterError

from .creation import check_creation
from .encode import default_nodata, encode
from .metadata import KEEP, Metadata, describe
from .model import label
from .staging import SIDECARS, folder_of, publish, publish_folder, refuse_existing, staged, write_errors
from .window import Window

#: what a suffix stands for
FORMATS = {
    ".tif": "GTiff", ".tiff": "GTiff",
    ".img": "ENVI", ".bsq": "ENVI", ".dat": "ENVI", ".bil": "ENVI", ".bip": "ENVI",
    ".zarr": "zarr",
}  # fmt: skip
#: bytes of physical values that one window aims at; a single block may be more
WINDOW_BYTES = 128 << 20
_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")


class Sink(Protocol):
    """A format's writer: windows in any order, each pixel once, then `finish`; `close` when something failed."""

    block: tuple[int, int]
    needed: int

    def write(self, raw: np.ndarray, window: Window, nodata: float | None) -> None: ...

    def finish(self, nodata: float | None) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class WriteReport:
    """What `write_scene` did.

    Attributes
    ----------
    path : Path
    bytes : int
        On the disk, sidecars included.
    saturated : int
        Values outside the range of the stored type, clipped to it.
    driver : str
        ``GTiff``, ``COG``, ``ENVI`` or ``zarr``.
    seconds : float
    nodata : float or None
        Stored value for no data; chosen while writing where the scene has none but lacks pixels.
    """

    path: Path
    bytes: int
    saturated: int
    driver: str
    seconds: float
    nodata: float | None = None


def output_format(path: str | os.PathLike[str], cog: bool = False) -> str:
    """``GTiff``, ``COG``, ``ENVI`` or ``zarr``, by the suffix.

    Raises
    ------
    InputError
        A suffix that stands for none of them, or a COG that is no ``.tif``.
    """
    suffix = Path(path).suffix.lower()
    found = FORMATS.get(suffix)
    if found is None:
        advice = "give the data file, such as .img" if suffix == ".hdr" else f"use one of {', '.join(FORMATS)}"
        raise InputError(f"{path}: no output format has the suffix {suffix!r}; {advice}.")
    if not cog:
        return found
    if found != "GTiff":
        raise InputError(f"{path}: a COG is a GeoTIFF; use the suffix .tif with --cog.")
    return "COG"


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """See that an output can be written, before any work.

    Raises
    ------
    OutputExistsError
        It, or a file that would be read together with it, is there and `overwrite` was not given.
    OutputWriteError
        Its folder is missing or cannot be written, or something else has its name.
    """
    target = Path(path)
    if target.suffix.lower() == ".zarr" and target.is_dir():
        if not any((target / mark).exists() for mark in _ZARR_MARKS) and any(target.iterdir()):
            raise OutputWriteError(f"{target} is a folder that holds no zarr store; choose another output.")
        if not overwrite:
            raise OutputExistsError(f"{target} exists; give --overwrite or another output.")
    else:
        beside = [target.with_name(target.name + s) for s in SIDECARS] if target.suffix.lower() != ".zarr" else []
        header = [target.with_suffix(".hdr")] if FORMATS.get(target.suffix.lower()) == "ENVI" else []
        refuse_existing([target, *header, *beside], overwrite)
    folder_of(target)


def write_scene(
    scene: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    cog: bool = False,
    dtype: Any = None,
    nodata: float | None = KEEP,
    creation: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
    raw: bool = False,
    progress: Any = None,
    overviews: bool = True,
) -> WriteReport:
    """Write a scene with its metadata as GeoTIFF, COG, ENVI or zarr, in memory that does not depend on its size.

    Parameters
    ----------
    scene : scene (band, y, x)
        Physical values, NaN where there is no data; numpy, lazily indexed or dask.
    path : path
        The suffix chooses the format: ``.tif``, ``.img`` ``.bsq`` ``.dat`` ``.bil`` ``.bip`` (ENVI), ``.zarr``.
    cog : bool
        The COG layout, for ``.tif``.
    dtype : dtype, optional
        Stored type; the scene's own (``attrs["dtype"]``) when None, with its scale and offset.
    nodata : float or None, optional
        Stored value for no data; the scene's own when not given. An integer type with None gets one if a pixel is
        missing.
    creation : mapping, optional
        GDAL creation options over the defaults; ``INTERLEAVE`` for ENVI; ``CHUNK`` and ``LEVEL`` for zarr.
    overwrite : bool
        Replace an existing output, once the new one is complete.
    provenance : mapping, optional
        See `provenance_record`; written as JSON in the tag HSGEO_PROVENANCE.
    raw : bool
        The values are stored values of the scene's own type already; scale, offset and nodata are metadata only.
    progress : Progress, optional
        Gets a stage ``write``.
    overviews : bool
        Add overviews to a GeoTIFF or COG larger than 512 pixels.

    Returns
    -------
    WriteReport

    Raises
    ------
    InputError
        The scene, format or options cannot serve.
    OutputExistsError, OutputWriteError
        The output exists, or cannot be written: folder, permission, full disk.
    """
    start = time.perf_counter()
    kind = output_format(path, cog)
    target = Path(path)
    check_output(target, overwrite)
    target = Path(os.path.realpath(target))  # an existing link stays one
    meta = describe(scene, dtype=dtype, nodata=nodata, provenance=provenance, raw=raw)
    check_creation(kind, target, creation or {}, meta.dtype, meta.count)
    coder = _Raw(meta) if raw else _Coder(meta, scene)
    with staged(target) as folder:

        def sink() -> Sink:
            return _sink(kind, folder, target, meta, creation or {}, overviews)

        try:
            _fill(scene, target, sink, coder, progress)
        except _TakenError:
            coder.keep_free()
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            _fill(scene, target, sink, coder, progress)
        with write_errors(target, meta.nbytes):
            size = _publish(kind, folder, target)
    return WriteReport(target, size, coder.saturated, kind, time.perf_counter() - start, coder.nodata)


def _publish(kind: str, folder: Path, target: Path) -> int:
    """Move what was written into place; returns its bytes."""
    if kind == "zarr":
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        publish_folder(folder, target)
        return size
    last = target.with_suffix(".hdr").name if kind == "ENVI" else target.name
    return sum(p.stat().st_size for p in publish(folder, target, [last]))


def _sink(kind: str, folder: Path, target: Path, meta: Metadata, creation: Mapping[str, Any], overviews: bool) -> Sink:
    if kind == "zarr":
        from .zarr_store import ZarrSink

        return ZarrSink(folder, target, meta, creation)
    if kind == "ENVI":
        from .envi_writer import EnviSink

        return EnviSink(folder, target, meta, creation)
    from .gtiff_writer import GeoTiffSink

    return GeoTiffSink(folder, target, meta, creation, overviews, kind == "COG")


def _fill(scene: xr.DataArray, target: Path, make: Callable[[], Sink], coder: _Raw, progress: Any) -> None:
    """Write all windows: one thread reads and encodes a window while the one before is compressed."""
    variable = scene.variable

    def prepare(window: Window) -> np.ndarray:
        return coder(np.asarray(variable[(slice(None), *window.slices)].values))

    with write_errors(target, coder.meta.nbytes):
        sink = make()
    try:
        windows = list(plan_windows(coder.meta.shape, sink.block, scene.dtype.itemsize, variable.chunks))
        stage = progress.stage("write", total=len(windows)) if progress is not None else nullcontext()
        with stage as shown, ThreadPoolExecutor(1, thread_name_prefix="hsgeo-read") as reader:
            ahead = reader.submit(prepare, windows[0])
            for i, window in enumerate(windows):
                stored = ahead.result()
                if i + 1 < len(windows):
                    ahead = reader.submit(prepare, windows[i + 1])
                with write_errors(target, sink.needed):
                    sink.write(stored, window, coder.nodata)
                del stored
                if shown is not None:
                    shown.advance(1)
            with write_errors(target, sink.needed):
                sink.finish(coder.nodata)
    except BaseException:
        _close_quietly(sink)
        raise


def _close_quietly(sink: Sink) -> None:
    """Close what is being given up; the error that counts is the one on its way."""
    try:
        sink.close()
    except Exception:
        return


def plan_windows(
    shape: tuple[int, int, int],
    block: tuple[int, int],
    itemsize: int,
    chunks: tuple[tuple[int, ...], ...] | None = None,
) -> Iterator[Window]:
    """Windows of whole blocks that cover a raster, as large as the memory allows and the source's chunks ask for.

    Parameters
    ----------
    shape : (bands, height, width)
    block : (rows, columns)
        Of the output.
    itemsize : int
        Bytes of one value of the source.
    chunks : tuple of tuples, optional
        Dask chunks of the source: a window takes whole ones where they are multiples of blocks, lest they be
        computed twice.

    Yields
    ------
    Window
    """
    count, height, width = shape
    rows, cols = min(block[0], height), min(block[1], width)
    room = max(1, WINDOW_BYTES // (count * rows * cols * itemsize))
    down = across = 1
    if chunks is not None:
        tall, wide = (max(c) for c in chunks[1:])
        if 4 * room >= (n := -(-tall // rows) * -(-wide // cols)):
            down, across = -(-tall // rows), -(-wide // cols)
            room = max(1, room // n)
    more = min(-(-width // (cols * across)), room)
    across, room = across * more, room // more
    down *= max(1, min(-(-height // (rows * down)), room))
    for y in range(0, height, rows * down):
        for x in range(0, width, cols * across):
            yield Window(y, min(y + rows * down, height), x, min(x + cols * across, width))


class _TakenError(Exception):
    """A pixel turns out missing after valid ones have been stored as the value that now means no data."""


class _Raw:
    """Stored values pass through."""

    def __init__(self, meta: Metadata) -> None:
        self.meta, self.nodata, self.saturated = meta, meta.nodata, 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values.astype(self.meta.dtype, copy=False)

    def keep_free(self) -> None:
        """Reserve a value for no data from the first window on."""


class _Coder(_Raw):
    """Physical values become stored ones; finds a nodata value where the scene has none but lacks pixels."""

    def __init__(self, meta: Metadata, scene: xr.DataArray) -> None:
        super().__init__(meta)
        self.scale, self.offset = (np.array(meta[k]) for k in ("scale", "offset"))
        self.open = meta.nodata is None and meta.dtype.kind != "f"
        self.taken = False
        lossless = np.dtype(scene.attrs.get("dtype", "float32")).kind != "f" or meta.dtype.kind == "f"
        self.unsure = not lossless and bool((self.scale == 1).all())
        self.name = label(scene)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.unsure:
            self._check_range(values)
        if self.open and np.isnan(values).any():
            if self.taken:
                raise _TakenError
            self.keep_free()
        raw, clipped = encode(values, self.meta.dtype, self.scale, self.offset, self.nodata)
        self.saturated += clipped
        if self.open:
            self.taken = self.taken or bool((raw == self.meta.dtype.type(default_nodata(self.meta.dtype))).any())
        return raw

    def keep_free(self) -> None:
        self.nodata, self.open, self.saturated = default_nodata(self.meta.dtype), False, self.saturated

    def _check_range(self, values: np.ndarray) -> None:
        """Fractions that would all become 0 or 1 are a mistake, seen in the first window that holds a number."""
        largest = np.fmax.reduce(np.abs(values), axis=None, initial=0.0)
        if largest > 0:
            self.unsure = False
        if 0 < largest <= 2 and not (values[np.isfinite(values)] % 1 == 0).all():
            raise ParameterError(
                f"{self.name}: values up to {largest:.3g} would be rounded to whole numbers in {self.meta.dtype}; "
                "write float32, or give the scene a scale such as 0.0001."
            )
