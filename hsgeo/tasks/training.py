"""Train a network for HSR-Diff: on the pair itself, or on reference scenes."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from hsgeo.errors import DataError, InputError, ParameterError, ResumeError
from hsgeo.scene.open import open_scene
from hsgeo.scene.provenance import describe_input
from hsgeo.scene.staging import folder_of, refuse_existing
from hsgeo.tasks.inputs import FusionOptions, Scene, path_of
from hsgeo.tasks.options import check_model_name, check_seed, refuse_inputs

if TYPE_CHECKING:
    from hsgeo.methods.fusion.examples import ExampleStore
    from hsgeo.methods.fusion.settings import TrainingParams

#: HSI pixels of a pair that all variants together are made of
GROUND = 160_000

#: of the strips' gain in dB, the log's and the chart's key
GAIN = "validation_gain_db"


def train(
    inputs: Sequence[Scene],
    output: str | os.PathLike[str],
    *,
    reference: bool = False,
    ratio: int | tuple[int, int] | None = None,
    msi_sensors: Sequence[str] = (),
    start: str | None = "package",
    options: FusionOptions | None = None,
    params: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    progress: Any = None,
    said: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train a network and write it to `output`, its log (JSON) and its curves (PNG) beside it.

    Parameters
    ----------
    inputs : sequence of paths or scenes
        An HSI and an MSI, on which the network is trained one scale down (Wald's protocol); or reference scenes.
    output : path
        ``.safetensors``.
    reference : bool
        The inputs are reference scenes, degraded in many ways.
    ratio : int or (int, int), optional
        With reference scenes: of the GSDs, or the smallest and largest.
    msi_sensors : sequence of str
        With reference scenes: whose bands the MSIs have; ten Gaussian bands near Sentinel-2's without.
    start : str or None
        A model to begin from, whose network and kind of signal are kept, so `params` must ask for no others; "package"
        is the one that comes with hsgeo, or a new network where `params` ask for another; None a new network.
    options : FusionOptions, optional
        With a pair: how it is opened and aligned.
    params : mapping, optional
        Of `hsgeo.methods.fusion.settings.TrainingParams`.
    minutes : float, optional
        Time for the steps (of those that are left, where it goes on): as many are planned as the pace allows, which is
        measured at first and all along.
    resume : bool
        Go on with an interrupted training of the same inputs.
    said : callable, optional
        Told, in a sentence, how long it will take and how it goes.

    Returns
    -------
    dict
        ``output``, ``log``, ``curves``, ``examples``, ``steps``, ``seconds``, ``validation_gain_db``, ``parameters``.

    Raises
    ------
    InputError
        One of its leaves: inputs that cannot be trained on, with the reason and the fix.
    """
    from hsgeo.engine.devices import pick_device
    from hsgeo.engine.progress import NullProgress
    from hsgeo.methods.fusion.examples import ExampleStore
    from hsgeo.methods.fusion.training import Training
    from hsgeo.methods.fusion.weights import load_weights

    say = said or (lambda text: None)
    progress = progress if progress is not None else NullProgress()
    target, options = Path(output), options or FusionOptions()
    check_seed(seed)
    ratios = _ratios(inputs, reference, ratio)
    settings = settings_of(params or {})
    usual = settings_of({})
    if start == "package" and (settings.network, settings.space) != (usual.network, usual.space):
        start = None
    begun = None if start is None else load_weights(None if start == "package" else start)
    if begun is not None:
        kept = begun.settings.model_dump(include={"network", "space"})
        asked = settings.model_dump(include={"network", "space"})
        if start != "package" and asked not in (kept, usual.model_dump(include={"network", "space"})):
            raise ParameterError(
                f"{start}: goes on with its own network; leave out network and space, or --start none."
            )
        settings = settings_of({**settings.model_dump(), **kept})
    chosen = pick_device(device)
    identity = {
        "inputs": [_described(i) for i in inputs],
        "ratios": ratios,
        "msi_sensors": list(msi_sensors),
        "start": start,
        "start_weights": None if begun is None else begun.fingerprint,
        "options": options.record(),
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
    }
    files = {"output": target, "log": target.with_suffix(".log.json"), "curves": target.with_suffix(".png")}
    refuse_inputs(files.values(), [path_of(i) for i in inputs])
    work = target.with_name(f"{target.name}.training")
    if not (resume and _interrupted(work, identity)):
        if resume and (report := _finished(files["log"], identity)) is not None and target.exists():
            say(f"nothing to resume: {target} is trained")
            return report
        _begin(work, identity, list(files.values()), overwrite)
        if resume:
            say(f"nothing to resume: {work} has no interrupted training; starting with the first step")
    try:
        if not (work / "examples.json").exists():
            shutil.rmtree(work / "examples.zarr", ignore_errors=True)
        store = ExampleStore(work / "examples.zarr")
        if not (work / "examples.json").exists():
            say("making examples: degrading and fusing the scenes")
            with progress.stage("examples"):
                about = _fill(store, inputs, ratios, msi_sensors, options, settings, seed)
            (work / "examples.json").write_text(json.dumps(about))
        about = json.loads((work / "examples.json").read_text())

        def tell(entry: Mapping[str, Any]) -> None:
            loss = "" if entry["loss"] is None else f", loss {entry['loss']:.3f}"
            step = f"step {entry['step']} of {training.settings.steps}"
            where = "the held-back strip" if training.holds_back else "what it is trained on (too small for a strip)"
            say(f"{step}{loss}, PSNR on {where} {entry[GAIN]:+.2f} dB over subspace")

        training = Training(store, settings, work, start=begun, seed=seed, device=chosen, said=tell)
    except InputError:
        shutil.rmtree(work, ignore_errors=True)  # there is nothing in it to go on with
        raise
    going_on, limit = training.take_up(), math.inf if minutes is None else 60 * minutes
    if going_on:
        say(f"going on from step {training.step}")
    pace = training.pace()
    if minutes is not None:
        training.plan(training.step + int(limit / pace))
    steps = training.settings.steps
    say(
        f"{len(store)} examples, {training.parameters} parameters, {chosen}: "
        f"about {_duration(min((steps - training.step) * pace, limit))} for {steps - training.step} steps at most"
    )
    begin = time.perf_counter()
    with progress.stage("train", total=steps) as stage:
        stage.skip(training.step)
        weights = training.run(lambda: begin + limit - time.perf_counter(), stage)
    best = max(training.log, key=lambda e: e[GAIN])
    gain = best[GAIN]
    if training.step < training.settings.steps:
        say(f"stopped, since nothing was better for {settings.patience} validations")
    if best["step"] < training.step:
        say(f"the weights of step {best['step']} are kept: they are the best")
    report = {
        **{name: str(path) for name, path in files.items()},
        "examples": len(store),
        "parameters": training.parameters,
        "steps": training.step,
        "seconds": training.seconds,
        GAIN: gain,
        "held_back": training.holds_back,
        "loss": training.log[-1]["loss"],
    }
    replace(weights, about={**about, "steps": training.step, GAIN: gain}, name=str(target)).save(target)
    draw_curves(training.log, files["curves"])
    told = {"training": identity, "about": about, "report": report, "entries": training.log}
    files["log"].write_text(json.dumps(told, indent=1))
    shutil.rmtree(work)
    return report


