"""What the fit reads from the whole HSI: which bands live, and their second moments, in one pass of bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsgeo.errors import BandError, DataError
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.scene.window import Window

#: values read at a time
CHUNK = 2**25


def dead_bands(patches: Sequence[np.ndarray]) -> dict[int, str]:
    """Bands of the patches (B, h, w) that carry nothing, and why."""
    if not patches:
        raise DataError("there is no pixel where both images have data; check their nodata values and masks.")
    low = np.full(len(patches[0]), np.inf)
    high = np.full(len(patches[0]), -np.inf)
    for patch in patches:
        flat = patch.reshape(len(patch), -1)
        finite = np.isfinite(flat)
        low = np.minimum(low, np.where(finite, flat, np.inf).min(1, initial=np.inf))
        high = np.maximum(high, np.where(finite, flat, -np.inf).max(1, initial=-np.inf))
    dead = {int(i): "no data" for i in np.flatnonzero(high < low)}
    return dead | {int(i): "the same value everywhere" for i in np.flatnonzero(high == low)}


def model_bands(good: np.ndarray, dead: dict[int, str]) -> np.ndarray:
    """Indices of the bands that enter the model.

    Raises
    ------
    DataError
        All bands are dead.
    BandError
        Fewer than three bands are left.
    """
    alive = [i for i in range(len(good)) if i not in dead]
    if not alive:
        reasons = " or ".join(sorted(set(dead.values())))
        raise DataError(f"the HSI has nothing to fuse: every band has {reasons}; check its nodata value.")
    bands = np.array([i for i in alive if good[i]], int)
    if len(bands) < 3:
        raise BandError(
            f"{len(bands)} of {len(good)} HSI bands can be fused, three are needed: check the good-band flags."
        )
    return bands


def spectral_statistics(pair: Any, bands: np.ndarray) -> SpectralStatistics:
    """Second moments of the HSI's bands over the whole scene, in chunks of rows.

    Pixels with a missing band are left out.

    Raises
    ------
    DataError
        No pixel has all bands.
    """
    height, width = pair.coarse.shape
    rows = max(1, min(height, CHUNK // (width * int(pair.hsi.sizes["band"]))))
    statistics = SpectralStatistics(len(bands))
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        pixels = pair.read_hsi(Window(start, stop, 0, width))[bands]
        statistics.update(pixels.reshape(len(bands), -1).T)
    if statistics.n < 2:
        raise DataError("no HSI pixel has data in all bands to be fused: drop the bands with gaps, or check nodata.")
    return statistics
