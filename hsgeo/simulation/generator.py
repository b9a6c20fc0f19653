"""The embedded example: a georeferenced hyperspectral and multispectral pair of a land that never was, and its truth.

The land is drawn on cells a third of the truth's pixel, so that pixels of every grid are true mixtures; each image
integrates those cells under its own point spread function, so a grid may begin anywhere. The truth is what the
hyperspectral sensor would record from the multispectral one's distance: its bands at the multispectral GSD and PSF,
without noise, on the pixel edges of the hyperspectral image.
"""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.sparse import csr_matrix

from hsgeo.errors import ParameterError
from hsgeo.observation.psf import psf_from_mtf
from hsgeo.scene.model import make_scene
from hsgeo.sensors import Band, Sensor, load_sensor, mean_mtf, response_at

from .atmosphere import radiance_terms
from .instrument import hsi_noise_level, record_hsi, record_msi, storage_scale
from .landscape import draw_land
from .materials import Material, material_library, material_names
from .pair import MAX_SHIFT, DemoPair, PairSpec, Truth
from .render import cell_image, look_up, parts, render, sample, sampling
from .spectra import GRID

#: upper left corner of the hyperspectral image: UTM 33N, farmland west of Vienna; off any round number, as orbits are
ORIGIN = (565023.7, 5354987.7)
CRS_HSI = "EPSG:32633"
#: noise of a multispectral band in reflectance: Sentinel-2's SNR of about 150 at a reflectance of 0.15
MSI_NOISE = 1e-3
HSI_NODATA, MSI_NODATA = -32768, 0


class _Group(NamedTuple):
    """Multispectral bands recorded together: GSD in m, MTF at its Nyquist."""

    gsd: float
    bands: tuple[Band, ...]
    mtf: float


