"""Which sensor a file is from, and what its table adds to what the file says of its bands.

The file comes first: wavelengths, FWHM and flags found in it stay. A table fills what is missing, and every guess is
said in the notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hsgeo.errors import BandError, SensorError

from .bands import BandInfo
from .notes import Warned

if TYPE_CHECKING:
    from hsgeo.sensors import Band, Sensor

Say = Callable[[str], None]

#: flags of a sensor table that make a band bad; the others (pan, atmospheric) are for methods to weigh
BAD_FLAGS = ("uncalibrated", "water vapour")
#: what is said of bands recorded on a coarser grid than a stack's
COARSER = "were recorded coarser than"


def identify(
    infos: Sequence[BandInfo],
    *,
    name: str,
    sensor: str | None,
    written: str,
    texts: Sequence[str],
    say: Say,
) -> str:
    """Complete `infos` in place from a sensor table; returns the sensor's name, "" when none is known.

    Parameters
    ----------
    infos : sequence of BandInfo
        What the file says of each band.
    name : str
        How messages call the file.
    sensor : str or None
        Name or YAML file given by the user.
    written : str
        Sensor name that hsgeo wrote into the file, or "".
    texts : sequence of str
        File names and tags in which a sensor may be named.

    Raises
    ------
    SensorError
        The sensor given is not known.
    BandError
        The sensor given has another number of bands, and the band names do not say which are meant.
    """
    from hsgeo.sensors import guess_sensor, load_sensor

    waves = np.array([info.wavelength for info in infos])
    lacking = not np.isfinite(waves).any()
    if sensor is not None:
        given = load_sensor(sensor)
        matches = match_wavelengths(waves, given) if not lacking else match_bands(infos, given)
        if matches is None:
            raise BandError(
                f"{name} has {len(infos)} bands, the sensor {given.name} {len(given.bands)}, and the band names do "
                f"not say which ones; name the bands in the file or give a sensor with {len(infos)} bands."
            )
        if not lacking and not any(matches):
            say(Warned(f"{name}: its wavelengths agree with no band of {given.name}; those of the file are kept."))
        _fill(infos, matches)
        return str(given.name)
    table: Sensor | None = None
    if written:
        try:
            table = load_sensor(written)
        except SensorError:
            return written  # the user's own table, not at hand now; the file holds what it gave
    if table is None:
        table = guess_sensor(texts)
    if not lacking:
        if table is None:
            return ""
        if not written and not _agree(waves, table):
            say(
                f"{name}: its name or tags speak of {table.name}, but its wavelengths are not that sensor's; "
                f"taken as unknown (--sensor {table.name} insists)."
            )
            return ""
        _fill(infos, match_wavelengths(waves, table))
        return str(table.name)
    if table is not None and (matches := match_bands(infos, table)) is not None:
        _fill(infos, matches)
        source = f"the sensor table {table.name}, which its name or tags point to"
        say(Warned(f"{name}: no wavelengths in the file; taken from {source}."))
        return str(table.name)
    return _by_count(infos, name, say)


def _by_count(infos: Sequence[BandInfo], name: str, say: Say) -> str:
    from hsgeo.sensors import sensors_with_band_count

    fitting = sensors_with_band_count(len(infos))
    if len(fitting) == 1:
        _fill(infos, list(fitting[0].bands))
        source = f"{fitting[0].name}, the only sensor table with {len(infos)} bands (--sensor names another)"
        say(Warned(f"{name}: no wavelengths in the file; taken from {source}."))
        return str(fitting[0].name)
    several = f", {len(infos)} bands fit {' and '.join(s.name for s in fitting)}" if fitting else ""
    say(Warned(f"{name}: no wavelengths are known{several}; --sensor NAME gives them."))
    return ""


def match_bands(infos: Sequence[BandInfo], table: Sensor) -> list[Band | None] | None:
    """The sensor's band for each band of the file, by name, else by count and order; None when neither fits."""
    by_name = _match_names([info.name for info in infos], table)
    if by_name is not None:
        return by_name
    for subset in _usual_stacks(table):
        if len(subset) == len(infos):
            return list(subset)
    return None


def _match_names(names: Sequence[str], table: Sensor) -> list[Band | None] | None:
    if not all(names) or _numbered(names):
        return None
    matches = table.find(names)
    found = [match.name for match in matches if match is not None]
    return matches if 2 * len(found) >= len(names) and len(set(found)) == len(found) else None


