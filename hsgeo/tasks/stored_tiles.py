"""Tiles of a zarr store of ``hsgeo generate --format zarr``, as the torch data set takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import SceneReadError
from hsgeo.scene.tile_store import is_tile_store, open_tiles


@dataclass
class StoredTiles:
    """See `hsgeo.tasks.synthetic_tiles.Tiles`."""

    name: str
    seeds: Sequence[int]
    table: dict[int, str]
    bands: np.ndarray
    wavelengths: np.ndarray
    marked: list[str]
    scenes: list[tuple[xr.DataArray, xr.DataArray]] = field(repr=False)

    @staticmethod
    def place(folder: Path) -> Path | None:
        """The store that a folder is or holds; None where it is none."""
        return next((place for place in (folder, folder / "tiles.zarr") if is_tile_store(place)), None)

    @classmethod
    def of(cls, place: Path) -> StoredTiles:
        """Of a store.

        Raises
        ------
        SceneReadError
            It is incomplete.
        """
        try:
            with xr.open_zarr(place) as store:
                seeds, splits = store["seed"].values.tolist(), store["split"].values.tolist()
                told = store["classes"].attrs
                table = dict(zip(told["flag_values"], told["class_names"], strict=True))
            scenes = [(scene, classes) for _, scene, classes in open_tiles(place)]
        except (OSError, KeyError, ValueError) as error:
            raise SceneReadError(f"{place} is no store of hsgeo generate, or incomplete ({error!r}).") from error
        first = scenes[0][0]
        bands = np.flatnonzero(np.isfinite(first.values).any((1, 2)))
        return cls(str(place), seeds, table, bands, first["wavelength"].values[bands], splits, scenes)

    def splits(self) -> list[str]:
        """Of every tile."""
        return self.marked

    def read(self, numbers: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Reflectance, abundances and values of classes of tiles by their numbers, from 0."""
        import zarr

        shares: Any = zarr.open_array(f"{self.name}/abundances", mode="r")
        out = []
        for number in numbers:
            scene, classes = self.scenes[number]
            out.append((scene.isel(band=self.bands).values.astype(np.float32), shares[number], classes.values[0]))
        return out
