"""Examples to train on, made of reference scenes: pairs of many sensors, blurs and noise levels, fused and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import BandError, DataError, GridError
from hsgeo.methods.fusion.examples import Example, examples_of
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.spaces import space_of
from hsgeo.observation.psf import Psf
from hsgeo.observation.srf import response_matrix
from hsgeo.scene.model import label
from hsgeo.sensors import Band
from hsgeo.tasks.fusion import FusionJob
from hsgeo.tasks.inputs import FusionOptions

#: by how much what is unknown of a pair may lie beside what is asked for
CENTRE_NM, WIDTH, BLUR, SNR_DB = 8.0, 1.3, 1.3, 4.0

#: signal to noise in dB about which the two images' are drawn
SNR_HSI, SNR_MSI = 35.0, 40.0

#: pixels a side of the parts into which a larger reference is cut, one for each variant: all of a part is looked at
#: whatever the ratio, so that the rows which one variant holds back are no other's to train on
PART = 384

#: share of the pairs whose response and PSF are known to the fusion
KNOWN = 0.5

#: least number of bands that a pair keeps of its MSI, and least share of them
FEWEST, LEAST_BANDS = 3, 0.6


def variants(
    reference: xr.DataArray,
    ratios: tuple[int, int],
    bands: Sequence[Sequence[Band]],
    seed: int,
    settings: TrainingParams,
) -> Iterator[Example]:
    """Examples from degraded versions of a reference scene, as many as `settings` asks for.

    Each draws a ratio, one of the sets of MSI bands, of which some are left out (not where the signal is the image,
    whose network has a channel for each) and all moved a little, a PSF, and noise levels; half are fused blindly. What
    cannot be fused (too small at its ratio) is left out.

    Parameters
    ----------
    reference : scene (B, H, W)
        With wavelengths.
    ratios : (int, int)
        Smallest and largest.
    bands : sequence of sequences of Band
        Of the MSI sensors.
    """
    from hsgeo.simulation.reduced import simulate_pair

    least = 1.0 if settings.space == "pixels" else LEAST_BANDS
    for number in range(settings.variants):
        rng = np.random.default_rng([seed, number])
        ratio = int(rng.integers(ratios[0], ratios[1] + 1))
        drawn = jittered(_inside(bands[int(rng.integers(len(bands)))], reference), rng, least)
        width = ratio * float(np.exp(rng.uniform(-np.log(BLUR), np.log(BLUR))))
        snr_hsi, snr_msi = (v + rng.uniform(-SNR_DB, SNR_DB) for v in (SNR_HSI, SNR_MSI))
        known = rng.random() < KNOWN
        moved = _moved(_part(reference, rng), rng, ratio)
        try:
            pair = simulate_pair(moved, ratio, drawn, snr_hsi, snr_msi, int(rng.integers(2**31)), width)
            hsi, msi = pair.hsi.compute(), pair.msi.compute()
            given = _given(hsi, drawn, width) if known and len(drawn) == msi.sizes["band"] else {}
            job = FusionJob(hsi, msi, FusionOptions("subspace", register=False), given=given)
            model = job.model
        except (GridError, DataError, BandError):
            continue
        yield from _compared(model, job, pair.reference, str(reference.name or ""), settings)


def _compared(
    model: SubspaceModel, job: FusionJob, reference: xr.DataArray, name: str, settings: TrainingParams
) -> Iterator[Example]:
    found = job.pair.sample()
    cases = []
    for patch in found:
        rows, columns = patch.window.scale(model.scale).clip(*reference.shape[1:]).slices
        values = reference.isel(y=rows, x=columns).values
        height, width = (n * model.scale for n in patch.window.shape)
        truth = np.full((len(values), height, width), np.nan, np.float32)
        truth[:, : values.shape[1], : values.shape[2]] = values
        coefficients = model.coefficients(truth[model.model_bands].astype(float))
        known = np.isfinite(coefficients).all(0)
        cases.append((patch, np.nan_to_num(coefficients), known))
    for example in examples_of(model, space_of(settings, model, found), cases, name):
        yield replace(example, nm=wavelengths_of(job.hsi, model))


def wavelengths_of(hsi: xr.DataArray, model: SubspaceModel) -> tuple[float, ...] | None:
    """Of the bands that are fused, nm; None where one is not known."""
    nm = hsi["wavelength"].values[model.model_bands].astype(float)
    return tuple(nm.tolist()) if np.isfinite(nm).all() else None


def jittered(bands: Sequence[Band], rng: np.random.Generator, least: float) -> list[Band]:
    """Bands of which some are left out, a share of `least` at least kept, the others a little moved and widened."""
    kept = max(min(len(bands), FEWEST), int(np.ceil(len(bands) * rng.uniform(least, 1.0))))
    chosen = np.sort(rng.permutation(len(bands))[:kept])
    out = []
    for i in chosen:
        centre = bands[i].centre_nm + rng.normal(0, CENTRE_NM)
        width = bands[i].fwhm_nm * float(np.exp(rng.uniform(-np.log(WIDTH), np.log(WIDTH))))
        out.append(Band(bands[i].name, float(centre), float(width)))
    return out


def _inside(bands: Sequence[Band], scene: xr.DataArray) -> list[Band]:
    nm = scene["wavelength"].values[scene["good"].values.astype(bool)]
    if not np.isfinite(nm).any():
        raise BandError(f"{label(scene)} has no wavelengths (or no good bands); name its sensor (--sensor).")
    low, high = np.nanmin(nm), np.nanmax(nm)
    found = [b for b in bands if low + 10 <= b.centre_nm <= high - 10]
    if not found:
        raise BandError(
            f"no MSI band lies in the range {low:.0f}-{high:.0f} nm of {label(scene)}; name another sensor "
            "(--msi-sensor) or leave the scene out."
        )
    return found


def _part(reference: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    """One of the parts of a large scene."""
    chosen = {}
    for d in ("y", "x"):
        n = reference.sizes[d]
        count = -(-n // PART)
        i = int(rng.integers(count)) if count > 1 else 0
        chosen[d] = slice(i * n // count, (i + 1) * n // count)
    return reference.isel(chosen)


def _moved(reference: xr.DataArray, rng: np.random.Generator, ratio: int) -> xr.DataArray:
    """The scene from another first pixel, so that coarse pixels fall elsewhere."""
    y, x = (int(rng.integers(ratio)) if reference.sizes[d] > 8 * ratio else 0 for d in ("y", "x"))
    return reference.isel(y=slice(y, None), x=slice(x, None))


def _given(hsi: xr.DataArray, bands: Sequence[Band], width: float) -> dict[str, Any]:
    good = hsi["good"].values.astype(bool)
    nm, fwhm = (np.where(good, hsi[key].values.astype(float), np.nan) for key in ("wavelength", "fwhm"))
    return {"response": response_matrix(list(bands), nm, fwhm), "psf": Psf(width, width)}
