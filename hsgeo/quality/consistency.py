"""Does a result reproduce both images it was made from, once degraded to each? (Wald's first property.)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, GridError
from hsgeo.observation.psf import Psf, margin
from hsgeo.quality.metrics import spectral_angle, uiqi_blocks, windows
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.window import Window


@dataclass
class Consistency:
    """Streamed sums; `summary` gives hsi_sam (degrees), hsi_rmse, msi_rmse and the no-reference indices.

    The RMSEs are absolute, in the units of each image. What `hsgeo fuse` prints is relative to noise levels, and the
    MSI's is estimated with the misfit of the response inside: a value below 1 there does not show that the response
    is right, `msi_rmse` shows by how much the result and the MSI differ.

    D_lambda is Khan et al. 2009 (doi 10.1109/TGRS.2009.2020910) with the mean UIQI over bands, D_s Alparone et al.
    2008 (doi 10.14358/PERS.74.2.193) with the MSI band most correlated with each band as its sharp image, and
    QNR = (1 - D_lambda)(1 - D_s) (the hybrid of Aiazzi et al. 2014).
    """

    hsi_sse: np.ndarray | float = 0.0
    hsi_angle: float = 0.0
    hsi_count: int = 0
    msi_sse: dict[int, np.ndarray] = field(default_factory=dict)
    msi_count: dict[int, int] = field(default_factory=dict)
    low: tuple[np.ndarray | float, int] = (0.0, 0)
    fine_q: tuple[np.ndarray | float, int] = (0.0, 0)
    coarse_q: tuple[np.ndarray | float, int] = (0.0, 0)

    def summary(self) -> dict[str, Any]:
        """d_lambda, d_s, qnr and ``consistency``; None where nothing could be compared."""
        n = self.hsi_count
        msi_n = sum(self.msi_count[k] * len(v) for k, v in self.msi_sse.items())
        msi_total = sum(float(v.sum()) for v in self.msi_sse.values())
        report: dict[str, Any] = {"d_lambda": None, "d_s": None, "qnr": None}
        if self.low[1] and self.fine_q[1] and self.coarse_q[1]:
            d_lambda = float(1 - np.mean(self.low[0] / self.low[1]))
            d_s = float(np.mean(np.abs(self.fine_q[0] / self.fine_q[1] - self.coarse_q[0] / self.coarse_q[1])))
            report.update(d_lambda=d_lambda, d_s=d_s, qnr=(1 - d_lambda) * (1 - d_s))
        report["consistency"] = {
            "hsi_sam": self.hsi_angle / n if n else None,
            "hsi_rmse": float(np.sqrt(np.mean(self.hsi_sse) / n)) if n else None,
            "msi_rmse": float(np.sqrt(msi_total / msi_n)) if msi_n else None,
        }
        return report


def degrade(values: np.ndarray, psf: Psf | None, ratio: int) -> np.ndarray:
    """Blur and decimate (bands, H, W) -> (bands, H / ratio, W / ratio), reflecting edges; NaN spreads to every sample
    that sees it, and so does what a last sample lacks where `ratio` does not divide the size."""
    if psf is None:
        if ratio == 1:
            return values
        psf = Psf(0.0, 0.0, float(ratio), float(ratio))
    short = [(0, -n % ratio) for n in values.shape[1:]]
    if short != [(0, 0), (0, 0)]:
        values = np.pad(values, [(0, 0), *short], constant_values=np.nan)
    rows, columns = (psf.matrix(n, ratio, "reflect", axis) for axis, n in enumerate(values.shape[1:]))
    missing = ~np.isfinite(values).all(0)
    out = rows @ np.nan_to_num(values) @ columns.T
    if missing.any():
        out[:, (rows @ missing @ columns.T) > 1e-6] = np.nan
    return out


def check_consistency(result: xr.DataArray, pair: Any, observation: Any, good: np.ndarray) -> Consistency:
    """Degrade a result to both images and compare, streamed.

    Parameters
    ----------
    result : scene (B, H, W)
        On the fine grid of `pair`, or a part of it that begins and ends at coarse pixels.
    pair : AlignedPair
        The two images.
    observation : Observation
        ``response`` (b, number of good bands) and ``offset`` (b,) in the MSI's own order, ``psf`` and ``group_psfs``;
        see `hsgeo.observation.estimate`.
    good : bool array (B,)
        Bands that `observation` covers.

    Raises
    ------
    GridError
        The result's pixels are not those of the pair's fine grid.
    BandError
        The result has another number of bands than the HSI.
    """
    if result.sizes["band"] != len(good):
        raise BandError(
            f"{label(result)} has {result.sizes['band']} bands, the HSI {len(good)}; give the HSI it was made of."
        )
    box, fine, s = geobox_of(result), pair.fine, pair.ratio
    x, y = ~fine.transform * (box.transform.c, box.transform.f)
    same = np.allclose([box.resolution.x, box.resolution.y], [fine.resolution.x, fine.resolution.y], rtol=1e-6)
    if box.crs != fine.crs or not same or max(abs(x - round(x)), abs(y - round(y))) > 0.01:
        raise GridError(
            f"the pixels of {label(result)} are not those of its HSI divided by {s}; assess the fused file itself."
        )
    dy, dx = round(y), round(x)
    height, width = (n // s for n in fine.shape)
    inside = Window(0, box.shape[0], 0, box.shape[1]).shift(dy, dx)
    usable = good & result["good"].values
    sums, pad, step = Consistency(), margin(observation.psf, s), pair.multiple // s
    bands = np.flatnonzero(usable)
    response = observation.response[:, usable[good]]
    sharp = _correlation(pair, response, usable).argmax(0)
    for core in windows(height, width, 64):
        outer = core.grow(pad).coarsen(step).scale(step).clip(height, width)
        values = _read(result, outer.scale(s), inside, bands)
        if not np.isfinite(values).any():
            continue
        cut = (slice(None), *core.within(outer).slices)
        low, hsi = degrade(values, observation.psf, s)[cut], pair.read_hsi(core)[usable]
        valid = np.isfinite(low).all(0) & np.isfinite(hsi).all(0)
        if valid.any():
            sums.hsi_sse = sums.hsi_sse + ((low - hsi)[:, valid] ** 2).sum(1, dtype=np.float64)
            sums.hsi_angle += float(spectral_angle(low[:, valid], hsi[:, valid]).sum())
            sums.hsi_count += int(valid.sum())
            total, count = uiqi_blocks(low, hsi, valid)
            sums.low = (sums.low[0] + total, sums.low[1] + count)
        _compare_msi(sums, pair, observation, response, values, core, outer, sharp, hsi)
    return sums


def _compare_msi(
    sums: Consistency, pair: Any, observation: Any, response: np.ndarray, values: np.ndarray, core: Window,
    outer: Window, sharp: np.ndarray, hsi: np.ndarray,
) -> None:  # fmt: skip
    s = pair.ratio
    for k, group in enumerate(pair.groups):
        rows = list(group.bands)  # the observation follows the MSI's own order
        seen = np.tensordot(response[rows], values, 1) + observation.offset[rows, None, None]
        fine_core = core.scale(s).coarsen(group.ratio)
        cut = (slice(None), *fine_core.within(outer.scale(s).coarsen(group.ratio)).slices)
        seen = degrade(seen, observation.group_psfs[k], group.ratio)[cut]
        msi = pair.read_msi(k, fine_core)
        valid = np.isfinite(seen).all(0) & np.isfinite(msi).all(0)
        if not valid.any():
            continue
        sums.msi_sse[k] = sums.msi_sse.get(k, np.zeros(len(group.bands))) + ((seen - msi)[:, valid] ** 2).sum(
            1, dtype=float
        )
        sums.msi_count[k] = sums.msi_count.get(k, 0) + int(valid.sum())
        if group.ratio == 1:
            place = np.full(len(observation.response), -1)
            place[rows] = np.arange(len(rows))
            _spatial_index(sums, values, msi, core, outer, s, place[sharp], hsi, observation.psf)


def _spatial_index(
    sums: Consistency, values: np.ndarray, msi: np.ndarray, core: Window, outer: Window, s: int, sharp: np.ndarray,
    hsi: np.ndarray, psf: Psf,
) -> None:  # fmt: skip
    own = sharp >= 0
    if not own.any():
        return
    fine = values[(slice(None), *core.scale(s).within(outer.scale(s)).slices)][own]
    partner = msi[sharp[own]]
    for name, a, b in (("fine_q", fine, partner), ("coarse_q", hsi[own], degrade(msi, psf, s)[sharp[own]])):
        ok = np.isfinite(a).all(0) & np.isfinite(b).all(0)
        total, count = uiqi_blocks(_unit(a, ok), _unit(b, ok), ok, block=32 * s if name == "fine_q" else 32)
        full = np.zeros(len(own))
        full[own] = total
        old = getattr(sums, name)
        setattr(sums, name, (old[0] + full, old[1] + count))


def _unit(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each band divided by its mean, so that two radiometries can be compared by UIQI."""
    mean = np.nanmean(np.where(valid, values, np.nan), (1, 2), keepdims=True) if valid.any() else 1.0
    return values / np.where(np.abs(mean) > 0, mean, 1.0)


