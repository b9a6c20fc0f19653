"""Quality of generated tiles: open -> the bands they share with their scene -> every measure -> pairs as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from hsgeo.errors import GridError, OutputExistsError, OutputWriteError, ParameterError, SceneReadError
from hsgeo.scene import open_scene
from hsgeo.scene.tile_store import is_tile_store, open_tiles
from hsgeo.tasks.inputs import Scene, path_of
from hsgeo.tasks.options import check_seed, refuse_inputs

#: suffixes of tiles, and what ends the names of the rasters beside them that hold no reflectance
SUFFIXES, BESIDE = {".tif", ".tiff", ".zarr"}, ("_abundances", "_classes")


@dataclass(frozen=True)
class GeneratedOptions:
    """How generated tiles are measured.

    Attributes
    ----------
    generated : bool
        Take the result for generated tiles, whatever it looks like.
    labels : path or scene (1, y, x), optional
        Classes of the reference, whole numbers from 1, on its grid; its own clusters without.
    pairs : path, optional
        A PNG of the generated blocks most like real ones.
    block : int, optional
        Side of the blocks in pixels [32, or the side of the smallest tile].
    stride : int, optional
        Pixels between the real blocks that are compared [2, or more where they are very many].
    orientations : int
        Of real blocks that count for the diversity: 1, 4 (turned by quarters) or 8 (mirrored as well).
    networks : bool
        Whether the measures that train a network are taken.
    seed : int
    device : str
        As in `RunOptions`.
    """

    generated: bool = False
    labels: Scene | None = None
    pairs: str | os.PathLike[str] | None = None
    block: int | None = None
    stride: int | None = None
    orientations: int = 1
    networks: bool = True
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_seed(self.seed)


def is_generated(result: Scene, options: GeneratedOptions) -> bool:
    """Whether a result is generated tiles: by request, a folder of several scenes, or by what its provenance says."""
    if options.generated:
        return True
    if isinstance(result, xr.DataArray):
        return _says_so(result)
    place = Path(result)
    if is_tile_store(place):
        return True
    if not place.is_dir() or place.suffix.lower() == ".zarr":
        if place.suffix.lower() not in SUFFIXES or not place.exists():
            return False
        try:
            return _says_so(open_scene(place, chunks=None))
        except SceneReadError:
            return False
    from hsgeo.scene.folder import band_files

    tiles, others = _rasters(place)
    several = len(tiles) > 1 or bool(others) or any(map(is_tile_store, tiles))
    return bool(tiles) and not band_files(place) and several


def assess_generated(
    result: Scene, reference: Scene, options: GeneratedOptions, overwrite: bool = False
) -> dict[str, Any]:
    """Measure generated tiles beside the scene that they were generated from.

    Parameters
    ----------
    result : path or scene (band, y, x)
        A folder of GeoTIFFs or zarr stores, of which those that end in ``_abundances`` and ``_classes`` are no tiles
        but belong to the tile of the name before it; one raster; or a store of many tiles (`hsgeo.scene.tile_store`).
    reference : path or scene (band, y, x)
    options : GeneratedOptions
    overwrite : bool
        Replace an existing picture.

    Returns
    -------
    dict
        ``point_fidelity``, ``block_diversity``, and the further figures of `hsgeo.quality.generated.measure`;
        ``held_out``: what the model of the tiles has not seen of its scene, None where that is nothing or not known;
        ``real_blocks``: what as many real blocks at random places reach; ``measured``: how; ``details``; ``notes``.

    Raises
    ------
    InputError
        One of its leaves: tiles that are none of this scene, or too small.
    """
    from hsgeo.engine.devices import pick_device
    from hsgeo.quality.generated.measure import Settings, measure

    o, notes = options, []  # type: GeneratedOptions, list[str]
    settings = Settings(o.block, o.stride, o.orientations, o.networks, o.seed, pick_device(o.device))
    paths = _paths(result)
    if o.pairs is not None:
        target = Path(o.pairs)
        refuse_inputs([target], [*paths, *(s for s in (reference, o.labels) if not isinstance(s, xr.DataArray))])
        if target.exists() and not overwrite:
            raise OutputExistsError(f"{target} exists; give --overwrite or another --pairs.")
        if target.suffix.lower() != ".png" or not target.parent.is_dir():
            raise OutputWriteError(f"{target}: give --pairs a .png in a folder that exists.")
    labels = None if o.labels is None else _opened(o.labels, [])
    tiles = [tile for path in paths for tile in _tiles(path, labels is not None)] if paths else [_array_tile(result)]
    notes += [] if isinstance(result, xr.DataArray) else _lost(Path(result), paths)
    found = measure(_opened(reference, notes), tiles, settings, labels, notes)
    out = {"result": str(path_of(result)), "reference": str(path_of(reference)), **found.values, "notes": notes}
    out["held_out"] = _record(tiles[0].scene).get("held_out")
    if o.pairs is not None:
        from hsgeo.quality.generated.memorisation import write_pairs

        out["pairs"] = str(write_pairs(o.pairs, found.pairs, found.blocks, found.real))
    return out


def refuse_options(options: GeneratedOptions) -> None:
    """Refuse options of tiles for a result that is none.

    Raises
    ------
    ParameterError
        One was given.
    """
    plain = GeneratedOptions()
    given = [name for name in ("labels", "pairs", "block") if getattr(options, name) is not None]
    given += [name for name in ("stride", "orientations", "networks") if getattr(options, name) != getattr(plain, name)]
    if given:
        raise ParameterError(f"--{given[0]} is for generated tiles; give --generated if the result is one of them.")


def _rasters(folder: Path) -> tuple[list[Path], list[Path]]:
    """The tiles of a folder by name, and what lies beside them."""
    every = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    stems = {path.stem for path in every}
    others = [p for p in every if any(p.stem.endswith(end) and p.stem[: -len(end)] in stems for end in BESIDE)]
    return [path for path in every if path not in others], others


def _paths(result: Scene) -> list[Path]:
    """The files of tiles; none for a scene in memory."""
    if isinstance(result, xr.DataArray):
        return []
    place = Path(result)
    if not place.is_dir() or place.suffix.lower() == ".zarr":
        return [place]
    tiles, others = _rasters(place)
    if not tiles:
        raise SceneReadError(f"{place} holds no tiles; give a folder of .tif or .zarr scenes.")
    _refuse_orphans(tiles, bool(others))
    return tiles


def _refuse_orphans(paths: Sequence[Path], companions: bool) -> None:
    """Refuse rasters that belong to a tile, by their names, where that is missing.

    A name alone is no proof: other tiles have such `companions`, or the missing one has both.

    Raises
    ------
    SceneReadError
        It names the tile.
    """
    for path in paths:
        if end := next((end for end in BESIDE if path.stem.endswith(end)), ""):
            tile = path.with_stem(path.stem.removesuffix(end))
            if companions or all(tile.with_stem(tile.stem + end) in paths for end in BESIDE):
                raise SceneReadError(
                    f"{tile} is missing, though {path.name} is there; generate the tiles again, or remove what is left "
                    "of this one."
                )


def _lost(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A note of tiles that the catalogue of a folder has items of, and that are not among its rasters."""
    from hsgeo.tasks.stac import COLLECTION, is_collection

    if not is_collection(folder / COLLECTION) or any(map(is_tile_store, paths)):
        return []
    items = {path.stem for path in folder.glob("*.json")} - {Path(COLLECTION).stem}
    lost = sorted(items - {path.stem for path in paths})
    return [f"{folder} does not hold all that its {COLLECTION} names: {', '.join(lost)}."] if lost else []


