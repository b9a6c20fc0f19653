"""Scenes that never were: open -> model -> tile -> draw -> write."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.engine.identity import read_identity
from hsgeo.errors import ParameterError
from hsgeo.scene.labels import Classes
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.notes import log_note
from hsgeo.scene.open import require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.scene.units import other_units
from hsgeo.tasks.generation_options import GenerationOptions, wanted_of
from hsgeo.tasks.hold_out import told_of
from hsgeo.tasks.hud_training import described, trained_on
from hsgeo.tasks.inputs import Scene, open_input, path_of
from hsgeo.tasks.job import Job
from hsgeo.tasks.options import RunOptions, WriteOptions, refuse_inputs
from hsgeo.tasks.outputs import encoding_for
from hsgeo.tasks.report import clipping_notes
from hsgeo.tasks.splits import counted

if TYPE_CHECKING:
    from hsgeo.methods.generation.canvas import Canvas
    from hsgeo.methods.generation.hud import Hud
    from hsgeo.methods.generation.work import Drawing

#: largest part of a tile that is drawn at a time, pixels a side, and what parts are multiples of
LARGEST, MULTIPLE = 512, 64
#: bytes that a task holds for each pixel that the network sees, and channels of a state before a model is known
NETWORK, CHANNELS = 1300, 32
#: pixels of a scene by which its units are told from a model's
SEEN = 4000


def generate(
    scene: Scene,
    output: str | os.PathLike[str] | None = None,
    *,
    model: str | os.PathLike[str] | None = None,
    sensor: str | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    params: Mapping[str, Any] | None = None,
    run: RunOptions | None = None,
    write: WriteOptions | None = None,
    progress: Any = None,
    **options: Any,
) -> dict[str, Any] | xr.Dataset:
    """Draw tiles that look like a scene: lazily, or into a folder with a contact sheet and a STAC collection.

    Parameters
    ----------
    scene : path or scene (band, y, x)
        Whose bands, units, pixel size and CRS the tiles have.
    output : path, optional
        Folder of rasters, or of a store; it appears whole or not at all.
    model : path, optional
        Of `train_hud`; trained on the scene without.
    sensor, bands, bbox
        As in `hsgeo.open_scene`.
    params : mapping, optional
        Of the training, where there is no model.
    run : RunOptions, optional
        Seed of the first tile, part of a tile that is drawn at a time, memory, workers and device: what is drawn does
        not depend on the last four, but for rounding.
    write : WriteOptions, optional
    **options
        ``count``, ``size``, ``steps`` and what else `hsgeo.tasks.GenerationOptions` has.

    Returns
    -------
    Dataset
        Without an output: ``reflectance`` (tile, band, y, x) in the scene's units, ``abundances`` (tile, endmember, y,
        x) and ``classes`` (tile, y, x), each tile drawn when it is asked for.
    dict
        With one: ``output``, ``tiles``, ``size``, and what is told of the model; see ``hsgeo generate --json``.

    Raises
    ------
    InputError
        One of its leaves: a scene, a model or options that cannot serve.
    """
    subset = {"sensor": sensor, "bands": bands, "bbox": bbox}
    write, told = write or WriteOptions(), GenerationOptions(**options)
    if output is not None:
        check_generated(scene, output, told, write)
    job = GenerationJob(scene, told, model=model, subset=subset, run=run, params=params, progress=progress)
    return job.dataset() if output is None else job.write(output, write)


def check_generated(
    scene: Scene, output: str | os.PathLike[str], options: GenerationOptions, write: WriteOptions
) -> None:
    """See that the tiles of a scene can be written, before anything is opened."""
    from hsgeo.tasks.tile_outputs import check_tiles

    require_scene(scene, "scene")
    refuse_inputs([output], [path_of(scene)])
    check_tiles(Path(output), options.format, write)


class GenerationJob(Job):
    """A generation that is planned (`plan`) or written (`write`).

    Parameters
    ----------
    scene : path or scene (band, y, x)
    options : GenerationOptions, optional
    model : path, optional
    subset : mapping, optional
        ``sensor``, ``bands``, ``bbox`` as in `hsgeo.open_scene`.
    run : RunOptions, optional
    params : mapping, optional
        Of the training, where there is no model.
    progress : Progress, optional
        Told of each stage.
    """

    def __init__(
        self,
        scene: Scene,
        options: GenerationOptions | None = None,
        *,
        model: str | os.PathLike[str] | None = None,
        subset: Mapping[str, Any] | None = None,
        run: RunOptions | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Any = None,
    ):
        from hsgeo.methods.generation.hud import Hud, HudMethod
        from hsgeo.methods.generation.tiles import check_sampling

        require_scene(scene, "scene")
        self.options = o = options or GenerationOptions()
        o.check()
        super().__init__([str(path_of(scene))], lambda name: HudMethod, o, run, params, progress)
        self.file, given = None if model is None else Path(model), dict(subset or {})
        self.arguments |= given
        if self.file is not None and self.values:
            raise ParameterError(f"{', '.join(self.values)}: of a training; leave them out with --model.")
        if self.file is None and not (o.wanted is None and o.layout is None):
            option, train = "--labels" if o.wanted is None else "--class", f"hsgeo train hud {self.inputs[0]}"
            raise ParameterError(
                f"{option} needs a --model that was trained with labels: {train} --labels RASTER -o MODEL.safetensors."
            )
        self.settings: Any = self.params() if self.file is None else None
        with self.progress.stage("open"):
            self.source = open_input(scene, given.pop("sensor", None), self.notes, None, **given)
        geobox_of(self.source)  # without a CRS no tile can be written
        if self.file is not None:
            self._model = Hud.load(self.file)
            self._model.refuse(label(self.source), self.source.sizes["band"], self.source["wavelength"].values)
            self.settings = self._model.settings
            self.notes += self._unlike(self._model)
        check_sampling(self.settings, o.steps, o.size)
        classes = Classes([], []) if self._model is None else self._model.known
        self.wanted = wanted_of(replace(classes, model=str(self.file)), o)
        if self.settings.correction and (o.eta > 0 or self.wanted):
            self.notes.append(
                "tiles of a class, of a layout or with --eta vary a little less than the scene: "
                "what is known to be missing in tiles that come as they may is made up for in those alone."
            )

    def _unlike(self, model: Hud) -> Iterator[str]:
        """A note of a model whose spectra are in other units than the scene's."""
        typical = model.encoding.decoded(np.zeros((model.encoding.channels, 1)), False)[1].T
        for values in SceneSource(self.source).sample(SEEN)[:1]:
            if ratio := other_units(typical, values[model.bands].reshape(len(model.bands), -1).T):
                yield (
                    f"the spectra of {self.file} are {ratio:.2g} times as bright as those of {label(self.source)}: "
                    "it was trained in other units, and the tiles will be in those."
                )

    def _fit(self) -> Hud:
        return trained_on(self.source, self.settings, self.run, self.progress)

    @property
    def model(self) -> Hud:
        """The model that was given, or one trained on the scene when first asked for."""
        if self._model is None:
            self._keep(self._fit())
        return self._model

    def canvas(self, resumed: Path | None = None) -> Canvas:
        """The tiles and their parts; as they were in the working folder `resumed` where no size is asked for."""
        from hsgeo.engine.memory import choose_tile
        from hsgeo.methods.generation.canvas import Canvas
        from hsgeo.networks import AbundanceUNet

        o, run, s = self.options, self.run, self.settings
        known = None if resumed is None or run.tile is not None else read_identity(resumed)
        part = run.tile if known is None else known["parameters"]["tile"]
        if part is None:
            reach = AbundanceUNet(1, 0, s.widths, s.blocks).reach
            workers = max(1, run.workers)
            per_pixel = 4 * (3 * self.source.sizes["band"] + 6 * CHANNELS) + NETWORK
            part = choose_tile(run.memory, per_pixel, halo=reach, multiple=MULTIPLE, tasks=workers, largest=LARGEST)
            if o.size > part:  # parts of about one size
                across = -(-o.size // part)
                part = -(-o.size // (across * MULTIPLE)) * MULTIPLE
            else:  # each worker gets some tiles
                share = min(part**2 // o.size**2, -(-o.count // workers))
                part = math.isqrt(share * o.size**2 - 1) + 1
        return Canvas(o.count, o.size, part)

    def plan(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """What a run would do, without training or writing: tiles, parts, memory, size on disk."""
        from hsgeo.tasks.tile_outputs import check_tile_format

        o, write, target = self.options, write or WriteOptions(), Path(output)
        self._refuse_inputs(target)
        check_tile_format(target, o.format, write)
        if target.exists() and not write.overwrite:
            self.notes.append(f"{target} exists: the run needs --overwrite or another output.")
        code, canvas = encoding_for(self.source, write, self.notes), self.canvas()
        count: Any = self._model and len(self._model.encoding.endmembers)
        count = count or getattr(self.settings, "endmembers", "auto")
        if count == "auto":
            self.notes.append("abundances are not in the size of the output: the run counts the endmembers.")
        pixel = self.source.sizes["band"] * np.dtype(code.dtype).itemsize + (0 if count == "auto" else 4 * count) + 1
        return {
            "output": str(target),
            "inputs": self.inputs,
            "format": o.format,
            "model": None if self.file is None else str(self.file),
            "parameters": self.values,
            "tiles": o.count,
            "size": o.size,
            "steps": o.steps,
            "seed": self.run.seed,
            "splits": counted(o.split, self.run.seed, o.count),
            "endmembers": count,
            "bands": self.source.sizes["band"],
            "good_bands": int(self.source["good"].values.sum()),
            "dtype": code.dtype,
            "parts": {
                "count": canvas.blocks,
                "size": min(canvas.part, o.size),
                "passes": 1 if canvas.whole else o.steps,
            },
            "memory": self.run.memory,
            "output_bytes": o.count * o.size**2 * pixel,
            "notes": self.notes,
        }

    def dataset(self) -> xr.Dataset:
        """The tiles, each drawn when it is asked for; see `hsgeo.tasks.lazy_tiles`."""
        from hsgeo.tasks.lazy_tiles import lazy_tiles

        made = lazy_tiles(self.source, self.model, self.drawing, self.options.count, self.options.size, self.device())
        return made.assign_attrs(notes=[str(text) for text in self.notes])

    @property
    def drawing(self) -> Drawing:
        """What is drawn."""
        from hsgeo.methods.generation.work import Drawing

        o = self.options
        return Drawing(self.run.seed, o.steps, o.variability, o.sensor_noise, self.wanted, o.eta)

    def write(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """Draw all tiles, write them whole or not at all, and report.

        Parameters
        ----------
        output : path
            Folder.

        Returns
        -------
        dict
            See ``hsgeo generate --json``.
        """
        from hsgeo.methods.generation.hud import Hud
        from hsgeo.scene.provenance import describe_input, provenance_record
        from hsgeo.tasks.drawing import MODEL, draw, working
        from hsgeo.tasks.tile_outputs import TileFolder, check_tiles

        o, write, target = self.options, write or WriteOptions(), Path(output)
        self._refuse_inputs(target)
        check_tiles(target, o.format, write)
        code = encoding_for(self.source, write, self.notes)
        folder = target.with_name(f".{target.name}.hsgeo-work")
        canvas = self.canvas(folder if write.resume else None)
        command = {"command": "generate", "model": None if self.file is None else str(self.file), **self.arguments}
        record = provenance_record(self.inputs, command, scenes=[self.source]) | {"synthetic": True}
        layout = [] if o.layout is None or isinstance(o.layout, xr.DataArray) else [describe_input(o.layout)]
        identity = {
            "inputs": [*record["inputs"], *layout],
            "parameters": {**self.arguments, "dtype": code.dtype, "nodata": repr(code.nodata), "tile": canvas.part},
            "model": None if self.file is None else fingerprint(self.file),
            "training": None if self.file is not None else self.settings.model_dump(mode="json"),
        }
        with working(folder, identity, write.resume, target, self.notes):
            if self.file is None:
                if (folder / MODEL).exists():
                    self._keep(Hud.load(folder / MODEL))
                else:
                    self.model.save(folder / MODEL)
                identity["model"] = fingerprint(folder / MODEL)
            drawn = draw(
                self.model, canvas, self.drawing, code, folder, identity, self.run, self.progress, self.notes
            )  # fmt: skip
            record["held_out"] = told_of(self.model)
            tiles = TileFolder(target, self.source, self.model, canvas, code, o.format, write, record)
            size = tiles.publish(drawn.arrays, self.progress)
            shutil.rmtree(folder, ignore_errors=True)
        values = o.count * o.size**2 * len(self.model.bands)
        return {
            "output": str(target),
            "format": o.format,
            "bytes": size,
            "tiles": o.count,
            "size": o.size,
            "steps": o.steps,
            "seed": self.run.seed,
            "splits": counted(o.split, self.run.seed, o.count),
            **described(self.model),
            "parts": {"done": drawn.done, "resumed": drawn.skipped, "size": min(canvas.part, o.size)},
            "stages": self.progress.stages,
            "notes": [*self.notes, *clipping_notes([{"saturated": drawn.saturated}], values, code.dtype)],
        }

    def _keep(self, model: Hud) -> None:
        """Take a model that was trained for these tiles, with what its training had to say."""
        self._model = model
        for text in model.about["notes"]:
            log_note(text)
        self.notes += model.about["notes"]

    def _refuse_inputs(self, target: Path) -> None:
        refuse_inputs([target], (*self.inputs, self.source.attrs.get("source"), self.file, self.arguments["layout"]))


def fingerprint(path: Path) -> str:
    """Of the content of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
