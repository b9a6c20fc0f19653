"""Which bands and which part of a scene: the ``bands=`` and ``bbox=`` of opening."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError, ParameterError

from .model import label
from .window import Window

_WAVES = re.compile(r"^(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*(nm|um|µm)$", re.IGNORECASE)
_NUMBERS = re.compile(r"^(\d+)(?:\s*-\s*(\d+))?$")


def select_bands(scene: xr.DataArray, bands: str | Sequence[int]) -> xr.DataArray:
    """The bands asked for, in the order of the scene; its attribute ``of_bands`` says how many there were.

    Parameters
    ----------
    bands : str or sequence of int
        Comma-separated band numbers (``1-20,35``), wavelengths (``450-900nm``, ``0.45-0.9um``) and band names
        (``B02``); a sequence holds band numbers.

    Raises
    ------
    ParameterError
        The text does not parse.
    BandError
        A part of it matches no band.
    """
    numbers = scene["band"].values
    waves = scene["wavelength"].values
    names = [_plain(name) for name in scene["band_name"].values.tolist()]
    chosen = np.zeros(numbers.size, bool)
    parts = [p.strip() for p in bands.split(",")] if isinstance(bands, str) else [str(b) for b in bands]
    for part in filter(None, parts):
        if match := _WAVES.match(part):
            factor = 1.0 if match[3].lower() == "nm" else 1e3
            low, high = float(match[1]) * factor, float(match[2]) * factor
            hit = (waves >= low) & (waves <= high)
            known = f"has {_range(waves)}"
        elif match := _NUMBERS.match(part):
            low, high = int(match[1]), int(match[2] or match[1])
            if high < low:
                raise ParameterError(f"bands {part!r}: the first number is larger than the second.")
            hit = (numbers >= low) & (numbers <= high)
            known = f"has bands {numbers.min()} to {numbers.max()}"
        else:
            hit = np.array([name == _plain(part) for name in names])
            known = f"has bands {', '.join(scene['band_name'].values[:6].tolist())}{' ...' if len(names) > 6 else ''}"
        if not hit.any():
            raise BandError(f"{label(scene)}: bands {part!r} match nothing, the scene {known}.")
        chosen |= hit
    if not chosen.any():
        raise ParameterError(f"bands {bands!r}: name at least one, such as 1-20,35 or 450-900nm.")
    found = scene.isel(band=_tight(np.flatnonzero(chosen)))
    return found.assign_attrs(of_bands=scene.attrs.get("of_bands", numbers.size))


def _plain(name: str) -> str:
    """A band name without case, separators and leading zeros, so that B2 is B02."""
    text = re.sub(r"[\s_\-]+", "", name.lower())
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def _range(waves: np.ndarray) -> str:
    known = waves[np.isfinite(waves)]
    return (
        f"wavelengths from {known.min():.0f} to {known.max():.0f} nm" if known.size else "no wavelengths (say --sensor)"
    )


def _tight(index: np.ndarray) -> slice | np.ndarray:
    whole = index[-1] - index[0] + 1 == index.size
    return slice(int(index[0]), int(index[-1]) + 1) if whole else index


def window_of(scene: xr.DataArray, bbox: Sequence[float]) -> Window:
    """The pixels that a bounding box touches.

    Parameters
    ----------
    bbox : (left, bottom, right, top)
        In the CRS of the scene.

    Raises
    ------
    ParameterError
        Not four numbers in that order.
    GridError
        The grid is rotated, or the box lies outside.
    """
    try:
        left, bottom, right, top = (float(v) for v in bbox)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bbox {bbox!r}: give four numbers: left, bottom, right, top.") from error
    if not (left < right and bottom < top):
        raise ParameterError(f"bbox {tuple(bbox)}: give left, bottom, right, top with left < right and bottom < top.")
    box = scene.odc.geobox
    if not isinstance(box, GeoBox) or abs(box.affine.b) + abs(box.affine.d) > 0:
        raise GridError(f"{label(scene)}: a bbox needs a grid that is not rotated; use gdalwarp first.")
    inverse = ~box.affine
    corners = [inverse * (x, y) for x, y in ((left, top), (right, bottom))]
    x0, x1 = sorted(c[0] for c in corners)
    y0, y1 = sorted(c[1] for c in corners)
    # an edge that meets a pixel edge within a millionth of a pixel does not touch the next pixel
    pixels = Window(math.floor(y0 + 1e-6), math.ceil(y1 - 1e-6), math.floor(x0 + 1e-6), math.ceil(x1 - 1e-6))
    window = pixels.clip(*box.shape)
    if 0 in window.shape:
        bounds = ", ".join(f"{v:.10g}" for v in box.boundingbox.bbox)
        raise GridError(f"{label(scene)}: the bbox {tuple(bbox)} lies outside the scene, which covers {bounds}.")
    return window
