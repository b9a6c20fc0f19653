"""What a scene is: an `xarray.DataArray` with dimensions (band, y, x) whose metadata travels with it.

Values are physical (raw * scale + offset), float32 or float64, NaN where there is no data. Everything known
per band is a coordinate along ``band``, so that selecting bands keeps the right values:

==============  =======  ====================================================================================
coordinate      dtype    meaning
==============  =======  ====================================================================================
``band``        int      number of the band in the file it came from, from 1
``band_name``   str      its description
``wavelength``  float    centre in nm, NaN where unknown
``fwhm``        float    full width at half maximum in nm, NaN where unknown
``good``        bool     False for a band not to be trusted
``bad_reason``  str      why not ("" when good)
``scale``       float    physical = raw * scale + offset
``offset``      float
``units``       str      unit of the physical value
``gsd``         float    ground sampling distance at which the band was recorded, in CRS units: larger than the
                         pixel size where coarse pixels were repeated onto this grid
``band_tags``   str      the remaining tags of the band, one JSON object
==============  =======  ====================================================================================

``y`` and ``x`` are pixel centres; ``spatial_ref`` holds the CRS as rioxarray and odc-geo expect it. Attributes:
``dtype`` and ``nodata`` (how the values were and will be stored; nodata may be None), ``sensor`` (name or ""),
``tags`` (dataset tags, dict), ``domains`` (other metadata domains, dict of dicts), ``source`` (path or ""),
``driver``, ``interleave``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from hsgeo.errors import BandError, GridError

#: (name, dtype, default) of the coordinates along ``band``
BAND_COORDS: dict[str, tuple[type, Any]] = {
    "band_name": (str, ""),
    "wavelength": (float, np.nan),
    "fwhm": (float, np.nan),
    "good": (bool, True),
    "bad_reason": (str, ""),
    "scale": (float, 1.0),
    "offset": (float, 0.0),
    "units": (str, ""),
    "gsd": (float, np.nan),
    "band_tags": (str, "{}"),
}

#: attributes of a scene and their defaults
ATTRS: dict[str, Any] = {
    "dtype": "float32",
    "nodata": None,
    "sensor": "",
    "tags": {},
    "domains": {},
    "source": "",
    "driver": "",
    "interleave": "band",
}


def make_scene(
    data: Any,
    geobox: GeoBox,
    *,
    like: xr.DataArray | None = None,
    name: str | None = "scene",
    attrs: Mapping[str, Any] | None = None,
    **bands: Sequence[Any] | np.ndarray | str | float | bool,
) -> xr.DataArray:
    """Build a scene from values and a grid.

    Parameters
    ----------
    data : array (band, y, x)
        numpy, dask or any array xarray can wrap; not copied, not loaded.
    geobox : GeoBox
        Grid of shape (y, x).
    like : scene, optional
        Takes band coordinates and attributes from here (same number of bands), before `bands` and `attrs`.
    attrs : mapping, optional
        Attributes that replace the defaults of `ATTRS`.
    **bands
        Coordinates along ``band`` (`BAND_COORDS` and ``band``): one value for all, or one each.

    Raises
    ------
    BandError
        A band coordinate is unknown or has the wrong length.
    GridError
        The grid's shape is not that of the data.
    """
    count = int(data.shape[0])
    if tuple(data.shape[1:]) != tuple(geobox.shape):
        raise GridError(f"the data is {tuple(data.shape[1:])} pixels, its grid {tuple(geobox.shape)}.")
    coords: dict[Any, Any] = {**xr_coords(geobox, crs_coord_name="spatial_ref", dims=("y", "x"))}
    pixel = abs(geobox.resolution.x)
    for key, (kind, default) in {"band": (int, None), **BAND_COORDS}.items():
        if key in bands:
            value = bands.pop(key)
        elif like is not None and key in like.coords:
            value = like[key].values
        elif key == "band":
            value = np.arange(1, count + 1)
        else:
            value = pixel if key == "gsd" else default
        column = np.asarray(value)
        if column.ndim == 0:
            column = np.full(count, column.item(), dtype=object if kind is str else kind)
        if column.shape != (count,):
            raise BandError(f"{key}: {column.shape[0]} values for {count} bands.")
        coords[key] = ("band", column.astype(str) if kind is str else column.astype(kind))
    if bands:
        raise BandError(f"unknown band coordinates: {', '.join(sorted(bands))}.")
    merged = {**ATTRS, **({k: v for k, v in like.attrs.items() if k in ATTRS} if like is not None else {})}
    merged.update(attrs or {})
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords, attrs=merged, name=name)


def geobox_of(scene: xr.DataArray) -> GeoBox:
    """The grid of a scene.

    Raises
    ------
    GridError
        The array carries no CRS or its coordinates are not regular.
    """
    box = scene.odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError(f"{label(scene)} has no CRS; assign one (gdal_edit.py -a_srs, or scene.odc.assign_crs).")
    return box


def label(scene: xr.DataArray) -> str:
    """The name by which messages call a scene: its path, or its variable name."""
    return str(scene.attrs.get("source") or scene.name or "the scene")


def band_tags(scene: xr.DataArray) -> list[dict[str, str]]:
    """The remaining tags of each band, as dicts."""
    if "band_tags" not in scene.coords:
        return [{} for _ in range(scene.sizes["band"])]
    return [json.loads(text or "{}") for text in scene["band_tags"].values.tolist()]
