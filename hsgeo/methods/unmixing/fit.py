"""The endmembers of a scene, found in two passes over it: their number by its second moments, then the corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsgeo.errors import BandError, DataError
from hsgeo.methods.restoration.survey import learned_from
from hsgeo.methods.streaming import CHUNK, dead_bands, model_bands, spectral_statistics
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.scene.window import Window
from hsgeo.unmixing.abundances import fcls
from hsgeo.unmixing.dimension import Dimension, hysime, virtual_dimensionality
from hsgeo.unmixing.vca import Corners, Endmembers, Projection, projection

#: pixels by which endmembers found in several ways are compared
COMPARED = 4000
#: one in so many pixels, and no more than so many, are averaged for an endmember
SHARE, AVERAGED = 1000, 20


@dataclass
class Found:
    """Endmembers of a scene.

    Attributes
    ----------
    spectra : array (p, B_used)
        In the scene's units.
    bands : int array (B_used,)
        Those of the scene that they were found and are fitted in.
    bad_reason : list of str
        Of all bands: why one is not used, "" for one that is.
    places : list of (row, column)
        Of the pixel that each was found at.
    how : dict
        For the report: ``criterion``, ``snr``, ``projection``, ``averaged``, the ``pixels`` with data in all bands.
    notes : list of str
    """

    spectra: np.ndarray
    bands: np.ndarray
    bad_reason: list[str]
    places: list[tuple[int, int]]
    how: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def found_endmembers(source: Any, good: np.ndarray, bad_reason: Sequence[str], params: Any) -> Found:
    """See `hsgeo.methods.unmixing.base.UnmixingMethod.fit`.

    VCA is run in both of its projections, with single pixels and with means of several at each corner, and what mixes
    the scene's pixels best is taken: the published rule takes the projection by the noise alone, and differences of
    illumination, which perspective hides, come back where abundances sum to 1.
    """
    samples = learned_from(source, params.seed)
    dead = dead_bands(samples)
    bands = model_bands(np.asarray(good, bool), dead)
    reasons = [dead.get(i, "") if ok else bad_reason[i] or dead.get(i, "flagged") for i, ok in enumerate(good)]
    statistics = spectral_statistics(source.read, source.shape, source.bands, bands)
    dimension, notes = _number(statistics, params)
    count = dimension.count
    if count > len(bands):
        raise BandError(
            f"endmembers={count}: the {len(bands)} bands that can be used hold no more than {len(bands)} of them."
        )
    if count > statistics.n:
        raise DataError(f"{statistics.n} pixels have data in all bands, fewer than {count} endmembers; ask for fewer.")
    onto = projection(statistics.correlation, statistics.mean, count)
    ways = [onto] if params.projection == "snr" else [onto, onto.other(statistics.correlation)]
    corners = [Corners(way, params.seed) for way in ways]
    for window in rows_of(source):
        pixels = source.read(window)[bands].reshape(len(bands), -1).T
        for each in corners:
            each.update(pixels)
    averages = [params.average]
    if params.average == "auto":
        averages = sorted({1, int(np.clip(statistics.n // SHARE, 1, AVERAGED))})
    endmembers, way, average, tried = _best(corners, averages, count, _compared(samples, bands))
    width = source.shape[1]
    return Found(
        spectra=endmembers.spectra,
        bands=bands,
        bad_reason=reasons,
        places=[(int(i) // width, int(i) % width) for i in endmembers.places],
        how={
            "criterion": dimension.criterion,
            "snr": onto.snr if np.isfinite(onto.snr) else None,
            "projection": _name(way),
            "averaged": average,
            "tried": tried,
            "pixels": statistics.n,
        },
        notes=notes,
    )


def rows_of(source: Any) -> list[Window]:
    """Windows of whole rows that cover a scene, each of few values."""
    height, width = source.shape
    rows = max(1, CHUNK // (width * source.bands))
    return [Window(y, min(y + rows, height), 0, width) for y in range(0, height, rows)]


def _number(statistics: SpectralStatistics, params: Any) -> tuple[Dimension, list[str]]:
    """How many endmembers, why, and what is to be told of it."""
    if params.endmembers != "auto":
        return Dimension(params.endmembers, "as asked"), []
    correlation, mean, pixels = statistics.correlation, statistics.mean, statistics.n
    if params.criterion == "hysime":
        told = hysime(correlation, pixels)
    else:
        told = virtual_dimensionality(correlation, mean, pixels, whitened=params.criterion == "nwhfc")
    count = int(np.clip(told.count, 2, min(params.most, len(mean))))
    if count == told.count:
        return told, []
    note = f"{told.criterion}; {count} endmembers are taken, give --endmembers for another number."
    return Dimension(count, f"{told.criterion}; kept within 2 and {params.most}"), [note]


def _compared(samples: Sequence[np.ndarray], bands: np.ndarray) -> np.ndarray:
    """Some pixels (n, B_used), well spread, by which endmembers are compared."""
    pixels = np.concatenate([s[bands].reshape(len(bands), -1).T for s in samples])
    pixels = pixels[np.isfinite(pixels).all(1)]
    return pixels[:: max(1, len(pixels) // COMPARED)].astype(np.float64)


def _best(
    corners: Sequence[Corners], averages: Sequence[int], count: int, pixels: np.ndarray
) -> tuple[Endmembers, Projection, int, dict[str, float]]:
    """The endmembers whose mixtures are nearest to the pixels, how they were found, and the error of each way."""
    best: tuple[Endmembers, Projection, int] | None = None
    least, tried = np.inf, dict[str, float]()
    refused: DataError | None = None
    for each in corners:
        for average in averages:
            try:
                found = each.found(count, average)
            except DataError as error:
                refused = error
                continue
            off = pixels - fcls(pixels, found.spectra) @ found.spectra
            rmse = float(np.sqrt((off**2).mean())) if len(pixels) else 0.0
            tried[f"{_name(each.onto)}, {average}"] = rmse
            if rmse < least:
                best, least = (found, each.onto, average), rmse
    if best is None:
        raise refused or DataError("no pixel has data in all bands that are used.")
    return *best, tried


def _name(way: Projection) -> str:
    return "perspective" if way.perspective else "about the mean"
