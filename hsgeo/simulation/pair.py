"""What is asked of a simulated pair, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from hsgeo.errors import ParameterError
from hsgeo.observation.psf import Psf

#: largest misregistration that can be drawn, in truth pixels
MAX_SHIFT = 8


@dataclass(frozen=True)
class PairSpec:
    """Everything that decides a simulated pair.

    Parameters
    ----------
    shape : (height, width)
        Hyperspectral pixels.
    seed : int
        Land and noise.
    gsd : float
        Of the multispectral image and the truth, in m.
    ratio : int
        Hyperspectral GSD / `gsd`.
    hsi_sensor, msi_sensor : str
        Names known to `hsgeo.sensors.load_sensor`.
    quantity : str
        "reflectance" (int16 x 10000) or "radiance" (at sensor, W m-2 sr-1 um-1, int16 x 40 and x 80, as level 1).
    native : bool
        False: all multispectral bands are recorded at `gsd`. True: a band of twice that GSD is recorded on its own
        coarser grid, and stands in the multispectral scene with each pixel repeated, its coordinate ``gsd`` telling.
    aligned : bool
        True: both images share the truth's edges and extent. False: the multispectral grid lies on multiples of
        `gsd`, reaches beyond on three sides and ends short in the east.
    shift : (dy, dx)
        Misregistration in truth pixels: things lie this much further south and east in the multispectral image than
        its georeference says.
    msi_crs : str, optional
        Another CRS for the multispectral image (`aligned` must be False).
    noise : bool
        False leaves out noise and stripes (not the rounding to whole numbers).
    swath_tilt : float
        Degrees by which the recorded strip leans in the hyperspectral image; what lies outside is nodata.
    cells : int
        Cells of the land per truth pixel.
    """

    shape: tuple[int, int] = (84, 84)
    seed: int = 0
    gsd: float = 10.0
    ratio: int = 3
    hsi_sensor: str = "hyperion"
    msi_sensor: str = "sentinel-2a"
    quantity: str = "reflectance"
    native: bool = False
    aligned: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    msi_crs: str | None = None
    noise: bool = True
    swath_tilt: float = 0.0
    cells: int = 3

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or self.ratio < 1 or self.cells < 1 or not self.gsd > 0:
            raise ParameterError(f"shape, ratio, cells and gsd of a simulated pair must be positive, not {self}.")
        if self.seed < 0:
            raise ParameterError(f"a seed is a whole number from 0, not {self.seed}.")
        if self.quantity not in ("reflectance", "radiance"):
            raise ParameterError(f"quantity is 'reflectance' or 'radiance', not {self.quantity!r}.")
        if self.aligned and self.msi_crs is not None:
            raise ParameterError("aligned grids share one CRS: leave msi_crs out, or set aligned=False.")
        if not max(abs(v) for v in self.shift) <= MAX_SHIFT:
            raise ParameterError(f"a shift of {self.shift} truth pixels is beyond the {MAX_SHIFT} that can be drawn.")


@dataclass(frozen=True)
class DemoPair:
    """A simulated pair and all that is known about it.

    Attributes
    ----------
    hsi, msi, truth : scenes
        Physical values as read back from storage; the truth is float32, exact.
    native : tuple of scenes
        The multispectral groups on their own grids, finest first (one, the same as `msi`, unless ``spec.native``).
    labels : uint8 (H, W)
        Material that covers most of each truth pixel: position in `materials`.
    abundances : float32 (M, H, W)
        Fractions of the materials in each truth pixel, sum 1.
    endmembers : float32 (M, B)
        Mean spectrum of each material, in the truth's quantity.
    materials : tuple of str
    psf : Psf
        From the truth to the hyperspectral image, in truth pixels.
    msi_psfs : tuple of Psf or None
        From the truth to each native group, in truth pixels; None where it is the truth's own.
    noise_hsi, noise_msi : (B,), (b,)
        Standard deviations, physical.
    spec : PairSpec
    """

    hsi: xr.DataArray
    msi: xr.DataArray
    truth: xr.DataArray
    native: tuple[xr.DataArray, ...]
    labels: np.ndarray
    abundances: np.ndarray
    endmembers: np.ndarray
    materials: tuple[str, ...]
    psf: Psf
    msi_psfs: tuple[Psf | None, ...]
    noise_hsi: np.ndarray
    noise_msi: np.ndarray
    spec: PairSpec = field(repr=False)


@dataclass(frozen=True)
class Truth:
    """The truth alone: see `DemoPair` for the attributes, and `make_truth`."""

    scene: xr.DataArray
    labels: np.ndarray
    abundances: np.ndarray
    endmembers: np.ndarray
    materials: tuple[str, ...]
