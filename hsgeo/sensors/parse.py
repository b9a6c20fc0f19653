"""A sensor file (YAML, with or without CSV tables) becomes a `Sensor`; every mistake is one clear sentence."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hsgeo.errors import SensorError, did_you_mean

from .model import FLAGS, KINDS, Band, Sensor
from .response import centre_and_fwhm

SENSOR_KEYS = ("title", "kind", "bands", "responses", "source", "notes", "aliases", "match", "gsd")
REQUIRED = ("title", "kind", "bands")
BAND_KEYS = ("name", "centre_nm", "fwhm_nm", "gsd", "mtf", "flag", "aliases", "response")


@dataclass(frozen=True)
class Header:
    """What a sensor file says before its tables are read."""

    path: Path
    entries: Mapping[str, Any]
    aliases: tuple[str, ...]
    match: tuple[re.Pattern[str], ...]


def read_header(path: Path) -> Header:
    """Read and check the YAML file itself.

    Raises
    ------
    SensorError
        The file is missing, is not YAML, or an entry is unknown, missing or of the wrong kind.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SensorError(f"{path}: there is no such sensor file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SensorError(f"{path}: the sensor file cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SensorError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or error}).") from None
    if not isinstance(entries, Mapping):
        raise SensorError(f"{path}: a sensor file is a mapping with the keys {', '.join(REQUIRED)}.")
    _known(path, "", entries, SENSOR_KEYS)
    for key in REQUIRED:
        if not entries.get(key):
            raise SensorError(f"{path}: the key {key!r} is missing; a sensor file needs {', '.join(REQUIRED)}.")
    if entries["kind"] not in KINDS:
        raise SensorError(f"{path}: kind is {' or '.join(KINDS)}, not {entries['kind']!r}.")
    patterns = []
    for text in _words(path, "match", entries.get("match")):
        try:
            patterns.append(re.compile(f"(?<![a-z0-9])(?:{text})", re.IGNORECASE))
        except re.error as error:
            raise SensorError(f"{path}: match {text!r} is not a regular expression ({error}).") from None
    return Header(path, entries, _words(path, "aliases", entries.get("aliases")), tuple(patterns))


def build_sensor(header: Header) -> Sensor:
    """Read the tables that a header names and check every band.

    Raises
    ------
    SensorError
        A table is missing, or a value is not what the key needs.
    """
    path, entries = header.path, header.entries
    rows = entries["bands"]
    if isinstance(rows, str):
        table = path.parent / rows
        rows = _read_table(table, "name")
        where = table
    else:
        where = path
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise SensorError(f"{where}: 'bands' is a list of bands, each with a name, or the name of a CSV table.")
    curves = _read_curves(path.parent / str(entries["responses"])) if entries.get("responses") else {}
    gsd = _number(path, "gsd", entries.get("gsd"), _positive)
    bands = tuple(_band(where, row, number, gsd, curves) for number, row in enumerate(rows, 1))
    names = [band.name for band in bands]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SensorError(f"{where}: band {twice!r} is there twice.")
    stray = next((name for name in curves if name not in names), None)
    if stray is not None:
        raise SensorError(f"{path.parent / entries['responses']}: its column {stray!r} is no band of {path.name}.")
    return Sensor(
        name=path.stem,
        title=str(entries["title"]),
        kind=str(entries["kind"]),
        bands=bands,
        source=str(entries.get("source") or ""),
        notes=str(entries.get("notes") or ""),
    )


def _band(path: Path, row: Mapping[str, Any], number: int, gsd: float | None, curves: Mapping[str, Any]) -> Band:
    name = str(row.get("name") if row.get("name") is not None else "").strip()
    if not name:
        raise SensorError(f"{path}: band number {number} has no name.")
    here = f"band {name!r}: "
    _known(path, here, row, BAND_KEYS)
    response = curves.get(name)
    if row.get("response") is not None:
        response = _pairs(path, here, row["response"])
    if response is not None:
        _check_response(path, here, *response)
    centre = _number(path, here + "centre_nm", row.get("centre_nm"), _nanometres)
    fwhm = _number(path, here + "fwhm_nm", row.get("fwhm_nm"), _positive)
    if response is not None and (centre is None or fwhm is None):
        found = centre_and_fwhm(*response)
        centre, fwhm = centre or found[0], fwhm or found[1]
    for key, value in (("centre_nm", centre), ("fwhm_nm", fwhm)):
        if value is None:
            raise SensorError(f"{path}: {here}{key} is missing; give it, or the band's response.")
    flag = str(row.get("flag") or "")
    if flag not in FLAGS:
        raise SensorError(f"{path}: {here}flag {flag!r} is not one of {', '.join(f for f in FLAGS if f)}.")
    own = _number(path, here + "gsd", row.get("gsd"), _positive)
    return Band(
        name=name,
        centre_nm=float(centre or 0),
        fwhm_nm=float(fwhm or 0),
        gsd=gsd if own is None else own,
        mtf=_number(path, here + "mtf", row.get("mtf"), _fraction),
        flag=flag,
        response=response,
        aliases=_words(path, here + "aliases", row.get("aliases")),
    )


