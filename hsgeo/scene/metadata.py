"""Everything of a scene that is written besides its pixels, and the words each reader looks for.

Wavelengths go where each reader looks: band tags ``wavelength``, ``wavelength_units``, ``fwhm``, ``bbl`` in nm
(EnMAP-Box reads these first, then the lists of the ENVI domain), and GDAL's own ``IMAGERY`` domain in micrometres,
centre and width always together (QGIS plugins that take the centre from there take the width's unit from it too).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import GridError, InputError, ParameterError

from .encode import default_nodata, fits, stored_type
from .envi import split_list
from .model import ATTRS, BAND_COORDS, band_tags, label
from .provenance import jsonable

PROVENANCE = "HSGEO_PROVENANCE"
SENSOR = "HSGEO_SENSOR"
#: ask for the scene's own nodata value
KEEP: Any = object()
#: bytes of physical values in the largest square that is written at once
UNIT_BYTES = 256 << 20
#: characters of a line of an ENVI header; old versions of GDAL read no more than 10000
LONGEST_LINE = 4000
#: key of an ENVI header for what ENVI has no words for
PACKED = "hsgeo_metadata"

#: keys of the ENVI domain that tell how a file is laid out or where it lies: written anew, never carried over
_LAYOUT = {
    "samples", "lines", "bands", "header_offset", "file_type", "data_type", "interleave", "byte_order", "x_start",
    "y_start", "map_info", "projection_info", "coordinate_system_string", "pixel_size", "geo_points", "rpc_info",
    "data_gain_values", "data_offset_values", "data_ignore_value", "reflectance_scale_factor", "file_compression",
    "major_frame_offsets", "minor_frame_offsets", PACKED,
}  # fmt: skip
#: lists of the ENVI domain that never have one entry a band
_NOT_PER_BAND = {"description", "z_plot_range", "z_plot_titles", "z_plot_average", "class_names", "class_lookup"}
#: domains that describe pixels that have moved or changed, or that GDAL makes up
_STALE_DOMAINS = {
    "IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE", "GEOLOCATION", "RPC", "TIFF", "_DEBUG_",
}  # fmt: skip
#: tags that GDAL derives from an ENVI header or from the pixels
_STALE_TAGS = re.compile(r"^(Band_\d+|wavelength_units|STATISTICS_.*)$")


@dataclass(frozen=True)
class Metadata:
    """What is written of a scene: its grid, how values are stored, and columns of one entry a band.

    Attributes
    ----------
    shape : (bands, height, width)
    dtype : dtype
        Stored type.
    nodata : float or None
    crs : str
        WKT, or "" for none.
    transform : Affine
    columns : dict of array (B,)
        The band coordinates of `hsgeo.scene.model`, ``scale`` and ``offset`` being those of the stored values.
    extra : list of dict
        Remaining tags of each band.
    tags, domains : dict
        Dataset tags, and other domains (the ENVI domain for the bands that are kept).
    sensor : str
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    nodata: float | None
    crs: str
    transform: Affine
    columns: Mapping[str, np.ndarray]
    extra: Sequence[Mapping[str, str]]
    tags: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sensor: str = ""

    @property
    def count(self) -> int:
        """Number of bands."""
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels, uncompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, column: str) -> list[Any]:
        """A column as a list of Python values."""
        return self.columns[column].tolist()

    def dataset_tags(self) -> dict[str, str]:
        """Tags of the default domain."""
        return {**self.tags, SENSOR: self.sensor} if self.sensor else dict(self.tags)

    def band_tags(self, band: int) -> dict[str, str]:
        """Tags of the default domain of a band (position from 0)."""
        tags = dict(self.extra[band])
        wave, fwhm, good, reason, gsd = (
            self.columns[k][band].item() for k in ("wavelength", "fwhm", "good", "bad_reason", "gsd")
        )
        if math.isfinite(wave):
            tags.update(wavelength=repr(wave), wavelength_units="Nanometers")
        if math.isfinite(fwhm):
            tags["fwhm"] = repr(fwhm)
        tags["bbl"] = "1" if good else "0"
        if not good and reason:
            tags["bad_reason"] = reason
        if math.isfinite(gsd) and not math.isclose(gsd, abs(self.transform.a), rel_tol=1e-6):
            tags["gsd"] = repr(gsd)
        return tags

    def imagery(self, band: int) -> dict[str, str]:
        """The band's IMAGERY domain."""
        pairs = (("CENTRAL_WAVELENGTH_UM", "wavelength"), ("FWHM_UM", "fwhm"))
        values = {item: self.columns[column][band].item() for item, column in pairs}
        return {item: f"{v / 1e3:.10g}" for item, v in values.items() if math.isfinite(v)}

    def with_nodata(self, nodata: float) -> Metadata:
        """The same with another nodata value."""
        return replace(self, nodata=nodata)


