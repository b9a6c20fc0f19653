"""All measures of generated tiles beside their scene, and what real blocks in the tiles' place would reach.

None of them proves anything alone: random abundances of the right endmembers have a fine point fidelity and a low block
diversity, copies have every distribution right. Together they tell both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import DataError, ParameterError
from hsgeo.quality.generated.cells import Crops
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.diversity import Nearest, nearest_blocks
from hsgeo.quality.generated.fidelity import point_similarity
from hsgeo.quality.generated.frechet import CROP
from hsgeo.quality.generated.judge import Judge
from hsgeo.quality.generated.memorisation import Pair, nearer, nearest_pairs
from hsgeo.quality.generated.own import own_diversity, own_fidelity
from hsgeo.quality.generated.pieces import Piece, Real, cut_blocks, sampled, spectra
from hsgeo.quality.generated.telling import told_apart
from hsgeo.quality.generated.tiles import Labels, Tile, shared_bands
from hsgeo.scene.labels import class_names
from hsgeo.scene.model import label
from hsgeo.scene.units import other_units

#: generated pixels and blocks that are looked for in the scene at most, and spectra of each set that are looked at
PIXELS, BLOCKS, SPECTRA = 1 << 16, 256, 100_000
#: sets of real blocks whose figures are averaged
DRAWS = 5
#: products that a search may take, with what it looks for cut down to these many blocks and pixels at least
WORK, FEWEST = 2e13, (16, 1024)
#: offsets of real blocks up to which the stride is 2 by default
OFFSETS = 250_000
#: the default side of a block, and the smallest one
BLOCK, SMALLEST = 32, 4
#: all orientations, in which memorised blocks are looked for
ALL = 8


@dataclass(frozen=True)
class Settings:
    """How generated tiles are measured.

    Attributes
    ----------
    block : int or None
        Side of the blocks in pixels; None is 32, or the side of the smallest tile.
    stride : int or None
        Between offsets of real blocks, pixels; None is 2, or more where the scene has more than `OFFSETS` then.
    orientations : int
        In which real blocks count for the diversity: 1, 4 (turned by quarters) or 8 (mirrored as well).
    networks : bool
        Whether the measures that train one are taken.
    seed : int
    device : str
        A torch device.
    """

    block: int | None = None
    stride: int | None = None
    orientations: int = 1
    networks: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.block is not None and self.block < SMALLEST:
            raise ParameterError(f"--block {self.block}: at least {SMALLEST} pixels.")
        if self.stride is not None and self.stride < 1:
            raise ParameterError(f"--stride {self.stride}: at least 1 pixel.")
        if self.orientations not in (1, 4, ALL):
            raise ParameterError(f"--orientations {self.orientations}: 1, 4 (turned) or 8 (turned and mirrored).")


@dataclass(frozen=True)
class Measured:
    """What was measured (`values`, as JSON holds it), and what a picture of the nearest pairs needs."""

    values: dict[str, Any]
    pairs: list[Pair]
    blocks: np.ndarray
    real: Real


def measure(
    scene: xr.DataArray, tiles: Sequence[Tile], settings: Settings, labels: xr.DataArray | None, notes: list[str]
) -> Measured:
    """Measure tiles.

    Parameters
    ----------
    scene : scene (band, y, x)
        What they were generated from.
    tiles : sequence of Tile
        With the bands of the scene.
    settings : Settings
    labels : scene (1, y, x), optional
        Classes of the scene; its own clusters without.
    notes : list of str
        What could not be measured is added.

    Raises
    ------
    BandError, GridError, DataError, ParameterError
        The tiles and the scene or its labels do not fit.
    """
    s, rng = settings, np.random.default_rng(settings.seed)
    bands = shared_bands(scene, tiles)
    block = _side(scene, tiles, s.block)
    real = Real(scene, bands)
    area = real.height * real.width
    stride = s.stride or max(2, ceil(sqrt(area / OFFSETS)))
    known = None if labels is None else Labels(labels, scene)
    maps = None if labels is None or known is None else _maps(tiles, known, label(labels), notes)
    ours, whole = sampled([tile.scene for tile in tiles], bands, maps, side=block)
    theirs, _ = sampled([scene], bands, None if known is None else [known.classes], side=block)
    blocks, places = cut_blocks(
        ours, block, _affordable(BLOCKS, FEWEST[0], ALL * area / stride**2 * len(bands) * block**2)
    )
    most = _affordable(PIXELS, FEWEST[1], area * len(bands))
    pixels = spectra(ours, most, rng)
    if not len(blocks):
        raise DataError(
            f"{label(tiles[0].scene)} and its like hold no block of {block} x {block} pixels with data; give a smaller "
            "--block."
        )
    nearest = nearest_blocks(blocks, real, stride, ALL, device=s.device)
    if not nearest.offsets:
        raise DataError(
            f"{label(scene)} holds no block of {block} x {block} pixels with data; give a smaller --block, or fill its "
            "gaps first (hsgeo restore --task inpaint)."
        )
    fidelity = float(point_similarity(pixels, real.windows(), s.device).mean())
    diversity = float(nearest.best(s.orientations).mean())
    own, compared = own_diversity(real, block, stride, s.orientations, s.seed, s.device)
    pairs = [nearer(p, blocks, real, stride) for p in nearest_pairs(nearest, places, [t.name for t in tiles])]
    pairs.sort(key=lambda pair: -pair.similarity)
    values: dict[str, Any] = {
        "point_fidelity": fidelity,
        "own_point_fidelity": own_fidelity(real, block, most, s.seed, s.device),
        "block_diversity": diversity,
        "diversity_over_fidelity": diversity / fidelity if fidelity else None,
        "own_block_diversity": own,
        "memorisation": [pair.summary(scene, block) for pair in pairs],
        "memorised_most": pairs[0].similarity,
    }
    real_pixels = spectra(theirs, SPECTRA, np.random.default_rng(s.seed))
    components = Components.of(real_pixels)
    if ratio := other_units(pixels, real_pixels):
        notes.append(f"the tiles are {ratio:.2g} times as bright as {label(scene)}: they are not in its units.")
    count = None if known is None else len(known.values)
    judge = Judge(theirs, components, count, s.networks, s.seed, s.device)
    values.update(judge.compare(ours))
    if s.networks:
        values.update(_told(theirs, blocks, nearest, components, s, notes))
        if values["fid"] is None:
            notes.append(f"inception_score and fid are left out: they need squares of {CROP} pixels with data.")
    if known is not None and values["layout_distance"] is None:
        notes.append("layout_distance is left out: no tile has a class map (NAME_classes.tif) beside it.")
    crops = Crops(theirs, [np.ones(p.values.shape[1:], bool) for p in theirs], block)
    draws = [judge.compare(_real_blocks(crops, len(blocks), rng)) for _ in range(DRAWS if len(crops) else 0)]
    values["real_blocks"] = {key: _mean([draw[key] for draw in draws]) for key in draws[0]} if draws else {}
    values["details"] = judge.details(ours)
    if not whole:
        notes.append("the tiles are larger than what is held in memory; windows spread evenly over them were measured.")
    values["measured"] = {
        "tiles": len(tiles),
        "bands": len(bands),
        "pixels": len(pixels),
        "blocks": len(blocks),
        "block": block,
        "stride": stride,
        "orientations": s.orientations,
        "real_blocks": nearest.offsets,
        "own_blocks": compared,
        "seed": s.seed,
    }
    return Measured(values, pairs, blocks, real)


def _affordable(most: int, least: int, each: float) -> int:
    """How many things are looked for, of which each takes so many products."""
    return int(min(most, max(least, WORK // each)))


def _side(scene: xr.DataArray, tiles: Sequence[Tile], asked: int | None) -> int:
    """The side of a block."""
    smallest = min((t.scene for t in [*tiles, Tile("", scene)]), key=lambda a: min(a.sizes["y"], a.sizes["x"]))
    most = int(min(smallest.sizes["y"], smallest.sizes["x"]))
    if most < (asked or SMALLEST):
        larger = "a larger scene as --reference" if smallest is scene else "larger tiles"
        raise ParameterError(
            f"{label(smallest)} is {smallest.sizes['y']} x {smallest.sizes['x']} pixels, smaller than a block of "
            f"{asked or SMALLEST}; " + ("give a smaller --block." if asked else f"give {larger}.")
        )
    return asked or min(BLOCK, most)


def _told(
    theirs: Sequence[Piece],
    blocks: np.ndarray,
    nearest: Nearest,
    components: Components,
    settings: Settings,
    notes: list[str],
) -> dict[str, Any]:
    """Whether real and generated blocks are told apart."""
    each, k = np.arange(len(blocks)), nearest.similarity.argmax(1)
    places = nearest.row[each, k], nearest.column[each, k], nearest.similarity[each, k]
    told = told_apart(theirs, blocks, places, components, settings.seed, settings.device)
    if told is None:
        notes.append("told_apart is left out: the tiles or the scene are too small to hold a part of them back.")
        return {"told_apart": None, "told_apart_error": None, "told_apart_block": None}
    if told.accuracy < 0.5 - 3 * told.error:
        notes.append("told_apart is below chance, which says that these tiles are too few for it; measure more.")
    return {"told_apart": told.accuracy, "told_apart_error": told.error, "told_apart_block": told.block}


def _maps(tiles: Sequence[Tile], labels: Labels, name: str, notes: list[str]) -> list[np.ndarray | None]:
    """The class maps of tiles by the scene's labels, the raster `name`."""
    held = [tile.classes for tile in tiles if tile.classes is not None]
    tags: dict[str, str] = {}
    for classes in held:
        tags |= classes.attrs.get("tags", {})
    if any(name.startswith("endmember ") for name in class_names(tags).values()):
        raise ParameterError(
            f"the tiles' classes are endmembers, not those of {name}: their model had no labels; leave --labels out."
        )
    found = sorted({int(v) for classes in held for v in np.unique(classes.values) if v > 0})
    strange = [value for value in found if value not in labels.values]
    if found and len(strange) == len(found):
        raise ParameterError(
            f"{name} has classes {_listed(labels.values)}, the tiles {_listed(found)}: none is in both."
        )
    if strange:
        notes.append(f"classes {_listed(strange)} of the tiles are not among those of {name}, and count as none.")
    return [None if tile.classes is None else labels.number(tile.classes.values[0]) for tile in tiles]


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _real_blocks(crops: Crops, count: int, rng: np.random.Generator) -> list[Piece]:
    """As many real blocks at random places as there are generated ones, each a piece."""
    return [Piece(values, i, 0, 0, classes) for i, (values, classes) in enumerate(crops.draw(count, rng))]
