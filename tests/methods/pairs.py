"""Small in-memory pairs for the tests of fusion methods: a smooth-and-edgy truth, seen by two sensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hsgeo.methods.base import FusionInputs, read_tile
from hsgeo.observation.psf import Psf
from hsgeo.scene.window import Window
from tests.conftest import write_raster


@dataclass
class MemoryPair:
    """What a method needs of an AlignedPair."""

    hsi_values: np.ndarray
    msi_values: list[np.ndarray]
    ratio: int
    ratios: tuple[int, ...] = (1,)
    reads: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hsi = SimpleNamespace(sizes={"band": len(self.hsi_values)})
        self.coarse = SimpleNamespace(shape=self.hsi_values.shape[1:])
        self.fine = SimpleNamespace(shape=tuple(n * self.ratio for n in self.hsi_values.shape[1:]))
        self.groups, start = [], 0
        for x, r in zip(self.msi_values, self.ratios, strict=True):
            self.groups.append(SimpleNamespace(bands=tuple(range(start, start + len(x))), ratio=r))
            start += len(x)

    def read_hsi(self, window: Window) -> np.ndarray:
        self.reads.append(window)
        return _read(self.hsi_values, window)

    def read_msi(self, k: int, window: Window) -> np.ndarray:
        return _read(self.msi_values[k], window)

    def sample(self, max_coarse_pixels: int = 40000, size: int = 64, seed: int = 0) -> list[SimpleNamespace]:
        height, width = self.coarse.shape
        msi = [x.astype(np.float32) for x in self.msi_values]
        return [SimpleNamespace(window=Window(0, height, 0, width), hsi=self.hsi_values.astype(np.float32), msi=msi)]


def _read(values: np.ndarray, window: Window) -> np.ndarray:
    out = np.full((len(values), *window.shape), np.nan, np.float32)
    inside = window.clip(*values.shape[1:])
    if min(inside.shape) > 0:
        out[(slice(None), *inside.within(window).slices)] = values[(slice(None), *inside.slices)]
    return out


@dataclass
class Case:
    """A pair, its truth and everything about its observation."""

    truth: np.ndarray
    pair: MemoryPair
    response: np.ndarray
    psf: Psf
    noise_hsi: np.ndarray
    noise_msi: np.ndarray

    def inputs(self, **changes: object) -> FusionInputs:
        given = {
            "good": np.ones(len(self.pair.hsi_values), bool),
            "response": self.response,
            "psf": self.psf,
            "noise_hsi": self.noise_hsi,
            "noise_msi": self.noise_msi,
        }
        return FusionInputs(self.pair, **{**given, **changes})


def materials(bands: int, count: int) -> np.ndarray:
    """Smooth spectra (bands, count) in 0..1."""
    axis = np.linspace(0, 1, bands)[:, None]
    centre, width = np.linspace(0.1, 0.9, count)[None], 0.12 + 0.05 * np.cos(np.arange(count))[None]
    return 0.15 + 0.6 * np.exp(-(((axis - centre) / width) ** 2)) + 0.2 * axis * (np.arange(count) % 3)


def landscape(height: int, width: int, count: int, rng: np.random.Generator, texture: float) -> np.ndarray:
    """Abundances (count, height, width): patches with sharp borders and white texture inside."""
    y, x = np.mgrid[:height, :width]
    seeds = rng.uniform(0, 1, (4 * count, 2)) * (height, width)
    nearest = np.argmin((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2, -1) % count
    share = 0.75 * (np.arange(count)[:, None, None] == nearest) + 0.25 / count
    share = share * np.exp(texture * rng.standard_normal((count, height, width)))
    return share / share.sum(0)


def make_case(
    shape: tuple[int, int] = (24, 20),
    ratio: int = 4,
    bands: int = 30,
    windows: tuple[tuple[tuple[float, float], ...], ...] = (((0.1, 0.2), (0.35, 0.2), (0.6, 0.2), (0.85, 0.2)),),
    ratios: tuple[int, ...] = (1,),
    seed: int = 0,
    texture: float = 0.25,
) -> Case:
    """A pair of `shape` coarse pixels; `windows` holds (centre, width) of each band of each MSI group, 0..1."""
    rng = np.random.default_rng(seed)
    height, width = (n * ratio for n in shape)
    truth = np.einsum("bm,mhw->bhw", materials(bands, 6), landscape(height, width, 6, rng, texture))
    axis = np.linspace(0, 1, bands)
    rows = [np.exp(-4 * np.log(2) * ((axis - c) / w) ** 2) for group in windows for c, w in group]
    response = np.stack([r / r.sum() for r in rows])
    psf = Psf(float(ratio), float(ratio))
    hsi = degrade(truth, psf, ratio)
    noise_hsi = np.full(bands, np.sqrt((hsi**2).mean() / 10**3.5))
    hsi = hsi + noise_hsi[:, None, None] * rng.standard_normal(hsi.shape)
    seen = np.einsum("kb,bhw->khw", response, truth)
    noise_msi = np.sqrt((seen**2).mean((1, 2)) / 1e4)
    msi, start = [], 0
    for group, r in zip(windows, ratios, strict=True):
        x = seen[start : start + len(group)]
        x = x if r == 1 else degrade(x, Psf(float(r), float(r)), r)
        msi.append(x + noise_msi[start : start + len(group), None, None] * rng.standard_normal(x.shape))
        start += len(group)
    return Case(truth, MemoryPair(hsi, msi, ratio, ratios), response, psf, noise_hsi, noise_msi)


def degrade(values: np.ndarray, psf: Psf, ratio: int) -> np.ndarray:
    """Blur and decimation with mirrored edges."""
    rows, columns = (psf.matrix(n, ratio, "reflect", axis) for axis, n in enumerate(values.shape[1:]))
    return rows @ values @ columns.T


def fuse_tiles(model: object, pair: MemoryPair, tile: int | None = None) -> SimpleNamespace:
    """All tiles of a scene, put together: values, flags, variance, and stats summed."""
    height, width = pair.fine.shape
    tile = tile or max(height, width)
    out = SimpleNamespace(
        values=np.zeros((len(pair.hsi_values), height, width), np.float32),
        variance=np.zeros((len(pair.hsi_values), height, width), np.float32),
        flags=np.full((height, width), 9, np.uint8),
        stats={},
    )
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            core = Window(y, min(height, y + tile), x, min(width, x + tile))
            outer = core.grow(model.halo)
            result = model.apply(*read_tile(pair, outer), outer, core)
            out.values[(slice(None), *core.slices)] = result.values
            out.flags[core.slices] = result.flags
            if result.variance is not None:
                out.variance[(slice(None), *core.slices)] = result.variance
            for name, value in result.stats.items():
                out.stats[name] = out.stats.get(name, 0) + value
    return out


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Mean over bands, peak = maximum of the truth."""
    mse = ((estimate - truth) ** 2).mean((1, 2))
    return float((10 * np.log10(truth.max() ** 2 / mse)).mean())


def sam(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Mean spectral angle in degrees."""
    cosine = (estimate * truth).sum(0) / (np.linalg.norm(estimate, axis=0) * np.linalg.norm(truth, axis=0))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def write_case(case: Case, folder: Path, nm: np.ndarray, centres: np.ndarray, gsd: float = 10) -> tuple[Path, Path]:
    """The pair as two GeoTIFFs of integers (x 10000), ``hsi.tif`` and ``msi.tif``, with their wavelengths."""
    hsi, msi = (np.rint(1e4 * x) for x in (case.pair.hsi_values, case.pair.msi_values[0]))
    coarse = gsd * case.pair.ratio
    return (
        write_raster(folder / "hsi.tif", hsi.astype(np.int16), coarse, wavelengths=nm, nodata=-9999),
        write_raster(folder / "msi.tif", msi.astype(np.uint16), gsd, wavelengths=centres, nodata=0),
    )
