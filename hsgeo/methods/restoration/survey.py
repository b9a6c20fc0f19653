"""What a restoration learns of a whole scene: the noise of each band, and the subspace of its spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from hsgeo.errors import DataError
from hsgeo.methods.restoration.gaps import Likely, as_noisy, filled, noise_of_what_is_there, usable
from hsgeo.methods.streaming import spectral_statistics
from hsgeo.observation.fine_noise import noise_levels
from hsgeo.observation.noise import SpectralStatistics, pixels_needed
from hsgeo.observation.structure import NEIGHBOURS, NeighbourStatistics
from hsgeo.scene.model import label
from hsgeo.scene.window import Window
from hsgeo.unmixing.subspace import Subspace, structured_subspace

#: pixels that are enough to learn from
PIXELS = 40000

#: least noise of a band, of its root mean square: what rounding in single precision leaves after sums over the bands
ROUNDING = 3e-6


def learned_from(source: Any, seed: int, pixels: int = PIXELS) -> list[np.ndarray]:
    """Windows (B, h, w) of a scene to learn from, the whole of it where it has no more pixels than that.

    Raises
    ------
    DataError
        No pixel has data, or one alone.
    """
    samples = source.sample(pixels, seed=seed)
    if not samples:
        if getattr(source, "mask", None) is not None:
            raise DataError(
                f"the mask {label(source.mask.layers)} hides every pixel with data; is it the other way round?"
            )
        raise DataError("there is no pixel with data; check the nodata value.")
    if sum(int(np.isfinite(sample).any(0).sum()) for sample in samples) == 1:
        raise DataError("one pixel alone has data, and nothing to be compared with; give a larger scene.")
    return samples


def surveyed(
    source: Any,
    bands: np.ndarray,
    samples: Sequence[np.ndarray],
    noise: np.ndarray | None = None,
    dimension: int | Literal["auto"] = "auto",
    pairs: Sequence[tuple[int, int]] = NEIGHBOURS,
) -> tuple[Subspace, SpectralStatistics]:
    """The subspace of a scene's spectra, in one pass over it.

    Parameters
    ----------
    source : SceneSource
    bands : int array
        Those that are used.
    samples : sequence of arrays (B, h, w)
        Windows of the scene.
    noise : array (B_used,), optional
        Standard deviation; estimated without.
    dimension : int or "auto"
        See `hsgeo.unmixing.subspace.structured_subspace`.
    pairs : sequence of (rows, columns)
        Neighbours that tell what the scene is; see `hsgeo.observation.structure`.

    Returns
    -------
    Subspace
        Its `noise` is that of the bands.
    SpectralStatistics
    """
    neighbours = NeighbourStatistics(len(bands), pairs)
    known = [s[bands] for s in samples]
    whole = [filled(s) for s in known]
    level = noise_of_what_is_there(known, whole) if noise is None else noise
    bridged = [as_noisy(w, s, level, i) for i, (w, s) in enumerate(zip(whole, known, strict=True))]
    complete, likely = SpectralStatistics(len(bands)), None
    if any((usable(image) & ~np.isfinite(image).all(0)).any() for image in bridged):
        for image in bridged:
            complete.update(image.reshape(len(bands), -1).T)
        if complete.n >= pixels_needed(len(bands)):
            likely = Likely(complete.mean, complete.covariance)

    def read(window: Window) -> np.ndarray:
        if bridged[0].shape[1:] == source.shape:
            spectra = bridged[0][(slice(None), *window.slices)]
        else:
            values = source.read(window)[bands]
            spectra = as_noisy(filled(values), values, level, window.y0)
        return spectra if likely is None else likely.drawn(spectra, window.y0)

    statistics = spectral_statistics(read, source.shape, source.bands, np.arange(len(bands)), neighbours)
    if noise is None:  # what was drawn is white, and would count as noise
        noise = noise_levels(statistics if likely is None else complete, bridged)
        noise = np.maximum(noise, ROUNDING * np.sqrt(np.diag(statistics.correlation)))
    return structured_subspace(statistics, neighbours, noise, dimension), statistics
