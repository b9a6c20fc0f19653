"""Where a result comes from: its inputs, parameters, program version and time, as one JSON record."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import hsgeo

#: bytes at the start of a file that tell it apart from others
HEADER_BYTES = 64 << 10


def provenance_record(
    inputs: Iterable[str | os.PathLike[str]],
    parameters: Mapping[str, Any],
    version: str | None = None,
    *,
    scenes: Iterable[xr.DataArray] = (),
    **more: Any,
) -> dict[str, Any]:
    """A record that `write_scene` stores with its output.

    Parameters
    ----------
    inputs : iterable of path
        Files, or folders such as zarr stores.
    parameters : mapping
        Made JSON-able: numpy values become Python's, anything unknown its text.
    version : str, optional
        Of the program; this hsgeo's when None.
    scenes : iterable of scene (band, y, x), optional
        The inputs as they were opened, in their order.
    **more
        Further entries, such as ``estimates``.

    Returns
    -------
    dict
        ``software``, ``version``, ``time`` (UTC, ISO 8601), ``inputs`` (name, size in bytes, sha256 of the header; of
        the scenes what `describe_scene` says), ``parameters``. The writer adds what the output is.
    """
    return {
        "software": "hsgeo",
        "version": version or hsgeo.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "inputs": [
            {**describe_input(path), **({} if scene is None else describe_scene(scene))}
            for path, scene in zip_longest(inputs, scenes)
        ],
        "parameters": jsonable(parameters),
        **jsonable(more),
    }


def describe_input(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Name, size and header checksum of a file or folder.

    The checksum covers the first 64 KiB and the size, and an ENVI header beside the file; of a folder, the names and
    sizes of what lies in it and the first 64 KiB of its first files. Nothing but the name is known of what is gone.
    """
    place = Path(path)
    record: dict[str, Any] = {"name": place.name or str(path)}
    digest = hashlib.sha256()
    try:
        if place.is_dir():
            files = sorted(p for p in place.iterdir() if p.is_file())
            record["size"] = sum(p.stat().st_size for p in files)
            digest.update("\n".join(f"{p.name} {p.stat().st_size}" for p in files).encode())
            read = files[:16]
        else:
            record["size"] = place.stat().st_size
            digest.update(str(record["size"]).encode())
            headers = (place.with_suffix(".hdr"), place.with_name(place.name + ".hdr"))
            read = [place, *(h for h in headers if h != place and h.is_file())]
        for file in read:
            with open(file, "rb") as stream:
                digest.update(stream.read(HEADER_BYTES))
    except OSError:
        return record
    record["sha256_header"] = digest.hexdigest()
    return record


def describe_scene(scene: xr.DataArray) -> dict[str, Any]:
    """Stored type and nodata value, number of bands, and GSD in CRS units (a list where the bands have several)."""
    gsd = np.unique(scene["gsd"].values)
    stored = {name: scene.attrs.get(name) for name in ("dtype", "nodata")}
    return jsonable({**stored, "bands": scene.sizes["band"], "gsd": gsd[0] if gsd.size == 1 else gsd})


def jsonable(value: Any) -> Any:
    """The value in types that JSON knows; floats that JSON lacks (NaN, infinities) as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return str(value)