class _World:
    """The drawn land with its place on the ground, and the optics that look at it."""

    def __init__(self, spec: PairSpec) -> None:
        self.spec = spec
        self.hsi_sensor, self.msi_sensor = load_sensor(spec.hsi_sensor), load_sensor(spec.msi_sensor)
        self.hsi_bands = self.hsi_sensor.bands
        self.msi_groups = _groups(self.msi_sensor, spec)
        self.fine_psf = psf_from_mtf(self.msi_groups[0].mtf, 1).scaled(spec.gsd)
        self.hsi_psf = psf_from_mtf(_mtf(self.hsi_bands), spec.ratio).scaled(spec.gsd)
        self.materials: tuple[Material, ...] = material_library()
        self.response = response_at(self.hsi_sensor, GRID)
        self.cell = spec.gsd / spec.cells
        border = (max(3 * spec.ratio, 12) + MAX_SHIFT) * spec.cells  # the same land whatever the shift
        self.start = -border * self.cell
        shape = tuple(n * spec.ratio * spec.cells + 2 * border for n in spec.shape)
        extent = min(spec.shape) * spec.ratio * spec.gsd
        self.shape = (shape[0], shape[1])
        self.parts = parts(draw_land(self.shape, self.cell, extent, spec.seed), len(self.materials))
        self.coarse = GeoBox(
            spec.shape, Affine(spec.gsd * spec.ratio, 0, ORIGIN[0], 0, -spec.gsd * spec.ratio, ORIGIN[1]), CRS_HSI
        )
        self.fine = self.coarse.zoom_out(1 / spec.ratio)

    def along(self, axis: int, count: int, pixel: float, begin: float, fwhm: float) -> csr_matrix:
        """Sampling matrix of `count` pixels of `pixel` m; the first begins `begin` m after the HSI's corner."""
        centres = begin + (np.arange(count) + 0.5) * pixel
        return sampling(self.shape[axis], self.start, self.cell, centres, fwhm)

    def hyper(self, coarse: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """Hyperspectral reflectance and abundances: of the truth, and of the hyperspectral image if `coarse`."""
        grids = []
        for box, psf in ((self.fine, self.fine_psf), (self.coarse, self.hsi_psf))[: 2 if coarse else 1]:
            pixel = abs(box.resolution.x)
            grids.append(tuple(self.along(k, box.shape[k], pixel, 0.0, psf.fwhm[k]) for k in (0, 1)))
        return render(self.parts, self.shape, self.materials, self.response, [(r, c) for r, c in grids])

    def physical(self, reflectance: np.ndarray) -> np.ndarray:
        """Reflectance (B, ...) in the quantity asked for."""
        if self.spec.quantity == "reflectance":
            return reflectance
        gain, offset = (t.astype(np.float32) for t in radiance_terms(self.hsi_sensor.wavelengths))
        tail = (slice(None),) + (None,) * (reflectance.ndim - 1)
        return gain[tail] * reflectance + offset[tail]


def make_truth(shape: tuple[int, int] = (84, 84), seed: int = 0, **options: Any) -> Truth:
    """The truth of `make_pair` with the same arguments, without the two recordings."""
    spec = PairSpec((shape[0], shape[1]), seed, **options)
    world = _World(spec)
    (values, abundances), *_ = world.hyper(coarse=False)
    return _truth(world, values, abundances)


def make_pair(shape: tuple[int, int] = (84, 84), seed: int = 0, **options: Any) -> DemoPair:
    """Simulate a hyperspectral and multispectral pair of one land, and its truth.

    Parameters
    ----------
    shape : (height, width)
        Hyperspectral pixels; the truth has `ratio` times as many.
    seed : int
    **options
        The remaining fields of `PairSpec`.

    Returns
    -------
    DemoPair
        In memory: about ``4 * B * height * width * ratio**2`` bytes for the truth.

    Raises
    ------
    ParameterError
        An option is out of range.
    SensorError
        A sensor is not known.
    """
    spec = PairSpec((shape[0], shape[1]), seed, **options)
    world = _World(spec)
    (values, abundances), (coarse, _) = world.hyper(coarse=True)
    truth = _truth(world, values, abundances)
    hsi, noise_hsi = _record_hsi(world, coarse)
    native, msi, noise_msi = _record_msi(world)
    metre = 1 / spec.gsd
    psfs = [psf_from_mtf(g.mtf, g.gsd / spec.gsd).beyond(world.fine_psf.scaled(metre)) for g in world.msi_groups]
    return DemoPair(
        hsi=hsi,
        msi=msi,
        truth=truth.scene,
        native=native,
        labels=truth.labels,
        abundances=truth.abundances,
        endmembers=truth.endmembers,
        materials=truth.materials,
        psf=world.hsi_psf.scaled(metre).beyond(world.fine_psf.scaled(metre)),
        msi_psfs=(None, *psfs[1:]),
        noise_hsi=noise_hsi,
        noise_msi=noise_msi,
        spec=spec,
    )


def _groups(sensor: Sensor, spec: PairSpec) -> list[_Group]:
    """The multispectral groups, finest first; bands for the atmosphere and pan stay out."""
    bands = tuple(b for b in sensor.bands if not b.flag and GRID[0] < b.centre_nm < GRID[-1])
    if not bands:
        raise ParameterError(f"{sensor.title} has no band between {GRID[0]:.0f} and {GRID[-1]:.0f} nm to simulate.")
    finest = min(b.gsd or spec.gsd for b in bands)
    ratios = [round((b.gsd or finest) / finest) for b in bands]
    members = {r: tuple(b for b, own in zip(bands, ratios, strict=True) if own == r) for r in sorted(set(ratios))}
    if not spec.native:
        return [_Group(spec.gsd, bands, _mtf(members[1]))]
    return [_Group(spec.gsd * r, group, _mtf(group)) for r, group in members.items()]


def _mtf(bands: tuple[Band, ...]) -> float:
    """Mean MTF at Nyquist of a group's bands; 0.27 where no figure is published."""
    return mean_mtf(bands) or 0.27


def _band_coords(bands: tuple[Band, ...]) -> dict[str, Any]:
    reason = [b.flag for b in bands]
    return {
        "band_name": [b.name for b in bands],
        "wavelength": [b.centre_nm for b in bands],
        "fwhm": [b.fwhm_nm for b in bands],
        "good": [not r for r in reason],
        "bad_reason": reason,
    }


def _units(spec: PairSpec) -> str:
    return "reflectance" if spec.quantity == "reflectance" else "W m-2 sr-1 um-1"


def _truth(world: _World, values: np.ndarray, abundances: np.ndarray) -> Truth:
    spec = world.spec
    scene = make_scene(
        world.physical(values),
        world.fine,
        name="truth",
        attrs={"sensor": world.hsi_sensor.name, "tags": {"SIMULATED": "hsgeo, truth without noise"}},
        units=_units(spec),
        **_band_coords(world.hsi_bands),
    )
    means = np.stack([m.spectrum for m in world.materials])
    endmembers = world.physical((means @ world.response.T).T.astype(np.float32)).T
    return Truth(scene, abundances.argmax(0).astype(np.uint8), abundances, endmembers, material_names())


def _record_hsi(world: _World, reflectance: np.ndarray) -> tuple[xr.DataArray, np.ndarray]:
    spec, bands = world.spec, world.hsi_bands
    dead = np.array([b.flag == "uncalibrated" for b in bands])
    scale = storage_scale(bands, spec.quantity)
    level = hsi_noise_level(world.hsi_sensor.wavelengths, spec.quantity) * spec.noise
    raw = record_hsi(world.physical(reflectance), level, dead, scale, spec.seed)
    values = (raw * scale[:, None, None]).astype(np.float32)
    if spec.swath_tilt:
        y, x = np.mgrid[: spec.shape[0], : spec.shape[1]] + 0.5
        lean = np.tan(np.radians(spec.swath_tilt)) * (y - spec.shape[0] / 2)
        values[:, np.abs(x - spec.shape[1] / 2 + lean) > 0.46 * spec.shape[1]] = np.nan
    scene = make_scene(
        values,
        world.coarse,
        name="hsi",
        attrs={
            "dtype": "int16",
            "nodata": HSI_NODATA,
            "sensor": world.hsi_sensor.name,
            "tags": {"SIMULATED": "hsgeo", "SENSOR": world.hsi_sensor.title},
        },
        units=_units(spec),
        scale=scale,
        **_band_coords(bands),
    )
    return scene, np.where(dead, 0.0, level)


def _msi_grid(world: _World, gsd: float) -> GeoBox:
    """The multispectral grid of a given GSD: pixels on multiples of it, unless aligned."""
    spec, box = world.spec, world.fine
    if spec.aligned:
        return box if gsd == spec.gsd else box.zoom_out(gsd / spec.gsd)
    step = max(g.gsd for g in world.msi_groups)
    if spec.msi_crs is None:
        left, top = ORIGIN[0] - 3 * spec.gsd, ORIGIN[1] + 4 * spec.gsd
        right, bottom = ORIGIN[0] + (box.shape[1] - 5) * spec.gsd, ORIGIN[1] - (box.shape[0] + 4) * spec.gsd
        crs = CRS(CRS_HSI)
    else:
        crs = CRS(spec.msi_crs)
        left, bottom, right, top = box.extent.to_crs(crs, resolution=10 * spec.gsd).boundingbox.bbox
    left, top = np.floor(left / step) * step, np.ceil(top / step) * step
    shape = (max(1, ceil((top - bottom) / step)), max(1, ceil((right - left) / step)))
    each = round(step / gsd)
    return GeoBox((shape[0] * each, shape[1] * each), Affine(gsd, 0, left, 0, -gsd, top), crs)


def _record_msi(world: _World) -> tuple[tuple[xr.DataArray, ...], xr.DataArray, np.ndarray]:
    """Each group on its own grid, all of them on the finest grid, and the noise of each band."""
    spec, scale = world.spec, 1e-4
    scenes = []
    for number, (gsd, bands, mtf) in enumerate(world.msi_groups):
        psf = psf_from_mtf(mtf, 1).scaled(gsd)
        box = _msi_grid(world, gsd)
        image = cell_image(world.parts, world.shape, world.materials, response_at(bands, GRID))
        level = np.full(len(bands), MSI_NOISE * spec.noise)
        raw = record_msi(_look(world, image, box, psf.fwhm_y), level, scale, spec.seed, stream=2 + number)
        values = np.where(raw == MSI_NODATA, np.nan, raw * scale).astype(np.float32)
        attrs = {
            "dtype": "uint16",
            "nodata": MSI_NODATA,
            "sensor": world.msi_sensor.name,
            "tags": {"SIMULATED": "hsgeo", "SENSOR": world.msi_sensor.title},
        }
        coords = _band_coords(bands)
        scenes.append(
            make_scene(values, box, name="msi", attrs=attrs, units="reflectance", scale=scale, gsd=gsd, **coords)
        )
    if len(scenes) == 1:
        return (scenes[0],), scenes[0], np.full(scenes[0].sizes["band"], MSI_NOISE * spec.noise)
    return tuple(scenes), _stacked(world, scenes), np.full(sum(s.sizes["band"] for s in scenes), MSI_NOISE * spec.noise)


def _look(world: _World, image: np.ndarray, box: GeoBox, fwhm: float) -> np.ndarray:
    """What pixels of `box` see of a cell image (reflectance), the misregistration included."""
    spec = world.spec
    dy, dx = (v * spec.gsd for v in spec.shift)
    if spec.msi_crs is None:
        pixel = abs(box.resolution.x)
        top, left = ORIGIN[1] - box.affine.f - dy, box.affine.c - ORIGIN[0] - dx
        rows, columns = (world.along(k, box.shape[k], pixel, b, fwhm) for k, b in ((0, top), (1, left)))
        return np.stack([sample(band, rows, columns) for band in image])

    rows, columns = np.mgrid[: box.shape[0], : box.shape[1]] + 0.5
    east, north = box.affine * (columns, rows)
    east, north = Transformer.from_crs(str(box.crs), CRS_HSI, always_xy=True).transform(east, north)
    places = (ORIGIN[1] - north - dy, east - ORIGIN[0] - dx)
    return look_up(image, world.start, world.cell, fwhm, places)


def _stacked(world: _World, scenes: list[xr.DataArray]) -> xr.DataArray:
    """All groups on the finest grid, coarser pixels repeated, bands in the sensor's order."""
    order = {b.name: k for k, b in enumerate(world.msi_sensor.bands)}
    fine = scenes[0]
    height, width = fine.shape[1:]
    factors = [round(group.gsd / world.msi_groups[0].gsd) for group in world.msi_groups]
    values = [
        scene.values.repeat(n, 1).repeat(n, 2)[:, :height, :width] for scene, n in zip(scenes, factors, strict=True)
    ]
    keys = ("band_name", "wavelength", "fwhm", "gsd")
    coords: dict[str, Any] = {key: np.concatenate([scene[key].values for scene in scenes]) for key in keys}
    place = np.argsort([order[name] for name in coords["band_name"].tolist()])
    coords = {key: column[place] for key, column in coords.items()} | {"units": "reflectance", "scale": 1e-4}
    return make_scene(np.concatenate(values)[place], fine.odc.geobox, name="msi", attrs=fine.attrs, **coords)
