"""Tiles of a zarr store of ``hsgeo generate --format zarr``, as the torch data set takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.scene.labels import class_names
from hsgeo.scene.tile_store import MARKS, STORE, is_tile_store, open_tiles


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
        return next((place for place in (folder, folder / STORE) if is_tile_store(place)), None)

    @classmethod
    def of(cls, place: Path) -> StoredTiles:
        """Of a store.

        Raises
        ------
        SceneReadError
            It is incomplete.
        """
        scenes = [(scene, classes) for _, scene, classes in open_tiles(place)]
        seeds, splits = ([scene.attrs["tags"][mark] for scene, _ in scenes] for mark in MARKS)
        first, kinds = scenes[0]
        table, bands = class_names(kinds.attrs["tags"]), np.flatnonzero(np.isfinite(first.values).any((1, 2)))
        wavelengths = first["wavelength"].values[bands]
        return cls(str(place), [int(seed) for seed in seeds], table, bands, wavelengths, splits, scenes)

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