def unit_side(meta: Metadata) -> int:
    """Pixels a side of the squares in which a raster is written: 512, less where one of all bands takes much memory."""
    side = 512
    while side > 128 and meta.count * side**2 * max(4, meta.dtype.itemsize) > UNIT_BYTES:
        side //= 2
    return side


def describe(
    scene: xr.DataArray,
    *,
    dtype: Any = None,
    nodata: float | None = KEEP,
    provenance: Mapping[str, Any] | None = None,
    raw: bool = False,
) -> Metadata:
    """What is to be written of a scene.

    Parameters
    ----------
    scene : scene (band, y, x)
        Coordinates and attributes that are missing get their defaults.
    dtype : dtype, optional
        Stored type; the scene's own when None. Floats in place of the scene's integers get scale 1.
    nodata : float or None, optional
        Stored value for no data; the scene's own when not given.
    provenance : mapping, optional
        Goes into the tag HSGEO_PROVENANCE as JSON, with what is written as ``output`` (dtype, nodata where it is known
        beforehand, bands, gsd); an earlier one stays inside it as ``previous``.
    raw : bool
        The values are stored values already.

    Raises
    ------
    InputError, GridError, ParameterError
        Not a scene, no regular grid, a type or nodata value that cannot be stored.
    """
    name = label(scene)
    if scene.dims != ("band", "y", "x"):
        raise InputError(f"{name}: dimensions ({', '.join(map(str, scene.dims))}) are not (band, y, x).")
    count, height, width = scene.shape
    if not min(scene.shape):
        raise InputError(f"{name}: {count} bands of {height} x {width} pixels; nothing to write.")
    box = scene.odc.geobox
    if not isinstance(box, GeoBox):
        raise GridError(f"{name}: the pixel coordinates are not a regular grid; reproject it first.")
    attrs = {**ATTRS, **scene.attrs}
    own = stored_type(attrs["dtype"], f"{name}: dtype")
    kind = own if dtype is None else stored_type(dtype)
    if raw and kind != own:
        raise ParameterError(f"{name} holds stored values of {own}; they cannot be written as {kind}.")
    columns = _columns(scene, abs(box.affine.a))
    if kind.kind == "f" and own.kind != "f":
        columns.update(scale=np.ones(count), offset=np.zeros(count))
    tags = {str(k): str(v) for k, v in attrs["tags"].items() if not _STALE_TAGS.match(str(k)) and k != SENSOR}
    missing = _nodata(attrs["nodata"], nodata, kind, own, raw)
    if provenance is not None:
        stored = {"dtype": kind.name, **({} if missing is None else {"nodata": missing})}
        made = jsonable({**stored, "bands": count, "gsd": abs(box.affine.a)})
        tags[PROVENANCE] = _chain({**provenance, "output": made}, tags.get(PROVENANCE))
    return Metadata(
        shape=(count, height, width),
        dtype=kind,
        nodata=missing,
        crs=box.crs.to_wkt() if box.crs is not None else "",
        transform=box.affine,
        columns=columns,
        extra=[{str(k): str(v) for k, v in tags.items() if not _STALE_TAGS.match(str(k))} for tags in band_tags(scene)],
        tags=tags,
        domains=_domains(attrs["domains"], columns),
        sensor=str(attrs["sensor"] or ""),
    )


def _columns(scene: xr.DataArray, pixel: float) -> dict[str, np.ndarray]:
    count = scene.sizes["band"]
    columns: dict[str, np.ndarray] = {}
    for key, (kind, default) in {"band": (int, 0), **BAND_COORDS}.items():
        if key == "band" and key not in scene.coords:
            values = np.arange(1, count + 1)
        elif key in scene.coords:
            values = np.broadcast_to(scene[key].values, (count,))
        else:
            values = np.full(count, pixel if key == "gsd" else default)
        columns[key] = values.astype(kind)
    return columns


def _nodata(own: float | None, asked: float | None, kind: np.dtype, own_kind: np.dtype, raw: bool) -> float | None:
    if asked is not KEEP:
        if asked is not None and not fits(asked, kind):
            raise ParameterError(f"--nodata {asked:g} does not fit {kind}; choose a value it can hold.")
        return None if asked is None else float(asked)
    if own is None:
        return None
    if fits(own, kind):
        return float(own)
    return None if kind == own_kind or raw else default_nodata(kind)