def _correlation(pair: Any, response: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(b, B) correlation of what each MSI band sees with each HSI band, from one window of the coarse image."""
    height, width = (n // pair.ratio for n in pair.fine.shape)
    size = min(128, height), min(128, width)
    y0, x0 = (height - size[0]) // 2, (width - size[1]) // 2
    hsi = pair.read_hsi(Window(y0, y0 + size[0], x0, x0 + size[1]))[usable]
    pixels = hsi[:, np.isfinite(hsi).all(0)].astype(np.float64)
    if pixels.shape[1] < 2:
        return response
    pixels -= pixels.mean(1, keepdims=True)
    seen = response @ pixels
    norm = np.linalg.norm(seen, axis=1)[:, None] * np.linalg.norm(pixels, axis=1)[None]
    return (seen @ pixels.T) / np.where(norm > 0, norm, 1)


def _read(result: xr.DataArray, window: Window, inside: Window, bands: np.ndarray) -> np.ndarray:
    """A window of the fine grid from the result, NaN where the result does not reach."""
    out = np.full((len(bands), *window.shape), np.nan, dtype=np.float32)
    part = window.within(inside).clip(*inside.shape)
    if min(part.shape) > 0:
        rows, columns = part.slices
        there = part.shift(inside.y0, inside.x0).within(window).slices
        out[(slice(None), *there)] = result.isel(band=bands, y=rows, x=columns).values
    return out
