"""Class labels of a scene, given as a raster: numbers from 1, 0 where not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, GridError, ParameterError, did_you_mean

from .model import geobox_of, label

#: how tags begin that name classes by their values
CLASS = "CLASS_"

#: classes at most; a raster of more is none of classes
MOST = 1000

#: value that rasters of bytes often have where nothing is known
UNKNOWN = 255


@dataclass(frozen=True)
class Labels:
    """Classes of pixels.

    Attributes
    ----------
    numbers : int array (H, W)
        Places in `names`, -1 where not known.
    names : list of str
    values : list of int
        Of the raster, in the same order.
    """

    numbers: np.ndarray
    names: list[str]
    values: list[int]

    @classmethod
    def of(cls, raster: xr.DataArray) -> Labels:
        """Of a raster of one band; 0, values below and nodata are not known.

        Names are those of an ENVI classification, or ``class 3``.

        Raises
        ------
        BandError
            It has several bands, or no classes in them.
        """
        if raster.sizes["band"] != 1:
            raise BandError(f"{label(raster)}: labels have one band, not {raster.sizes['band']}.")
        image = np.nan_to_num(np.asarray(raster.values[0], np.float64))
        values = [int(v) for v in np.unique(image[image > 0])]
        if not values or len(values) > MOST or (image[image > 0] % 1).any():
            raise BandError(f"{label(raster)}: no class labels; they are whole numbers from 1, 0 where not known.")
        numbers = np.searchsorted(values, image).astype(int)
        numbers[image <= 0] = -1
        return cls(numbers, [_names(raster).get(v, f"class {v}") for v in values], values)

    def doubts(self, raster: xr.DataArray) -> list[str]:
        """Notes of classes that more likely mean "not known"."""
        if self.values[-1] != UNKNOWN or self.names[-1] != f"class {UNKNOWN}" or len(self.values) == UNKNOWN:
            return []
        return [
            f"{label(raster)}: {UNKNOWN} is taken for a class; if it means 'not known', say so in the file, by "
            f"gdal_edit.py -a_nodata {UNKNOWN}."
        ]

    @classmethod
    def on(cls, scene: xr.DataArray, raster: xr.DataArray) -> Labels:
        """Of a raster on the grid of a scene.

        Raises
        ------
        GridError
            It has another grid.
        """
        mine, other = geobox_of(raster), geobox_of(scene)
        same = mine.shape == other.shape and mine.crs == other.crs
        if not same or not np.allclose(mine.affine[:6], other.affine[:6], rtol=0, atol=1e-3 * abs(other.affine.a)):
            raise other_grid(raster, scene)
        return cls.of(raster)


def other_grid(raster: xr.DataArray, scene: xr.DataArray) -> GridError:
    """The error of a raster of classes that lies on another grid than its scene."""
    return GridError(
        f"{label(raster)}: labels on another grid than {label(scene)}; put them on it first, such as by "
        "gdalwarp -r near."
    )


@dataclass(frozen=True)
class Classes:
    """Classes that a model knows.

    Attributes
    ----------
    names : list of str
    values : list of int
        That the raster had that they were learned from.
    model : str
        What knows them, for messages.
    """

    names: list[str]
    values: list[int]
    model: str = "the model"

    def place(self, wanted: str) -> int:
        """Of a class given by its name, or by its value.

        Raises
        ------
        ParameterError
            There is none.
        """
        place = self._find(wanted)
        if place is None:
            raise ParameterError(f"--class {wanted!r}: {self.model} has {self}.{did_you_mean(wanted, self.names)}")
        return place

    def places(self, raster: str, labels: Labels) -> np.ndarray:
        """Of each class of labels, and -1 at the end; -1 as well for one that is nowhere in the labels' numbers.

        They are the same where their names are, and where the labels have no names, their values.

        Raises
        ------
        ParameterError
            One of `raster` is none of these.
        """
        found = np.full(len(labels.names) + 1, -1, np.int16)
        used = set(np.unique(labels.numbers).tolist())
        for i, name in enumerate(labels.names):
            place = self._find(name) if i in used else -1
            if place is None:
                raise ParameterError(f"{raster}: it has {name}, and {self.model} has {self}.")
            found[i] = place
        return found

    def _find(self, wanted: str) -> int | None:
        plain = [name.casefold() for name in self.names]
        wanted = wanted.strip().casefold()
        if wanted in plain:
            return plain.index(wanted)
        value = wanted.removeprefix("class ")
        return self.values.index(int(value)) if value.isdecimal() and int(value) in self.values else None

    def __str__(self) -> str:
        each = zip(self.names, self.values, strict=True)
        return ", ".join(n if n == f"class {v}" else f"{n} ({v})" for n, v in each) or "none"


def class_tags(names: Mapping[int, str]) -> dict[str, str]:
    """Tags that name classes by their values."""
    return {f"{CLASS}{value}": name for value, name in names.items()}


def class_names(tags: Mapping[str, str]) -> dict[int, str]:
    """Names of classes by their values, of what `class_tags` gave."""
    found = {key.removeprefix(CLASS): name for key, name in tags.items() if key.startswith(CLASS)}
    return dict(sorted((int(value), name) for value, name in found.items() if value.isdecimal()))


def _names(raster: xr.DataArray) -> dict[int, str]:
    """Names of values as an ENVI classification lists them, from 0 on, or tags."""
    listed = raster.attrs.get("domains", {}).get("ENVI", {}).get("class_names", "")
    parts = [part.strip() for part in listed.strip("{} \n").split(",")]
    return {value: part for value, part in enumerate(parts) if part} | class_names(raster.attrs.get("tags", {}))
