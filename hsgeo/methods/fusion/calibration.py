"""How far the model's variance can be believed: measured on the pair itself, one scale down. No truth is needed.

The posterior variance is exact under the model, but the model is not: the detail is not Gaussian, its covariance is
that of an estimate, and spectra leave the subspace. Both images are degraded by their ratio and fused as the originals
were (the protocol of Wald, Ranchin & Mangolini 1997), and the HSI, whose noise is known, tells the real errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import hypot
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from hsgeo.methods.fusion.fit import PatchCase, fit_prior
from hsgeo.methods.fusion.frame import Frame
from hsgeo.methods.fusion.missing import covered, regress
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.prior import FallingSpectrum
from hsgeo.methods.fusion.solver import Sensor
from hsgeo.methods.fusion.variance import without_hsi
from hsgeo.observation.psf import Psf

#: HSI pixels that are enough to measure on, and fewer than which nothing is measured
ENOUGH, FEW = 10000, 100

#: pixels of the coarsest image around a gap in which nothing is measured
NEAR = 2

#: side of the gaps of the HSI that its errors without it are measured in, HSI pixels
HIDDEN = 8

#: smallest and largest factor of a standard deviation
LIMITS = (0.5, 5.0)

#: what is taken where the scene is too small to measure: by eye, between those of five real scenes (0.7 to 1.4)
USUAL = 1.3


def calibrate(model: SubspaceModel, patches: Sequence[Any], seed: int = 0) -> None:
    """Set the model's `calibration` (factor of each band's standard deviation) and `lost`, and say so in `estimates`.

    Parameters
    ----------
    model : SubspaceModel
        Fitted.
    patches : sequence of Patch
        Of the pair; as many are used as make `ENOUGH` HSI pixels.
    """
    model.lost = model.lost + beyond_subspace(model, patches)
    pairs = reduced(model, patches, np.random.default_rng(seed))
    count = sum(int(known.sum()) for _, _, known in pairs)
    if count < FEW:
        factors = np.outer([USUAL, 1.0], np.ones(len(model.noise)))
        said = f"{USUAL:g} taken for all bands (too few pixels to measure one scale down)"
    else:
        factors = _factors(model, pairs)
        low, mid, high = np.percentile(factors[0], [0, 50, 100])
        said = f"{mid:.2f} (median; {low:.2f} to {high:.2f}), measured on {count} HSI pixels one scale down"
    model.calibration = np.vstack([factors, _without_hsi(model, patches)])
    share = float(np.sqrt(np.mean(model.lost / model.noise**2)))
    text = f"the model's posterior standard deviation times {said}"
    if share >= 0.005:
        text += f"; for what of the spectra is outside the subspace, {share:.2g} of the HSI's noise in quadrature"
    model.estimates["uncertainty"] = text
    model.estimates["uncertainty_factor"] = float(np.median(factors[0]))


def _factors(model: SubspaceModel, pairs: Sequence[tuple[Any, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Factors (2, B_model) for pixels that both images see and for those that the HSI alone sees."""
    low = one_scale_down(model, [patch for patch, _, _ in pairs])
    low.tabulate_variance()
    assert low.table is not None
    p, bands = len(model.mean), len(model.noise)
    moments, predicted, count = np.zeros((2, p, p)), np.zeros((2, bands)), 0
    for patch, truth, known in pairs:
        case = PatchCase(low, patch)
        interpolated, detail, weights = case.solution(low)
        rows, columns = case.frame.cut(case.frame.outer)
        alone = low.operators(case.frame.shape).alone(case.data)[:, rows, columns]
        for i, found in enumerate((detail, alone)):
            error = ((interpolated + found).double().numpy() - truth)[:, known]
            moments[i] += error @ error.T
            flags = np.full(known.shape, i, np.uint8)
            variance = low.table.over(weights, (0, 0), flags)
            predicted[i] += variance[:, known].sum(1, dtype=np.float64)
        count += int(known.sum())
    # the HSI's own noise is white of variance 1 in the coefficients
    real = np.einsum("bp,ipq,bq->ib", model.basis, moments / count - np.eye(p), model.basis)
    predicted /= count
    overall = np.maximum(real.sum(1, keepdims=True), 0.0) / predicted.sum(1, keepdims=True)
    squares = np.clip(real / predicted, overall / 4, overall * 4)
    return np.clip(np.sqrt(squares), *LIMITS)


