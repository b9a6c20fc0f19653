"""Stripes of a whole scene: a first look at the lines beside each, then against what a denoiser makes of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hsgeo.errors import DataError
from hsgeo.methods.restoration.filtering import Search
from hsgeo.methods.restoration.gaps import filled
from hsgeo.methods.restoration.mended import Mended
from hsgeo.methods.restoration.pattern import pattern
from hsgeo.methods.restoration.stripes import Read, differences, line_offsets
from hsgeo.methods.restoration.subspace import SubspaceRestorer
from hsgeo.methods.restoration.survey import learned_from, surveyed
from hsgeo.observation.lines import Lines
from hsgeo.observation.structure import NEIGHBOURS
from hsgeo.scene.window import Window
from hsgeo.unmixing.subspace import subspace

#: looks against an estimate, and its groups: a median along a line needs no pixel as good as a result does
ROUNDS, LOOK = 2, Search(side=8, stride=8, radius=5, count=16)

#: most of the bands' directions that the scene may fill at the first look
MOST = 30

#: least noise of differences, of what they hold altogether: a basis of the scene leaves some of it in a line's mean
#: however little noise there is, which is no stripe
LEAST = 0.1


@dataclass(frozen=True)
class StripeFree:
    """What a scene shows without the stripes of some lines.

    Attributes
    ----------
    lines : Lines
    noise, measured : arrays (B_used,)
        Standard deviation, with and without the least that is supposed.
    scene : array (B_used, p)
        Basis of its spectra.
    """

    lines: Lines
    noise: np.ndarray
    measured: np.ndarray
    scene: np.ndarray


@dataclass(frozen=True)
class Destriped:
    """A scene and its stripes.

    Attributes
    ----------
    source : Mended
        The scene without them.
    noise : array (B_used,)
        Standard deviation.
    unsure : tuple of bool arrays (n,)
        Lines of each direction of `source.offsets` that are off in all bands alike, or are so in the scene.
    """

    source: Mended
    noise: np.ndarray
    unsure: tuple[np.ndarray, ...]


def bands_of(source: Mended, bands: np.ndarray) -> Read:
    """A reader of some bands (B_used, h, w)."""
    return lambda window: source.read(window)[bands]


def bridged(source: Mended, bands: np.ndarray) -> Read:
    """A reader of some bands (B_used, h, w), single missing samples bridged; it knows its last window by heart."""
    return lru_cache(maxsize=1)(lambda window: filled(source.read(window)[bands]))


def stripe_free(read: Read, bands: int, lines: Lines) -> StripeFree | None:
    """Noise and spectra of a scene by the differences along its lines, in which offsets have no part.

    None where too few pixels have all of their `bands`, single missing ones bridged.
    """
    found = differences(read, lines, bands)
    if found.n < 2 * bands:
        return None
    measured = found.noise_std()
    noise = np.maximum(measured, LEAST * np.sqrt(np.diag(found.correlation)))
    most = max(1, min(MOST, bands // 3))
    basis = subspace(found, noise, min_dimension=1, max_dimension=most).basis
    return StripeFree(lines, noise / np.sqrt(2), measured / np.sqrt(2), basis / np.sqrt(2))


def destriped(source: Mended, bands: np.ndarray, each: Sequence[StripeFree], seed: int = 0) -> Destriped:
    """Find the stripes of a scene.

    Parameters
    ----------
    source : Mended
        Without samples that are no measurement.
    bands : int array
        Those that are looked at.
    each : sequence of StripeFree
        Of each direction in which stripes may run.
    seed : int
        See `SceneSource.sample`.

    Raises
    ------
    DataError
        Too few pixels have enough of their bands.
    """
    if not each:
        raise DataError(f"stripes of {len(bands)} bands need more than {2 * len(bands)} pixels that have all of them.")
    noise = np.min([free.noise for free in each], 0)
    offsets = [np.zeros((source.bands, free.lines.count)) for free in each]
    common = [np.zeros_like(each) for each in offsets]
    unsure = [np.zeros(free.lines.count, bool) for free in each]

    def without(*left_out: int) -> Mended:
        kept = tuple((f.lines, common[i] if i in left_out else common[i] + offsets[i]) for i, f in enumerate(each))
        return replace(source, offsets=kept)

    for i, free in enumerate(each):
        common[i][bands], offsets[i][bands] = pattern(bands_of(without(i), bands), free.lines, noise, free.scene)
        if common[i].any():  # which was noise to the other direction
            read = bridged(without(), bands)
            each = [stripe_free(read, len(bands), f.lines) or f for f in each]
            noise = np.min([f.noise for f in each], 0)
    for i, free in enumerate(each):
        found, unsure[i] = line_offsets(bands_of(without(), bands), free.lines, noise, free.scene)
        offsets[i][bands] = np.where(unsure[i], 0.0, offsets[i][bands] + found)
    looked = list(range(len(each)))
    for _ in range(ROUNDS):
        clean = without()
        pairs = _unstriped([f.lines for i, f in enumerate(each) if (common[i] + offsets[i]).any()])
        space, statistics = surveyed(clean, bands, learned_from(clean, seed), noise, pairs=pairs)
        model = SubspaceRestorer.of(space, statistics, source.shape, bands, LOOK)

        @lru_cache(maxsize=1)
        def estimate(window: Window, model: SubspaceRestorer = model, clean: Mended = clean) -> np.ndarray:
            outer = window.grow(model.halo)
            return model.apply(clean.read(outer), outer, window).values[bands]

        for i in looked:
            read = bands_of(without(i), bands)
            found, _ = line_offsets(read, each[i].lines, noise, space.basis, estimate)
            offsets[i][bands] = np.where(unsure[i], 0.0, found)
        looked = [i for i in looked if offsets[i].any()]
    return Destriped(without(), np.min([f.measured for f in each], 0), tuple(unsure))


def _unstriped(striped: Sequence[Lines]) -> list[tuple[int, int]]:
    """Pairs of neighbours that share no stripe."""
    return [pair for pair in NEIGHBOURS if all(lines.apart(pair) for lines in striped)]
