"""What the first directory of a TIFF tells without GDAL: whether the file is whole, and which others are like it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hsgeo.errors import SceneReadError


def tiff_layout(head: bytes) -> tuple[str, bool] | None:
    """(byte order, BigTIFF) of a TIFF's first bytes, else None."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    return (order, version == 43) if version in (42, 43) else None


#: bytes of a value of each TIFF field type, and struct codes of the integers that offsets and counts come in
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
#: tiles looked at when a file has more: the last ones written lie at its end
_TILES_CHECKED = 1 << 21
#: tags of offsets and byte counts of strips and tiles
_PLACES = {273, 279, 324, 325}
#: bytes of one field beyond which directories are not compared
_LONGEST = 1 << 20


class Directory:
    """The first directory of a TIFF.

    Attributes
    ----------
    order : "<" or ">"
    fields : dict of tag to (type, count, value or the place it lies at)
    last : bool
        No other directory follows.
    """

    def __init__(self, file: BinaryIO, order: str, big: bool) -> None:
        self.file, self.order, self._offset = file, order, order + ("Q" if big else "I")
        inline = 8 if big else 4
        file.seek(inline)
        file.seek(self._place(file.read(inline)))
        number = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))[0]
        entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
        table, following = file.read(number * entry.size), file.read(inline)
        self.fields = {tag: (kind, count, raw) for tag, kind, count, raw in entry.iter_unpack(table)}
        self.last = not any(following)

    def _place(self, raw: bytes) -> int:
        return struct.unpack(self._offset, raw)[0]

    def raw(self, tag: int, first: int = 0) -> bytes:
        """Bytes of the values of a field, from number `first` on."""
        kind, count, raw = self.fields[tag]
        width = _BYTES[kind]
        if width * count <= len(raw):
            return raw[first * width : count * width]
        self.file.seek(self._place(raw) + first * width)
        return self.file.read((count - first) * width)

    def integers(self, tag: int) -> np.ndarray:
        """Values of a field, of many the last ones."""
        kind, count, _ = self.fields[tag]
        values = self.raw(tag, max(0, count - _TILES_CHECKED))
        return np.frombuffer(values, self.order + _INTEGERS[kind]).astype(np.int64)


def fingerprint(path: Path) -> bytes | None:
    """All that the only directory of a TIFF says but where the pixels lie, None for anything else.

    Two files of one fingerprint differ in their pixels alone, as far as readers see.
    """
    try:
        with open(path, "rb") as file:
            layout = tiff_layout(file.read(16))
            if layout is None:
                return None
            found = Directory(file, *layout)
            if not found.last or any(count * _BYTES[kind] > _LONGEST for kind, count, _ in found.fields.values()):
                return None
            return repr(
                [layout, *((t, k, n, t in _PLACES or found.raw(t)) for t, (k, n, _) in sorted(found.fields.items()))]
            ).encode()
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
        layout = tiff_layout(file.read(16))
        if layout is None:
            return
        found = Directory(file, *layout)
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
