"""ENVI: samples written without GDAL, a header with all that ENVI has keys for, and GDAL's sidecar for the rest.

The header alone keeps everything for `open_scene` (key ``hsgeo metadata``); the sidecar ``.aux.xml`` shows GDAL and
what is built on it the tags, units and domains for which ENVI has no key.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

import hsgeo
from hsgeo.errors import ParameterError

from .gtiff_writer import set_tags
from .metadata import LONGEST_LINE, PACKED, Metadata, envi_list, envi_text, pack, unit_side
from .staging import disk_full, require_space
from .window import Window

_DATA_TYPE = {
    "uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5,
    "uint16": 12, "uint32": 13, "int64": 14, "uint64": 15,
}  # fmt: skip
#: keys that the header writes itself, so that they are not repeated from the ENVI domain
_OWN_KEYS = {"description", "bands", "wavelength", "wavelength_units", "fwhm", "bbl", "band_names", "sensor_type"}
#: bytes brought into the order of the file at once
_PIECE = 16 << 20


class EnviSink:
    """An ENVI file that is being written, in a folder of its own.

    Parameters
    ----------
    folder : path
        Where files are written under their final names.
    target : path
        Where they will be; its suffix ``.bil`` or ``.bip`` chooses the interleave, any other is bsq.
    meta : Metadata
    creation : mapping
        ``INTERLEAVE`` (bsq, bil or bip, over the suffix).

    Attributes
    ----------
    block : (rows, columns)
        Windows given to `write` start at multiples of it.
    """

    def __init__(self, folder: Path, target: Path, meta: Metadata, creation: Mapping[str, Any]) -> None:
        if meta.dtype.name not in _DATA_TYPE:
            raise ParameterError(f"{target}: ENVI has no {meta.dtype}; use --dtype int16, or another format.")
        self.folder, self.target, self.meta = folder, target, meta
        self.interleave = interleave_of(target, creation)
        self.needed = meta.nbytes
        self.block = (unit_side(meta), unit_side(meta))
        self.path = folder / target.name
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            self._reserve()
        except BaseException:
            self.close()
            raise

    def _reserve(self) -> None:
        """Take the space now: a full disk shows before the first pixel is computed."""
        require_space(self.target, self.needed, self.needed)
        try:
            os.posix_fallocate(self._file, 0, self.needed)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and shutil.disk_usage(self.folder).free < self.needed:
                raise disk_full(self.target, self.needed) from error
            os.ftruncate(self._file, self.needed)

    def write(self, raw: np.ndarray, window: Window, nodata: float | None) -> None:
        """All bands of one window."""
        count, height, width = self.meta.shape
        raw = raw.astype(raw.dtype.newbyteorder("<"), copy=False)
        h, w = window.shape
        whole = w == width
        if self.interleave == "bsq":
            for b in range(count):
                band = np.ascontiguousarray(raw[b])
                start = (b * height + window.y0) * width + window.x0
                for piece, at in [(band, start)] if whole else _rows(band, start, width):
                    self._put(piece, at)
            return
        for first in range(0, h, step := max(1, _PIECE // (count * w * raw.itemsize))):
            part = raw[:, first : first + step]
            y = window.y0 + first
            if self.interleave == "bil":
                lines = np.ascontiguousarray(part.transpose(1, 0, 2))
                pieces = _rows(lines.reshape(-1, w), y * count * width + window.x0, width)
            else:
                lines = np.ascontiguousarray(part.transpose(1, 2, 0))
                pieces = _rows(lines, (y * width + window.x0) * count, width * count)
            for piece, at in [(lines, y * width * count)] if whole else pieces:
                self._put(piece, at)

    def _put(self, piece: np.ndarray, sample: int) -> None:
        view = memoryview(piece).cast("B")  # type: ignore[arg-type]
        at = sample * piece.itemsize
        while view:
            done = os.pwrite(self._file, view, at)
            view, at = view[done:], at + done

    def finish(self, nodata: float | None) -> None:
        """Write the header and the sidecar."""
        self.close()
        meta = self.meta if nodata is None else self.meta.with_nodata(nodata)
        map_keys = self._georeference(meta)
        header = self.folder / header_name(self.target)
        header.write_text(header_text(meta, self.interleave, map_keys), encoding="utf-8")

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _georeference(self, meta: Metadata) -> dict[str, str]:
        """The keys of the grid in GDAL's words, from a file of one pixel, and that file's sidecar as ours."""
        import rasterio
        from rasterio.crs import CRS

        small = self.folder.parent / "pixel"
        small.mkdir(exist_ok=True)
        path = small / self.target.name
        with rasterio.open(
            path,
            "w",
            driver="ENVI",
            count=meta.count,
            height=1,
            width=1,
            dtype=meta.dtype.name,
            crs=CRS.from_wkt(meta.crs) if meta.crs else None,
            transform=meta.transform,
            INTERLEAVE=self.interleave.upper(),
        ) as dataset:
            set_tags(dataset, replace(meta, domains={k: v for k, v in meta.domains.items() if k != "ENVI"}))
        sidecar = small / (self.target.name + ".aux.xml")
        if sidecar.exists():
            (self.folder / sidecar.name).write_bytes(_sidecar(sidecar, meta))
        text = (small / header_name(self.target)).read_text(encoding="utf-8")
        found = re.findall(
            r"^(map info|projection info|coordinate system string)\s*=\s*(\{[^}]*\})", text, re.MULTILINE
        )
        return dict(found)


def interleave_of(target: Path, creation: Mapping[str, Any]) -> str:
    unknown = [k for k in creation if k.upper() != "INTERLEAVE"]
    if unknown:
        raise ParameterError(f"--co {unknown[0]}: ENVI knows INTERLEAVE=bsq, bil or bip only.")
    suffix = target.suffix.lower().lstrip(".")
    chosen = str(next(iter(creation.values()), suffix if suffix in ("bil", "bip") else "bsq")).lower()
    if chosen not in ("bsq", "bil", "bip"):
        raise ParameterError(f"--co INTERLEAVE={chosen}: bsq, bil or bip.")
    return chosen


def _rows(lines: np.ndarray, start: int, stride: int) -> list[tuple[np.ndarray, int]]:
    """Each row and the sample it begins at."""
    return [(line, start + i * stride) for i, line in enumerate(lines)]


def header_name(target: Path) -> str:
    """``scene.hdr`` of ``scene.img``, as GDAL names it."""
    return target.with_suffix(".hdr").name


def _sidecar(small: Path, meta: Metadata) -> bytes:
    """The sidecar of the file of one pixel, without what tells of that pixel, scale and offset in all digits."""
    root = ElementTree.parse(small).getroot()
    for element in root.findall("Metadata"):
        if element.get("domain") in ("ENVI", "IMAGE_STRUCTURE"):
            root.remove(element)
    for element in root.findall("PAMRasterBand"):
        band = int(element.get("band", "1")) - 1
        for key, value in (("Offset", meta["offset"][band]), ("Scale", meta["scale"][band])):
            child = element.find(key)
            if child is not None:
                child.text = repr(value)
    return ElementTree.tostring(root, encoding="utf-8")


def header_text(meta: Metadata, interleave: str, map_keys: Mapping[str, str]) -> str:
    """The ENVI header.

    Parameters
    ----------
    meta : Metadata
    interleave : "bsq", "bil" or "bip"
    map_keys : mapping
        ``map info`` and what else describes the grid.
    """
    count, height, width = meta.shape
    domain = meta.domains.get("ENVI", {})
    lines: dict[str, str] = {
        "description": domain.get("description", "").strip() or f"{{Written by hsgeo {hsgeo.__version__}}}",
        "samples": str(width),
        "lines": str(height),
        "bands": str(count),
        "header offset": "0",
        "file type": "ENVI Standard",
        "data type": str(_DATA_TYPE[meta.dtype.name]),
        "interleave": interleave,
        "byte order": "0",
        **map_keys,
    }
    if sensor := (meta.sensor or domain.get("sensor_type", "")):
        lines["sensor type"] = sensor
    if meta.nodata is not None:
        lines["data ignore value"] = _number(meta.nodata)
    lines.update(_radiometry(meta))
    lines["band names"] = envi_list([envi_text(name) or f"Band {i}" for i, name in enumerate(meta["band_name"], 1)])
    for key, default in (("wavelength", 0.0), ("fwhm", 0.0)):
        values = meta[key]
        if any(math.isfinite(v) for v in values):
            lines[key] = envi_list([v if math.isfinite(v) else default for v in values])
    if "wavelength" in lines:
        lines["wavelength units"] = "Nanometers"
    lines["bbl"] = envi_list([int(g) for g in meta["good"]])
    for key, text in domain.items():
        if key not in _OWN_KEYS and key != PACKED:
            lines.setdefault(key.replace("_", " "), text.strip())
    lines[PACKED.replace("_", " ")] = "{" + pack(meta) + "}"
    return "ENVI\n" + "".join(f"{key} = {_wrap(_one_value(text))}\n" for key, text in lines.items())


def _radiometry(meta: Metadata) -> dict[str, str]:
    scale, offset, units = meta["scale"], meta["offset"], set(meta["units"])
    keys = {}
    if any(s != 1 for s in scale) or any(o != 0 for o in offset):
        keys["data gain values"] = envi_list(scale)
        keys["data offset values"] = envi_list(offset)
        # ENVI divides by this factor; it stands only where it says the same as the gains
        factor = 1 / scale[0] if scale[0] > 0 else 0.0
        same = len(set(scale)) == 1 and not any(offset) and units <= {"", "1", "reflectance", "Reflectance"}
        if same and round(factor) > 1 and math.isclose(factor, round(factor), rel_tol=1e-9):
            keys["reflectance scale factor"] = str(round(factor))
    if len(units) == 1 and (unit := envi_text(units.pop())):
        keys["data units"] = unit
    return keys


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)


def _wrap(text: str) -> str:
    """A long list on several lines, each broken after a comma: GDAL before 3.7 gives up beyond 10000 characters."""
    return re.sub(r"(.{80,}?,) ", r"\1\n ", text) if len(text) > LONGEST_LINE and text.startswith("{") else text


def _one_value(text: str) -> str:
    """A value that the header's grammar can hold: several lines only between braces, which are not nested."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    braced = inner is not text
    clean = inner.replace("{", "(").replace("}", ")")
    return "{" + clean + "}" if braced or "\n" in clean else clean
