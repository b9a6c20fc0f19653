"""Align a hyperspectral and a multispectral scene: one pair of grids whose pixel edges coincide.

The HSI is never resampled: its pixels are the coarse grid. The fine grid divides each of them into ratio x ratio
pixels; bands of the MSI go once onto pixels of a whole number of fine pixels, whatever their CRS, GSD and origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from hsgeo.errors import BandError, GridError, ParameterError

from . import grids
from .bands import require_north_up
from .groups import NativeGroup, choose_bands, native_groups
from .model import label
from .pair import AlignedPair, MsiGroup, Patch
from .register import Shift, find_shift
from .window import Window

__all__ = ["AlignedPair", "MsiGroup", "Patch", "Shift", "align"]

#: the HSI's pixels must be at least this much larger than those of the MSI
LEAST_RATIO = 1.5


def align(
    hsi: xr.DataArray,
    msi: xr.DataArray,
    *,
    gsd: float | None = None,
    register: bool = True,
    bands: str | Sequence[int | str] | None = None,
    hsi_name: str | None = None,
    msi_name: str | None = None,
) -> AlignedPair:
    """Bring two scenes onto grids whose pixel edges coincide.

    The fine GSD is the HSI's divided by the nearest whole ratio to the MSI's finest. The overlap is the smallest
    block of HSI pixels that holds every one in which a fine pixel has its centre on the MSI; where the MSI ends
    inside it, or is turned against it, the rest is NaN.

    Parameters
    ----------
    hsi, msi : scene
    gsd : float, optional
        Fine GSD wanted, in metres; the nearest whole part of the HSI's is taken.
    register : bool
        Look for a residual shift, and take it out where it is reliable.
    bands : str or sequence, optional
        Bands of the MSI to use, as in `open_scene`, instead of those chosen by default.
    hsi_name, msi_name : str, optional
        How messages call the scenes.

    Returns
    -------
    AlignedPair

    Raises
    ------
    GridError
        A scene has no CRS or is rotated, they do not overlap, are in the wrong order, or the MSI is not finer.
    BandError
        The HSI has one band, or no band of the MSI lies in its range.
    ParameterError
        `gsd` is not finer than the HSI or far finer than the MSI.
    """
    names = hsi_name or label(hsi), msi_name or label(msi)
    notes: list[str] = []
    hsi, coarse = _grid(hsi, names[0], notes)
    msi, source = _grid(msi, names[1], notes)
    _check_order(hsi, msi, coarse, source, names)
    positions = choose_bands(msi, hsi, bands, *names, notes)
    native = native_groups(msi, source, positions, names[1], notes)
    exact = _exact_ratio(coarse, source, native[0][3], names)
    ratio = _whole_ratio(coarse, exact, gsd, names, notes)
    window = grids.overlap(coarse, source, ratio)
    if window is None:  # less than half a fine pixel of it
        raise _no_overlap(coarse, source, names)
    box = grids.crop(coarse, window)
    fine = grids.zoomed(box, ratio)
    shift = Shift.none("registration is switched off")
    groups = []
    for size, mine, scene, grid in native:
        times = max(1, round(size / native[0][0] / exact * ratio))
        groups.append(MsiGroup.on(fine, times, scene, tuple(mine), grid, shift))
    pair = AlignedPair(
        hsi=_cropped(hsi, window, box),
        coarse=box,
        fine=fine,
        ratio=ratio,
        groups=tuple(groups),
        shift=shift,
        notes=notes,
        whole_hsi=hsi,
        origin=(window.y0, window.x0),
    )
    notes += _grid_notes(pair, coarse, native, exact, names)
    if register:
        pair = pair.with_shift(find_shift(pair))
        notes.append(_shift_note(pair.shift, fine, names[1]))
    return pair


def _grid(scene: xr.DataArray, name: str, notes: list[str]) -> tuple[xr.DataArray, GeoBox]:
    """The scene with rows running south, and its grid."""
    if scene.dims != ("band", "y", "x"):
        raise GridError(f"{name}: a scene has the dimensions band, y, x, this has {', '.join(map(str, scene.dims))}.")
    upright = require_north_up(scene)
    if upright is not scene:
        notes.append(f"{name}: its rows or columns run backwards; read north up.")
    box = upright.odc.geobox
    if box.crs is None:
        raise GridError(f"{name} has no CRS; assign the one it is in with: gdal_edit.py -a_srs EPSG:CODE {name}")
    return upright, box


def _check_order(hsi: xr.DataArray, msi: xr.DataArray, coarse: GeoBox, source: GeoBox, names: tuple[str, str]) -> None:
    many, few = hsi.sizes["band"], msi.sizes["band"]
    first, second = (math.sqrt(math.prod(grids.metres(box))) for box in (coarse, source))
    if many < few and first < second:
        raise GridError(
            f"{names[0]} ({many} bands, {first:.4g} m) looks like the multispectral image and {names[1]} ({few} bands, "
            f"{second:.4g} m) like the hyperspectral one; give the hyperspectral image first."
        )
    if many == 1:
        raise BandError(f"{names[0]} has one band; the first image must be hyperspectral, with {names[1]} second.")


def _exact_ratio(coarse: GeoBox, source: GeoBox, finest: GeoBox, names: tuple[str, str]) -> float:
    """The HSI's pixel size over that of the MSI's finest bands, in the middle of the overlap."""
    try:
        window = grids.overlap(coarse, source, 64)
    except Exception as error:
        if type(error).__module__.startswith("pyproj"):
            raise GridError(f"the CRS of {names[1]} cannot be converted to that of {names[0]}: {error}") from error
        raise
    if window is None:
        raise _no_overlap(coarse, source, names)
    x, y = (window.x0 + window.x1) / 2, (window.y0 + window.y1) / 2
    exact = math.sqrt(grids.PixelMap.between(coarse, finest).area(x, y))
    if exact < LEAST_RATIO:
        size = math.sqrt(math.prod(grids.metres(coarse)))
        how = "coarser than" if exact < 0.99 else "no finer than" if exact < 1.01 else "hardly finer than"
        raise GridError(
            f"{names[1]} ({size / exact:.4g} m) is {how} {names[0]} ({size:.4g} m): the multispectral image must have "
            f"pixels at least {LEAST_RATIO:g} times smaller; choose another one, or swap the two if the order is wrong."
        )
    return exact


def _no_overlap(coarse: GeoBox, source: GeoBox, names: tuple[str, str]) -> GridError:
    return GridError(
        f"{names[0]} and {names[1]} do not overlap: in the CRS of the first they cover {grids.extent_text(coarse)} and "
        f"{grids.extent_text(source, coarse)}; check both CRSs or choose images of the same place."
    )


def _whole_ratio(coarse: GeoBox, exact: float, gsd: float | None, names: tuple[str, str], notes: list[str]) -> int:
    size = math.sqrt(math.prod(grids.metres(coarse)))
    if gsd is None:
        ratio = round(exact)
        if abs(exact - ratio) > 1e-3:
            notes.append(
                f"GSD {size:.4g} m / {size / exact:.4g} m = {exact:.2f}, nearest whole ratio {ratio}: "
                f"fine GSD {size / ratio:.4g} m."
            )
        return ratio
    if not (math.isfinite(gsd) and gsd > 0):
        raise ParameterError(f"gsd {gsd!r}: give the ground sampling distance wanted, in metres.")
    ratio = round(size / gsd)
    if ratio < 2:
        raise ParameterError(
            f"gsd {gsd:g} m is hardly finer than the {size:.4g} m of {names[0]}; at most {size / 2:.4g} m."
        )
    if ratio > LEAST_RATIO * exact:
        raise ParameterError(
            f"gsd {gsd:g} m: {names[1]} shows nothing finer than {size / exact:.4g} m; "
            f"at least {size / round(exact):.4g} m."
        )
    if abs(size / ratio - gsd) > 1e-3 * gsd:
        notes.append(f"gsd {gsd:g} m does not divide {size:.4g} m: {size / ratio:.4g} m taken (ratio {ratio}).")
    return ratio


def _cropped(scene: xr.DataArray, window: Window, box: GeoBox) -> xr.DataArray:
    rows, cols = window.slices
    return scene.isel(y=rows, x=cols).assign_coords(xr_coords(box, crs_coord_name="spatial_ref", dims=("y", "x")))


def _grid_notes(
    pair: AlignedPair, coarse: GeoBox, native: list[NativeGroup], exact: float, names: tuple[str, str]
) -> list[str]:
    notes = []
    inside, whole = math.prod(pair.coarse.shape), math.prod(coarse.shape)
    if inside < whole:
        notes.append(
            f"{pair.coarse.shape[0]} x {pair.coarse.shape[1]} of the {coarse.shape[0]} x {coarse.shape[1]} pixels of "
            f"{names[0]} lie on {names[1]} and are processed."
        )
    tall, wide = grids.metres(pair.fine)
    if max(tall, wide) > 1.05 * min(tall, wide):
        notes.append(
            f"the pixels of {names[0]} are not square on the ground: fine pixels are {tall:.3g} x {wide:.3g} m."
        )
    for group, (size, _, _, box) in zip(pair.groups[1:], native[1:], strict=True):
        exact_times = size / native[0][0] / exact * pair.ratio
        about = "" if abs(exact_times - group.ratio) < 1e-3 else f" (nearest to {exact_times:.2f})"
        listed = ", ".join(str(n) for n in group.scene["band_name"].values) or f"{len(group.bands)} bands"
        own = math.sqrt(math.prod(grids.metres(box)))
        notes.append(f"{names[1]}: {listed}: used at the {own:.4g} m recorded, {group.ratio} fine pixels{about}.")
    return notes


def _shift_note(shift: Shift, fine: GeoBox, name: str) -> str:
    tall, wide = grids.metres(fine)
    if not math.isfinite(shift.error):
        return f"shift of {name}: not found ({shift.reason})."
    down = f"{abs(shift.dy * tall):.2f} m {'up' if shift.dy < 0 else 'down'}"
    right = f"{abs(shift.dx * wide):.2f} m {'left' if shift.dx < 0 else 'right'}"
    return (
        f"shift of {name}: {shift.dy:+.2f} rows, {shift.dx:+.2f} columns of the fine grid ({down}, {right}, "
        f"standard error {shift.error:.2f} pixels, reliability "
        f"{shift.reliability:.2f}): {'taken out' if shift.applied else 'left'}, {shift.reason}."
    )
