"""Small rasters written with rasterio alone, so that opening is checked against another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

NORTH_UP = Affine(10, 0, 500000, 0, -10, 5600000)


def tif(path: Path, values: np.ndarray, transform: Affine = NORTH_UP, crs: Any = "EPSG:32633", **profile: Any) -> Path:
    """Write (band, y, x) values; profile entries go to rasterio."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype.name, **profile}
    with rasterio.open(
        path, "w", count=count, height=height, width=width, transform=transform, crs=crs, **profile
    ) as dataset:
        dataset.write(values)
    return path


def ramp(count: int, height: int, width: int, dtype: str = "int16") -> np.ndarray:
    """Every sample different: 10000 * band + 100 * row + column (fits int16 for 3 bands, 99 columns)."""
    b, y, x = np.mgrid[:count, :height, :width]
    return (10000 * b + 100 * y + x).astype(dtype)


def envi(path: Path, values: np.ndarray, interleave: str = "bsq", **keys: Any) -> Path:
    """Write an ENVI pair by hand; returns the data file."""
    codes = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12, "uint32": 13}
    count, height, width = values.shape
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    big = keys.pop("big_endian", False)
    offset = int(keys.pop("header_offset", 0))
    path.write_bytes(
        b"\0" * offset + values.transpose(order).astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()
    )
    lines = [
        "ENVI",
        f"samples = {width}",
        f"lines = {height}",
        f"bands = {count}",
        f"header offset = {offset}",
        "file type = ENVI Standard",
        f"data type = {codes[values.dtype.name]}",
        f"interleave = {interleave}",
        f"byte order = {int(big)}",
        "map info = {UTM, 1, 1, 500000, 5600000, 10, 10, 33, North, WGS-84}",
    ]
    for key, value in keys.items():
        text = (
            "{" + ", ".join(str(v) for v in value) + "}" if isinstance(value, list | tuple | np.ndarray) else str(value)
        )
        lines.append(f"{key.replace('_', ' ')} = {text}")
    path.with_suffix(".hdr").write_text("\n".join(lines) + "\n")
    return path
