"""Bands: what is known of each, which are good, and those recorded on a coarser grid than the scene's.

`native_bands` gives bands with a `gsd` larger than the pixel on their own grid again. Two entries of ``band_tags``
say how they came to be repeated: ``gsd_origin`` ("x y", a corner of the native grid in CRS units) and
``gsd_resampling`` ("nearest" where every fine pixel holds an untouched native sample).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError

from .lazy import BlockMeanArray
from .model import band_tags, label, make_scene

#: entries of band_tags that tie a band to its native grid
NATIVE_TAGS = ("gsd_origin", "gsd_resampling")


@dataclass
class BandInfo:
    """What a file says of one band, while a scene is being opened; NaN, None and "" stand for nothing said."""

    name: str = ""
    wavelength: float = math.nan
    fwhm: float = math.nan
    good: bool | None = None
    bad_reason: str = ""
    scale: float = 1.0
    offset: float = 0.0
    units: str = ""
    gsd: float = math.nan
    tags: dict[str, str] = field(default_factory=dict)


def columns(infos: list[BandInfo]) -> dict[str, Any]:
    """The band coordinates of `make_scene` from what is known of each band."""
    good = [info.good is not False for info in infos]
    return {
        "band_name": [info.name for info in infos],
        "wavelength": [info.wavelength for info in infos],
        "fwhm": [info.fwhm for info in infos],
        "good": good,
        "bad_reason": ["" if g else info.bad_reason or "bbl" for g, info in zip(good, infos, strict=True)],
        "scale": [info.scale for info in infos],
        "offset": [info.offset for info in infos],
        "units": [info.units for info in infos],
        "gsd": [info.gsd for info in infos],
        "band_tags": [json.dumps(info.tags) for info in infos],
    }


def to_nanometres(values: np.ndarray, units: str = "") -> np.ndarray:
    """Wavelengths in nm; without a known unit, values up to 100 are micrometres and larger ones nanometres.

    Parameters
    ----------
    values : array (B,)
        NaN, zero and negative values mean unknown.
    units : str
        As files write it: ``Nanometers``, ``um``, ``Micrometers``, ``Wavenumber``, ``Unknown`` ...
    """
    values = np.where(np.asarray(values, float) > 0, values, np.nan)
    text = units.strip().lower()
    if text in ("index", "ghz", "mhz"):
        return np.full(values.shape, np.nan)
    if text.startswith("wavenumber") or text in ("cm-1", "1/cm"):
        return 1e7 / values
    for places, names in (
        (0, ("nm", "nano")),
        (3, ("um", "µm", "μm", "micro")),
        (-1, ("angstrom",)),
        (6, ("mm", "milli")),
        (9, ("m", "meter", "metre")),
    ):
        if any(text == n or (len(n) > 2 and text.startswith(n)) for n in names):
            return move_point(values, places)
    return move_point(values, 3) if np.isfinite(values).any() and np.nanmax(values) <= 100 else values


def move_point(values: np.ndarray, places: int) -> np.ndarray:
    """Numbers with the decimal point of their shortest text moved right: 0.4554 by 3 places is exactly 455.4."""
    if not places:
        return values
    return np.array([float(Decimal(repr(v)).scaleb(places)) for v in values.tolist()])


def mark_bad(scene: xr.DataArray, mask: Any, reason: Any) -> xr.DataArray:
    """The scene with more bands marked as not to be trusted; those already bad keep their reason.

    Parameters
    ----------
    scene : scene (band, y, x)
    mask : array of bool (B,)
    reason : str or array of str (B,)
    """
    good = scene["good"].values
    new = np.asarray(mask, bool) & good
    reasons = np.where(new, np.broadcast_to(np.asarray(reason, dtype=str), good.shape), scene["bad_reason"].values)
    return scene.assign_coords(good=("band", good & ~new), bad_reason=("band", reasons.astype(str)))


def dead_bands(valid_count: Any, minimum: Any, maximum: Any) -> np.ndarray:
    """Why each band carries no information, from what one pass over the pixels found.

    Parameters
    ----------
    valid_count : array (B,)
        Number of pixels that are not NaN.
    minimum, maximum : array (B,)
        Over those pixels.

    Returns
    -------
    array of str (B,)
        ``no data``, ``constant`` (more than one pixel, all equal), or "" for a band that is alive.
    """
    count = np.asarray(valid_count)
    with np.errstate(invalid="ignore"):
        constant = (count > 1) & ~(np.asarray(maximum) > np.asarray(minimum))
    return np.where(count == 0, "no data", np.where(constant, "constant", ""))


def require_north_up(scene: xr.DataArray) -> xr.DataArray:
    """The scene with rows running south and columns east, flipped lazily where the file has them otherwise.

    Raises
    ------
    GridError
        The grid is rotated or sheared, or its coordinates are not regular.
    """
    box = scene.odc.geobox
    if not isinstance(box, GeoBox):
        raise GridError(f"{label(scene)}: the pixel coordinates are not a regular grid.")
    affine = box.affine
    size = max(abs(affine.a), abs(affine.e))
    if max(abs(affine.b), abs(affine.d)) > 1e-9 * size:
        angle = math.degrees(math.atan2(affine.d, affine.a))
        raise GridError(
            f"{label(scene)}: the grid is rotated by {angle:.1f} degrees; bring it to north-up first, "
            f"for instance with gdalwarp {label(scene)} north_up.tif."
        )
    flip: dict[str, Any] = {}
    if affine.e > 0:
        flip["y"] = slice(None, None, -1)
    if affine.a < 0:
        flip["x"] = slice(None, None, -1)
    return scene.isel(flip) if flip else scene


def native_bands(scene: xr.DataArray, gsd: float) -> xr.DataArray:
    """The bands recorded at `gsd`, on their own grid of that pixel size; lazy where the scene is.

    Bands that were repeated from coarse pixels give those samples back unchanged; bands resampled in an unknown way
    give the mean of each complete block of pixels; where the ratio is not whole, the pixel nearest each centre.

    Parameters
    ----------
    scene : scene (band, y, x)
    gsd : float
        One of the values of its ``gsd`` coordinate, in CRS units.

    Raises
    ------
    BandError
        No band was recorded at that GSD, or the scene is smaller than one such pixel.
    GridError
        The grid is rotated.
    """
    mine = np.isclose(scene["gsd"].values, gsd, rtol=1e-6)
    if not mine.any():
        known = ", ".join(f"{g:g}" for g in np.unique(scene["gsd"].values))
        raise BandError(f"{label(scene)}: no band was recorded at a GSD of {gsd:g}, only at {known}.")
    part = scene.isel(band=np.flatnonzero(mine)) if not mine.all() else scene
    box = scene.odc.geobox
    if isinstance(box, GeoBox) and math.isclose(abs(box.resolution.x), gsd, rel_tol=1e-6):
        return part
    part = require_north_up(part)
    box = part.odc.geobox
    tags = band_tags(part)
    ratio = gsd / box.resolution.x
    whole = round(ratio)
    is_whole = math.isclose(ratio, whole, rel_tol=1e-6)
    if len({t.get("gsd_origin") for t in tags}) > 1:
        raise GridError(
            f"{label(scene)}: its bands of {gsd:g} GSD lie on different grids; bring them to one with gdalwarp."
        )
    left, top = _phase(box, tags, gsd)
    whole_phase = all(math.isclose(v * ratio, round(v * ratio), abs_tol=1e-3) for v in (left, top))
    exact = all(t.get("gsd_resampling") == "nearest" for t in tags) or not (is_whole and whole_phase)
    height, width = box.shape
    rows, cols = (_native_pixels(start, n, ratio, exact) for start, n in ((top, height), (left, width)))
    if not rows.size or not cols.size:
        raise BandError(f"{label(scene)}: smaller than one pixel of {gsd:g}, the GSD of its coarsest bands.")
    y0, x0 = int(rows[0]), int(cols[0])
    corner = round((x0 - left) * ratio, 6), round((y0 - top) * ratio, 6)
    affine = box.affine * Affine.translation(*corner) * Affine.scale(ratio)
    native = GeoBox((rows.size, cols.size), affine, box.crs)
    if exact:
        data = part.variable[:, _centres(rows, top, ratio, height), _centres(cols, left, ratio, width)]
    else:
        first = round((y0 - top) * ratio), round((x0 - left) * ratio)
        data = _means(part, whole, first, (rows.size, cols.size))
    stripped = [json.dumps({k: v for k, v in t.items() if k not in NATIVE_TAGS}) for t in tags]
    return make_scene(
        data.data if data.chunks else data._data, native, like=part, name=str(part.name), band_tags=stripped
    )


def _phase(box: GeoBox, tags: list[dict[str, str]], gsd: float) -> tuple[float, float]:
    """Left and top edge of the scene in native pixels, counted from a corner of the native grid."""
    text = next((t["gsd_origin"] for t in tags if "gsd_origin" in t), None)
    if text is None:
        return 0.0, 0.0
    x, y = (float(v) for v in text.split())
    return (box.affine.c - x) / gsd, (y - box.affine.f) / gsd


def _native_pixels(start: float, size: int, ratio: float, exact: bool) -> np.ndarray:
    """The native pixels along one axis that a scene of `size` fine pixels from `start` holds.

    Native pixel k covers the fine pixels [(k - start) * ratio, (k + 1 - start) * ratio). `exact`: those that cover the
    centre of a fine pixel, else those that lie inside as a whole.
    """
    stop = start + size / ratio
    if not exact:
        return np.arange(math.ceil(start - 1e-6), math.floor(stop + 1e-6))
    native = np.arange(math.floor(start + 1e-6), math.ceil(stop - 1e-6))
    centre = _fine(native, start, ratio, size)
    return native[np.floor((centre + 0.5) / ratio + start).astype(int) == native]


def _fine(native: np.ndarray, start: float, ratio: float, size: int) -> np.ndarray:
    """Fine pixel at the centre of each native pixel, kept inside the scene for those cut by its edge."""
    return np.clip(np.floor((native + 0.5 - start) * ratio + 1e-6).astype(int), 0, size - 1)


def _centres(native: np.ndarray, start: float, ratio: float, size: int) -> slice | np.ndarray:
    """`_fine` as a slice where the steps are equal, which stays cheap in lazy and chunked arrays."""
    index = _fine(native, start, ratio, size)
    steps = np.unique(np.diff(index))
    if steps.size <= 1 and (step := int(steps[0]) if steps.size else 1) > 0:
        return slice(int(index[0]), int(index[-1]) + 1, step)
    return index


def _means(part: xr.DataArray, ratio: int, first: tuple[int, int], grid: tuple[int, int]) -> xr.Variable:
    variable = part.variable
    if variable.chunks or isinstance(variable._data, np.ndarray):
        (y, x), (h, w) = first, grid
        cut = variable[:, y : y + h * ratio, x : x + w * ratio]
        return cut.coarsen({"y": ratio, "x": ratio}, func="mean", boundary="exact").astype(variable.dtype)
    from xarray.core.indexing import LazilyIndexedArray

    return xr.Variable(variable.dims, LazilyIndexedArray(BlockMeanArray(variable, ratio, first, grid)))
