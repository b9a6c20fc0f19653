"""What a fit reads from a whole scene: which bands live, and their second moments, in one pass of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hsgeo.errors import BandError, DataError
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.observation.structure import NeighbourStatistics
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
        raise DataError(f"there is nothing to work with: every band has {reasons}; check the nodata value.")
    bands = np.array([i for i in alive if good[i]], int)
    if len(good) < 3:
        raise BandError(f"a scene of {len(good)} band{'s' if len(good) > 1 else ''} has no spectra: three are needed.")
    if len(bands) < 3:
        raise BandError(f"{len(bands)} of {len(good)} bands can be used, three are needed: check the good-band flags.")
    return bands


def spectral_statistics(
    read: Callable[[Window], np.ndarray],
    shape: tuple[int, int],
    count: int,
    bands: np.ndarray,
    neighbours: NeighbourStatistics | None = None,
) -> SpectralStatistics:
    """Second moments of some bands over a whole scene, in chunks of rows.

    Pixels with a missing band are left out.

    Parameters
    ----------
    read : callable
        Of a window, all bands (count, h, w).
    shape : (int, int)
    count : int
        Bands that are read.
    bands : int array
        Those that are wanted.
    neighbours : NeighbourStatistics, optional
        Told of the same bands.

    Raises
    ------
    DataError
        No pixel has all bands.
    """
    height, width = shape
    rows = max(1, min(height, CHUNK // (width * count)))
    statistics = SpectralStatistics(len(bands))
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        below = neighbours is not None and stop < height
        image = read(Window(start, stop + below, 0, width))[bands]
        pixels = image[:, : stop - start]
        statistics.update(pixels.reshape(len(bands), -1).T)
        if neighbours is not None:
            neighbours.update(pixels, image[:, stop - start :] if below else None)
    if statistics.n < 2:
        raise DataError(
            "no pixel has data in all bands that are used: drop the bands with gaps, fill them first (hsgeo restore "
            "--task inpaint), or check nodata."
        )
    return statistics