def _chain(provenance: Mapping[str, Any], earlier: str | None) -> str:
    record = dict(provenance)
    if earlier and "previous" not in record:
        try:
            record["previous"] = json.loads(earlier)
        except json.JSONDecodeError:
            record["previous"] = earlier
    return json.dumps(record, ensure_ascii=False)


def _domains(domains: Mapping[str, Mapping[str, Any]], columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, str]]:
    kept = {}
    for name, items in domains.items():
        if name in _STALE_DOMAINS or name.startswith("xml:") or not items:
            continue
        texts = {str(k): str(v) for k, v in items.items()}
        kept[str(name)] = envi_domain(texts, columns) if name == "ENVI" else texts
    return kept


def envi_list(values: Sequence[Any]) -> str:
    """``{a, b, c}``; floats in full."""
    return "{" + ", ".join(repr(v) if isinstance(v, float) else str(v) for v in values) + "}"


def envi_domain(items: Mapping[str, str], columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The ENVI domain of another file for the bands that are kept, in nm.

    Lists with one entry a band are cut to those bands; what the scene knows better is written anew.

    Parameters
    ----------
    items : mapping
        As GDAL gives it: ``{"wavelength": "{400, 500}", "bands": "2", ...}``.
    columns : mapping of array (B,)
        Band coordinates; ``band`` is the number in the file that the items describe.
    """
    numbers = columns["band"].tolist()
    total = _described_bands(items)
    kept = {}
    for key, text in items.items():
        if key.lower() in _LAYOUT:
            continue
        entries = split_list(text) if text.strip().startswith("{") else []
        if key.lower() == "default_bands":
            places = [numbers.index(int(e)) + 1 if e.isdigit() and int(e) in numbers else 0 for e in entries]
            if places and all(places):
                kept[key] = envi_list(places)
        elif len(entries) == total and total > 1 and key.lower() not in _NOT_PER_BAND and max(numbers) <= total:
            kept[key] = envi_list([entries[n - 1] for n in numbers])
        else:
            kept[key] = text
    kept.update(_spectral_lists(columns))
    kept["band_names"] = envi_list([envi_text(name) for name in columns["band_name"].tolist()])
    kept["bands"] = str(len(numbers))  # tells the next reader which lists have one entry a band
    if not np.isfinite(columns["wavelength"]).any():
        kept.pop("wavelength_units", None)
    return kept


def _described_bands(items: Mapping[str, str]) -> int:
    if items.get("bands", "").isdigit():
        return int(items["bands"])
    return next((len(split_list(items[k])) for k in ("wavelength", "fwhm", "bbl", "band_names") if k in items), 0)


def _spectral_lists(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Wavelengths, widths (NaN as 0, which ENVI and GDAL can read) and good flags as the lists of ENVI."""
    lists = {}
    for key in ("wavelength", "fwhm"):
        values = columns[key]
        if np.isfinite(values).any():
            lists[key] = envi_list(np.nan_to_num(values, nan=0.0).tolist())
    if "wavelength" in lists:
        lists["wavelength_units"] = "Nanometers"
    lists["bbl"] = envi_list(columns["good"].astype(int).tolist())
    return lists


def envi_text(text: str) -> str:
    """A text as an item of an ENVI list can hold it: no comma, brace or line break."""
    return re.sub(r"\s*[\r\n]+\s*", " ", text).translate(str.maketrans(",{}", ";()")).strip()


def pack(meta: Metadata) -> str:
    """What an ENVI header has no key for: JSON with braces, spaces and per cent signs escaped, cut into lines."""
    bands: list[dict[str, Any]] = []
    said = {"wavelength", "wavelength_units", "fwhm", "bbl"}
    for i, (name, units) in enumerate(zip(meta["band_name"], meta["units"], strict=True)):
        band: dict[str, Any] = {"tags": {k: v for k, v in meta.band_tags(i).items() if k not in said}}
        if name != envi_text(name):
            band["name"] = name
        if units:
            band["units"] = units
        bands.append(band)
    content = {
        "tags": meta.dataset_tags(),
        "domains": {k: v for k, v in meta.domains.items() if k != "ENVI"},
        "bands": bands if any(b != {"tags": {}} for b in bands) else [],
    }
    text = quote(json.dumps(content, separators=(",", ":")), safe="!\"#$&'()*+,-./:;<=>?@[]^_`|~\\")
    return "\n".join(text[i : i + LONGEST_LINE] for i in range(0, len(text), LONGEST_LINE))


def unpack(text: str) -> dict[str, Any]:
    """The content of `pack`; an empty dict where the text is damaged."""
    try:
        content = json.loads(unquote("".join(text.split())))
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