def settings_of(params: Mapping[str, Any]) -> TrainingParams:
    """Training parameters, validated.

    Raises
    ------
    ParameterError
        A name that is not known, or a value outside its range.
    """
    from pydantic import ValidationError

    from hsgeo.methods.fusion.settings import TrainingParams
    from hsgeo.tasks.options import wrong_value

    try:
        return TrainingParams.model_validate(params)
    except ValidationError as error:
        raise ParameterError(f"training: {wrong_value(error, TrainingParams)}") from error


def _described(scene: Scene) -> dict[str, Any]:
    """By what a resumed training knows its inputs again."""
    path = path_of(scene)
    return {"path": str(path), **({} if path is None else describe_input(path))}


def _ratios(inputs: Sequence[Scene], reference: bool, ratio: int | tuple[int, int] | None) -> list[int] | None:
    """Smallest and largest ratio of reference scenes, None for a pair, which has its own."""
    if not reference:
        if len(inputs) != 2:
            given = ", ".join(str(path_of(i)) for i in inputs)
            raise ParameterError(f"{given}: give two scenes, an HSI and an MSI, or reference scenes with --reference.")
        if ratio is not None:
            raise ParameterError("--ratio is for --reference; that of a pair follows from its GSDs: leave it out.")
        return None
    if ratio is None:
        raise ParameterError("--reference needs --ratio: how many times coarser the HSI is, 4 or a range 2-8.")
    low, high = (ratio, ratio) if isinstance(ratio, int) else ratio
    if not 2 <= low <= high:
        asked = f"{low}" if isinstance(ratio, int) else f"{low}-{high}"
        raise ParameterError(f"--ratio {asked}: a whole number from 2, or a range, the smaller first, such as 2-8.")
    return [low, high]


def _interrupted(work: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a working folder holds a training that can be gone on with."""
    kept = work / "training.json"
    if not kept.exists():
        return False
    known, asked = json.loads(kept.read_text()), json.loads(json.dumps(identity))
    differ = [name for name, value in asked.items() if known.get(name) != value]
    if differ:
        raise ResumeError(
            f"{work}: --resume needs the training that was interrupted, and this one differs in {', '.join(differ)}. "
            "Give the same inputs and parameters, or start afresh without --resume."
        )
    return True


def _finished(log: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of a training that has ended, by its log; None where that is another's."""
    if not log.exists():
        return None
    told = json.loads(log.read_text())
    return told["report"] if told.get("training") == json.loads(json.dumps(identity)) else None


def _begin(work: Path, identity: Mapping[str, Any], files: Sequence[Path], overwrite: bool) -> None:
    """An empty working folder, once it is seen that the results can be written."""
    check_model_name(files[0])
    refuse_existing(files, overwrite)
    folder_of(files[0])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "training.json").write_text(json.dumps(identity))