def _numbered(names: Sequence[str]) -> bool:
    """Whether names only count: "Band 1", "Band 2" ... as programs write them when they know nothing."""
    return len(names) > 1 and all(
        n.strip().lower() in (f"band {i}", f"band_{i}", str(i)) for i, n in enumerate(names, 1)
    )


def _usual_stacks(table: Sensor) -> list[list[Band]]:
    """The subsets of a sensor's bands that people stack: all, without pan, cirrus or atmospheric ones, the finest."""
    bands = list(table.bands)
    spectral = [b for b in bands if b.flag != "pan"]
    no_cirrus = [b for b in spectral if not (b.flag == "atmospheric" and 1340 < b.centre_nm < 1420)]
    surface = [b for b in spectral if b.flag != "atmospheric"]
    finest = min((b.gsd for b in spectral if b.gsd), default=None)
    stacks = [bands, spectral, no_cirrus, surface, [b for b in spectral if b.gsd == finest]]
    return [s for i, s in enumerate(stacks) if s and s not in stacks[:i]]


def match_wavelengths(waves: np.ndarray, table: Sensor) -> list[Band | None]:
    """The sensor's band whose centre is nearest to each wavelength, None beyond half its width or spacing."""
    bands = [b for b in table.bands if b.centre_nm and math.isfinite(b.centre_nm)]
    centres = np.array([b.centre_nm for b in bands])
    if not bands:
        return [None] * len(waves)
    found: list[Band | None] = []
    for wave in waves.tolist():
        if not math.isfinite(wave):
            found.append(None)
            continue
        k = int(np.abs(centres - wave).argmin())
        reach = max(0.5 * (bands[k].fwhm_nm or 0.0), 1.0)
        found.append(bands[k] if abs(centres[k] - wave) <= reach else None)
    return found


def _agree(waves: np.ndarray, table: Sensor) -> bool:
    """Whether wavelengths look like those of the table: nearly all in a band, most near its centre."""
    known = waves[np.isfinite(waves)]
    matches = match_wavelengths(known, table)
    if known.size > len(table.bands) or sum(m is not None for m in matches) < 0.9 * known.size:
        return False
    distances = [abs(w - m.centre_nm) / max(m.fwhm_nm or 0.0, 1.0) for w, m in zip(known, matches, strict=True) if m]
    return float(np.median(distances)) <= 0.2


def _fill(infos: Sequence[BandInfo], matches: Sequence[Band | None]) -> None:
    for info, band in zip(infos, matches, strict=True):
        if band is None:
            continue
        if not math.isfinite(info.wavelength):
            info.wavelength = float(band.centre_nm)
            if not math.isfinite(info.fwhm) and band.fwhm_nm:
                info.fwhm = float(band.fwhm_nm)
        elif not math.isfinite(info.fwhm) and band.fwhm_nm:
            info.fwhm = float(band.fwhm_nm)
        info.name = info.name or str(band.name)
        if info.good is None and band.flag in BAD_FLAGS:
            info.good, info.bad_reason = False, band.flag


def native_gsds(infos: Sequence[BandInfo], sensor: str, pixel: float, name: str, say: Say) -> None:
    """Note in `infos` which bands of a multispectral stack were recorded coarser than its pixels.

    A stack at the finest GSD of a sensor whose bands have several holds the coarser ones repeated or interpolated;
    fusion must not take them for sharp.
    """
    from hsgeo.sensors import load_sensor

    try:
        table = load_sensor(sensor)
    except SensorError:
        return
    gsds = [b.gsd for b in table.bands if b.gsd and b.flag != "pan"]
    if table.kind != "multispectral" or not gsds or not math.isclose(pixel, min(gsds), rel_tol=0.01):
        return
    coarse = []
    for info in infos:
        band = table.find([info.name])[0] if info.name else None
        if band is None and math.isfinite(info.wavelength):
            band = match_wavelengths(np.array([info.wavelength]), table)[0]
        if band is None or math.isfinite(info.gsd) or not band.gsd or band.gsd < 1.5 * pixel:
            continue
        info.gsd = pixel * round(band.gsd / pixel)
        if str(table.name).lower().startswith("sentinel-2"):
            info.tags["gsd_origin"] = "0 0"  # Sentinel-2 grids at 10, 20 and 60 m all start on multiples of 60 m
        coarse.append(f"{info.name or f'{info.wavelength:.0f} nm'} ({info.gsd:g} m)")
    if coarse:
        say(f"{name}: by the table {table.name}, {', '.join(coarse)} {COARSER} the {pixel:g} m pixels of this stack.")
