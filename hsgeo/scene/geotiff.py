"""The header of a raster that GDAL reads: grid, storage, and what it says of each band. No pixel is read."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from hsgeo.errors import DataError, SceneReadError

from . import envi
from .bands import BandInfo, to_nanometres
from .lazy import Source, stamp
from .metadata import PACKED, unpack
from .tiff import check_complete, tiff_layout

#: metadata domains that GDAL makes up or that hold no key=value pairs
_DRIVER_DOMAINS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE"}
#: tags of a band that become coordinates
_COORD_TAGS = {"wavelength", "wavelength_units", "wavelength_unit", "fwhm", "bbl", "bad_reason", "gsd"}
_WITH_UNIT = re.compile(
    r"(\d+(?:\.\d+)?)[\s_]*(nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|µm|um)(?![a-z])", re.IGNORECASE
)


@dataclass
class Header:
    """All that opening a raster finds out."""

    source: Source
    stored: str
    geobox: GeoBox
    infos: list[BandInfo]
    driver: str
    block: tuple[int, int]
    interleave: str
    nodata: float | None
    sensor: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    domains: dict[str, dict[str, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    numbers: list[int] | None = None


def read_header(path: str, driver: str | None = None) -> Header:
    """Read the header of anything rasterio opens as a grid.

    Raises
    ------
    SceneReadError
        Not a raster, truncated, or a container of several rasters.
    DataError
        Complex values.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver=driver, sharing=False) as dataset:
                _check_kind(dataset, path)
                header = _header_of(dataset, path, driver)
    except RasterioError as error:
        raise SceneReadError(_why_not(path, error)) from error
    if header.driver == "GTiff" and os.path.exists(path):
        check_complete(Path(path))
    return header


def _check_kind(dataset: Any, path: str) -> None:
    if dataset.count == 0:
        inside = dataset.subdatasets
        if inside:
            listed = ", ".join(inside[:4]) + (f" and {len(inside) - 4} more" if len(inside) > 4 else "")
            raise SceneReadError(f"{path} holds {len(inside)} rasters; open one of them by its own name: {listed}.")
        raise SceneReadError(f"{path} holds no raster band.")
    for dtype in dataset.dtypes:
        if "complex" in dtype:
            raise DataError(f"{path}: the values are complex ({dtype}); write their magnitude to a new raster first.")


def _header_of(dataset: Any, path: str, driver: str | None) -> Header:
    from rasterio.enums import ColorInterp, MaskFlags

    colours = dataset.colorinterp
    alpha = [i for i, c in enumerate(colours, 1) if c == ColorInterp.alpha]
    indexes = [i for i in dataset.indexes if i not in alpha]
    if not indexes:
        raise SceneReadError(f"{path} holds an alpha band only.")
    flags = dataset.mask_flag_enums[indexes[0] - 1]
    separate = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and MaskFlags.nodata not in flags
    mask = alpha[0] if alpha else (-1 if separate else 0)

    domains = {ns: dataset.tags(ns=ns) for ns in dataset.tag_namespaces() if _keep_domain(ns)}
    tags = dict(dataset.tags())
    native = dataset.driver == "ENVI"
    # GDAL copies the header's wavelengths to band tags without minding every unit
    infos = [_band_info(dataset, i, waves=not (native and "wavelength" in domains.get("ENVI", {}))) for i in indexes]
    if native:  # not from IMAGERY, which GDAL fills from the header with three decimals
        said = envi.apply_domain(infos, domains.get("ENVI", {}), native=True)
        tags = {k: v for k, v in tags.items() if not re.fullmatch(r"Band_\d+|wavelength_units", k)}
        _apply_packed(infos, tags, domains)
    else:
        for info, index in zip(infos, indexes, strict=True):
            _apply_imagery(info, dataset.tags(index, ns="IMAGERY"))
        said = envi.apply_domain(infos, domains.get("ENVI", {}), native=False)
    _apply_dataset_lists(infos, tags)
    for info in infos:
        _apply_description(info)

    dtype = str(np.result_type(*(np.dtype(dataset.dtypes[i - 1]) for i in indexes)))
    nodata = tuple(dataset.nodatavals[i - 1] for i in indexes)
    raw = envi.raw_layout(Path(path)) if native and mask >= 0 and os.path.isfile(path) else None
    if raw is not None and raw.shape != (dataset.count, dataset.height, dataset.width):
        raw = None
    source = Source(
        path=path,
        shape=(len(indexes), dataset.height, dataset.width),
        indexes=tuple(indexes),
        stored=dtype,
        scale=tuple(info.scale for info in infos),
        offset=tuple(info.offset for info in infos),
        nodata=nodata,
        mask=mask,
        driver=driver,
        stamp=stamp(path),
        raw=raw,
    )
    if not dataset.crs and dataset.gcps[0]:
        said.append("ground control points instead of a grid; gdalwarp makes one.")
    block = dataset.block_shapes[indexes[0] - 1]
    return Header(
        source=source,
        stored=dtype,
        geobox=GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt() if dataset.crs else None),
        infos=infos,
        driver=dataset.driver,
        block=(int(block[0]), int(block[1])),
        interleave=(dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") or "band").lower(),
        nodata=next((n for n in nodata if n is not None), None),
        sensor=tags.pop("HSGEO_SENSOR", ""),
        tags=tags,
        domains=domains,
        said=[f"{path}: {text}" for text in said],
    )


