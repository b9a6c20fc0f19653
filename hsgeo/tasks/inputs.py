"""Scenes given to a task, by path or as arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, DataError, GridError, ParameterError
from hsgeo.scene import make_scene, open_scene
from hsgeo.scene.model import BAND_COORDS, geobox_of, label
from hsgeo.scene.resample import read_window
from hsgeo.scene.window import Window

if TYPE_CHECKING:
    from hsgeo.scene.masks import Mask

#: side of the parts in which a mask is read until something is hidden, pixels
AT_ONCE = 2048

Scene = str | os.PathLike[str] | xr.DataArray


@dataclass(frozen=True)
class FusionOptions:
    """What `fuse` may be told besides the two scenes and the method's own parameters; see there."""

    method: str = "subspace"
    gsd: float | None = None
    register: bool = True
    bands: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    hsi_sensor: str | None = None
    msi_sensor: str | None = None
    hsi_mask: Scene | None = None
    msi_mask: Scene | None = None

    def record(self) -> dict[str, Any]:
        """The options as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "hsi_mask": path_of(self.hsi_mask), "msi_mask": path_of(self.msi_mask)}


def mask_of(scene: xr.DataArray, mask: Scene | None, notes: list[str]) -> Mask | None:
    """What a mask raster hides of a scene; a note tells of one that hides nothing.

    Raises
    ------
    GridError
        The two do not meet.
    """
    if mask is None:
        return None
    from hsgeo.scene.masks import Mask

    apart: list[str] = []
    layers = mask if isinstance(mask, xr.DataArray) else open_scene(mask, chunks=None)
    found = Mask.of(scene, layers, apart)
    if apart:
        raise GridError(f"{apart[0].rstrip('.')}; give a mask of the same ground.")
    parts = Window(0, layers.sizes["y"], 0, layers.sizes["x"]).blocks(AT_ONCE)
    if not any(np.nan_to_num(read_window(layers, part)).any() for part in parts):
        notes.append(f"{label(layers)}: the mask is zero or nodata everywhere and hides nothing; 1 hides a pixel.")
    return found


def mask_checksums(*masks: Scene | None) -> list[str | None]:
    """What tells masks from others: the SHA-256 of the whole file, or of the values; None where there is none."""
    from hsgeo.scene.provenance import describe_input

    found: list[str | None] = []
    for mask in masks:
        if mask is None:
            found.append(None)
        elif isinstance(mask, xr.DataArray):
            found.append(hashlib.sha256(np.ascontiguousarray(mask.values).tobytes()).hexdigest())
        elif Path(mask).is_file():
            with Path(mask).open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        else:
            found.append(str(describe_input(mask)))
    return found


def masked(scene: xr.DataArray, mask: Scene | None, notes: list[str]) -> xr.DataArray:
    """A scene without the pixels where a mask raster is not zero."""
    if mask is None:
        return scene
    from hsgeo.scene.masks import apply_mask

    return apply_mask(scene, mask if isinstance(mask, xr.DataArray) else open_scene(mask, chunks=None), notes)


def open_input(scene: Scene, sensor: str | None, notes: list[str], mask: Scene | None, **subset: Any) -> xr.DataArray:
    if not isinstance(scene, xr.DataArray):
        return open_scene(scene, sensor=sensor, chunks=None if mask is None else "auto", notes=notes, **subset)
    if any(value is not None for value in subset.values()):
        raise ParameterError("bands= and bbox= are for paths; select on the DataArray itself.")
    box = geobox_of(scene)
    if all(name in scene.coords for name in BAND_COORDS):
        return scene
    template = make_scene(np.broadcast_to(np.float32(0), scene.shape), box, like=scene)
    return scene.assign_coords(template.coords).assign_attrs(template.attrs)


def path_of(scene: Scene | None) -> str | None:
    return None if scene is None else label(scene) if isinstance(scene, xr.DataArray) else str(scene)


@contextmanager
def naming(inputs: Sequence[str]) -> Iterator[None]:
    """Put the names of the inputs before what a fit has to say of their pixels or bands."""
    try:
        yield
    except (DataError, BandError) as error:
        if any(name in str(error) for name in inputs):
            raise
        raise type(error)(f"{' and '.join(inputs)}: {error}") from error
