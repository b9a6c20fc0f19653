"""Reduced-resolution pairs of any scene (Wald's protocol): the scene itself is the reference that fusion must find.

The hyperspectral image is the scene under a Gaussian PSF, sampled at the centre of each block of ratio x ratio
pixels; the multispectral image is the scene through the response of another sensor, at full resolution; both with
white noise. After Wald, Ranchin & Mangolini (1997), Photogrammetric Engineering & Remote Sensing 63(6), 691-699.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, sqrt
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from affine import Affine
from dask.delayed import Delayed, delayed
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError, ParameterError
from hsgeo.observation.psf import FWHM_PER_SIGMA, Psf
from hsgeo.observation.srf import coverage, response_matrix
from hsgeo.scene.model import geobox_of, label, make_scene
from hsgeo.scene.window import Window
from hsgeo.sensors import Band, Sensor, load_sensor

from .noise import pixel_noise

#: Gaussian rows used when no multispectral sensor is named: centre and FWHM in nm, near Sentinel-2's
GAUSSIAN_MSI = (
    Band("B2", 490, 65), Band("B3", 560, 35), Band("B4", 665, 30), Band("B5", 705, 15), Band("B6", 740, 15),
    Band("B7", 783, 20), Band("B8", 842, 115), Band("B8A", 865, 20), Band("B11", 1610, 90), Band("B12", 2190, 180),
)  # fmt: skip
#: a PSF's FWHM of `ratio` pixels means a standard deviation of ratio / 2.355
SIGMAS = 2.355
#: bytes of scene in one task
TASK_BYTES = 48 * 2**20
#: least part of the weights that must fall on valid values
VALID = 0.5


class ReducedPair(NamedTuple):
    """A pair and its reference; values are lazy (dask), pixel edges coincide."""

    hsi: xr.DataArray
    msi: xr.DataArray
    reference: xr.DataArray


def simulate_pair(
    scene: xr.DataArray,
    ratio: int,
    msi_sensor: str | Sensor | Sequence[Band] | None = None,
    snr_hsi: float | None = 35.0,
    snr_msi: float | None = 40.0,
    seed: int = 0,
    fwhm: float | None = None,
) -> ReducedPair:
    """Make a hyperspectral and multispectral pair from one hyperspectral scene.

    Parameters
    ----------
    scene : scene (B, H, W)
        NaN is nodata; bands that are not good are blurred and carried along, without noise and without a say in the
        multispectral bands.
    ratio : int
        Pixels of the scene per hyperspectral pixel; the scene is cropped to a multiple of it.
    msi_sensor : str, Sensor, bands, optional
        Whose response makes the multispectral image: its bands inside the scene's range, bands for the atmosphere
        and pan left out. Default: Gaussian rows near Sentinel-2's (`GAUSSIAN_MSI`), evaluated at the band centres.
    snr_hsi, snr_msi : float or None
        Signal-to-noise ratio in dB: 10 log10 of the mean square of the image over the variance of its white noise.
        None or infinite for no noise.
    seed : int
        The noise of a pixel depends on it and on the pixel's place alone.
    fwhm : float, optional
        Of the PSF in pixels of the scene; by default the standard deviation is ratio / 2.355.

    Returns
    -------
    ReducedPair
        (hsi, msi, reference). The scene is read once here where a noise level asks for its power, and again when
        values are computed; memory stays at a few blocks.

    Raises
    ------
    ParameterError
        `ratio`, `fwhm` or a noise level is out of range.
    GridError
        The scene is smaller than one block, or has no CRS.
    BandError
        Wavelengths are missing, or no multispectral band lies in the scene's range.
    """
    if int(ratio) != ratio or ratio < 1:
        raise ParameterError(f"ratio is a whole number from 1, not {ratio}.")
    ratio = int(ratio)
    if fwhm is not None and not (isfinite(fwhm) and fwhm >= 0):
        raise ParameterError(f"fwhm is a width in pixels from 0, not {fwhm}.")
    if seed < 0:
        raise ParameterError(f"a seed is a whole number from 0, not {seed}.")
    reference = _cropped(scene, ratio)
    width = ratio / SIGMAS * FWHM_PER_SIGMA if fwhm is None else float(fwhm)
    bands, response = _response(reference, msi_sensor)
    plan = _Plan(reference, ratio, Psf(width, width), response)
    sigma = _noise_levels(plan, snr_hsi, snr_msi)
    told = {"ratio": ratio, "fwhm": round(width, 6), "seed": seed}
    told |= {f"snr_{k}": v for k, v in (("hsi", snr_hsi), ("msi", snr_msi)) if v is not None and isfinite(v)}
    box = geobox_of(reference)
    coarse = GeoBox(plan.coarse_shape, box.affine * Affine.scale(ratio), box.crs)
    pixel = abs(coarse.resolution.x)
    tags = {**reference.attrs.get("tags", {}), "HSGEO_SIMULATION": json.dumps(told)}
    attrs = {"tags": tags, "source": "", "driver": ""}
    hsi = make_scene(plan.images("hsi", sigma[0], seed), coarse, like=reference, name="hsi", attrs=attrs, gsd=pixel)
    msi = make_scene(
        plan.images("msi", sigma[1], seed),
        box,
        name="msi",
        attrs={
            "tags": {"HSGEO_SIMULATION": tags["HSGEO_SIMULATION"]},
            **_storage(reference),
            "sensor": _name(msi_sensor),
        },
        band_name=[b.name for b in bands],
        wavelength=[b.centre_nm for b in bands],
        fwhm=[b.fwhm_nm for b in bands],
        **_scaling(reference),
    )
    return ReducedPair(hsi, msi, reference)


def _cropped(scene: xr.DataArray, ratio: int) -> xr.DataArray:
    """The scene without the last rows and columns that fill no block."""
    height, width = (scene.sizes[d] // ratio * ratio for d in ("y", "x"))
    if min(height, width) == 0:
        size = f"{scene.sizes['y']} x {scene.sizes['x']}"
        raise GridError(f"{label(scene)} is {size} pixels, less than one block of {ratio}; choose a smaller ratio.")
    geobox_of(scene)
    return scene.isel(y=slice(0, height), x=slice(0, width))


def _response(scene: xr.DataArray, sensor: str | Sensor | Sequence[Band] | None) -> tuple[list[Band], np.ndarray]:
    """Multispectral bands inside the scene's range, and their rows (b, B) over its good bands."""
    good = scene["good"].values.astype(bool)
    nm, fwhm = (np.where(good, scene[key].values.astype(float), np.nan) for key in ("wavelength", "fwhm"))
    if np.isfinite(nm).sum() < 2:
        raise BandError(f"{label(scene)} has no wavelengths (or no good bands); name its sensor (--sensor).")
    low, high = np.nanmin(nm), np.nanmax(nm)
    if sensor is None:
        bands = [b for b in GAUSSIAN_MSI if low <= b.centre_nm <= high]
        centres, widths = (np.array([getattr(b, key) for b in bands])[:, None] for key in ("centre_nm", "fwhm_nm"))
        rows = np.exp(-4 * np.log(2) * ((nm[None] - centres) / widths) ** 2) if bands else np.zeros((0, nm.size))
        rows = np.nan_to_num(rows)
        kept = rows.sum(1) > 0
        bands, rows = [b for b, k in zip(bands, kept, strict=True) if k], rows[kept]
        rows = rows / rows.sum(1, keepdims=True)
    else:
        every = load_sensor(sensor) if isinstance(sensor, str) else sensor
        listed = every.bands if isinstance(every, Sensor) else tuple(every)
        usable = usable_bands(listed)
        seen = coverage(usable, nm, fwhm) if usable else np.zeros(0)
        bands = [b for b, part in zip(usable, seen, strict=True) if part >= 0.8]
        rows = response_matrix(bands, nm, fwhm) if bands else np.zeros((0, nm.size))
    if not bands:
        raise BandError(
            f"no band of {_name(sensor) or 'the Gaussian rows'} lies in the range {low:.0f}-{high:.0f} nm of "
            f"{label(scene)}; name another sensor (--msi-sensor)."
        )
    return bands, rows