def _keep_domain(name: str) -> bool:
    return name not in _DRIVER_DOMAINS and not name.startswith("xml:")


def _band_info(dataset: Any, index: int, waves: bool) -> BandInfo:
    tags = dataset.tags(index)
    known = {k.lower(): v for k, v in tags.items() if k.lower() in _COORD_TAGS}
    if not waves:
        known.pop("wavelength", None)
    units = known.get("wavelength_units", known.get("wavelength_unit", ""))
    wave, width = _number(known.get("wavelength")), _number(known.get("fwhm"))
    info = BandInfo(
        name=dataset.descriptions[index - 1] or "",
        wavelength=float(to_nanometres(np.array([wave]), units)[0]),
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        units=dataset.units[index - 1] or "",
        gsd=_number(known.get("gsd")),
        bad_reason=known.get("bad_reason", ""),
        good=_flag(known.get("bbl")),
        tags={k: v for k, v in tags.items() if k.lower() not in _COORD_TAGS and not k.startswith("STATISTICS_")},
    )
    if math.isfinite(wave):
        info.fwhm = float(envi.widths_to_nanometres(np.array([width]), np.array([wave]), units)[0])
    elif math.isfinite(width):
        info.fwhm = width
    return info


def _apply_packed(infos: Sequence[BandInfo], tags: dict[str, str], domains: dict[str, dict[str, str]]) -> None:
    """What hsgeo packed into an ENVI header because ENVI has no key for it."""
    content = unpack(domains.get("ENVI", {}).pop(PACKED, "").strip("{} "))
    tags.update(content.get("tags", {}))
    domains.update(content.get("domains", {}))
    bands = content.get("bands", [])
    for info, band in zip(infos, bands if len(bands) == len(infos) else [], strict=False):
        own = {k: str(v) for k, v in band.get("tags", {}).items()}
        info.bad_reason = own.pop("bad_reason", info.bad_reason)
        info.gsd = _number(own.pop("gsd", None))
        info.tags.update(own)
        info.name = band.get("name", info.name)
        info.units = band.get("units", info.units)


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def _flag(text: str | None) -> bool | None:
    if text is None:
        return None
    number = _number(text)
    return number != 0 if math.isfinite(number) else text.strip().lower() in ("true", "yes", "good")


def _apply_imagery(info: BandInfo, tags: Mapping[str, str]) -> None:
    """GDAL's IMAGERY domain: CENTRAL_WAVELENGTH_UM and FWHM_UM."""
    wave, width = _number(tags.get("CENTRAL_WAVELENGTH_UM")), _number(tags.get("FWHM_UM"))
    if not math.isfinite(info.wavelength) and wave > 0:
        info.wavelength = float(to_nanometres(np.array([wave]), "um")[0])
    if not math.isfinite(info.fwhm) and width > 0:
        info.fwhm = float(to_nanometres(np.array([width]), "um")[0])


def _apply_dataset_lists(infos: Sequence[BandInfo], tags: Mapping[str, str]) -> None:
    """Lists over all bands in the dataset's own tags, as some programs write them beside no ENVI domain."""
    lower = {k.lower(): v for k, v in tags.items()}
    keys = {"wavelength": lower.get("wavelength", lower.get("wavelengths", "")), "fwhm": lower.get("fwhm", "")}
    domain = {k: v for k, v in {**keys, "bbl": lower.get("bbl", "")}.items() if len(envi.split_list(v)) == len(infos)}
    if domain and len(infos) > 1:
        domain["wavelength_units"] = lower.get("wavelength_units", "")
        envi.apply_domain(infos, domain, native=False)


def _apply_description(info: BandInfo) -> None:
    """A wavelength in the description, such as ``band 1 (418.24 Nanometers)``."""
    if not math.isfinite(info.wavelength) and (match := _WITH_UNIT.search(info.name)):
        info.wavelength = float(to_nanometres(np.array([float(match[1])]), match[2])[0])


def _why_not(path: str, error: Exception) -> str:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    file = Path(path)
    if not file.is_file():
        return f"{path} cannot be opened: {detail}."
    if not os.access(file, os.R_OK):
        return f"{path} may not be read; check its permissions."
    with open(file, "rb") as stream:
        head = stream.read(512)
    if tiff_layout(head) is not None:
        return f"{path} is a TIFF that is truncated or damaged; copy or download it again ({detail})."
    if head.startswith((b"\x89HDF", b"CDF\x01", b"CDF\x02")):
        return (
            f"{path} is HDF5 or NetCDF, which this GDAL does not open ({detail}); convert it with gdal_translate first."
        )
    if head and all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head):
        return f"{path} is a text file, not a raster; give the raster itself."
    if file.suffix == ".safetensors":
        return f"{path} is a model, not a scene; give it as --model, and a scene here."
    if file.suffix.lower() in (".bsq", ".bil", ".bip", ".img", ".dat", ".raw", ""):
        return f"{path} has no header: an ENVI file needs {file.stem}.hdr beside it."
    return f"{path} is not a raster that can be read ({detail})."
