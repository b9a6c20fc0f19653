"""Which sensors there are, and which of them a name, a band count or a file name means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from hsgeo.errors import SensorError, did_you_mean

from .model import Sensor
from .parse import Header, build_sensor, read_header

DATA = Path(__file__).with_name("data")


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in DATA.glob("*.yaml")))


def sensor_names() -> list[str]:
    """Names of the sensors that come with hsgeo, sorted."""
    return list(_names())


def load_sensor(name: str | Path | Sensor) -> Sensor:
    """The sensor of this name, or the one that a YAML file describes.

    Case, spaces and hyphens do not matter (``Sentinel-2A``, ``sentinel2a``, ``S2A``). A path that ends in
    ``.yaml`` or ``.yml`` is read as the package's docstring says. What was read is kept; a file that changed is
    read again. Only the tables of the one sensor are read. A `Sensor` is returned as it is.

    Raises
    ------
    SensorError
        No such sensor or file (the message names the nearest), or the file does not parse.
    """
    if isinstance(name, Sensor):
        return name
    text = str(name).strip()
    if text.lower().endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
        return _from_file(path, _stamp(read_header(path)))
    key = _key(text)
    for known in _names():
        if _key(known) == key:
            return _built_in(known)
    for known in _names():
        if key in {_key(alias) for alias in _header(known).aliases}:
            return _built_in(known)
    raise SensorError(_unknown(text, key))


def sensors_with_band_count(count: int) -> list[Sensor]:
    """Hyperspectral sensors whose table has just `count` bands.

    Multispectral sensors are left out: files hold any selection of their few bands, so a count says nothing.
    """
    sensors = (_built_in(name) for name in _names() if _header(name).entries["kind"] == "hyperspectral")
    return [sensor for sensor in sensors if len(sensor.bands) == count]


def guess_sensor(texts: Iterable[str]) -> Sensor | None:
    """The one sensor that file names or tags speak of; None when none or several fit.

    Parameters
    ----------
    texts : iterable of str
        File names, tag values and the like: ``S2A_MSIL2A_...``, ``EO1H...L1T.TIF``, ``LANDSAT_8``.
    """
    found: set[str] = set()
    for text in texts:
        found |= {name for name in _names() if any(p.search(str(text)) for p in _header(name).match)}
    return _built_in(found.pop()) if len(found) == 1 else None


@cache
def _header(name: str) -> Header:
    return read_header(DATA / f"{name}.yaml")


@cache
def _built_in(name: str) -> Sensor:
    return build_sensor(_header(name))


@lru_cache(maxsize=16)
def _from_file(path: Path, stamp: tuple[tuple[int, int], ...]) -> Sensor:
    return build_sensor(read_header(path))


def _stamp(header: Header) -> tuple[tuple[int, int], ...]:
    """Time and size of a sensor file and its tables: what tells a changed file."""
    tables = (header.entries.get(key) for key in ("bands", "responses"))
    files = [header.path, *(header.path.parent / table for table in tables if isinstance(table, str))]
    return tuple((status.st_mtime_ns, status.st_size) for status in (f.stat() for f in files if f.is_file()))


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _unknown(text: str, key: str) -> str:
    several = [name for name in _names() if key and _key(name).startswith(key)]
    if len(several) > 1:
        return f"sensor {text!r} may be any of {', '.join(several)}; name one of them."
    hint = f" Did you mean {several[0]!r}?" if several else did_you_mean(text, _names())
    if not hint:
        aliases = {alias.lower() for name in _names() for alias in _header(name).aliases}
        hint = did_you_mean(text, aliases)
    return f"sensor {text!r} is not known.{hint} `hsgeo info` lists the sensors; a YAML file (my.yaml) adds one."
