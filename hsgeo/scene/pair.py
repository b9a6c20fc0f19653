"""A pair of scenes on grids that fit: what alignment gives and every method reads from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from . import grids
from .register import Shift
from .resample import Resampler, read_window
from .window import Window


@dataclass(frozen=True, eq=False)
class MsiGroup:
    """The bands of an MSI that share one native GSD.

    Attributes
    ----------
    scene : scene (b_k, y, x)
        As recorded, on its own grid.
    bands : tuple of int
        Positions in the MSI that was given.
    ratio : int
        Pixels of this group are `ratio` x `ratio` fine pixels; edges coincide.
    geobox : GeoBox
        The group's grid, from the same origin as the fine one; its last row and column may reach beyond.
    offset : (dy, dx)
        Fine pixels by which the values lie off the pixels of `geobox`. Coarser bands whose own grid differs by a
        shift alone are not resampled, which would blur them by more than the fine grid forgives: the offset belongs
        into their point spread function.
    """

    scene: xr.DataArray
    bands: tuple[int, ...]
    ratio: int
    geobox: GeoBox
    source: GeoBox = field(repr=False)
    reader: Resampler = field(repr=False)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def on(
        cls, fine: GeoBox, ratio: int, scene: xr.DataArray, bands: tuple[int, ...], source: GeoBox, shift: Shift
    ) -> MsiGroup:
        """The group of pixels `ratio` times those of `fine`, read with the shift taken out where it applies."""
        geobox = grids.grouped(fine, ratio)
        target = grids.moved(geobox, shift.dy / ratio, shift.dx / ratio) if shift.applied else geobox
        between = grids.PixelMap.between(target, source).displacement if ratio > 1 else None
        if between is None:
            return cls(scene, bands, ratio, geobox, source, Resampler.onto(scene, source, target))
        dy, dx = (round(d) - d for d in between)
        reader = Resampler.onto(scene, source, grids.moved(target, dy, dx))
        return cls(scene, bands, ratio, geobox, source, reader, (dy * ratio, dx * ratio))


@dataclass(frozen=True, eq=False)
class Patch:
    """Values of a window: `hsi` (B, h, w), `msi` one (b_k, h * s / r_k, w * s / r_k) per group, NaN where missing."""

    window: Window
    hsi: np.ndarray
    msi: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """Two scenes on grids that fit; nothing is read before it is asked for. Can be pickled.

    Attributes
    ----------
    hsi : scene (B, y, x)
        The HSI's own pixels where the two overlap.
    coarse : GeoBox
        Grid of `hsi`.
    fine : GeoBox
        `coarse` with pixels `ratio` times smaller.
    ratio : int
    groups : tuple of MsiGroup
        The finest first.
    shift : Shift
        Of the MSI against the HSI; taken out by `read_msi` where `shift.applied`.
    notes : list of str
        What a user should know.
    """

    hsi: xr.DataArray
    coarse: GeoBox
    fine: GeoBox
    ratio: int
    groups: tuple[MsiGroup, ...]
    shift: Shift
    notes: list[str]
    whole_hsi: xr.DataArray = field(repr=False)
    origin: tuple[int, int] = field(repr=False)

    @property
    def multiple(self) -> int:
        """Fine pixels of which block edges must be multiples to fall on pixel edges of the HSI and of every group."""
        return math.lcm(self.ratio, *(group.ratio for group in self.groups))

    @property
    def bands(self) -> tuple[int, ...]:
        """Positions in the MSI given of the bands in use, group after group."""
        return tuple(band for group in self.groups for band in group.bands)

    def read_hsi(self, window: Window) -> np.ndarray:
        """The HSI's pixels (B, h, w), float32, in a window of the coarse grid.

        Beyond the overlap these are real pixels as far as the image has them; NaN where it has none.
        """
        return read_window(self.whole_hsi, window.shift(*self.origin))

    def read_msi(self, group: int, window: Window) -> np.ndarray:
        """The bands of a group (b_k, h, w), float32, in a window of the group's grid, resampled once.

        Beyond the overlap these are real values as far as the image has them; NaN where it has none. The value of a
        pixel does not depend on the window.
        """
        return self.groups[group].reader.read(window)

    def group_window(self, group: int, window: Window) -> Window:
        """The smallest window of a group's grid that covers a window of the coarse grid."""
        return window.scale(self.ratio).coarsen(self.groups[group].ratio)

    def patch(self, window: Window) -> Patch:
        """Both images in a window of the coarse grid; its edges must fall on pixel edges of every group."""
        msi = [self.read_msi(k, self.group_window(k, window)) for k in range(len(self.groups))]
        return Patch(window, self.read_hsi(window), msi)

    def sample(self, max_coarse_pixels: int = 40000, size: int = 64, seed: int = 0) -> list[Patch]:
        """Windows to learn from: the whole overlap where it is small, else well spread ones that have data.

        Parameters
        ----------
        max_coarse_pixels : int
            Coarse pixels of all windows together; fewer where the fine pixels would pass 256 MiB.
        size : int
            Coarse pixels along the side of one.
        seed : int
            Moves the windows within their cells; equal seeds give equal windows.

        Returns
        -------
        list of Patch
            Windows fall on pixel edges of every group, and may reach outside the overlap for that. Empty where no
            window has data of both images.
        """
        step = self.multiple // self.ratio
        height, width = self.coarse.shape
        per_pixel = sum((self.ratio / group.ratio) ** 2 * len(group.bands) for group in self.groups)
        limit = max(min(max_coarse_pixels, int(2**26 / per_pixel)), step * step)
        if height * width <= limit:
            whole = Window(0, -(-height // step) * step, 0, -(-width // step) * step)
            patch = self.patch(whole)
            return [patch] if _shared(patch) > 0 else []
        side = max(step, min(size, int(limit**0.5)) // step * step)
        tall, wide = min(side, -(-height // step) * step), min(side, -(-width // step) * step)
        patches = []
        for cell in cells(height, width, max(1, limit // (tall * wide))):
            best: tuple[float, Patch] | None = None
            for window in tries(cell, (tall, wide), step, seed):
                patch = self.patch(window)
                share = _shared(patch)
                if share > 0 and (best is None or share > best[0]):
                    best = share, patch
                if share > 0.5:
                    break
            if best is not None:
                patches.append(best[1])
        return patches

    def with_shift(self, shift: Shift) -> AlignedPair:
        """The pair with another shift, which `read_msi` takes out where it is marked as applied."""
        groups = tuple(MsiGroup.on(self.fine, g.ratio, g.scene, g.bands, g.source, shift) for g in self.groups)
        return replace(self, shift=shift, groups=groups)


def _shared(patch: Patch) -> float:
    """The smaller share of the two images' values that are there; 0 where no pixel of the HSI meets one of the MSI."""
    shares = [float(np.isfinite(values).mean()) for values in (patch.hsi, *patch.msi)]
    return min(shares[0], max(shares[1:]))


def cells(height: int, width: int, count: int) -> list[Window]:
    """Cut a grid into about `count` cells that are as square as its shape allows."""
    rows = int(np.clip(round((count * height / width) ** 0.5), 1, min(count, height)))
    cols = int(np.clip(count // rows, 1, width))
    down = np.linspace(0, height, rows + 1).round().astype(int).tolist()
    across = np.linspace(0, width, cols + 1).round().astype(int).tolist()
    return [Window(y0, y1, x0, x1) for y0, y1 in pairwise(down) for x0, x1 in pairwise(across)]


def tries(cell: Window, side: tuple[int, int], step: int, seed: int, number: int = 4) -> Iterator[Window]:
    """Windows of `side` pixels within a cell (or around it, where it is smaller), on multiples of `step`."""
    rng = np.random.default_rng([seed, cell.y0, cell.x0])
    for attempt in range(number):
        place = rng.random(2) if attempt or seed else np.array([0.5, 0.5])
        starts = [
            int(low + max(room - length, 0) * part) // step * step
            for low, room, length, part in zip((cell.y0, cell.x0), cell.shape, side, place, strict=True)
        ]
        yield Window(starts[0], starts[0] + side[0], starts[1], starts[1] + side[1])