def _opened(scene: Scene, notes: list[str]) -> xr.DataArray:
    return scene if isinstance(scene, xr.DataArray) else open_scene(scene, chunks=None, notes=notes)


def _tiles(path: Path, classes: bool) -> list[Any]:
    """The tiles of a store, or one raster."""
    from hsgeo.quality.generated.tiles import Tile

    if not is_tile_store(path):
        return [_tile(path, classes)]
    return [Tile(name, scene, kinds if classes else None) for name, scene, kinds in open_tiles(path)]


def _tile(path: Path, classes: bool) -> Any:
    """A tile with its class map, where that is wanted and there."""
    from hsgeo.quality.generated.tiles import Tile

    scene = open_scene(path, chunks=None)
    beside = path.with_name(f"{path.stem}_classes{path.suffix}")
    if not classes or not beside.exists():
        return Tile(path.name, scene)
    found = open_scene(beside, chunks=None)
    if found.sizes["band"] != 1 or found.shape[1:] != scene.shape[1:]:
        raise GridError(f"{beside} does not hold one class for each pixel of {path}; write both on one grid.")
    return Tile(path.name, scene, found)


def _array_tile(scene: Any) -> Any:
    from hsgeo.quality.generated.tiles import Tile
    from hsgeo.scene.model import label

    return Tile(label(scene), scene)


def _says_so(scene: xr.DataArray) -> bool:
    """Whether the provenance of a scene names the command ``generate``."""
    try:
        return bool(_record(scene)["parameters"].get("command") == "generate")
    except (KeyError, AttributeError, TypeError):
        return False


def _record(scene: xr.DataArray) -> dict[str, Any]:
    """The provenance of a scene; empty where there is none."""
    try:
        found = json.loads(scene.attrs.get("tags", {}).get("HSGEO_PROVENANCE", "{}"))
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
