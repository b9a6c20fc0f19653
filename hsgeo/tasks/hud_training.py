"""A model of what a scene looks like, trained on it (`train_hud`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.scene.labels import Labels
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.open import open_scene, require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.scene.staging import folder_of, refuse_existing
from hsgeo.tasks.hold_out import HoldOut, beside, write_beside
from hsgeo.tasks.inputs import Scene, naming, open_input, path_of
from hsgeo.tasks.options import RunOptions, check_model_name, refuse_inputs, validated

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud


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
    from hsgeo.engine.progress import NullProgress
    from hsgeo.methods.generation.hud import HudMethod

    require_scene(scene, "scene")
    target = Path(output)
    check_model_name(target)
    outputs = [target, beside(target)]
    refuse_inputs(outputs, [path_of(scene), path_of(labels), None if hold_out is None else hold_out.path])
    refuse_existing(outputs, overwrite)
    folder_of(target)
    given = dict(params or {}) | ({} if endmembers is None else {"endmembers": endmembers})
    run, progress = run or RunOptions(), progress if progress is not None else NullProgress()
    settings, notes = validated(HudMethod, given, run.seed), list[str]()
    opened = open_input(scene, sensor, notes, None, bands=bands, bbox=bbox)
    geobox_of(opened)  # without a CRS nothing could be generated
    raster, record = None if labels is None else opened_labels(labels, bbox), None
    if hold_out is not None:
        opened, raster, record = hold_out.applied(opened, raster, settings.crop)
    known = None
    if raster is not None:
        known = Labels.on(opened, raster)
        notes += known.doubts(raster)
    model = trained_on(opened, settings, run, progress, known)
    if record is not None:
        model = replace(model, about={**model.about, "held_out": record})
    model.save(target)
    report = {"output": str(target), **described(model), "held_out": write_beside(model, target)}
    return {**report, "stages": progress.stages, "notes": [*notes, *model.about["notes"]]}


def trained_on(scene: xr.DataArray, settings: Any, run: RunOptions, progress: Any, labels: Labels | None = None) -> Hud:
    """A model of an opened scene.

    Parameters
    ----------
    scene : scene (band, y, x)
    settings : HudTrainingParams
    run : RunOptions
    progress : Progress
        Gets a stage ``train``.
    labels : Labels, optional
        Of its pixels.
    """
    from hsgeo.engine.devices import pick_device
    from hsgeo.methods.generation.correction import levels_of
    from hsgeo.methods.generation.hud import fitted_hud

    good, reasons = (scene[name].values for name in ("good", "bad_reason"))
    with progress.stage("train", total=settings.steps + levels_of(settings)) as stage, naming([label(scene)]):
        return fitted_hud(
            SceneSource(scene),
            np.asarray(good, bool),
            reasons.tolist(),
            settings,
            scene["wavelength"].values,
            labels,
            device=pick_device(run.device),
            progress=stage,
        )


def opened_labels(labels: Scene, bbox: tuple[float, float, float, float] | None = None) -> xr.DataArray:
    """A raster of classes, in memory."""
    return labels if isinstance(labels, xr.DataArray) else open_scene(labels, chunks=None, bbox=bbox)


def described(model: Hud) -> dict[str, Any]:
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
