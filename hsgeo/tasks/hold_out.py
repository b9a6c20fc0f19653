"""Ground of a scene that a training never sees, so that what is learned from its tiles can be tested there.

A generator that has seen a whole scene has seen the ground on which a classifier of its tiles is tested. What is held
out is therefore missing before anything is learned: endmembers, encoding, crops and the classifier of labels alike.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import minimum_filter

from hsgeo.errors import ModelError, ParameterError
from hsgeo.scene import make_scene, open_scene, write_scene
from hsgeo.scene.masks import Mask, apply_mask
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.window import Window
from hsgeo.tasks.inputs import Scene, path_of

#: pixels between ground that is learned from and ground that is tested on: about what a PSF reaches
GUARD = 2
#: powers of the plastic number below 1: multiples of both spread cells evenly in two directions (R2 sequence)
EVEN = (0.7548776662466927, 0.5698402909980532)
#: values of the map of what is held out
SEEN, BESIDE, HELD = 0, 1, 2


@dataclass(frozen=True)
class HoldOut:
    """What is to be held out.

    Parameters
    ----------
    what : float or path or scene (1, y, x)
        The share of the scene's cells, or a raster that is not 0 where nothing may be learned from.
    cell : int, optional
        Side of a cell in pixels; that of the crops of the training without, so that some fit between.
    guard : int
        Pixels along the border of what is held out that are neither learned from nor tested on.
    """

    what: float | Scene
    cell: int | None = None
    guard: int = GUARD

    @classmethod
    def of(cls, what: float | Scene, cell: int | None = None, guard: int = GUARD) -> HoldOut:
        """Of an option, whose share may be a text.

        Raises
        ------
        ParameterError
            A share that is not between 0 and 1, a cell below 1 or of a raster, a guard below 0.
        """
        if isinstance(what, str):
            try:
                what = float(what)
            except ValueError:
                return cls(what, cell, guard)._checked()
        return cls(what, cell, guard)._checked()

    @property
    def path(self) -> str | None:
        """Of a raster on disk."""
        return None if isinstance(self.what, int | float | xr.DataArray) else str(self.what)

    def _checked(self) -> HoldOut:
        if self.cell is not None and not isinstance(self.what, int | float):
            raise ParameterError("--hold-out-cell is of a share of cells; leave it out with a raster to --hold-out.")
        if isinstance(self.what, int | float) and not 0 < self.what < 1:
            raise ParameterError(f"--hold-out {self.what:g}: a share is above 0 and below 1; or give a raster.")
        if (self.cell is not None and self.cell < 1) or self.guard < 0:
            raise ParameterError("--hold-out: cells have at least 1 pixel and a guard at least 0.")
        return self

    def map(self, scene: xr.DataArray, crop: int) -> np.ndarray:
        """Of each pixel of a scene whether it is `SEEN`, `HELD`, or `BESIDE` the border: uint8 (H, W).

        Parameters
        ----------
        scene : scene (band, y, x)
        crop : int
            Side of the training's crops.

        Raises
        ------
        ParameterError
            Nothing or everything is held out, nothing of it lies further from the rest than the guard, or no crop is
            left.
        BandError
            The raster has several layers.
        """
        height, width = scene.shape[1:]
        drawn = isinstance(self.what, int | float)
        if isinstance(self.what, int | float):
            unseen = cells(height, width, self.cell or crop) < self.what
        else:
            raster = self.what if isinstance(self.what, xr.DataArray) else open_scene(self.what, chunks=None)
            unseen = np.any(Mask.of(scene, raster).hidden(Window(0, height, 0, width)), axis=0)
        if not unseen.any() or unseen.all():
            name = "everything" if unseen.all() else "nothing"
            raise ParameterError(
                f"--hold-out {path_of_share(self.what)}: {name} of {label(scene)} would be held out; "
                + ("take smaller cells (--hold-out-cell)." if drawn else "give a raster that is 0 where to learn from.")
            )
        found = guarded(unseen, self.guard)
        if not (found == HELD).any():
            raise ParameterError(f"--guard {self.guard}: nothing that is held out is as far from the rest; take less.")
        if not minimum_filter((found == SEEN).astype(np.uint8), crop, mode="constant", cval=0).any():
            raise ParameterError(
                f"--hold-out {path_of_share(self.what)}: no {crop} x {crop} pixels are left to learn from; take "
                + ("larger cells (--hold-out-cell), less of them" if drawn else "a raster that is 0 on more")
                + ", or smaller crops (--set crop=16)."
            )
        return found

    def applied(
        self, scene: xr.DataArray, labels: xr.DataArray | None, crop: int
    ) -> tuple[xr.DataArray, xr.DataArray | None, dict[str, Any]]:
        """A scene and a raster of classes that have nothing where a training must not look, and the `record` of it."""
        found = self.map(scene, crop)
        hidden = as_scene(found, geobox_of(scene))
        shown = None if labels is None else apply_mask(labels, hidden)
        return apply_mask(scene, hidden), shown, self.record(scene, found, crop)

    def record(self, scene: xr.DataArray, found: np.ndarray, crop: int) -> dict[str, Any]:
        """For the header of a model: how and where ground was held out, as `held_out` reads it."""
        box = geobox_of(scene)
        packed = zlib.compress(np.packbits(found != SEEN, axis=1).tobytes(), 9)
        return {
            "what": path_of_share(self.what),
            "cell": self.cell or crop if isinstance(self.what, int | float) else None,
            "guard": self.guard,
            "pixels": {"seen": int((found == SEEN).sum()), "held": int((found == HELD).sum())},
            "shape": list(found.shape),
            "transform": list(box.affine[:6]),
            "crs": box.crs.to_wkt() if box.crs is not None else None,
            "unseen": base64.b64encode(packed).decode(),
        }


def told_of(model: Any) -> dict[str, Any] | None:
    """What reports say of the ground that a model has not seen; None where it has seen all."""
    record = model.about.get("held_out")
    return None if record is None else {name: record[name] for name in ("what", "cell", "guard", "pixels")}


def beside(model: Path) -> Path:
    """Where the raster of what a model has not seen is written."""
    return model.with_name(f"{model.stem}_held_out.tif")


def write_beside(model: Any, path: Path) -> dict[str, Any] | None:
    """Write that raster, or remove the one of an older model; returns what is told of it."""
    told, target = told_of(model), beside(path)
    if told is None:
        target.unlink(missing_ok=True)
        return None
    write_scene(from_record(model.about["held_out"], str(path)), target, overwrite=True)
    return {**told, "raster": str(target)}


def path_of_share(what: float | Scene) -> str:
    """A share, or the name of a raster."""
    return f"{what:g}" if isinstance(what, int | float) else str(path_of(what))


def cells(height: int, width: int, cell: int) -> np.ndarray:
    """A number from 0 to 1 of each pixel, one all over a cell; below a share of 1 lie as many of the cells, spread."""
    down, right = (np.arange(n) // cell for n in (height, width))
    return (0.5 + EVEN[0] * down[:, None] + EVEN[1] * right) % 1


def guarded(unseen: np.ndarray, guard: int) -> np.ndarray:
    """The map of bool (H, W): beside the border is what has anything seen within `guard` pixels in any direction."""
    wide = minimum_filter(unseen.astype(np.uint8), 2 * guard + 1, mode="constant", cval=1)
    return np.where(wide == 1, HELD, np.where(unseen, BESIDE, SEEN)).astype(np.uint8)


def as_scene(found: np.ndarray, like: Any) -> xr.DataArray:
    """The map as a raster (1, H, W) on the grid `like`."""
    tags = {"SEEN": str(SEEN), "GUARD": str(BESIDE), "HELD_OUT": str(HELD)}
    return make_scene(
        found[None].astype(np.float32),
        like,
        name="held out",
        attrs={"dtype": "uint8", "nodata": None, "tags": tags},
        band_name=["held out"],
    )


def held_out(model: str | os.PathLike[str]) -> xr.DataArray | None:
    """Which pixels of its scene a model of ``hsgeo train hud`` has never seen.

    Parameters
    ----------
    model : path

    Returns
    -------
    scene (1, y, x) or None
        On the scene's grid: 0 where it learned, 2 where it never looked, 1 there too but beside ground that it has
        seen. None where nothing was held out.

    Raises
    ------
    ModelError
        It is no such model, or damaged.
    """
    from hsgeo.methods.generation.hud import Hud

    record = Hud.load(model).about.get("held_out")
    return None if record is None else from_record(record, str(model))


def from_record(record: Mapping[str, Any], name: str) -> xr.DataArray:
    """The raster of what `HoldOut.record` has written.

    Raises
    ------
    ModelError
        It is damaged.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    try:
        height, width = record["shape"]
        bits = np.frombuffer(zlib.decompress(base64.b64decode(record["unseen"])), np.uint8)
        unseen = np.unpackbits(bits.reshape(height, -1), axis=1, count=width).astype(bool)
        box = GeoBox((height, width), Affine(*record["transform"]), record["crs"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ModelError(f"{name}: what it says of the ground held out is damaged; train it again.") from error
    return as_scene(guarded(unseen, record["guard"]), box)
