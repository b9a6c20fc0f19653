"""ENVI: the header and data file that belong together, and what a header says of the bands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hsgeo.errors import SceneReadError

from .bands import BandInfo, move_point, to_nanometres
from .raw import RawLayout

#: bytes per sample of ENVI's ``data type``
ITEM_BYTES = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
#: numpy codes of the real ones
_NUMPY = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
#: suffixes that are never the data of a header
_NOT_DATA = {
    ".hdr",
    ".xml",
    ".txt",
    ".tif",
    ".tiff",
    ".ovr",
    ".enp",
    ".png",
    ".jpg",
    ".sta",
    ".zip",
    ".csv",
    ".json",
    ".kml",
}


def is_header(path: Path) -> bool:
    """Whether the file starts as an ENVI header does."""
    try:
        with open(path, "rb") as file:
            return file.read(8).lstrip().startswith(b"ENVI")
    except OSError:
        return False


def header_of(data: Path) -> Path | None:
    """The ENVI header beside a data file (``scene.hdr`` or ``scene.bsq.hdr``), or None."""
    for stem in (data.with_suffix("") if data.suffix else data, data):  # GDAL's order
        for suffix in (".hdr", ".HDR"):
            header = stem.with_name(stem.name + suffix)
            if header != data and is_header(header):
                return header
    return None


def parse_header(path: Path) -> dict[str, str]:
    """The keys of an ENVI header in lower case, values as written (lists keep their braces).

    Raises
    ------
    SceneReadError
        Not an ENVI header.
    """
    text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff \r\n")
    if not text.startswith("ENVI"):
        raise SceneReadError(f"{path} is not an ENVI header: its first line is not ENVI.")
    keys = {}
    for match in re.finditer(r"^[ \t]*([^=;{}\n]+?)[ \t]*=[ \t]*(\{[^}]*\}|[^\n]*)", text[4:], re.MULTILINE):
        keys[match[1].lower()] = match[2].strip()
    return keys


def data_of(header: Path) -> Path:
    """The data file of an ENVI header.

    Raises
    ------
    SceneReadError
        There is none beside it.
    """
    stem = header.name[: -len(header.suffix)]
    found = []
    for path in sorted(header.parent.iterdir()):
        same = path.name == stem or path.name[: -len(path.suffix or "\0")] == stem
        if same and path.suffix.lower() not in _NOT_DATA and path.is_file():
            found.append(path)
    if not found:
        raise SceneReadError(
            f"{header} is an ENVI header without its data file: "
            f"put {stem}, {stem}.bsq, {stem}.img or {stem}.dat beside it."
        )
    size = expected_bytes(parse_header(header)) if is_header(header) else None
    exact = [p for p in found if p.stat().st_size == size]
    return (exact or found)[0]


def expected_bytes(keys: Mapping[str, str]) -> int | None:
    """Bytes of the data file that a header describes, None when it is compressed or does not say."""
    try:
        if int(keys.get("file compression", "0")) != 0:
            return None
        samples, lines, bands = (int(keys[k]) for k in ("samples", "lines", "bands"))
        return int(keys.get("header offset", "0")) + samples * lines * bands * ITEM_BYTES[int(keys["data type"])]
    except (KeyError, ValueError):
        return None


def check_size(data: Path) -> str | None:
    """Compare a data file with the header beside it; a sentence when it is longer than described.

    Raises
    ------
    SceneReadError
        It is shorter: truncated, or the header is another file's.
    """
    header = header_of(data)
    if header is None:
        return None
    keys = parse_header(header)
    missing = [k for k in ("samples", "lines", "bands", "data type") if k not in keys]
    if missing:
        raise SceneReadError(f"{header}: the ENVI header lacks '{missing[0]}'.")
    expected, actual = expected_bytes(keys), data.stat().st_size
    if expected is None or actual == expected:
        return None
    described = f"{keys['samples']} x {keys['lines']} x {keys['bands']} samples of data type {keys['data type']}"
    if actual < expected:
        raise SceneReadError(
            f"{data} holds {actual} bytes, but {header.name} describes {expected} ({described}): the file is truncated "
            "or the header belongs to another one."
        )
    return f"{data}: {actual - expected} bytes more than {header.name} describes ({described}); the rest is ignored."


def raw_layout(data: Path) -> RawLayout | None:
    """Where the samples of an ENVI data file lie; None where GDAL has to read it (compressed, frame offsets)."""
    header = header_of(data)
    keys = parse_header(header) if header else {}
    if expected_bytes(keys) is None or keys.get("byte order", "0") not in ("0", "1"):
        return None
    if any(key.endswith("frame offsets") for key in keys) or int(keys["data type"]) not in _NUMPY:
        return None
    interleave = keys.get("interleave", "bsq").lower()
    if interleave not in ("bsq", "bil", "bip"):
        return None
    order = "<" if keys.get("byte order", "0") == "0" else ">"
    shape = int(keys["bands"]), int(keys["lines"]), int(keys["samples"])
    return RawLayout(int(keys.get("header offset", "0")), order + _NUMPY[int(keys["data type"])], interleave, shape)


def split_list(text: str | None) -> list[str]:
    """The items of an ENVI list ``{a, b}``; quotes keep a comma inside an item."""
    if not text:
        return []
    inner = text.strip()
    inner = inner[1:] if inner.startswith("{") else inner
    inner = inner.removesuffix("}")
    items = re.findall(r'\s*("[^"]*"|[^,]*)\s*(?:,|$)', inner)
    items = items[:-1] if items and not items[-1] else items
    return [item.strip().strip('"') for item in items]


def numbers(text: str | None) -> np.ndarray:
    """The numbers of an ENVI list, NaN for what does not parse."""
    values = []
    for item in split_list(text):
        try:
            values.append(float(item))
        except ValueError:
            values.append(math.nan)
    return np.array(values)


def apply_domain(infos: Sequence[BandInfo], domain: Mapping[str, str], *, native: bool) -> list[str]:
    """Complete what is known of each band from an ``ENVI`` metadata domain; returns what is to be said.

    Lists whose length is not the number of bands are ignored: they are another file's, or a subset's.

    Parameters
    ----------
    infos : sequence of BandInfo
        Changed in place; what is known already stays.
    domain : mapping
        Keys as GDAL writes them (``band_names``, ``data_ignore_value``).
    native : bool
        The file is ENVI itself: GDAL builds its descriptions from name and wavelength, so names are taken from the
        header, and its reflectance scale factor holds (in other formats the scale says it all).
    """
    said = []

    def fitting(key: str) -> np.ndarray | None:
        values = numbers(domain.get(key))
        return values if values.size == len(infos) else None

    units = domain.get("wavelength_units", "")
    waves = fitting("wavelength")
    if waves is not None:
        nanometres = to_nanometres(waves, units)
        for info, value in zip(infos, nanometres.tolist(), strict=True):
            if not math.isfinite(info.wavelength):
                info.wavelength = value
    widths = fitting("fwhm")
    if widths is not None and waves is not None:
        for info, value in zip(infos, widths_to_nanometres(widths, waves, units).tolist(), strict=True):
            if not math.isfinite(info.fwhm):
                info.fwhm = value
    flags = fitting("bbl")
    if flags is not None:
        for info, value in zip(infos, flags.tolist(), strict=True):
            if info.good is None:
                info.good = value != 0
    names = split_list(domain.get("band_names"))
    if len(names) == len(infos):
        for info, name in zip(infos, names, strict=True):
            info.name = name if native else info.name or name
    factor = numbers(domain.get("reflectance_scale_factor"))
    if native and factor.size == 1 and math.isfinite(factor[0]) and factor[0] > 0:
        if all(info.scale == 1 and info.offset == 0 for info in infos):
            for info in infos:
                info.scale = 1 / float(factor[0])
        elif not all(math.isclose(info.scale * factor[0], 1, rel_tol=1e-9) for info in infos):
            said.append("data gain values and a reflectance scale factor are both given; the gains are used.")
    if unit := domain.get("data_units", "").strip("{} "):
        for info in infos:
            info.units = info.units or unit
    return said


def widths_to_nanometres(widths: np.ndarray, waves: np.ndarray, units: str) -> np.ndarray:
    """FWHM in nm. They share the wavelengths' unit, but for files with micrometres beside nanometres."""
    widths = np.where(widths > 0, widths, np.nan)
    nanometres = to_nanometres(waves, units)
    known = np.isfinite(nanometres) & np.isfinite(widths)
    if not known.any() or units.strip().lower().startswith(("wavenumber", "cm-1")):
        return np.full(widths.shape, np.nan)
    places = round(math.log10(np.median(nanometres[known] / waves[known])))
    found = move_point(widths, places)
    return move_point(widths, places - 3) if np.median(found[known]) > np.median(nanometres[known]) else found
