"""What an unmixing method is, and how one is found by name.

Endmembers are found once, of the whole scene; abundances are then a matter of each pixel alone. A third party adds a
method under the entry point ``hsgeo.unmixing``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from hsgeo.methods.base import Params
from hsgeo.methods.registry import find
from hsgeo.methods.unmixing.fit import Found, found_endmembers
from hsgeo.scene.window import Window

#: pixels that are solved at a time
PIXELS = 2**15


class UnmixingParams(Params):
    """Parameters of an unmixing by endmembers that are looked for."""

    seed: int = Field(default=0, ge=0, description="where the search for endmembers starts")
    endmembers: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        default="auto", description="how many; auto counts them"
    )
    criterion: Literal["hysime", "nwhfc", "hfc"] = Field(default="hysime", description="by which they are counted")
    most: int = Field(default=30, ge=2, description="more than that auto does not take")
    average: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="pixels that an endmember is the mean of; auto: one, or a thousandth of all where it fits better",
    )
    projection: Literal["auto", "snr"] = Field(
        default="auto",
        description="of the scene for VCA: snr, by its signal to noise as published; auto, what fits better",
    )


@dataclass
class UnmixedTile:
    """The result over the core of a tile.

    Attributes
    ----------
    values : float32 array (p, H, W)
        Abundances; NaN for pixels that lack a band.
    stats : dict
        Sums over the core that add up over tiles.
    """

    values: np.ndarray
    stats: dict[str, Any] = field(default_factory=dict)


@dataclass
class Unmixer:
    """A fitted unmixing, picklable.

    Attributes
    ----------
    found : Found
        The endmembers and how they were found.
    method : UnmixingMethod
    """

    found: Found
    method: UnmixingMethod
    halo: int = 0
    multiple: int = 1

    @property
    def notes(self) -> list[str]:
        """What the user must be told."""
        return self.found.notes

    @property
    def fingerprint(self) -> str:
        """Of the endmembers, so that a run is gone on with by the same ones."""
        return " ".join(f"{y},{x}" for y, x in self.found.places)

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> UnmixedTile:
        """Unmix one tile.

        Parameters
        ----------
        values : array (B, h, w)
            The scene over `outer`, NaN where it has nothing.
        outer, core : Window
        device : str
            A torch device.
        """
        part = values[(slice(None), *core.within(outer).slices)]
        shown = part.reshape(len(part), -1)
        spectra = self.found.spectra
        out = np.full((len(spectra), shown.shape[1]), np.nan, np.float32)
        sums = dict.fromkeys(("squares", "angles", "angles_count", "pixels", "incomplete"), 0.0)
        for start in range(0, shown.shape[1], PIXELS):
            pixels = shown[self.found.bands, start : start + PIXELS].T.astype(np.float64)
            has = np.isfinite(pixels)
            known = has.all(1)
            sums["pixels"] += int(known.sum())
            sums["incomplete"] += int((has.any(1) & ~known).sum())
            abundances = self.method.abundances(pixels[known], spectra, device)
            out[:, start : start + PIXELS][:, known] = abundances.T
            judge(pixels[known], abundances @ spectra, sums)
        total = np.nansum(out, axis=1, dtype=np.float64)
        return UnmixedTile(out.reshape(-1, *part.shape[1:]), {**sums, "abundances": total.tolist()})


def judge(pixels: np.ndarray, mixed: np.ndarray, sums: dict[str, float]) -> None:
    """Add to `sums` how far mixtures (n, B) are off the pixels: squares, and spectral angles in degrees."""
    sums["squares"] += float(((pixels - mixed) ** 2).sum())
    lengths = np.linalg.norm(pixels, axis=1) * np.linalg.norm(mixed, axis=1)
    some = lengths > 0
    cosines = (pixels[some] * mixed[some]).sum(1) / lengths[some]
    sums["angles"] += float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).sum())
    sums["angles_count"] += int(some.sum())


class UnmixingMethod(ABC):
    """An unmixing method; stateless."""

    name: str
    Params: type[UnmixingParams] = UnmixingParams

    def fit(self, source: Any, good: np.ndarray, bad_reason: list[str], params: Any = None) -> Unmixer:
        """Find the endmembers, by two passes over the scene.

        Parameters
        ----------
        source : SceneSource
        good : bool array (B,)
            Bands that may enter the model.
        bad_reason : sequence of str
            Why a band is not good, "" for a good one.
        params : UnmixingParams, optional

        Raises
        ------
        InputError
            One of its leaves, where the scene cannot serve.
        """
        return Unmixer(found_endmembers(source, good, bad_reason, params or self.Params()), self)

    @abstractmethod
    def abundances(self, pixels: np.ndarray, endmembers: np.ndarray, device: str) -> np.ndarray:
        """Of pixels (n, B), without NaN, by endmembers (p, B): float64 (n, p)."""


class FclsUnmixing(UnmixingMethod):
    """None below 0, and each pixel's sum 1; see `hsgeo.unmixing.abundances.fcls`."""

    name = "fcls"

    def abundances(self, pixels: np.ndarray, endmembers: np.ndarray, device: str) -> np.ndarray:
        """See `UnmixingMethod`."""
        from hsgeo.unmixing.abundances import fcls

        return fcls(pixels, endmembers, device)


class LinearUnmixing(UnmixingMethod):
    """Unconstrained; see `hsgeo.unmixing.abundances.linear`."""

    name = "linear"

    def abundances(self, pixels: np.ndarray, endmembers: np.ndarray, device: str) -> np.ndarray:
        """See `UnmixingMethod`."""
        from hsgeo.unmixing.abundances import linear

        return linear(pixels, endmembers)


_BUILT_IN = {
    "fcls": "hsgeo.methods.unmixing.base:FclsUnmixing",
    "linear": "hsgeo.methods.unmixing.base:LinearUnmixing",
}


def get_unmixing(name: str) -> UnmixingMethod:
    """The method of a name.

    Raises
    ------
    ParameterError
        No such method.
    """
    return find("hsgeo.unmixing", _BUILT_IN, name)
