"""What a fusion method is, and how one is found by name.

A method fits a model on a pair of images (all global statistics are fixed there), and the model is then applied to
tiles, each on its own: a purely local operator. A third party adds one under the entry point ``hsgeo.methods``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hsgeo.methods.registry import find, names_of
from hsgeo.scene.window import Window


class Params(BaseModel):
    """Parameters of a method: validated, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="which patches of a large scene the statistics are taken from")


@dataclass(frozen=True)
class FusionInputs:
    """What a fusion is fitted on. Everything that is None is estimated from the pair.

    Parameters
    ----------
    pair : AlignedPair
        Both images on grids whose pixel edges coincide (`read_hsi`, `read_msi`, `sample`, `ratio`, `groups`, ...).
    good : bool array (B,)
        HSI bands that may enter the model.
    wavelengths, fwhm : arrays (B,), optional
        Of the HSI bands, in nm.
    msi_bands : sequence of Band, optional
        The sensor table's entries of the MSI bands, in the order of the MSI given to `align`.
    hsi_mtf : float, optional
        Of the HSI at its Nyquist frequency.
    response : array (b, B), optional
        Spectral response, rows >= 0 that sum to 1, in the order of the MSI given to `align`.
    psf : Psf, optional
        From the fine grid to the HSI's.
    noise_hsi, noise_msi : arrays (B,) and (b,), optional
        Standard deviation of the noise, in the units of each image.
    bad_reason : sequence of str, optional
        Why an HSI band is not good, "" for a good one.
    numbers : int array (B,), optional
        Of the HSI bands in the file they came from.
    """

    pair: Any
    good: np.ndarray
    wavelengths: np.ndarray | None = None
    fwhm: np.ndarray | None = None
    msi_bands: Sequence[Any] | None = None
    hsi_mtf: float | None = None
    response: np.ndarray | None = None
    psf: Any = None
    noise_hsi: np.ndarray | None = None
    noise_msi: np.ndarray | None = None
    bad_reason: Sequence[str] | None = None
    numbers: np.ndarray | None = None

    def band_numbers(self) -> np.ndarray:
        """What reports call each HSI band: its number in the file, else its place counted from 1."""
        return np.arange(1, len(self.good) + 1) if self.numbers is None else self.numbers

    def reasons(self, dead: Mapping[int, str]) -> list[str]:
        """Why each HSI band is not fused, "" for one that is."""
        own = list(self.bad_reason) if self.bad_reason is not None else [""] * len(self.good)
        known = enumerate(zip(self.good, own, strict=True))
        return [dead.get(i, "") if ok else why or dead.get(i, "flagged") for i, (ok, why) in known]


@dataclass
class TileResult:
    """The result over the core of a tile.

    Attributes
    ----------
    values : float32 array (B, H, W)
        NaN where there is nothing to say.
    variance : float32 array (B, H, W) or None
        Posterior variance, in squared units of the HSI.
    flags : uint8 array (H, W)
        What each pixel is made of: 0 HSI and MSI, 1 HSI only, 2 MSI only, 3 neither.
    stats : dict
        Sums over the core that add up over tiles.
    """

    values: np.ndarray
    variance: np.ndarray | None
    flags: np.ndarray
    stats: dict[str, float] = field(default_factory=dict)


class Model(Protocol):
    """A fitted method, picklable.

    Attributes
    ----------
    halo : int
        Context of a tile, fine pixels.
    multiple : int
        Cores start on multiples of this many fine pixels.
    scale : int
        Fine pixels per HSI pixel.
    good : bool array (B,)
        Bands that the fusion vouches for.
    bad_reason : list of str
        Why not, "" for a good band.
    has_variance : bool
        Whether `apply` fills `TileResult.variance`.
    notes : list of str
        What the user must be told.
    fingerprint : str, optional
        Of trained weights: an interrupted run is gone on with by the same ones only.
    """

    scale: int
    bad_reason: list[str]
    has_variance: bool
    notes: list[str]

    @property
    def halo(self) -> int: ...

    @property
    def multiple(self) -> int: ...

    @property
    def good(self) -> np.ndarray: ...

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile.

        Parameters
        ----------
        hsi : array (B, h, w)
            The HSI over ``outer.coarsen(scale)``, NaN where it has nothing.
        msi : sequence of arrays (b_k, H / r_k, W / r_k)
            Each group over ``outer.coarsen(r_k)``.
        outer, core : Window
            On the fine grid; `outer` is `core` grown by at least `halo` and may reach outside the scene.
        device : str
            A torch device.
        """

    def report(self) -> dict[str, Any]:
        """What was estimated, for JSON."""


class Method(ABC):
    """A fusion method; stateless."""

    name: str
    Params: type[Params]

    @abstractmethod
    def fit(self, inputs: FusionInputs, params: Any = None, progress: Any = None) -> Model:
        """One pass over the scene; all global statistics are fixed here.

        Parameters
        ----------
        inputs : FusionInputs
        params : Params, optional
            The defaults without.
        progress : optional
            A `Progress` for methods whose fit is long.

        Raises
        ------
        InputError
            One of its leaves, where the input cannot serve.
        """


_BUILT_IN = {
    "subspace": "hsgeo.methods.fusion.subspace:SubspaceFusion",
    "hsr-diff": "hsgeo.methods.fusion.hsr_diff:HsrDiffFusion",
    "gsa": "hsgeo.methods.fusion.gsa:GsaFusion",
    "bicubic": "hsgeo.methods.fusion.bicubic:BicubicFusion",
}


def method_names() -> list[str]:
    """Names of all methods that can be had, sorted."""
    return names_of("hsgeo.methods", _BUILT_IN)


def get_method(name: str) -> Method:
    """The method of a name.

    Raises
    ------
    ParameterError
        No such method.
    """
    return find("hsgeo.methods", _BUILT_IN, name)


def read_tile(pair: Any, outer: Window) -> tuple[np.ndarray, list[np.ndarray]]:
    """Both images over a tile of the fine grid: the HSI and each MSI group on its own grid."""
    hsi = pair.read_hsi(outer.coarsen(pair.ratio))
    return hsi, [pair.read_msi(k, outer.coarsen(g.ratio)) for k, g in enumerate(pair.groups)]


def observe(inputs: FusionInputs, seed: int = 0) -> tuple[Any, np.ndarray]:
    """The observation that ties both images together, given or estimated as in the fast fusion.

    Returns
    -------
    Observation
        For the HSI bands that can be fused.
    bool array (B,)
        Which those are.
    """
    from hsgeo.methods.fusion.fit import survey

    found = survey(inputs, "auto", seed)
    good = np.zeros(len(inputs.good), bool)
    good[found.bands] = True
    return found.observation, good
