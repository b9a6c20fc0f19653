"""What a restoration method is, and how one is found by name.

A method fits a model on a scene (all global statistics are fixed there), and the model is then applied to tiles, each
on its own. A third party adds one under the entry point ``hsgeo.restoration``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hsgeo.errors import ParameterError
from hsgeo.methods.base import Params
from hsgeo.methods.registry import find, names_of
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class RestorationInputs:
    """What a restoration is fitted on. Everything that is None is estimated from the scene.

    Parameters
    ----------
    source : SceneSource
        The scene (`read`, `sample`, `shape`, `bands`).
    good : bool array (B,)
        Bands that may enter the model.
    bad_reason : sequence of str
        Why a band is not good, "" for a good one.
    wavelength : array (B,), optional
        nm, NaN where it is not known.
    noise : array (B,), optional
        Standard deviation of the noise, in the units of the scene.
    mtf : float, optional
        Of the sensor at its Nyquist frequency.
    scale : int
        Output pixels per pixel of the scene.
    task : str
        ``denoise``, ``inpaint`` or ``all``, which is both.
    """

    source: Any
    good: np.ndarray
    bad_reason: list[str]
    wavelength: np.ndarray | None = None
    noise: np.ndarray | None = None
    mtf: float | None = None
    scale: int = 1
    task: str = "denoise"

    def reasons(self, dead: Mapping[int, str]) -> list[str]:
        """Of all bands: why one cannot enter the model, "" where it can; `dead` ones carry nothing."""
        return [
            dead.get(i, "") if ok else self.bad_reason[i] or dead.get(i, "flagged") for i, ok in enumerate(self.good)
        ]


@dataclass
class RestoredTile:
    """The result over the core of a tile.

    Attributes
    ----------
    values : float32 array (B, H, W)
        NaN where there is nothing to say.
    stats : dict
        Sums over the core that add up over tiles.
    removed : float32 array (B, h, w), optional
        What the scene has that the result, degraded again, has not, on the scene's own grid; None where both grids are
        one and it is the difference.
    noise : float32 array (B, h, w), optional
        What of it was taken for noise, and is judged; None where that is all.
    """

    values: np.ndarray
    stats: dict[str, Any] = field(default_factory=dict)
    removed: np.ndarray | None = None
    noise: np.ndarray | None = None


class Restorer(Protocol):
    """A fitted method, picklable.

    Attributes
    ----------
    halo : int
        Context of a tile, pixels.
    multiple : int
        Cores start on multiples of this many pixels.
    bands : int array (B_model,)
        Those that are restored.
    noise : array (B_model,)
        Standard deviation of their noise, in the scene's units.
    bad_reason : list of str
        Of all bands: why one is not restored, "" for one that is.
    notes : list of str
        What the user must be told.

    Where `noise` is but what the samples are off the model's spectra, the model says so by the attribute ``misfit``.
    """

    bands: np.ndarray
    noise: np.ndarray
    bad_reason: list[str]
    notes: list[str]

    @property
    def halo(self) -> int: ...

    @property
    def multiple(self) -> int: ...

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile.

        Parameters
        ----------
        values : array (B, h, w)
            The scene over `outer` (``outer.coarsen(scale)`` where the output is finer), NaN where it has nothing.
        outer, core : Window
            Of the output's grid. `outer` is `core` grown by at least `halo` and may reach outside the scene.
        device : str
            A torch device.
        """

    def report(self) -> dict[str, Any]:
        """What was estimated, for JSON."""


class RestorationMethod(ABC):
    """A restoration method; stateless."""

    name: str
    Params: type[Params]

    @abstractmethod
    def fit(self, inputs: RestorationInputs, params: Any = None, progress: Any = None) -> Restorer:
        """One pass over the scene; all global statistics are fixed here.

        Raises
        ------
        InputError
            One of its leaves, where the scene cannot serve.
        """


_BUILT_IN = {
    "subspace": "hsgeo.methods.restoration.subspace:SubspaceRestoration",
    "dds2m": "hsgeo.methods.restoration.dds2m:Dds2m",
}
_FINER = {"subspace": "hsgeo.methods.restoration.superres:SubspaceSuperres"}


def get_restoration(name: str) -> RestorationMethod:
    """The method of a name.

    Raises
    ------
    ParameterError
        No such method.
    """
    return find("hsgeo.restoration", _BUILT_IN, name)


def get_superres(name: str) -> RestorationMethod:
    """The method of a name that makes a scene finer; others add one under the entry point ``hsgeo.superres``.

    Raises
    ------
    ParameterError
        No such method, or one of other tasks.
    """
    finer = names_of("hsgeo.superres", _FINER)
    if name not in finer and name in names_of("hsgeo.restoration", _BUILT_IN):
        raise ParameterError(f"--method {name} is not for --task superres, for which there is {', '.join(finer)}.")
    return find("hsgeo.superres", _FINER, name)
