"""Which bands of an MSI take part in a fusion, and on which grid each was recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, SensorError

from . import grids
from .bands import native_bands
from .identify import match_wavelengths
from .model import band_tags
from .notes import Warned
from .resample import read_window
from .select import select_bands
from .window import Window

#: pixel size, positions in the MSI, scene and grid of the bands recorded on one grid
NativeGroup = tuple[float, list[int], xr.DataArray, GeoBox]


def choose_bands(
    msi: xr.DataArray,
    hsi: xr.DataArray,
    bands: str | Sequence[int | str] | None,
    hsi_name: str,
    msi_name: str,
    notes: list[str],
) -> list[int]:
    """Positions of the MSI's bands that take part.

    Without `bands`: those that are good, look at the ground in a narrow band, and lie in the HSI's range where the
    wavelengths of both are known. Pan bands stay when there is nothing else.

    Raises
    ------
    BandError
        None is left.
    """
    if bands is not None:
        chosen = select_bands(msi, bands if isinstance(bands, str) else ",".join(str(b) for b in bands))
        numbers = set(chosen["band"].values.tolist())
        return [i for i, number in enumerate(msi["band"].values.tolist()) if number in numbers]
    names = [name or f"band {number}" for name, number in zip(msi["band_name"].values, msi["band"].values, strict=True)]
    keep = np.ones(len(names), bool)

    def leave_out(which: np.ndarray, why: str) -> None:
        which = which & keep
        if which.any():
            left = _listed([names[i] for i in np.flatnonzero(which)])
            notes.append(Warned(f"{msi_name}: {left} left out ({why})."))
        keep[which] = False

    leave_out(~msi["good"].values, "not good")
    if not keep.any():
        raise BandError(f"{msi_name} has no good band; name the bands to use all the same (--bands).")
    flags = _flags(msi)
    leave_out(flags == "atmospheric", "they look at the atmosphere; name bands to use them")
    if (keep & (flags != "pan")).any():
        leave_out(flags == "pan", "panchromatic; name bands to use it")
    outside = _outside(msi, hsi)
    if outside[keep].all():
        low, high = (f(hsi["wavelength"].values) for f in (np.nanmin, np.nanmax))
        waves = msi["wavelength"].values[keep] if keep.any() else msi["wavelength"].values
        raise BandError(
            f"no band of {msi_name} ({np.nanmin(waves):.0f} to {np.nanmax(waves):.0f} nm) lies in the range of "
            f"{hsi_name} ({low:.0f} to {high:.0f} nm); check the wavelengths, or give the right sensors."
        )
    leave_out(outside, "outside the HSI's range of wavelengths")
    return np.flatnonzero(keep).tolist()


def native_groups(
    msi: xr.DataArray, box: GeoBox, positions: Sequence[int], msi_name: str, notes: list[str]
) -> list[NativeGroup]:
    """(pixel size, positions, scene, grid) of the bands recorded on each grid, the finest first.

    A band whose ``gsd`` coordinate is coarser than the pixels goes back to its own grid where its pixels are repeated
    samples or too smooth to be sharp; where they are as sharp as the pixels allow it stays, and that is said.
    """
    pixel = abs(box.affine.a)
    gsds = np.where(np.isfinite(msi["gsd"].values), msi["gsd"].values, pixel)
    gsds = np.where(gsds < 1.01 * pixel, pixel, gsds)
    index = np.asarray(positions)
    fine = index[gsds[index] == pixel]
    sizes: dict[float, list[int]] = {pixel: fine.tolist()} if fine.size else {}
    tagged = band_tags(msi)
    for gsd in np.unique(gsds[index[gsds[index] > pixel]]).tolist():
        mine = index[gsds[index] == gsd].tolist()
        if not all(tagged[i].get("gsd_resampling") == "nearest" for i in mine):
            ratio = round(gsd / pixel)
            found = _repeated(msi, mine, ratio)
            if found is not None:
                x, y = box.affine * (found[1], found[0])
                for i in mine:
                    tagged[i].update(gsd_origin=f"{x!r} {y!r}", gsd_resampling="nearest")
            elif fine.size and _sharp(msi, mine, fine.tolist(), ratio):
                metres = math.sqrt(math.prod(grids.metres(box)))
                named = [str(msi["band_name"].values[i]) or f"band {msi['band'].values[i]}" for i in mine]
                notes.append(
                    f"{msi_name}: {_listed(named)}: said to be recorded at {gsd / pixel * metres:.4g} m, but "
                    f"as sharp as pixels of {metres:.4g} m, and used at that size."
                )
                sizes[pixel] = sorted([*sizes[pixel], *mine])
                continue
        sizes[gsd] = mine
    for gsd, mine in sizes.items():
        gsds[mine] = gsd
    texts = np.array([json.dumps(tags) for tags in tagged], dtype=str)
    msi = msi.assign_coords(gsd=("band", gsds), band_tags=("band", texts))
    groups = []
    for gsd, mine in sorted(sizes.items()):
        part = msi.isel(band=mine)
        native = part if gsd == pixel else native_bands(part, gsd)
        groups.append((gsd, mine, native, box if gsd == pixel else native.odc.geobox))
    return groups


def _flags(msi: xr.DataArray) -> np.ndarray:
    """The sensor table's flag of each band, "" where nothing is known."""
    from hsgeo.sensors import load_sensor

    flags = np.full(msi.sizes["band"], "", dtype=object)
    if not msi.attrs.get("sensor"):
        return flags
    try:
        table = load_sensor(msi.attrs["sensor"])
    except SensorError:
        return flags
    by_name = table.find(msi["band_name"].values.tolist())
    by_wave = match_wavelengths(msi["wavelength"].values, table)
    known = [
        n if n is not None and (w is None or n.flag == w.flag) else w for n, w in zip(by_name, by_wave, strict=True)
    ]
    return np.array([band.flag if band is not None else "" for band in known], dtype=object)


