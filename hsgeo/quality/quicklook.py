"""Pictures of scenes: true- or false-colour PNGs with a percentile stretch, decimated to a screen's size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

RGB_NM = (655.0, 560.0, 480.0)
#: pixels between the pictures of a contact sheet
GAP = 2

#: pixels of the longer side to which a small contact sheet is enlarged, by a whole number
SHEET = 600


def rgb_bands(scene: xr.DataArray) -> list[int]:
    """Positions of the good bands nearest to red, green and blue; the first, middle and last without wavelengths."""
    wavelength, good = scene["wavelength"].values, np.flatnonzero(scene["good"].values)
    known = good[np.isfinite(wavelength[good])]
    if known.size:
        return [int(known[np.abs(wavelength[known] - nm).argmin()]) for nm in RGB_NM]
    pool = good if good.size else np.arange(scene.sizes["band"])
    return [int(pool[i]) for i in (-1, len(pool) // 2, 0)]


def stretch_limits(values: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Percentiles of each channel, (channels, 2); equal limits are widened."""
    limits = np.array([[0.0, 1.0] if not np.isfinite(v).any() else np.nanpercentile(v, [low, high]) for v in values])
    limits[:, 1] = np.where(limits[:, 1] > limits[:, 0], limits[:, 1], limits[:, 0] + 1)
    return limits


def to_bytes(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Stretch (channels, H, W) into 0..255; missing pixels are black."""
    span = (limits[:, 1] - limits[:, 0])[:, None, None]
    return np.nan_to_num(np.clip((values - limits[:, :1, None]) / span, 0, 1) * 255).astype(np.uint8)


def decimated(scene: xr.DataArray, bands: list[int], size: int = 900) -> np.ndarray:
    """Every k-th pixel of some bands so that no side is longer than `size`, as (channels, H, W)."""
    step = max(1, -(-max(scene.sizes["y"], scene.sizes["x"]) // size))
    return np.asarray(scene.isel(band=bands, y=slice(None, None, step), x=slice(None, None, step)).values, dtype=float)


def enlarge(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Repeat pixels until (channels, H, W) has `shape` pixels, so that coarse pixels stay visible."""
    rows = np.minimum((np.arange(shape[0]) + 0.5) * image.shape[1] / shape[0], image.shape[1] - 1).astype(int)
    columns = np.minimum((np.arange(shape[1]) + 0.5) * image.shape[2] / shape[1], image.shape[2] - 1).astype(int)
    return image[:, rows][:, :, columns]


def png_bytes(image: np.ndarray) -> bytes:
    """Encode (3, H, W) or (1, H, W) uint8 as PNG."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    with warnings.catch_warnings(), MemoryFile(ext=".png") as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture has no place on the ground
        options = {"driver": "PNG", "count": image.shape[0], "height": image.shape[1], "width": image.shape[2]}
        with memory.open(dtype="uint8", **options) as target:
            target.write(image)
        return memory.read()


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> Path:
    """Write (3, H, W) or (1, H, W) uint8 as a PNG file."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_bytes(png_bytes(image))
    os.replace(temporary, target)
    return target


_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float)


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """Colour a map (H, W) from 0 (black) to `top` (pale yellow), as (3, H, W) uint8; missing pixels are grey."""
    place = np.clip(np.nan_to_num(values) / (top or 1), 0, 1) * (len(_HEAT) - 1)
    image = np.stack([np.interp(place, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)])
    return np.where(np.isfinite(values), image, 128).astype(np.uint8)


def contact_sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (3, h, w) of one shape side by side in one stretch, as (3, H, W) uint8; white between them."""
    columns = int(np.ceil(len(tiles) ** 0.5))
    rows = -(-len(tiles) // columns)
    times = max(1, SHEET // max(n * side for n, side in zip((rows, columns), tiles[0].shape[1:], strict=True)))
    tiles = [np.kron(tile, np.ones((times, times))) for tile in tiles]
    height, width = tiles[0].shape[1:]
    sheet = np.full((3, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.nan)
    for i, tile in enumerate(tiles):
        y, x = (n * (side + GAP) for n, side in zip(divmod(i, columns), (height, width), strict=True))
        sheet[:, y : y + height, x : x + width] = tile
    picture = to_bytes(sheet, stretch_limits(sheet))
    return np.where(np.isfinite(sheet), picture, 255).astype(np.uint8)
