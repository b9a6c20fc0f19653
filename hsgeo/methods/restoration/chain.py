"""What a task does to a scene: what is missing is found, stripes are taken off, then a method restores the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

import numpy as np

from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod, RestoredTile, Restorer
from hsgeo.methods.restoration.defects import hot_lines, stuck_lines
from hsgeo.methods.restoration.destriping import Destriped, StripeFree, bridged, destriped, stripe_free
from hsgeo.methods.restoration.gaps import usable
from hsgeo.methods.restoration.inpainting import Inpainter, fitted_inpainter
from hsgeo.methods.restoration.lost import LostBands
from hsgeo.methods.restoration.mended import Mended
from hsgeo.methods.restoration.survey import learned_from
from hsgeo.methods.streaming import CHUNK, dead_bands, model_bands
from hsgeo.observation.lines import Lines
from hsgeo.observation.noise import pixels_needed
from hsgeo.scene.footprint import Footprint
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window

#: tasks that change samples that were measured, that fill samples that were not, and that take stripes off
CHANGES, FILLS, STRIPES = {"denoise", "destripe", "all"}, {"inpaint", "all"}, {"destripe", "all"}


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a scene.

    Attributes
    ----------
    source : Mended
        The scene without samples that are no measurement.
    outline, footprint : Footprint
        Of what the scene has, and of that without stuck lines at its edge, such as a frame.
    bands : int array
        Those that a model can be made of.
    dead : dict
        Other bands that carry nothing, and why.
    stuck, hot : tuples of (Lines, bool array (B, n))
    stripe_free : tuple of StripeFree
        Of the same directions; none where too few pixels have all of their bands.
    pixels : int
        With most of their bands, as far as was looked for the dead ones.
    """

    source: Mended
    outline: Footprint
    footprint: Footprint
    bands: np.ndarray
    dead: dict[int, str]
    stuck: tuple[tuple[Lines, np.ndarray], ...]
    hot: tuple[tuple[Lines, np.ndarray], ...]
    stripe_free: tuple[StripeFree, ...]
    pixels: int

    def inside(self, window: Window) -> np.ndarray:
        """Samples of a window that can be asked for, bool (1 or B, h, w): of a frame, those that the mask hides."""
        inside = self.footprint.holds(window)[None]
        if self.source.mask is None:
            return inside
        return inside | (self.source.mask.hidden(window) & self.outline.holds(window))

    @property
    def beyond(self) -> int:
        """Pixels that lie outside the outline of what the scene has."""
        height, width = self.source.shape
        rows = max(1, CHUNK // width)
        parts = (Window(y, min(height, y + rows), 0, width) for y in range(0, height, rows))
        return height * width - sum(int(self.outline.holds(part).sum()) for part in parts)

    @property
    def frame(self) -> int:
        """Pixels of stuck lines at the edge of what the scene has."""
        wide, narrow = (np.diff(f.rows, axis=1).sum() for f in (self.outline, self.footprint))
        return int(wide - narrow)


def diagnosed(source: Mended, good: np.ndarray, seed: int = 0) -> Diagnosis:
    """Find the lines of a scene that are no measurement.

    Parameters
    ----------
    source : Mended
        With its mask alone.
    good : bool array (B,)
        Bands that may enter a model.
    seed : int
        See `SceneSource.sample`.

    Raises
    ------
    DataError
        No pixel has data.
    BandError
        Fewer than three bands can be worked with.
    """
    outline = Footprint.of(replace(source, mask=None).read, source.shape, source.bands)
    stuck = stuck_of(source, outline)
    directions, source = [lines for lines, _ in stuck], replace(source, dead=stuck)
    footprint = outline
    if any(found.any() for _, found in stuck):
        footprint = Footprint.of(replace(source, mask=None).read, source.shape, source.bands)
    samples = learned_from(source, seed)
    dead = dead_bands(samples)
    bands = model_bands(good, dead)
    read = bridged(source, bands)
    each = tuple(free for lines in directions if (free := stripe_free(read, len(bands), lines)))
    hot = tuple((free.lines, np.zeros((source.bands, free.lines.count), bool)) for free in each)
    for free, (lines, found) in zip(each, hot, strict=True):
        found[bands] = hot_lines(read, lines, free.noise, free.scene)
        found &= ~dict(stuck)[lines]  # which was bridged from the lines beside it
    pixels = sum(int(usable(s[bands]).sum()) for s in samples)
    return Diagnosis(replace(source, dead=stuck + hot), outline, footprint, bands, dead, stuck, hot, each, pixels)


def stuck_of(source: SceneSource, outline: Footprint) -> tuple[tuple[Lines, np.ndarray], ...]:
    """Stuck lines (B, n) of both directions of a scene with an outline."""
    directions = lines_of(source.shape, outline.slope())
    return tuple((lines, stuck_lines(source.read, lines, source.bands)) for lines in directions)


def lines_of(shape: tuple[int, int], slope: float) -> tuple[Lines, ...]:
    """Directions of detector lines: along and across the track, which moves `slope` columns with each row."""
    return Lines(shape, "columns", slope), Lines(shape, "rows", -slope)


@dataclass(kw_only=True)
class Chain:
    """A fitted task; see `hsgeo.methods.restoration.base.Restorer`.

    Attributes
    ----------
    task : {"denoise", "inpaint", "destripe", "all"}
    diagnosis : Diagnosis
    source : Mended
        What the method was fitted on, and is shown.
    inner : Restorer, optional
        The fitted method; None where stripes are all there is to take off.
    filler : Inpainter, optional
        Of pixels that lack most of their bands, which `inner` is shown filled.
    lost : LostBands, optional
        That are told by the result's other bands.
    """

    task: str
    diagnosis: Diagnosis
    source: Mended
    inner: Restorer | None
    bands: np.ndarray
    noise: np.ndarray
    bad_reason: list[str]
    filler: Inpainter | None = None
    lost: LostBands | None = None
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)

    @property
    def misfit(self) -> bool:
        """Whether `noise` is what the samples are off the method's spectra."""
        return getattr(self.inner, "misfit", False)

    @property
    def halo(self) -> int:
        """Context of a tile, pixels."""
        own = 0 if self.inner is None else self.inner.halo
        if self.filler is None:
            return own
        blocks = -(-own // self.filler.multiple) * self.filler.multiple  # whole ones are filled
        return blocks + self.filler.halo

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many pixels."""
        return lcm(*(part.multiple for part in (self.inner, self.filler) if part is not None))

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile; samples that the task does not touch, or of which nothing can be said, stay as they are."""
        mended = self.source.mended(values, outer)
        shown = mended if self.filler is None else self._without_holes(self.filler, mended, outer, core)
        part = (slice(None), *core.within(outer).slices)
        before, known = values[part].astype(np.float32), np.isfinite(mended[part])
        inner = RestoredTile(mended[part]) if self.inner is None else self.inner.apply(shown, outer, core, device)
        wanted = np.zeros(known.shape, bool)
        if self.task in CHANGES:
            wanted |= known
        if self.task in FILLS:
            wanted |= ~known & self.diagnosis.inside(core)
        out = np.where(wanted & np.isfinite(inner.values), inner.values, before)
        out = out.astype(np.float32, copy=False)
        lacking = (wanted & ~known)[self.bands]
        more = {"missing": int(lacking.sum()), "filled": int((lacking & np.isfinite(inner.values[self.bands])).sum())}
        noise = mended[part] - out
        if self.lost is not None and self.lost.runs:
            inside = np.broadcast_to(self.diagnosis.inside(core), out.shape)
            more["missing"] += int(inside[self.lost.bands].sum())
            more["filled"] += self.lost.fill(out, inside)
        return RestoredTile(out, {**inner.stats, **more}, noise=noise)

    def _without_holes(self, filler: Inpainter, mended: np.ndarray, outer: Window, core: Window) -> np.ndarray:
        """Pixels filled that lack most of their bands, as far as `inner` looks."""
        looked = core.grow(0 if self.inner is None else self.inner.halo).clip(*filler.scene)
        out = mended.copy()
        part = out[(slice(None), *looked.within(outer).slices)]
        holes = self.diagnosis.inside(looked).all(0) & ~usable(part[filler.bands])
        if holes.any():
            found = filler.filled(mended[filler.bands], outer, looked)
            part[filler.bands] = np.where(holes, found, part[filler.bands])
        return out


def fitted_chain(
    task: str, method: RestorationMethod, inputs: RestorationInputs, params: Any = None, progress: Any = None
) -> Chain:
    """Fit a task on a scene.

    Parameters
    ----------
    task : {"denoise", "inpaint", "destripe", "all"}
    method : RestorationMethod
    inputs : RestorationInputs
        Its source a `Mended` with its mask alone.
    params, progress
        Of the method.

    Raises
    ------
    InputError
        One of its leaves, where the scene cannot serve.
    """
    good, seed = np.asarray(inputs.good, bool), getattr(params, "seed", 0)
    found = diagnosed(inputs.source, good, seed)
    source, stripes, notes = found.source, None, list[str]()
    if found.pixels < (needed := pixels_needed(len(found.bands))):
        notes.append(
            f"{found.pixels} pixels have most of their bands, and {needed} are needed for the noise and the spectra of "
            f"{len(found.bands)} to be told well."
        )
    if task in FILLS and found.frame:
        notes.append(
            f"{found.frame} pixels at the edge are stuck at one value and were taken for a frame; "
            "a mask of them (--mask) has them filled."
        )
    if task in FILLS and found.beyond:
        notes.append(
            f"{found.beyond} pixels at the edge have no data, lie outside the outline of those that have, and stay so."
        )
    if task == "all" and not found.stripe_free:
        notes.append("too few pixels have all of their bands to tell stripes; none were taken off.")
    elif task in STRIPES:
        stripes = destriped(found.source, found.bands, found.stripe_free, seed)
        source = stripes.source
        notes += unsure_lines(stripes)
    estimates: dict[str, Any] = {"defects": dict(defects_of(found, stripes))}
    inner, filler = None, None
    if task != "destripe":
        inputs = replace(inputs, source=source, task=task)
        inner = method.fit(inputs, params, progress)
        filler = fitted_inpainter(inputs, seed) if task == "all" and has_holes(found) else None
        notes += inner.notes
        estimates = {**inner.report(), **estimates}
    known, lost = inner or stripes, None
    assert known is not None  # a task takes stripes off or has a method
    if task in FILLS and inner is not None:
        wavelength = np.full(len(good), np.nan) if inputs.wavelength is None else np.asarray(inputs.wavelength)
        lost = LostBands.of(np.array([i for i in sorted(found.dead) if good[i]], int), inner.bands, wavelength)
        if len(lost.bands):
            estimates["interpolated_bands"] = lost.bands.tolist()
    return Chain(
        task=task,
        diagnosis=found,
        source=source,
        inner=inner,
        bands=found.bands if inner is None else inner.bands,
        noise=known.noise,
        bad_reason=inputs.reasons(found.dead) if inner is None else inner.bad_reason,
        filler=filler,
        lost=lost,
        notes=notes,
        estimates=estimates,
    )


def unsure_lines(stripes: Destriped) -> Iterator[str]:
    """A note of the lines of each direction that are off in all bands alike."""
    for (lines, _), unsure in zip(stripes.source.offsets, stripes.unsure, strict=True):
        if unsure.any():
            numbers = ", ".join(map(str, np.flatnonzero(unsure)))
            yield (
                f"{lines.along} {numbers} (counted from 0) differ from those beside them in all bands and all along: "
                "whether the sensor or the scene is so cannot be told, and no stripe was taken off them; "
                "a mask of them (--mask) has them filled by inpaint or all."
            )


def has_holes(found: Diagnosis) -> bool:
    """Whether any pixel within the footprint, or under the mask, lacks most of its bands."""
    source, (height, width) = found.source, found.source.shape
    rows = max(1, CHUNK // (width * source.bands))
    for start in range(0, height, rows):
        window = Window(start, min(height, start + rows), 0, width)
        inside = found.inside(window).all(0)
        if (inside & ~usable(source.read(window)[found.bands])).any():
            return True
    return False


def defects_of(found: Diagnosis, stripes: Destriped | None) -> Iterator[tuple[str, Any]]:
    """What is wrong with the lines of each direction, for JSON."""
    if slope := found.stuck[0][0].slope:
        yield "track_slope", slope
    for name, each in (("stuck", found.stuck), ("hot", found.hot)):
        for lines, mask in each:
            yield (
                f"{name}_{lines.along}",
                {str(b): np.flatnonzero(mask[b]).tolist() for b in np.flatnonzero(mask.any(1))},
            )
    for lines, offsets in () if stripes is None else stripes.source.offsets:
        yield f"striped_{lines.along}", {str(b): int((offsets[b] != 0).sum()) for b in np.flatnonzero(offsets.any(1))}