def _fill(
    store: ExampleStore,
    inputs: Sequence[Scene],
    ratios: list[int] | None,
    sensors: Sequence[str],
    options: FusionOptions,
    settings: TrainingParams,
    seed: int,
) -> dict[str, Any]:
    """Put all examples into the store; returns what they are about."""
    source = (
        _from_pair(inputs, options, settings, seed)
        if ratios is None
        else _from_references(inputs, ratios, sensors, options.hsi_sensor, settings, seed)
    )
    about: dict[str, Any] = next(source)
    for example in source:
        if settings.space == "pixels":
            about["bands"] = _bands_of(example, about["bands"])
            about.setdefault("wavelengths", example.nm)
        store.add(example)
    if not len(store):
        least = "16 x 16 HSI pixels are needed" if ratios is None else f"no ratio of {ratios} leaves enough pixels"
        raise DataError(f"{' and '.join(about['scenes'])}: too small to train on ({least}); give larger scenes.")
    return about


def _bands_of(example: Any, known: list[int] | None) -> list[int]:
    """HSI and MSI bands of an example whose signal is the image: those of all others."""
    hsi = example.target.shape[1]
    found = [hsi, len(example.guide) - hsi]
    if known not in (None, found):
        raise DataError(
            f"{example.name}: {found[0]} HSI and {found[1]} MSI bands can be fused, those before have {known[0]} and "
            f"{known[1]}; with space=pixels train on scenes of the same bands."
        )
    return found


def _from_pair(inputs: Sequence[Scene], options: FusionOptions, settings: TrainingParams, seed: int) -> Iterator[Any]:
    """What the examples are about, then the examples."""
    import numpy as np

    from hsgeo.methods.fusion.examples import examples_from_pair
    from hsgeo.methods.fusion.jitter import jittered
    from hsgeo.tasks.examples import wavelengths_of
    from hsgeo.tasks.fusion import FusionJob

    job = FusionJob(inputs[0], inputs[1], replace(options, method="subspace"))
    model = job.model
    yield {
        "ratios": [model.scale, model.scale],
        "bands": None,
        "scenes": job.inputs,
        "sensors": [str(s.attrs.get("sensor") or "") for s in (job.hsi, job.msi)],
    }
    rng, largest = np.random.default_rng(seed), max(settings.patches)
    side = 64 if largest <= 64 else math.ceil(largest / (1 - settings.held_back))
    patches = job.pair.sample(GROUND, side, seed)  # of all variants, so that none trains on what another holds back
    nm = wavelengths_of(job.hsi, model)
    for number in range(settings.variants):
        chosen = [patches[i] for i in rng.permutation(len(patches))]  # of many, one variant takes the first few
        other = jittered(model, None if nm is None else np.asarray(nm), rng) if number else model
        for example in examples_from_pair(other, chosen, seed + number, job.inputs[0], settings, own=model):
            yield replace(example, nm=nm)


def _from_references(
    inputs: Sequence[Scene],
    ratios: list[int],
    sensors: Sequence[str],
    hsi_sensor: str | None,
    settings: TrainingParams,
    seed: int,
) -> Iterator[Any]:
    from hsgeo.sensors import load_sensor
    from hsgeo.simulation.reduced import GAUSSIAN_MSI, usable_bands
    from hsgeo.tasks.examples import variants

    bands = [usable_bands(load_sensor(name).bands) for name in sensors] or [list(GAUSSIAN_MSI)]
    yield {
        "ratios": ratios,
        "bands": None,
        "scenes": [str(path_of(i)) for i in inputs],
        "sensors": list(sensors),
    }
    sources = []
    for number, scene in enumerate(inputs):
        if not isinstance(scene, xr.DataArray):
            scene = open_scene(scene, sensor=hsi_sensor, chunks=None).rename(Path(str(scene)).stem)
        sources.append(variants(scene, (ratios[0], ratios[-1]), bands, seed * 1000 + number, settings))
    while sources:  # in turn, so that an interrupted store holds all scenes
        for source in list(sources):
            example = next(source, None)
            if example is None:
                sources.remove(source)
            else:
                yield example


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def draw_curves(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss and validation over the steps, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    learned = [e for e in log if e["loss"] is not None]
    upper.plot([e["step"] for e in learned], [e["loss"] for e in learned], color="#1f5fa8")
    upper.set_ylabel("loss")
    lower.plot([e["step"] for e in log], [e[GAIN] for e in log], color="#1f5fa8")
    lower.axhline(0, color="#888888", linewidth=0.8)
    lower.set_ylabel("gain on held-back strips, dB")
    lower.set_xlabel("step")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
