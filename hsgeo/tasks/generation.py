"""Scenes that never were, by a model of one that is: trained on it (`train_hud`), drawn from it (`generate`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.errors import OutputExistsError, OutputWriteError, ParameterError
from hsgeo.quality.quicklook import decimated, rgb_bands, stretch_limits, to_bytes, write_png
from hsgeo.scene import make_scene, write_scene
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.open import require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.scene.staging import folder_of, publish_folder, refuse_existing, staged
from hsgeo.tasks.inputs import Scene, open_input, path_of
from hsgeo.tasks.options import RunOptions, WriteOptions, refuse_inputs, validated

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud

#: samples that are drawn at a time, in pixels altogether
AT_ONCE = 1 << 18

#: tiles of a contact sheet, pixels of each, and between them
SHOWN, SHEET, GAP = 64, 128, 2


@dataclass(frozen=True)
class GenerationOptions:
    """What `generate` may be told besides the scene and the model; see there."""

    count: int = 1
    size: int = 128
    steps: int = 50
    variability: bool = True
    sensor_noise: bool = True

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


def train_hud(
    scene: Scene,
    output: str | os.PathLike[str],
    *,
    endmembers: int | None = None,
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
    params : mapping, optional
        Of `hsgeo.methods.generation.settings.HudTrainingParams`.

    Returns
    -------
    dict
        ``output``, ``endmembers``, ``criterion``, ``directions``, ``cosine``, ``parameters``, ``steps``, ``loss``,
        ``stages``, ``notes``.

    Raises
    ------
    InputError
        One of its leaves: a scene that cannot be trained on, with the reason and the fix.
    """
    require_scene(scene, "scene")
    target = Path(output)
    refuse_inputs([target], [path_of(scene)])
    refuse_existing([target], overwrite)
    folder_of(target)
    given = dict(params or {}) | ({} if endmembers is None else {"endmembers": endmembers})
    model, notes, progress = _trained(scene, given, run or RunOptions(), progress, sensor, bands, bbox)
    model.save(target)
    return {"output": str(target), **_described(model), "stages": progress.stages, "notes": notes}


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
    """Draw tiles that look like a scene into a folder: reflectance, abundances, classes, and a contact sheet.

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
    if o.steps > drawn_by.settings.length:
        raise ParameterError(f"--steps {o.steps}: this process has {drawn_by.settings.length} at most.")
    record = provenance_record(
        [str(path_of(scene))],
        {"command": "generate", "model": None if model is None else str(model), "seed": run.seed, **vars(o)},
        scenes=[source],
    )
    record["synthetic"] = True
    with staged(target) as folder:
        inside = folder / target.name
        inside.mkdir()
        shown: list[np.ndarray] = []
        with progress.stage("generate", total=o.count) as stage:
            for number, abundances, spectra in _tiles(drawn_by, o, run):
                tile = _write_tile(inside, number, abundances, spectra, drawn_by, source, o, write, record)
                if len(shown) < SHOWN:
                    shown.append(decimated(tile, rgb_bands(source), SHEET))
                stage.advance()
        write_png(inside / "contact_sheet.png", contact_sheet(shown))
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
) -> tuple[Hud, list[str], Any]:
    """A model of a scene, what the user must be told, and the progress that saw it."""
    from hsgeo.engine.devices import pick_device
    from hsgeo.engine.progress import NullProgress
    from hsgeo.methods.generation.hud import HudMethod, fitted_hud

    progress, notes = progress if progress is not None else NullProgress(), list[str]()
    settings = validated(HudMethod, params, run.seed)
    opened = open_input(scene, sensor, notes, None, bands=bands, bbox=bbox)
    good, reasons = (opened[name].values for name in ("good", "bad_reason"))
    with progress.stage("train", total=settings.steps) as stage:
        model = fitted_hud(
            SceneSource(opened),
            np.asarray(good, bool),
            reasons.tolist(),
            settings,
            opened["wavelength"].values,
            device=pick_device(run.device),
            progress=stage,
        )
    return model, [*notes, *model.about["notes"]], progress


def _tiles(model: Hud, o: GenerationOptions, run: RunOptions) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number, abundances (p, size, size) and spectra (B_used, size, size) of each tile; the seed decides them."""
    from hsgeo.diffusion import noise_field
    from hsgeo.engine.devices import pick_device

    group, device = max(1, AT_ONCE // o.size**2), pick_device(run.device)
    for start in range(0, o.count, group):
        seeds = [run.seed + i for i in range(start, min(start + group, o.count))]
        states = model.states((o.size, o.size), seeds, o.steps, device=device)
        for number, (seed, state) in enumerate(zip(seeds, states, strict=True), start):
            noise = None
            if o.sensor_noise:
                noise = noise_field(seed, o.steps + 1, len(model.bands), 0, o.size, 0, o.size)
            yield number, *model.encoding.decoded(state, o.variability, noise)


def _write_tile(
    folder: Path,
    number: int,
    abundances: np.ndarray,
    spectra: np.ndarray,
    model: Hud,
    source: xr.DataArray,
    o: GenerationOptions,
    write: WriteOptions,
    record: Mapping[str, Any],
) -> xr.DataArray:
    """Write reflectance, abundances and classes of a tile, on ground beside that of the others; returns the first."""
    from odc.geo.geobox import GeoBox

    whole = geobox_of(source)
    row, column = divmod(number, int(np.ceil(o.count**0.5)))
    box = GeoBox((o.size, o.size), whole.affine * whole.affine.translation(column * o.size, row * o.size), whole.crs)
    values = np.full((model.count, o.size, o.size), np.nan, np.float32)
    values[model.bands] = spectra
    like = source.isel(y=slice(0, 1), x=slice(0, 1))
    tags = {"SYNTHETIC": "yes", "SYNTHETIC_MODEL": "hsgeo hud"}
    stem = f"tile_{number + 1:0{len(str(o.count))}d}"
    options: dict[str, Any] = {"creation": dict(write.creation), "provenance": record}
    attrs = {**source.attrs, "tags": {**source.attrs.get("tags", {}), **tags}, "source": ""}
    tile = make_scene(values, box, like=like, name="synthetic", attrs=attrs)
    write_scene(tile, folder / f"{stem}.tif", cog=write.cog, dtype=write.dtype, **options)
    plain = {"tags": tags, "dtype": "float32", "nodata": float("nan")}
    names = [f"endmember {i}" for i in range(1, len(abundances) + 1)]
    shares = make_scene(abundances, box, name="abundances", attrs=plain, band_name=names, units="1")
    write_scene(shares, folder / f"{stem}_abundances.tif", **options)
    classes = make_scene(
        abundances.argmax(0)[None].astype(np.float32) + 1, box, name="classes", attrs=plain, band_name=["class"]
    )
    write_scene(classes, folder / f"{stem}_classes.tif", dtype="uint8", nodata=0, **options)
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
        "cosine": model.about["cosine"],
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "trained": model.settings.steps,
        "loss": model.about["losses"][-1],
    }