def _without_hsi(model: SubspaceModel, patches: Sequence[Any]) -> np.ndarray:
    """Factors (B_model,) for pixels that the MSI alone sees: by gaps made in a known HSI, as on a chessboard."""
    p = len(model.mean)
    moment, count = np.zeros((p, p)), 0
    for patch in patches:
        coarse = model.coefficients(patch.hsi[model.model_bands].astype(float))
        frame = Frame.alone(tuple(n * model.scale for n in coarse.shape[1:]), 0, model.multiple)
        coarse, seen = frame.take(coarse, model.scale), model.scaled(patch.msi, frame)
        cut = (slice(None), *frame.cut(frame.outer, model.scale))
        known = np.isfinite(coarse).all(0) & covered(seen, coarse.shape[1:])
        rows, columns = (np.arange(n) // HIDDEN for n in coarse.shape[1:])
        for parity in (0, 1):
            hidden = (rows[:, None] + columns) % 2 == parity
            found = regress(np.where(hidden, np.nan, coarse), seen, model.sensors, model.mean, model.spread)
            error = (found - coarse)[cut][:, (known & hidden)[cut[1:]]]
            moment += error @ error.T
            count += error.shape[1]
    if count < FEW:
        return np.ones(len(model.basis))
    # the HSI's own noise is white of variance 1 in the coefficients
    real = np.einsum("bp,pq,bq->b", model.basis, moment / count - np.eye(p), model.basis)
    raw = without_hsi(model.sensors, model.spread, model.basis)
    return np.maximum(np.sqrt(np.maximum(real, 0) / raw), LIMITS[0])


def one_scale_down(model: SubspaceModel, patches: Sequence[Any]) -> SubspaceModel:
    """The model of the same sensors, fitted to patches of `reduced`."""
    low = replace(model, calibration=None, lost=np.zeros(len(model.noise)))
    fit_prior(low, patches)
    return low


def reduced(
    model: SubspaceModel, patches: Sequence[Any], rng: np.random.Generator, own: SubspaceModel | None = None
) -> list[tuple[SimpleNamespace, np.ndarray, np.ndarray]]:
    """Patches one scale down: both images degraded and as noisy as the originals; the truth and where it is known.

    The truth are the HSI's coefficients (p, h, w), with their noise. Near gaps of either image nothing counts as known.
    Where the patches' `own` model is another one, images of the model's sensors are made of them: the HSI by its PSF
    (the MSI by the own one, through which the truth was seen), both of its noise, and the MSI of its responses, by what
    those see more or less of the HSI.
    """
    own = own or model
    psf, blur, step = model.sensors[-1].psf, own.sensors[-1].psf, model.multiple
    out, total = [], 0
    for patch in patches:
        height, width = (n // step * step for n in patch.hsi.shape[1:])
        if min(height, width) < 2 * step or total >= ENOUGH:
            continue
        hsi = patch.hsi[:, :height, :width].astype(float)
        known = np.isfinite(hsi[model.model_bands]).all(0)
        if known.mean() < 0.8:
            continue
        noise, had = np.zeros((2, len(hsi)))
        noise[model.model_bands], had[own.model_bands] = model.noise, own.noise
        msi = []
        for k, (x, sensor) in enumerate(zip(patch.msi, model.sensors[:-1], strict=True)):
            r = sensor.ratio
            x = x[:, : height * model.scale // r, : width * model.scale // r].astype(float)
            low = _degraded(
                x, _blur(blur, sensor.psf, model.scale, r), model.scale, model.gauges[k], own.gauges[k], rng
            )
            if own is not model:
                low += _response_change(model.responses[k] - own.responses[k], own, hsi, sensor)
            msi.append(low)
            gaps = ~np.isfinite(msi[-1]).all(0).repeat(r, 0).repeat(r, 1)
            known &= ~binary_dilation(gaps, iterations=NEAR * model.scale)
        y = _degraded(hsi, psf, model.scale, noise, had, rng)
        gaps = ~np.isfinite(y[model.model_bands[0]]).repeat(model.scale, 0).repeat(model.scale, 1)
        known &= ~binary_dilation(gaps, iterations=NEAR * model.scale)
        truth = model.coefficients(hsi[model.model_bands])
        out.append((SimpleNamespace(hsi=y.astype(np.float32), msi=msi), np.nan_to_num(truth), known))
        total += int(known.sum())
    return out


def _blur(psf: Psf, own: Psf | None, scale: int, ratio: int) -> Psf:
    """From a group's pixels to those one scale down, whose own PSF is as many times wider, in pixels of the group."""
    if own is None:
        return psf
    fwhm_y, fwhm_x = (hypot(a, scale * b) for a, b in zip(psf.fwhm, own.fwhm, strict=True))
    whole = Psf(fwhm_y, fwhm_x, shift_y=scale * own.shift_y, shift_x=scale * own.shift_x)
    return whole.beyond(own).scaled(1 / ratio)


def _response_change(difference: np.ndarray, own: SubspaceModel, hsi: np.ndarray, sensor: Sensor) -> np.ndarray:
    """What another response (b, B_model) adds to an image of `sensor`, by an HSI on its fine grid; nothing in gaps.

    The HSI's noise, which is the truth's, is kept out of it as far as it can be.
    """
    spectra = np.tensordot(own.basis, own.calm(own.coefficients(hsi[own.model_bands])), 1)
    seen = np.nan_to_num(np.tensordot(difference, spectra, 1))
    if sensor.psf is None:
        return seen
    rows, columns = (sensor.psf.matrix(n, sensor.ratio, "reflect", axis) for axis, n in enumerate(seen.shape[1:]))
    return rows @ seen @ columns.T


def _degraded(
    values: np.ndarray, psf: Psf, ratio: int, noise: np.ndarray, had: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Blurred and decimated, as noisy as is asked for, given the noise that the values had; gaps spread."""
    rows, columns = (psf.matrix(n, ratio, "reflect", axis) for axis, n in enumerate(values.shape[1:]))
    missing = ~np.isfinite(values)
    out = rows @ np.where(missing, 0.0, values) @ columns.T
    kept = np.outer((rows**2).sum(1), (columns**2).sum(1))
    lacking = noise[:, None, None] ** 2 - kept * had[:, None, None] ** 2
    out += np.sqrt(np.maximum(lacking, 0)) * rng.standard_normal(out.shape)
    if missing.any():
        out[(rows @ missing @ columns.T) > 1e-3] = np.nan
    return out


def beyond_subspace(model: SubspaceModel, patches: Sequence[Any]) -> np.ndarray:
    """Variance (B_model,) on the fine grid of the spectra's part outside the subspace.

    The noise of a band and its signal outside the subspace cannot be told apart pixel by pixel, but noise is white
    and the signal goes through the PSF: the covariance of neighbouring HSI pixels is the signal's alone. What that
    means on the fine grid follows from the PSF and the spectrum of the detail.
    """
    white = (model.basis / model.noise[:, None]).astype(np.float32)
    sums, counts = np.zeros(2), np.zeros(2)
    for patch in patches:
        y = patch.hsi[model.model_bands] / model.noise[:, None, None].astype(np.float32)
        left = y - np.tensordot(white, np.tensordot(white.T, y, 1), 1)
        known = np.isfinite(left).all(0)
        left = np.where(known, left, 0.0)
        if not known.any():
            continue
        left -= left[:, known].mean(1)[:, None, None] * known
        for axis in (0, 1):
            moved, there = np.moveaxis(left, axis + 1, 0), np.moveaxis(known, axis, 0)
            sums[axis] += float((moved[1:] * moved[:-1]).sum(dtype=np.float64))
            counts[axis] += int((there[1:] & there[:-1]).sum())
    if not counts.all():
        return np.zeros(len(model.noise))
    bands = len(model.noise)
    shared = max(float((sums / counts).min()), 0.0) / (bands - white.shape[1] or 1)  # stripes share one direction
    beyond = 1 - (white.astype(float) ** 2).sum(1)
    return shared / neighbours(model.sensors[-1].psf, model.scale, model.spectrum) * beyond * model.noise**2


def neighbours(psf: Psf, ratio: int, spectrum: FallingSpectrum) -> float:
    """Covariance of neighbouring coarse pixels of a field whose variance on the fine grid is 1."""
    n = 32 * ratio
    power = spectrum(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    gain = np.abs(psf.transfer2d(n, n, ratio)) ** 2 * power / power.sum()
    shift = np.cos(2 * np.pi * np.fft.fftfreq(n) * ratio)
    return float(min((gain * shift[:, None]).sum(), (gain * shift[None]).sum()))
