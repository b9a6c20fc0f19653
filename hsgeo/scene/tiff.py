"""Directories of TIFFs read without GDAL: whether a file is whole, and which others are like it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hsgeo.errors import SceneReadError


@dataclass(frozen=True)
class Layout:
    """Byte order ("<" or ">") of a TIFF, and whether its offsets have 64 bits (BigTIFF)."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        """A place in the file."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def count(self) -> struct.Struct:
        """Number of fields of a directory."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        """Tag, type, number of values, and the values or their place."""
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))


def tiff_layout(head: bytes) -> Layout | None:
    """The layout that a TIFF's first 16 bytes tell, else None."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    return Layout(order, version == 43) if version in (42, 43) else None


#: bytes of a value of each TIFF field type, and struct codes of the integers that offsets and counts come in
FIELD_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
#: tiles looked at when a file has more: the last ones written lie at its end
_TILES_CHECKED = 1 << 21
#: tags of offsets and byte counts of strips and tiles
_PLACES = {273, 279, 324, 325}
#: bytes of one field beyond which directories are not compared
_LONGEST = 1 << 20


class Directory:
    """A directory of a TIFF.

    Parameters
    ----------
    file : binary file
    layout : Layout
    link : int
        Where the file names the directory's place.

    Attributes
    ----------
    fields : dict of tag to (type, count, value or the place it lies at)
    link : int
        Where the file names the place of the directory that follows.
    last : bool
        No other directory follows.
    """

    def __init__(self, file: BinaryIO, layout: Layout, link: int) -> None:
        self.file, self.layout = file, layout
        file.seek(link)
        file.seek(self._place(file.read(layout.offset.size)))
        number = layout.count.unpack(file.read(layout.count.size))[0]
        table = file.read(number * layout.entry.size)
        self.fields = {tag: (kind, count, raw) for tag, kind, count, raw in layout.entry.iter_unpack(table)}
        self.link = file.tell()
        self.last = not any(file.read(layout.offset.size))

    @classmethod
    def first(cls, file: BinaryIO) -> Directory | None:
        """The first one of an open file, None where that is no TIFF."""
        file.seek(0)
        layout = tiff_layout(file.read(16))
        return None if layout is None else cls(file, layout, layout.offset.size)  # 4 or 8 bytes come before

    def _place(self, raw: bytes) -> int:
        return self.layout.offset.unpack(raw)[0]

    def raw(self, tag: int, first: int = 0) -> bytes:
        """Bytes of the values of a field, from number `first` on."""
        kind, count, raw = self.fields[tag]
        width = FIELD_BYTES[kind]
        if width * count <= len(raw):
            return raw[first * width : count * width]
        self.file.seek(self._place(raw) + first * width)
        return self.file.read((count - first) * width)

    def integers(self, tag: int) -> np.ndarray:
        """Values of a field, of many the last ones."""
        kind, count, _ = self.fields[tag]
        values = self.raw(tag, max(0, count - _TILES_CHECKED))
        return np.frombuffer(values, self.layout.order + _INTEGERS[kind]).astype(np.int64)


def fingerprint(path: Path) -> bytes | None:
    """All that the only directory of a TIFF says but where the pixels lie, None for anything else.

    Two files of one fingerprint differ in their pixels alone, as far as readers see.
    """
    try:
        with open(path, "rb") as file:
            found = Directory.first(file)
            if found is None or not found.last:
                return None
            fields = sorted(found.fields.items())
            if any(count * FIELD_BYTES[kind] > _LONGEST for _, (kind, count, _) in fields):
                return None
            said = ((t, kind, n, t in _PLACES or found.raw(t)) for t, (kind, n, _) in fields)
            return repr([found.layout, *said]).encode()
    except (OSError, struct.error, KeyError):
        return None


def check_complete(path: Path) -> None:
    """Compare a TIFF's size with where its tiles or strips end, from the first directory alone.

    Raises
    ------
    SceneReadError
        Tiles lie beyond the end of the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        found = Directory.first(file)
        if found is None:
            return
        tiled = 324 in found.fields
        places = (324, 325) if tiled else (273, 279)
        if not all(tag in found.fields and found.fields[tag][0] in _INTEGERS for tag in places):
            return
        begin, length = map(found.integers, places)
        if begin.size != length.size or not begin.size:
            return
        if not tiled and 259 in found.fields and found.integers(259)[0] == 1:
            length = np.minimum(length, _strip_bytes(found, begin.size))
    end = int((begin + length)[begin > 0].max(initial=0))
    if end > size:
        raise SceneReadError(
            f"{path} is truncated: it has {size} bytes, its pixels reach to byte {end}; copy or download it again."
        )


def _strip_bytes(found: Directory, number: int) -> np.ndarray:
    """Bytes that the last `number` strips need; some writers count a full strip for the shorter last one."""
    width, height = (int(found.integers(tag)[0]) for tag in (256, 257))
    rows = min(height, int(found.integers(278)[0])) if 278 in found.fields else height
    bits = int(found.integers(258)[0]) if 258 in found.fields else 1
    samples = int(found.integers(277)[0]) if 277 in found.fields else 1
    apart = 284 in found.fields and found.integers(284)[0] == 2  # one plane for each band
    per_plane = -(-height // rows)
    total = per_plane * (samples if apart else 1)
    strip = np.arange(max(0, total - number), total) % per_plane
    line = -(-width * bits * (1 if apart else samples) // 8)
    needed = np.minimum(rows, height - strip * rows) * line
    return needed if needed.size == number else np.full(number, np.iinfo(np.int64).max)