def _read_table(path: Path, first: str) -> list[dict[str, Any]]:
    """Rows of a CSV file whose header starts with `first`; empty cells are left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or ())
    except FileNotFoundError:
        raise SensorError(f"{path}: there is no such table beside the sensor file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SensorError(f"{path}: the table cannot be read ({error}).") from None
    if not columns or columns[0].strip() != first:
        raise SensorError(f"{path}: the first column of this comma-separated table must be {first!r}.")
    clean = []
    for line, row in enumerate(rows, 2):
        if None in row:
            raise SensorError(f"{path}, line {line}: more cells than columns.")
        cells = {key.strip(): (value or "").strip() for key, value in row.items()}
        clean.append({key: value for key, value in cells.items() if value})
    return [row for row in clean if row]


def _read_curves(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Responses by band name: empty cells do not belong to the band's table."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in _read_table(path, "wavelength_nm"):
        at = _number(path, "wavelength_nm", row.pop("wavelength_nm", None), _nanometres)
        if at is None:
            raise SensorError(f"{path}: a row has no wavelength_nm.")
        for name, value in row.items():
            points.setdefault(name, []).append((at, float(_number(path, f"{name} at {at:g} nm", value) or 0)))
    return {name: _frozen(pairs) for name, pairs in points.items()}


def _pairs(path: Path, here: str, value: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _frozen([(float(nm), float(level)) for nm, level in value])
    except (TypeError, ValueError):
        raise SensorError(f"{path}: {here}response is a list of pairs [wavelength_nm, value].") from None


def _frozen(pairs: Iterable[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(list(pairs), dtype=np.float64).reshape(-1, 2)
    wavelengths, values = np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
    wavelengths.flags.writeable = values.flags.writeable = False
    return wavelengths, values


def _check_response(path: Path, here: str, wavelengths: np.ndarray, values: np.ndarray) -> None:
    if wavelengths.size < 3:
        raise SensorError(f"{path}: {here}the response needs at least 3 points.")
    if not (np.isfinite(wavelengths).all() and np.isfinite(values).all()):
        raise SensorError(f"{path}: {here}the response holds values that are not finite.")
    back = np.flatnonzero(np.diff(wavelengths) <= 0)
    if back.size:
        at = wavelengths[back[0] + 1]
        raise SensorError(f"{path}: {here}the wavelengths of the response do not increase at {at:g} nm.")
    if (values < 0).any():
        at = wavelengths[np.argmax(values < 0)]
        raise SensorError(f"{path}: {here}the response is negative at {at:g} nm; set it to 0.")
    if not values.any():
        raise SensorError(f"{path}: {here}the response is zero everywhere.")


def _known(path: Path, here: str, entries: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in entries:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise SensorError(f"{path}: {here}the key {key!r} is not known.{hint} The keys are {', '.join(known)}.")


def _words(path: Path, key: str, value: Any) -> tuple[str, ...]:
    """A list of words: from YAML a list or one word, from CSV words parted by ``|``."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(
            word.strip() for word in (value.split("|") if key.endswith("aliases") else [value]) if word.strip()
        )
    if isinstance(value, list) and all(isinstance(word, str | int) for word in value):
        return tuple(str(word) for word in value)
    raise SensorError(f"{path}: {key} is a list of words.")


def _number(path: Path, key: str, value: Any, check: Callable[[float], str] | None = None) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SensorError(f"{path}: {key} is {value!r}, which is not a number.") from None
    wrong = "it must be finite" if not np.isfinite(number) else check(number) if check else ""
    if wrong:
        raise SensorError(f"{path}: {key} is {number:g}; {wrong}.")
    return number


def _positive(number: float) -> str:
    return "" if number > 0 else "it must be above 0"


def _fraction(number: float) -> str:
    return "" if 0 < number < 1 else "it must lie between 0 and 1"


def _nanometres(number: float) -> str:
    if number <= 0:
        return "it must be above 0"
    return "" if number >= 100 else "wavelengths are in nm, and this looks like micrometres (multiply by 1000)"
