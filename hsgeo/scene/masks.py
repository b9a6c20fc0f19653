"""Pixels that must not be used, given as a raster: clouds, shadows, a region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import BandError

from .grids import PixelMap, crop, extent_text, overlap
from .model import geobox_of, label
from .notes import Warned
from .resample import read_window
from .window import Window


@dataclass(frozen=True, eq=False)
class Mask:
    """Samples of a scene that must not be used. Can be pickled.

    Attributes
    ----------
    layers : scene (1 or B, y, x)
        Not zero where a sample is hidden, on any grid. Its nodata, and ground that it does not cover, count as zero.
        The nearest mask pixel decides; where the mask is finer than the scene, any of its pixels within a scene pixel
        does.
    source, target : GeoBox
        Grids of the mask and of the scene.
    """

    layers: xr.DataArray
    source: Any
    target: Any

    @classmethod
    def of(cls, scene: xr.DataArray, mask: xr.DataArray, notes: list[str] | None = None) -> Mask:
        """A mask of a scene: one layer for all bands, or a layer for each.

        Parameters
        ----------
        scene, mask : scene
            Of a scene that has some bands of a file, the mask may have a layer for each of the file's.
        notes : list of str, optional
            Gains a sentence when the two do not meet.

        Raises
        ------
        BandError
            Another number of layers.
        """
        target, source = geobox_of(scene), geobox_of(mask)
        if overlap(target, source, 1) is None and notes is not None:
            where = extent_text(source, target)
            notes.append(Warned(f"the mask {label(mask)} ({where}) does not meet {label(scene)}."))
        layers, bands = mask.sizes["band"], scene.sizes["band"]
        if layers not in (1, bands):
            if layers != scene.attrs.get("of_bands"):
                wanted = f"one layer for all bands or one for each of the {bands} of {label(scene)}"
                raise BandError(f"{label(mask)}: a mask has {wanted}, not {layers}.")
            mask = mask.isel(band=scene["band"].values - 1)
        return cls(mask, source, target)

    def hidden(self, window: Window) -> np.ndarray:
        """Hidden samples of a window of the scene, bool (1 or B, h, w)."""
        return np.stack(
            [
                masked_pixels(self.layers.isel(band=[band]), self.source, self.target, window)
                for band in range(self.layers.sizes["band"])
            ]
        )


def apply_mask(scene: xr.DataArray, mask: xr.DataArray, notes: list[str] | None = None) -> xr.DataArray:
    """A scene that is NaN wherever a mask is not zero; lazy where the scene is.

    Parameters
    ----------
    scene : scene (band, y, x)
        Backed by dask, or in memory.
    mask : scene
    notes : list of str, optional
        As in `Mask`.
    """
    hiding = Mask.of(scene, mask, notes)

    def cover(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        (b0, b1), (y0, y1), (x0, x1) = block_info[0]["array-location"]
        hidden = hiding.hidden(Window(y0, y1, x0, x1))
        return np.where(hidden if len(hidden) == 1 else hidden[b0:b1], np.array(np.nan, values.dtype), values)

    if scene.chunks is None:
        whole = [{"array-location": [(0, n) for n in scene.shape]}]
        return scene.copy(data=cover(scene.values, whole))
    import dask.array as da

    return scene.copy(data=da.map_blocks(cover, scene.data, dtype=scene.dtype, meta=np.empty((0, 0, 0), scene.dtype)))


def masked_pixels(mask: xr.DataArray, source: Any, target: Any, window: Window) -> np.ndarray:
    """Where a mask (1, y, x) on the grid `source` hides pixels of a window of the grid `target`: bool (h, w)."""
    from rasterio.crs import CRS
    from rasterio.warp import Resampling, reproject

    mapping = PixelMap.between(target, source)
    if mapping.offset is not None:
        values = read_window(mask, window.shift(*mapping.offset))[0]
        return np.isfinite(values) & (values != 0)
    bounds = mapping.source_bounds(window)
    hidden = np.zeros(window.shape, np.uint8)
    if bounds is None:
        return hidden.astype(bool)
    part = Window(
        math.floor(bounds[0]) - 2, math.ceil(bounds[1]) + 2, math.floor(bounds[2]) - 2, math.ceil(bounds[3]) + 2
    )
    part = part.clip(*source.shape)
    if 0 in part.shape:
        return hidden.astype(bool)
    values = read_window(mask, part)[0]
    near, there = crop(source, part), crop(target, window)
    here, there_crs = (CRS.from_wkt(str(box.crs.to_wkt())) for box in (near, there) if box.crs is not None)
    reproject(
        (np.isfinite(values) & (values != 0)).astype(np.uint8),
        hidden,
        src_transform=near.affine,
        src_crs=here,
        dst_transform=there.affine,
        dst_crs=there_crs,
        resampling=Resampling.max if max(mapping.steps) > 1 else Resampling.nearest,
        tolerance=0,
    )
    return hidden.astype(bool)
