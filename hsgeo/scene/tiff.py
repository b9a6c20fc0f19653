"""Whether a TIFF is whole, found from its first directory without reading a pixel."""

from __future__ import annotations

import struct
from collections.abc import Callable, Container
from pathlib import Path

import numpy as np

from hsgeo.errors import SceneReadError


def tiff_layout(head: bytes) -> tuple[str, bool] | None:
    """(byte order, BigTIFF) of a TIFF's first bytes, else None."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    return (order, version == 43) if version in (42, 43) else None


#: TIFF field types: size in bytes and struct code of the integers that offsets and counts come in
_FIELD = {3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}
#: tiles looked at when a file has more: the last ones written lie at its end
_TILES_CHECKED = 1 << 21


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
        order, big = layout
        file.seek(8 if big else 4)
        start = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))[0]
        file.seek(start)
        number = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))[0]
        entry, inline = (20, 8) if big else (12, 4)
        table = file.read(number * entry)
        fields = {}
        for i in range(number):
            tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), table, i * entry)
            at = i * entry + (12 if big else 8)
            fields[tag] = (kind, count, table[at : at + inline])

        def values(tag: int) -> np.ndarray:
            kind, count, raw = fields[tag]
            width, code = _FIELD[kind]
            if width * count <= inline:
                return np.frombuffer(raw[: width * count], order + code).astype(np.int64)
            first = max(0, count - _TILES_CHECKED)
            file.seek(struct.unpack(order + ("Q" if big else "I"), raw)[0] + first * width)
            return np.frombuffer(file.read((count - first) * width), order + code).astype(np.int64)

        tiled = 324 in fields
        offsets, counts = (324, 325) if tiled else (273, 279)
        if (
            offsets not in fields
            or counts not in fields
            or not {fields[t][0] for t in (offsets, counts)} <= set(_FIELD)
        ):
            return
        begin, length = values(offsets), values(counts)
        if begin.size != length.size or not begin.size:
            return
        if not tiled and 259 in fields and values(259)[0] == 1:
            length = np.minimum(length, _strip_bytes(values, fields, begin.size))
    end = int((begin + length)[begin > 0].max(initial=0))
    if end > size:
        raise SceneReadError(
            f"{path} is truncated: it has {size} bytes, its pixels reach to byte {end}; copy or download it again."
        )


def _strip_bytes(values: Callable[[int], np.ndarray], fields: Container[int], number: int) -> np.ndarray:
    """Bytes that the last `number` strips need; some writers count a full strip for the shorter last one."""
    width, height = (int(values(tag)[0]) for tag in (256, 257))
    rows = min(height, int(values(278)[0])) if 278 in fields else height
    bits = int(values(258)[0]) if 258 in fields else 1
    samples = int(values(277)[0]) if 277 in fields else 1
    apart = 284 in fields and values(284)[0] == 2  # one plane for each band
    per_plane = -(-height // rows)
    total = per_plane * (samples if apart else 1)
    strip = np.arange(max(0, total - number), total) % per_plane
    line = -(-width * bits * (1 if apart else samples) // 8)
    needed = np.minimum(rows, height - strip * rows) * line
    return needed if needed.size == number else np.full(number, np.iinfo(np.int64).max)
