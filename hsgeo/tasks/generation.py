"""Scenes that never were, by a model of one that is: trained on it (`train_hud`), drawn from it (`generate`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.errors import GridError, OutputExistsError, OutputWriteError, ParameterError
from hsgeo.quality.quicklook import decimated, rgb_bands, stretch_limits, to_bytes, write_png
from hsgeo.scene import make_scene, write_scene
from hsgeo.scene.labels import Labels, place_of
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.open import open_scene, require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.scene.staging import folder_of, publish_folder, refuse_existing, staged
from hsgeo.tasks.hold_out import HoldOut, beside, told_of, write_beside
from hsgeo.tasks.inputs import Scene, open_input, path_of
from hsgeo.tasks.options import RunOptions, WriteOptions, refuse_inputs, validated
from hsgeo.tasks.splits import DEFAULT, Shares, tile_tags
from hsgeo.tasks.stac import write_catalogue

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud

#: samples that are drawn at a time, in pixels altogether
AT_ONCE = 1 << 18

#: tiles of a contact sheet, pixels of each, and between them
SHOWN, SHEET, GAP = 64, 128, 2


@dataclass(frozen=True)
class GenerationOptions:
    """What `generate` may be told besides the scene and the model.

    Parameters
    ----------
    count, size, steps : int
        Tiles, the side of one in pixels, and steps of the sampler.
    variability, sensor_noise : bool
        Spectra vary about the mixtures of the endmembers, and have the noise that is left of the scene's.
    wanted : str, optional
        A class, name or number, that tiles are full of.
    layout : path or scene, optional
        A raster of classes, from whose middle every tile takes its layout.
    split : str
        Shares of the tiles for training and validation, or for these and a test; see `hsgeo.tasks.splits`.
    """

    count: int = 1
    size: int = 128
    steps: int = 50
    variability: bool = True
    sensor_noise: bool = True
    wanted: str | None = None
    layout: Scene | None = None
    split: str = DEFAULT

    def check(self) -> None:
        """Refuse numbers that cannot be.

        Raises
        ------
        ParameterError
            With the reason.
        """
        for name in ("count", "size", "steps"):
            if getattr(self, name) < 1:
                raise ParameterError(f"--{name} {getattr(self, name)}: at least 1.")
        if self.wanted is not None and self.layout is not None:
            raise ParameterError("--class and --labels say the same in two ways; give one of them.")
        Shares.of(self.split)


def train_hud(
    scene: Scene,
    output: str | os.PathLike[str],
    *,
    endmembers: int | None = None,
    labels: Scene | None = None,
    hold_out: HoldOut | None = None,
    sensor: str | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    params: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    overwrite: bool = False,
    progress: Any = None,
) -> dict[str, Any]:
    """Train a generator on a scene and write it to `output` (``.safetensors``).

    Parameters
    ----------
    scene : path or scene (band, y, x)
    endmembers : int, optional
        How many; counted without.
    labels : path or scene, optional
        A raster of classes on the scene's grid, whole numbers from 1; 0 where not known.
    hold_out : HoldOut, optional
        Ground that nothing is learned from; `hsgeo.tasks.held_out` reads it from the model, and a raster of it is
        written beside the model (``_held_out.tif``).
    params : mapping, optional
        Of `hsgeo.methods.generation.settings.HudTrainingParams`.

    Returns
    -------
    dict
        ``output``, ``endmembers``, ``criterion``, ``directions``, ``cosine``, ``parameters``, ``steps``, ``loss``,
        ``held_out``, ``stages``, ``notes``.

    Raises
    ------
    InputError
        One of its leaves: a scene that cannot be trained on, with the reason and the fix.
    """
    require_scene(scene, "scene")
    target = Path(output)
    outputs = [target, beside(target)]
    refuse_inputs(outputs, [path_of(scene), None if hold_out is None else hold_out.path])
    refuse_existing(outputs, overwrite)
    folder_of(target)
    given = dict(params or {}) | ({} if endmembers is None else {"endmembers": endmembers})
    model, notes, progress = _trained(
        scene, given, run or RunOptions(), progress, sensor, bands, bbox, labels, hold_out
    )
    model.save(target)
    report = {"output": str(target), **_described(model), "held_out": write_beside(model, target)}
    return {**report, "stages": progress.stages, "notes": notes}


def generate(
    scene: Scene,
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    options: GenerationOptions | None = None,
    sensor: str | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    params: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    write: WriteOptions | None = None,
    progress: Any = None,
) -> dict[str, Any]:
    """Draw tiles that look like a scene into a folder: rasters, a contact sheet, a STAC collection.

    Parameters
    ----------
    scene : path or scene (band, y, x)
        Whose bands, units, pixel size and CRS the tiles have.
    output : path
        Folder; it appears whole or not at all.
    model : path, optional
        Of `train_hud`; trained on the scene without.
    options : GenerationOptions, optional
    params : mapping, optional
        Of the training, where there is no model.

    Returns
    -------
    dict
        ``output``, ``tiles``, ``size``, and what is told of the model; see ``hsgeo generate --json``.

    Raises
    ------
    InputError
        One of its leaves: a scene, a model or options that cannot serve.
    """
    from hsgeo.engine.progress import NullProgress
    from hsgeo.methods.generation.hud import Hud
    from hsgeo.methods.generation.tiles import check_steps
    from hsgeo.scene.provenance import provenance_record

    require_scene(scene, "scene")
    o, run, write = options or GenerationOptions(), run or RunOptions(), write or WriteOptions()
    o.check()
    target = Path(output)
    refuse_inputs([target], [path_of(scene), model])
    if target.exists() and not write.overwrite:
        raise OutputExistsError(f"{target} exists; give --overwrite or another folder.")
    if target.is_file():
        raise OutputWriteError(f"{target} is a file; tiles go into a folder.")
    folder_of(target)
    progress = progress if progress is not None else NullProgress()
    notes: list[str] = []
    source = open_input(scene, sensor, notes, None, bands=bands, bbox=bbox)
    if model is None:
        drawn_by, notes, progress = _trained(scene, params or {}, run, progress, sensor, bands, bbox)
    else:
        if params:
            raise ParameterError(f"{', '.join(params)}: of a training; leave them out with --model.")
        drawn_by = Hud.load(model)
        drawn_by.refuse(label(source), source.sizes["band"], source["wavelength"].values)
    check_steps(drawn_by, o.steps)
    asked = asked_of(drawn_by, o)
    told = {**vars(o), "layout": path_of(o.layout)}
    record = provenance_record(
        [str(path_of(scene))],
        {"command": "generate", "model": None if model is None else str(model), "seed": run.seed, **told},
        scenes=[source],
    )
    record |= {"synthetic": True, "held_out": told_of(drawn_by)}
    with staged(target) as folder:
        inside = folder / target.name
        inside.mkdir()
        shown: list[np.ndarray] = []
        with progress.stage("generate", total=o.count) as stage:
            for number, abundances, spectra, classes in _tiles(drawn_by, o, run, asked):
                tile = _write_tile(inside, number, abundances, spectra, classes, drawn_by, source, o, write, record)
                if len(shown) < SHOWN:
                    shown.append(decimated(tile, rgb_bands(source), SHEET))
                stage.advance()
        write_png(inside / "contact_sheet.png", contact_sheet(shown))
        write_catalogue(inside)
        publish_folder(folder, target)
    return {
        "output": str(target),
        "tiles": o.count,
        "size": o.size,
        "steps": o.steps,
        **_described(drawn_by),
        "stages": progress.stages,
        "notes": notes,
    }


def _trained(
    scene: Scene,
    params: Mapping[str, Any],
    run: RunOptions,
    progress: Any,
    sensor: str | None,
    bands: str | None,
    bbox: tuple[float, float, float, float] | None,
    labels: Scene | None = None,
    hold_out: HoldOut | None = None,
) -> tuple[Hud, list[str], Any]:
    """A model of a scene, what the user must be told, and the progress that saw it."""
    from hsgeo.engine.devices import pick_device
    from hsgeo.engine.progress import NullProgress
    from hsgeo.methods.generation.hud import HudMethod, fitted_hud

    progress, notes = progress if progress is not None else NullProgress(), list[str]()
    settings = validated(HudMethod, params, run.seed)
    opened = open_input(scene, sensor, notes, None, bands=bands, bbox=bbox)
    good, reasons = (opened[name].values for name in ("good", "bad_reason"))
    raster, record = None if labels is None else opened_labels(labels, bbox), None
    if hold_out is not None:
        opened, raster, record = hold_out.applied(opened, raster, settings.crop)
    known = None if raster is None else Labels.on(opened, raster)
    with progress.stage("train", total=settings.steps) as stage:
        model = fitted_hud(
            SceneSource(opened),
            np.asarray(good, bool),
            reasons.tolist(),
            settings,
            opened["wavelength"].values,
            known,
            device=pick_device(run.device),
            progress=stage,
        )
    if record is not None:
        model = replace(model, about={**model.about, "held_out": record})
    return model, [*notes, *model.about["notes"]], progress


def opened_labels(labels: Scene, bbox: tuple[float, float, float, float] | None = None) -> xr.DataArray:
    """A raster of classes, in memory."""
    return labels if isinstance(labels, xr.DataArray) else open_scene(labels, chunks=None, bbox=bbox)


def asked_of(model: Hud, o: GenerationOptions) -> np.ndarray | None:
    """Shares of the classes (K, size, size) that are asked for; None where nothing is.

    Raises
    ------
    ParameterError
        The model has no classes, or not those.
    GridError
        The layout is smaller than a tile.
    """
    if o.wanted is None and o.layout is None:
        return None
    if not model.classes:
        raise ParameterError("--class and --labels: this model knows no classes; train one with --labels.")
    asked = np.zeros((len(model.classes), o.size, o.size), np.float32)
    if o.wanted is not None:
        asked[place_of(model.classes, o.wanted)] = 1
        return asked
    assert o.layout is not None
    raster = opened_labels(o.layout)
    layout = Labels.of(raster)
    if min(layout.numbers.shape) < o.size:
        height, width = layout.numbers.shape
        raise GridError(
            f"{label(raster)}: {height} x {width} pixels are less than a tile of {o.size}; take --size less."
        )
    y, x = ((n - o.size) // 2 for n in layout.numbers.shape)
    part = layout.numbers[y : y + o.size, x : x + o.size]
    for number, name in enumerate(layout.names):
        asked[place_of(model.classes, name)][part == number] = 1
    return asked


def _tiles(
    model: Hud, o: GenerationOptions, run: RunOptions, asked: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Number, abundances (p, size, size), spectra (B_used, size, size) and classes (size, size) of each tile."""
    from hsgeo.engine.devices import pick_device
    from hsgeo.methods.generation.tiles import shown

    group, device = max(1, AT_ONCE // o.size**2), pick_device(run.device)
    for start in range(0, o.count, group):
        seeds = [run.seed + i for i in range(start, min(start + group, o.count))]
        wanted = None if asked is None else [lambda window: asked[(slice(None), *window.slices)]] * len(seeds)
        states = model.states((o.size, o.size), seeds, o.steps, wanted=wanted, device=device)
        for number, (seed, state) in enumerate(zip(seeds, states, strict=True), start):
            yield number, *shown(model, state, seed, o.steps, o.variability, o.sensor_noise)


def _write_tile(
    folder: Path,
    number: int,
    abundances: np.ndarray,
    spectra: np.ndarray,
    classes: np.ndarray,
    model: Hud,
    source: xr.DataArray,
    o: GenerationOptions,
    write: WriteOptions,
    record: Mapping[str, Any],
) -> xr.DataArray:
    """Write reflectance, abundances and classes of a tile, on ground beside that of the others; returns the first."""
    from odc.geo.geobox import GeoBox

    from hsgeo.methods.generation.tiles import class_table

    whole = geobox_of(source)
    row, column = divmod(number, int(np.ceil(o.count**0.5)))
    box = GeoBox((o.size, o.size), whole.affine * whole.affine.translation(column * o.size, row * o.size), whole.crs)
    image = np.full((model.count, o.size, o.size), np.nan, np.float32)
    image[model.bands] = spectra
    like = source.isel(y=slice(0, 1), x=slice(0, 1))
    tags = {"SYNTHETIC": "yes", "SYNTHETIC_MODEL": "hsgeo hud", **tile_tags(record, number)}
    stem = f"tile_{number + 1:0{len(str(o.count))}d}"
    options: dict[str, Any] = {"creation": dict(write.creation), "provenance": record}
    attrs = {**source.attrs, "tags": {**source.attrs.get("tags", {}), **tags}, "source": ""}
    tile = make_scene(image, box, like=like, name="synthetic", attrs=attrs)
    write_scene(tile, folder / f"{stem}.tif", cog=write.cog, dtype=write.dtype, **options)
    plain = {"tags": tags, "dtype": "float32", "nodata": float("nan")}
    names = [f"endmember {i}" for i in range(1, len(abundances) + 1)]
    shares = make_scene(abundances, box, name="abundances", attrs=plain, band_name=names, units="1")
    write_scene(shares, folder / f"{stem}_abundances.tif", **options)
    table = class_table(model)
    told = {f"CLASS_{value}": name for value, name in table.items()}
    kinds = make_scene(
        classes[None].astype(np.float32), box, name="classes", attrs={**plain, "tags": tags | told}, band_name=["class"]
    )
    write_scene(
        kinds, folder / f"{stem}_classes.tif", dtype="uint8" if max(table) < 256 else "uint16", nodata=0, **options
    )
    return tile


def contact_sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles (3, h, w) side by side in one stretch, (3, H, W) uint8."""
    columns = int(np.ceil(len(tiles) ** 0.5))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[1:]
    sheet = np.full((3, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), np.nan)
    for i, tile in enumerate(tiles):
        y, x = (n * (side + GAP) for n, side in zip(divmod(i, columns), (height, width), strict=True))
        sheet[:, y : y + height, x : x + width] = tile
    picture = to_bytes(sheet, stretch_limits(sheet))
    return np.where(np.isfinite(sheet), picture, 255).astype(np.uint8)


def _described(model: Hud) -> dict[str, Any]:
    """What is told of a model."""
    return {
        "endmembers": len(model.encoding.endmembers),
        "criterion": model.about["how"]["criterion"],
        "directions": len(model.encoding.directions),
        "classes": model.classes,
        "class_accuracy": None if model.classifier is None else model.classifier.accuracy,
        "cosine": model.about["cosine"],
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "trained": model.settings.steps,
        "loss": model.about["losses"][-1],
    }
