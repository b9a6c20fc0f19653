"""What products of known sensors leave unsaid in their rasters: the fill value, and scale and offset.

Sources: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, special values NODATA = 0, quantification value
and offset in the product's MTD file); Landsat 8-9 Collection 2 Level-2 Science Product Guide (USGS LSDS-1619);
EO-1 User Guide 2.3 (USGS/NASA 2003: Hyperion radiance x 40 in bands 1-70, x 80 above, fill 0).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .bands import BandInfo
from .geotiff import Header
from .lazy import Source

#: Sentinel-2 bands in the order of band_id in the product metadata
_S2_ORDER = ("1", "2", "3", "4", "5", "6", "7", "8", "8A", "9", "10", "11", "12")


def fills_with_zero(sensor: str) -> bool:
    """Whether every band of the sensor's products stores 0 where there is no data."""
    return sensor.startswith(("sentinel-2", "landsat"))


def fill_is_dark(sensor: str) -> bool:
    """Whether 0 means no data only where a well-lit band is 0 too: a dark band may measure 0."""
    return sensor in ("hyperion", "ali")


def reference_band(infos: Sequence[BandInfo]) -> int | None:
    """The good band nearest to 600 nm, where no ground is without light; None without wavelengths."""
    waves = np.array([info.wavelength if info.good is not False else np.nan for info in infos])
    if not np.isfinite(waves).any():
        return None
    nearest = int(np.nanargmin(np.abs(waves - 600)))
    return nearest if abs(waves[nearest] - 600) <= 150 else None


def apply_fill(header: Header, name: str, say: Callable[[str], None]) -> None:
    """Give a raster without nodata the fill value of its sensor's products."""
    source = header.source
    if header.nodata is not None or source.mask or np.dtype(source.stored).kind not in "iu":
        return
    if "HSGEO_PROVENANCE" in header.tags:
        return
    if fills_with_zero(header.sensor) and np.dtype(source.stored) == np.uint16:
        header.source, header.nodata = with_nodata(source), 0.0
        say(f"{name}: no nodata value in the file; 0 is taken for no data, as in {header.sensor} products.")
    elif fill_is_dark(header.sensor) and (band := reference_band(header.infos)) is not None:
        header.source, header.nodata = replace(source, mask=source.indexes[band]), 0.0
        where = header.infos[band].name or f"band {source.indexes[band]}"
        say(f"{name}: no nodata value in the file; pixels where {where} is 0 are taken for no data.")


def with_nodata(source: Source, value: float = 0.0) -> Source:
    """The same source with a nodata value."""
    return replace(source, nodata=(value,) * len(source.indexes))


def scaling(folder: Path, stem: str, band: str, sensor: str) -> tuple[float, float] | None:
    """(scale, offset) of one band file of a product whose raster does not say, or None.

    Parameters
    ----------
    folder : Path
        Of the band files.
    stem : str
        Name of the file without suffix.
    band : str
        Its band: ``8A``, ``10``.
    sensor : str
        Name of the sensor's table.
    """
    if sensor.startswith("landsat") and re.search(r"_L2S[PR]_.*_02_T\d", stem, re.IGNORECASE):
        if re.search(r"_SR_B\d$", stem, re.IGNORECASE):
            return 2.75e-5, -0.2
        if re.search(r"_ST_B\d+$", stem, re.IGNORECASE):
            return 3.41802e-3, 149.0
    if sensor == "hyperion" and re.match(r"EO1H.*_L1[TG]", stem, re.IGNORECASE):
        return (1 / 40 if int(band) <= 70 else 1 / 80), 0.0
    if sensor.startswith("sentinel-2") and band in _S2_ORDER:
        return _sentinel2(folder, _S2_ORDER.index(band))
    return None


def _sentinel2(folder: Path, band_id: int) -> tuple[float, float] | None:
    """From the product's MTD file, in the folder or above it up to the .SAFE folder."""
    for place in (folder, *folder.resolve().parents[:4]):
        for file in sorted(place.glob("MTD_MSIL*.xml")):
            try:
                root = ElementTree.parse(file).getroot()
            except (ElementTree.ParseError, OSError):
                return None
            texts = {element.tag.split("}")[-1]: element.text for element in root.iter()}
            quantity = texts.get("BOA_QUANTIFICATION_VALUE") or texts.get("QUANTIFICATION_VALUE")
            if not quantity:
                return None
            offset = 0.0
            for element in root.iter():
                if element.tag.endswith("_ADD_OFFSET") and element.get("band_id") == str(band_id):
                    offset = float(element.text or 0)
            return 1 / float(quantity), offset / float(quantity)
        if place.suffix.upper() == ".SAFE":
            break
    return None
