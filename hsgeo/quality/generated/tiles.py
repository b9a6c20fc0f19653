"""Generated tiles beside their scene: the bands that both have, and the classes of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, DataError, GridError
from hsgeo.quality.metrics import windows
from hsgeo.quality.reference import common_window
from hsgeo.scene.labels import other_grid
from hsgeo.scene.model import label

#: how far the wavelengths of one band may lie apart, nm
NEAR = 2.0


@dataclass(frozen=True)
class Tile:
    """A generated tile: its name, its values (band, y, x), and its class map (band, y, x) where there is one."""

    name: str
    scene: xr.DataArray
    classes: xr.DataArray | None = None


def shared_bands(scene: xr.DataArray, tiles: Sequence[Tile]) -> np.ndarray:
    """Positions of the bands that count: good, and with data in the scene and in the first tile.

    Raises
    ------
    BandError
        A tile has other bands than the scene.
    DataError
        No band has data in both.
    """
    count, nm = scene.sizes["band"], scene["wavelength"].values
    for tile in tiles:
        name = label(tile.scene)
        if tile.scene.sizes["band"] != count:
            raise BandError(
                f"{name} has {tile.scene.sizes['band']} bands, {label(scene)} {count}; give the scene that the tiles "
                "were generated from as --reference."
            )
        apart = np.abs(tile.scene["wavelength"].values - nm)
        if (apart > NEAR).any():
            worst = int(np.nanargmax(apart))
            raise BandError(
                f"{name}: band {worst + 1} lies at {tile.scene['wavelength'].values[worst]:.1f} nm, that of "
                f"{label(scene)} at {nm[worst]:.1f} nm; give the scene that the tiles were generated from as "
                "--reference."
            )
    found = np.flatnonzero(scene["good"].values & _alive(scene) & _alive(tiles[0].scene))
    if not found.size:
        raise DataError(f"{label(tiles[0].scene)} and {label(scene)} have no good band in which both have data.")
    return found


def _alive(scene: xr.DataArray) -> np.ndarray:
    """Bands that have data somewhere."""
    alive = np.zeros(scene.sizes["band"], bool)
    for window in windows(scene.sizes["y"], scene.sizes["x"]):
        alive |= np.isfinite(scene.isel(y=window.slices[0], x=window.slices[1]).values).any((1, 2))
        if alive.all():
            break
    return alive


class Labels:
    """The classes of a label raster, renumbered from 1 without gaps.

    Parameters
    ----------
    raster : scene (1, y, x)
        Whole numbers; 0, negative ones and nodata are no class.
    scene : scene (band, y, x)
        Whose pixels they name.

    Attributes
    ----------
    values : int array (k,)
        The numbers in the raster.
    classes : int array (y, x)
        1..k, 0 for none.

    Raises
    ------
    BandError, GridError, DataError
        Several bands, another grid, no two classes.
    """

    def __init__(self, raster: xr.DataArray, scene: xr.DataArray):
        name = label(raster)
        if raster.sizes["band"] != 1:
            raise BandError(f"{name} has {raster.sizes['band']} bands; a label raster has one.")
        try:
            inside, there = common_window(scene, raster)
        except GridError as error:
            raise other_grid(raster, scene) from error
        if inside.shape != (scene.sizes["y"], scene.sizes["x"]):
            raise GridError(f"{name} covers a part of {label(scene)} only; give labels of the whole scene.")
        given = raster.values[0][there.slices]
        found = np.unique(given[np.isfinite(given)])
        self.values = found[found > 0].astype(np.int64)
        if (found != np.round(found)).any() or not 2 <= self.values.size <= 256:
            raise DataError(f"{name}: a label raster holds 2 to 256 classes, as whole numbers from 1 on.")
        self.classes = self.number(given)

    def number(self, raw: np.ndarray) -> np.ndarray:
        """Numbers as written in a raster, as 1..k; 0 where they are none of its classes."""
        values = np.where(np.isfinite(raw), raw, 0).astype(np.int64)
        place = np.minimum(np.searchsorted(self.values, values), len(self.values) - 1)
        return np.where(self.values[place] == values, place + 1, 0)