def _outside(msi: xr.DataArray, hsi: xr.DataArray) -> np.ndarray:
    """Which bands have their centre further outside the HSI's wavelengths than half their width."""
    waves, widths = msi["wavelength"].values, np.nan_to_num(msi["fwhm"].values)
    known = hsi["wavelength"].values
    if not np.isfinite(known).any():
        return np.zeros(waves.size, bool)
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(known) - np.maximum(widths / 2, 10), np.nanmax(known) + np.maximum(widths / 2, 10)
        return (waves < low) | (waves > high)


def _probe(msi: xr.DataArray, positions: Sequence[int], size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A window (b, h, w) of at most `size` pixels a side that has data, and its first row and column."""
    height, width = msi.sizes["y"], msi.sizes["x"]
    part = msi.isel(band=list(positions))
    best, origin = np.full((len(positions), 1, 1), np.nan, np.float32), (0, 0)
    for down, across in ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25)):
        y0, x0 = max(0, int(height * down) - size // 2), max(0, int(width * across) - size // 2)
        values = read_window(part, Window(y0, min(height, y0 + size), x0, min(width, x0 + size)))
        if np.isfinite(values).mean() > np.isfinite(best).mean():
            best, origin = values, (y0, x0)
        if np.isfinite(best).mean() > 0.8:
            break
    return best, origin


def _repeated(msi: xr.DataArray, positions: Sequence[int], ratio: int) -> tuple[int, int] | None:
    """First row and column of a block where the pixels are blocks of `ratio` x `ratio` equal values, else None."""
    values, (y0, x0) = _probe(msi, positions, 24 * ratio)
    starts = []
    for axis, first in ((1, y0), (2, x0)):
        steps = np.diff(values, axis=axis)
        other = tuple(a for a in range(3) if a != axis)
        changes = (np.isfinite(steps) & (steps != 0)).any(axis=other)
        where = np.flatnonzero(changes) + 1 + first
        if where.size == 0 or len(set((where % ratio).tolist())) > 1:
            return None
        starts.append(int(where[0] % ratio))
    return starts[0], starts[1]


def _sharp(msi: xr.DataArray, positions: Sequence[int], fine: Sequence[int], ratio: int) -> bool:
    """Whether bands have as much of the finest detail as bands known to be recorded at the pixel size."""
    values, _ = _probe(msi, [*positions, *fine], 48 * ratio)
    if min(values.shape[1:]) <= 2 * ratio:
        return False
    shares = []
    for band in values:
        finest = band[1:, 1:] - band[1:, :-1] - band[:-1, 1:] + band[:-1, :-1]
        coarser = band[ratio:, ratio:] - band[ratio:, :-ratio] - band[:-ratio, ratio:] + band[:-ratio, :-ratio]
        low = np.nanmean(coarser**2) if np.isfinite(coarser).any() else 0.0
        shares.append(np.nanmean(finest**2) / low if low > 0 and np.isfinite(finest).any() else 0.0)
    return bool(np.median(shares[: len(positions)]) > 0.5 * np.median(shares[len(positions) :]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{names[0]} ... {names[-1]} ({len(names)} bands)"
