"""The blocks of TIFFs on the disk: whether all are there, and those of one moved behind another's as its overview."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hsgeo.errors import HsgeoError, ParameterError

from .staging import incomplete
from .tiff import FIELD_BYTES, Directory, Layout

_LONG, _LONG8 = 4, 16
_REDUCED, _STRIPS, _TILES = 254, 273, 324
#: tags of the grid and of GDAL's metadata; those of the raster hold for its overviews
_OF_THE_RASTER = {33550, 33922, 34264, 34735, 34736, 34737, 42112}
_COPY_BYTES = 16 << 20


def check_blocks(path: Path, target: Path, sparse: bool = False) -> None:
    """See that every block of a TIFF and its overviews lies inside the file; GDAL may fail to write without an error.

    Raises
    ------
    OutputWriteError
        The file ends before its blocks do.
    """
    import rasterio
    from rasterio.errors import RasterioError

    size = os.path.getsize(path)
    try:
        with rasterio.open(path) as dataset:
            apart = dataset.interleaving is None or dataset.interleaving.name == "band"
            bands = dataset.indexes if apart else [1]
            for level in (None, *range(len(dataset.overviews(1)))):
                down, across = _blocks(path, level)
                for band, y, x in itertools.product(bands, range(down), range(across)):
                    start, length = (
                        dataset.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=band, ovr=level)
                        for what in ("OFFSET", "SIZE")
                    )
                    if (start is None and not sparse) or (start and int(start) + int(length) > size):
                        raise incomplete(target)
    except RasterioError as error:
        raise incomplete(target) from error


def _blocks(path: Path, level: int | None) -> tuple[int, int]:
    """Number of blocks down and across of a raster or one of its overviews."""
    import rasterio

    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        rows, cols = dataset.block_shapes[0]
        return -(-dataset.height // rows), -(-dataset.width // cols)


def join(path: Path, level: Path) -> None:
    """Add the raster in `level` to `path`, both closed, as its last overview.

    Parameters
    ----------
    path, level : path
        TIFF or BigTIFF (TIFF 6.0 and its 64-bit variant) of the same byte order; `level` holds one directory.

    Raises
    ------
    ParameterError
        `path` is no BigTIFF and would grow beyond 4 GiB.
    """
    with open(path, "r+b") as out, open(level, "rb") as source:
        last, added = _first(out), _first(source)
        to, order = last.layout, last.layout.order
        if order != added.layout.order:
            raise HsgeoError(f"{path.name} and its overview differ in byte order.")
        while not last.last:
            last = Directory(out, to, last.link)
        fields = {tag: (kind, added.raw(tag)) for tag, (kind, _, _) in added.fields.items()}
        start = _at_end(out)
        directory = sum(len(raw) + 32 for _, raw in fields.values())
        if not to.big and start + level.stat().st_size + directory >= 1 << 32:
            raise ParameterError(f"{path.name} with its overviews passes 4 GiB; give --co BIGTIFF=YES.")
        source.seek(0)
        shutil.copyfileobj(source, out, _COPY_BYTES)
        key = _TILES if _TILES in fields else _STRIPS
        kind, raw = fields[key]
        blocks = np.frombuffer(raw, f"{order}u{FIELD_BYTES[kind]}").astype(np.uint64)
        blocks[blocks > 0] += np.uint64(start)  # 0: a block that was left out
        fields[key] = _LONG8, blocks.astype(order + "u8").tobytes()
        fields[_REDUCED] = _LONG, struct.pack(order + "I", 1)
        place = _write(out, to, {tag: v for tag, v in sorted(fields.items()) if tag not in _OF_THE_RASTER})
        out.seek(last.link)
        out.write(to.offset.pack(place))


def _first(file: BinaryIO) -> Directory:
    found = Directory.first(file)
    if found is None:
        raise HsgeoError(f"{file.name} is no TIFF.")
    return found


def _write(file: BinaryIO, layout: Layout, fields: dict[int, tuple[int, bytes]]) -> int:
    """A directory at the end of the file; returns its place."""
    entries = []
    for tag, (kind, raw) in fields.items():
        if kind == _LONG8 and not layout.big:
            wide = np.frombuffer(raw, layout.order + "u8")
            kind, raw = _LONG, wide.astype(layout.order + "u4").tobytes()
        count, room = len(raw) // FIELD_BYTES[kind], layout.offset.size
        if len(raw) > room:
            raw, content = layout.offset.pack(_at_end(file)), raw
            file.write(content)
        entries.append(layout.entry.pack(tag, kind, count, raw))
    place = _at_end(file)
    file.write(layout.count.pack(len(entries)) + b"".join(entries) + layout.offset.pack(0))
    return place


def _at_end(file: BinaryIO) -> int:
    """The end of the file, at a whole number of words."""
    file.seek(0, 2)
    file.write(b"\0" * (-file.tell() % 8))
    return file.tell()