def usable_bands(bands: Sequence[Band]) -> list[Band]:
    """A sensor's bands without those for the atmosphere, pan, and uncalibrated ones."""
    return [b for b in bands if b.flag not in ("atmospheric", "pan", "uncalibrated")]


def _name(sensor: Any) -> str:
    if isinstance(sensor, Sensor):
        return sensor.name
    return load_sensor(sensor).name if isinstance(sensor, str) else ""


@dataclass(frozen=True)
class _Tile:
    """One task: coarse window, fine window, and where its PSF reaches."""

    coarse: Window
    fine: Window
    reach: Window
    rows: np.ndarray
    columns: np.ndarray


class _Plan:
    """Cuts the scene into tasks and builds the images from them."""

    def __init__(self, reference: xr.DataArray, ratio: int, psf: Psf, response: np.ndarray) -> None:
        self.bands, *fine = reference.shape
        self.coarse_shape = (fine[0] // ratio, fine[1] // ratio)
        self.ratio, self.response = ratio, response
        self.good = reference["good"].values.astype(bool)
        self.dtype = np.dtype(np.float64 if reference.dtype == np.float64 else np.float32)
        self.taps = [psf.taps(n, ratio, "reflect", axis) for axis, n in enumerate(fine)]
        self.side = max(1, int(sqrt(TASK_BYTES / (self.dtype.itemsize * self.bands)) / ratio))
        if isinstance(reference.data, da.Array):
            self.data = reference.data
        else:
            self.data = reference.chunk({"band": -1, "y": self.side * ratio, "x": self.side * ratio}).data

    def _tiles(self) -> Iterator[tuple[int, _Tile]]:
        height, width = self.coarse_shape
        for row in range(ceil(height / self.side)):
            for column in range(ceil(width / self.side)):
                coarse = Window(
                    row * self.side, (row + 1) * self.side, column * self.side, (column + 1) * self.side
                ).clip(height, width)
                (y0, y1, rows), (x0, x1, columns) = (
                    self._matrix(0, coarse.y0, coarse.y1),
                    self._matrix(1, coarse.x0, coarse.x1),
                )
                yield row, _Tile(coarse, coarse.scale(self.ratio), Window(y0, y1, x0, x1), rows, columns)

    def _matrix(self, axis: int, begin: int, end: int) -> tuple[int, int, np.ndarray]:
        """Fine range that coarse pixels begin:end see along an axis, and the weights (end - begin, range)."""
        index, weight = (part[begin:end] for part in self.taps[axis])
        first, last = int(index.min()), int(index.max()) + 1
        out = np.zeros((end - begin, last - first))
        np.add.at(out, (np.arange(end - begin)[:, None], index - first), weight)
        return first, last, out.astype(self.dtype)

    def _cut(self, window: Window) -> da.Array:
        rows, columns = window.slices
        return self.data[:, rows, columns]

    def images(self, which: str, sigma: float, seed: int) -> da.Array:
        """The hyperspectral ("hsi") or multispectral ("msi") image, lazily."""
        grid: dict[int, list[da.Array]] = {}
        for row, tile in self._tiles():
            make, window, count = self._task(which, tile)
            value = delayed(_with_noise)(
                make, window, sigma, seed, which == "msi", self.good if which == "hsi" else None
            )
            block = da.from_delayed(value, (count, *window.shape), self.dtype)
            grid.setdefault(row, []).append(block)
        return da.block(list(grid.values()))

    def _task(self, which: str, tile: _Tile) -> tuple[Delayed, Window, int]:
        if which == "hsi":
            return delayed(_blurred)(self._cut(tile.reach), tile.rows, tile.columns), tile.coarse, self.bands
        return delayed(_seen)(self._cut(tile.fine), self.response), tile.fine, len(self.response)

    def powers(self) -> tuple[float, float]:
        """Mean squares of the valid values of both images, bad bands left out, by one pass over the scene."""
        sums = []
        for _, tile in self._tiles():
            inner = tile.fine.within(tile.reach)
            sums.append(
                delayed(_squares)(self._cut(tile.reach), tile.rows, tile.columns, self.response, inner, self.good)
            )
        total, count = np.sum(dask.compute(*sums), axis=0).T
        hsi, msi = np.divide(total, count, out=np.zeros(2), where=count > 0).tolist()
        return hsi, msi


def _noise_levels(plan: _Plan, snr_hsi: float | None, snr_msi: float | None) -> tuple[float, float]:
    wanted = []
    for name, snr in (("HSI", snr_hsi), ("MSI", snr_msi)):
        if snr is not None and np.isnan(snr):
            raise ParameterError(f"the signal-to-noise ratio of the {name} is a number of dB, not {snr}.")
        wanted.append(np.inf if snr is None else snr)
    if min(wanted) == np.inf:
        return 0.0, 0.0
    hsi, msi = (sqrt(power / 10 ** (snr / 10)) for power, snr in zip(plan.powers(), wanted, strict=True))
    return hsi, msi


def _squares(
    values: np.ndarray, rows: np.ndarray, columns: np.ndarray, response: np.ndarray, inner: Window, good: np.ndarray
) -> np.ndarray:
    """[[sum of squares, number]] of the finite values of the hyperspectral and the multispectral image of a tile."""
    y, x = inner.slices
    images = (_blurred(values[good], rows, columns), _seen(values[:, y, x], response))
    return np.array([[np.nansum(image.astype(np.float64) ** 2), np.isfinite(image).sum()] for image in images])


def _normalised(values: np.ndarray, apply: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A linear weighting whose weights sum to 1, over the finite values alone; NaN where they carry less than VALID."""
    valid = np.isfinite(values)
    if valid.all():
        return apply(values)
    total = apply(np.where(valid, values, 0).astype(values.dtype))
    weight = apply(valid.astype(values.dtype))
    return np.where(weight >= VALID, total / np.maximum(weight, VALID), np.nan).astype(values.dtype)


def _blurred(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return _normalised(values.astype(rows.dtype, copy=False), lambda a: (rows @ a) @ columns.T)


def _seen(values: np.ndarray, response: np.ndarray) -> np.ndarray:
    used = np.flatnonzero(response.any(0))
    dtype = np.float64 if values.dtype == np.float64 else np.float32
    weights = response[:, used].astype(dtype)
    return _normalised(values[used].astype(dtype, copy=False), lambda a: np.tensordot(weights, a, axes=(1, 0)))


def _with_noise(
    values: np.ndarray, window: Window, sigma: float, seed: int, stream: bool, good: np.ndarray | None
) -> np.ndarray:
    if sigma == 0:
        return values
    level = np.full(len(values), sigma) if good is None else np.where(good, sigma, 0.0)
    noise = pixel_noise(window, len(values), seed, stream=100 + stream)
    return (values + noise * level[:, None, None]).astype(values.dtype)


def _storage(scene: xr.DataArray) -> dict[str, Any]:
    """dtype and nodata of the scene where one scale serves all its bands, else float32."""
    if _one(scene, "scale") and _one(scene, "offset"):
        return {key: scene.attrs.get(key) for key in ("dtype", "nodata")}
    return {"dtype": "float32", "nodata": None}


def _scaling(scene: xr.DataArray) -> dict[str, Any]:
    shared = [key for key in ("scale", "offset") if _one(scene, key)]
    out = {key: scene[key].values[0] for key in shared} if len(shared) == 2 else {}
    return out | ({"units": str(scene["units"].values[0])} if _one(scene, "units") else {})


def _one(scene: xr.DataArray, key: str) -> bool:
    return key in scene.coords and len(set(scene[key].values.tolist())) == 1
