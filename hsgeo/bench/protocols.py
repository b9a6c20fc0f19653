"""The fusion protocol: how a reference scene becomes a pair, and which real scenes it is run on.

HSI: Gaussian PSF of FWHM s pixels, reflecting edge, sampled at block centres, white noise at 35 dB. MSI: Gaussian rows
at ten Sentinel-2-like centres inside the range, white noise at 40 dB. Paris is a real pair of EO-1's two sensors: only
its HSI is degraded (ratio 3), nothing is known of its MSI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from xarray import DataArray

from hsgeo.errors import InputError
from hsgeo.observation.psf import Psf
from hsgeo.scene import make_scene

CENTRES = np.array([490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190.0])
WIDTHS = np.array([65, 35, 30, 15, 15, 20, 115, 20, 90, 180.0])

#: the distributed 20-band subset of HYDICE Urban names no wavelengths; this range gives it four MSI bands
URBAN_NM = (430.0, 720.0)


@dataclass(frozen=True)
class Case:
    """One scene of the protocol; `response` and `psf` are None where nobody knows them."""

    name: str
    hsi: DataArray
    msi: DataArray
    reference: DataArray
    ratio: int
    response: np.ndarray | None
    psf: Psf | None


def on_grid(
    data: np.ndarray, gsd: float, wavelength: np.ndarray | None = None, fwhm: np.ndarray | float = np.nan
) -> DataArray:
    """An array as a scene at a made-up place."""
    box = GeoBox(data.shape[1:], Affine(gsd, 0, 500000, 0, -gsd, 5800000), "EPSG:32633")
    nm = np.full(len(data), np.nan) if wavelength is None else wavelength
    return make_scene(data.astype(np.float32), box, wavelength=nm, fwhm=fwhm)


def gaussian_rows(wavelength: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(response (b, B), centres, widths) of the protocol's MSI bands inside the range of `wavelength` (nm)."""
    inside = (wavelength.min() <= CENTRES) & (wavelength.max() >= CENTRES)
    rows = np.exp(-4 * np.log(2) * ((wavelength[None] - CENTRES[inside, None]) / WIDTHS[inside, None]) ** 2)
    return rows / rows.sum(1, keepdims=True), CENTRES[inside], WIDTHS[inside]


def degraded(
    name: str,
    z: np.ndarray,
    wavelength: np.ndarray,
    ratio: int = 4,
    seed: int = 0,
    snr: tuple[float, float] = (35.0, 40.0),
) -> Case:
    """The pair of a reference z (B, H, W) whose sides are multiples of `ratio`; `snr` of HSI and MSI in dB."""
    psf = Psf(float(ratio), float(ratio))
    rows, columns = (psf.matrix(n, ratio, "reflect", axis) for axis, n in enumerate(z.shape[1:]))
    response, centres, widths = gaussian_rows(wavelength)
    rng = np.random.default_rng(seed)
    y, x = rows @ z @ columns.T, np.tensordot(response, z, 1)
    y = y + rng.standard_normal(y.shape) * np.sqrt((y**2).mean() / 10 ** (snr[0] / 10))
    x = x + rng.standard_normal(x.shape) * np.sqrt((x**2).mean() / 10 ** (snr[1] / 10))
    step = np.abs(np.gradient(wavelength))
    return Case(
        name,
        on_grid(y, 10.0 * ratio, wavelength, step),
        on_grid(x, 10.0, centres, widths),
        on_grid(z, 10.0, wavelength, step),
        ratio,
        response,
        psf,
    )


def aviris_nm(count: int) -> np.ndarray:
    """AVIRIS channels from 380 to 2500 nm without the water bands, `count` of them evenly picked."""
    every = np.linspace(380, 2500, 224)
    kept = np.setdiff1d(np.arange(1, 225), np.r_[1:4, 106:114, 152:168]) - 1
    return every[kept][np.round(np.linspace(0, len(kept) - 1, count)).astype(int)]


def cases(folder: Path, only: str | None = None, quick: bool = False) -> Iterator[Case]:
    """The scenes of the protocol that are found under a folder, laid out as the project's data sets are published."""
    from scipy.io import loadmat

    def wanted(name: str, path: Path) -> bool:
        return path.exists() and (only is None or only in name)

    path = folder / "jasper" / "jasperRidge2_R198.mat"
    if wanted("jasper", path):
        data = loadmat(path)
        z = data["Y"].astype(float).reshape(198, 100, 100, order="F")
        yield degraded("jasper", z / z.max(), np.linspace(380, 2500, 224)[data["SlectBands"].ravel().astype(int) - 1])
    path = folder / "urban" / "urban_sub.mat"
    if wanted("urban", path) and not quick:
        z = loadmat(path)["img"].transpose(2, 0, 1)[:20, :256, :256]
        yield degraded("urban", z / z.max(), np.linspace(*URBAN_NM, 20))
    path = folder / "cave" / "balloons_400-590nm.npz"
    if wanted("balloons", path) and not quick:
        data = np.load(path)
        z = data["cube"].astype(float)[:, 128:384, 128:384]
        yield degraded("balloons", z / z.max(), data["wavelength_nm"].astype(float))
    path = folder / "paris" / "paris_data_hs_ms.mat"
    if wanted("paris", path):
        data = loadmat(path)
        z, x = (data[key].transpose(2, 0, 1).astype(float) for key in ("HSim", "MSim"))
        psf = Psf(3.0, 3.0)
        rows, columns = (psf.matrix(n, 3, "reflect", axis) for axis, n in enumerate(z.shape[1:]))
        yield Case("paris", on_grid(rows @ z @ columns.T, 90), on_grid(x, 30), on_grid(z, 30), 3, None, None)
    names = [f"{kind}-{i}" for kind in ("airport", "urban") for i in (1, 2, 3)]
    for name in names[:1] if quick else names:
        path = folder / "abu" / f"abu-{name}.mat"
        if wanted(f"abu-{name}", path):
            cube = np.maximum(loadmat(path)["data"].transpose(2, 0, 1).astype(float), 0)
            z = np.minimum(cube / np.percentile(cube, 99.9), 1.5)
            yield degraded(f"abu-{name}", z, aviris_nm(len(z)))


def references(folder: str | Path, only: str | None = None, quick: bool = False) -> Iterator[Case]:
    """Those whose reference is clean; others are noisy themselves, and no scenes of published restorations.

    Raises
    ------
    InputError
        None lies under the folder.
    """
    root, found = Path(folder), False
    for case in cases(root, only, quick):
        if case.response is not None:
            found = True
            yield case
    if not found:
        raise none_there(root, "jasper/, urban/, cave/, abu/")


def none_there(folder: Path, places: str) -> InputError:
    """The error of a folder that holds none of the protocol's scenes, which lie in these `places`."""
    return InputError(
        f"{folder}: none of the protocol's scenes is there ({places}); give the folder that holds them with --data."
    )
