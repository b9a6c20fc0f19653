"""What a sensor is: named bands, each with its centre, width, GSD, MTF and, where published, its response."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsgeo.errors import SensorError, did_you_mean

#: why a band may not serve: not calibrated, lost to water vapour, made for the atmosphere, broad
FLAGS = ("", "uncalibrated", "water vapour", "atmospheric", "pan")
KINDS = ("hyperspectral", "multispectral")

_NUMBERED = re.compile(r"(?:band|bd|b)?[\s_#-]*0*(\d+)([a-z]?)")
_INSIDE = re.compile(r"(?<![a-z0-9])(?:band|b)[\s_-]?0*(\d+[a-z]?)(?![a-z0-9])")


@dataclass(frozen=True)
class Band:
    """One spectral band.

    Attributes
    ----------
    name : str
        As the products call it (``B8A``, ``Coastal``).
    centre_nm, fwhm_nm : float
        Centre and full width at half maximum in nm.
    gsd : float or None
        Ground sampling distance in m.
    mtf : float or None
        Modulation transfer function at the Nyquist frequency of its own GSD, 0 to 1, where published.
    flag : str
        One of `FLAGS`.
    response : (wavelengths, values) or None
        Relative response: nm strictly increasing, values >= 0, zero outside; None means a Gaussian.
    aliases : tuple of str
        Other names (``red``).
    """

    name: str
    centre_nm: float
    fwhm_nm: float
    gsd: float | None = None
    mtf: float | None = None
    flag: str = ""
    response: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sensor:
    """A sensor: its bands in the order of its products, and where the figures come from."""

    name: str
    title: str
    kind: str
    bands: tuple[Band, ...] = field(repr=False)
    source: str = field(default="", repr=False)
    notes: str = field(default="", repr=False)

    @property
    def wavelengths(self) -> np.ndarray:
        """Centres in nm, (b,)."""
        return np.array([band.centre_nm for band in self.bands])

    @property
    def fwhms(self) -> np.ndarray:
        """Full widths at half maximum in nm, (b,)."""
        return np.array([band.fwhm_nm for band in self.bands])

    def find(self, names: Iterable[str]) -> list[Band | None]:
        """The band that each name means, however it is spelt, or None.

        ``B2``, ``B02``, ``b2``, ``band 2``, ``2`` and ``Blue`` are one band; a file name such as
        ``S2A_..._B02.tif`` or ``EO1H..._B008_L1T.TIF`` means the one band it contains.
        """
        known: dict[str, Band] = {}
        for band in self.bands:
            for alias in band.aliases:
                known.setdefault(_key(alias), band)
        known.update({_key(band.name): band for band in self.bands})
        return [_find(str(name), known) for name in names]

    def band(self, name: str) -> Band:
        """The band of this name, however it is spelt.

        Raises
        ------
        SensorError
            There is none.
        """
        found = self.find([name])[0]
        if found is None:
            names = [band.name for band in self.bands]
            listed = ", ".join(names) if len(names) <= 20 else f"{names[0]} to {names[-1]}"
            hint = did_you_mean(name, [n.lower() for n in names])
            for n in names:
                hint = hint.replace(repr(n.lower()), repr(n))
            raise SensorError(f"{self.title} has no band {name!r}.{hint} Its bands are {listed}.")
        return found


def mean_mtf(bands: Iterable[Any]) -> float | None:
    """Mean MTF at Nyquist of the bands (`Band`, or like it) for which one is known; None where there is none."""
    known = [float(v) for v in (getattr(band, "mtf", None) for band in bands) if v and 0 < v < 1]
    return float(np.mean(known)) if known else None


def _key(text: str) -> str:
    text = text.strip().lower()
    numbered = _NUMBERED.fullmatch(text)
    return "".join(numbered.groups()) if numbered else re.sub(r"[^a-z0-9]", "", text)


def _find(text: str, known: dict[str, Band]) -> Band | None:
    exact = known.get(_key(text))
    if exact is not None:
        return exact
    tokens = set(_INSIDE.findall(text.lower()))
    if not tokens:
        tokens = {word for word in re.split(r"[^a-z0-9]+", text.lower()) if not word.isdigit()}
    bands = {known[token].name: known[token] for token in tokens if token in known}
    return next(iter(bands.values())) if len(bands) == 1 else None
