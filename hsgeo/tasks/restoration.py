"""Restoration of one scene: open -> fit -> tile -> apply -> write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.engine.store import Output
from hsgeo.errors import ParameterError
from hsgeo.methods.restoration.mended import Mended
from hsgeo.methods.restoration.work import RestorationWork
from hsgeo.scene import make_scene
from hsgeo.scene.encode import Encoding
from hsgeo.scene.grids import zoomed
from hsgeo.scene.model import geobox_of
from hsgeo.scene.open import require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.tasks.inputs import Scene, mask_checksums, mask_of, open_input, path_of
from hsgeo.tasks.job import Job
from hsgeo.tasks.options import RunOptions, WriteOptions, check_format, refuse_inputs
from hsgeo.tasks.outputs import Outputs, computed, encoding_for
from hsgeo.tasks.report import by_number, clipping_notes, describe_box
from hsgeo.tasks.tiling import lazy, planned

#: how many times finer a scene can be made
SCALES = 2, 3, 4

#: share of what was removed, and of the noise, that neighbours have in common from which on a user should look at it
STRUCTURED = 0.05


@dataclass(frozen=True)
class RestorationOptions:
    """What `restore` may be told besides the scene and the method's own parameters; see there."""

    task: str = "denoise"
    method: str = "subspace"
    bands: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    sensor: str | None = None
    scale: int | None = None
    mask: Scene | None = None

    def record(self) -> dict[str, Any]:
        """The options as JSON can hold them."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "mask": path_of(self.mask)}


def restore(
    scene: Scene,
    *,
    task: str = "denoise",
    method: str = "subspace",
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    sensor: str | None = None,
    scale: int | None = None,
    mask: Scene | None = None,
    run: RunOptions | None = None,
    **params: Any,
) -> xr.DataArray:
    """Mend a scene: noise, stripes, missing samples; or put it on a finer grid. The noise level of bands is estimated.

    Parameters
    ----------
    scene : path or scene (band, y, x)
    task : str
        ``denoise``; ``destripe``, which takes offsets of detector lines off and leaves all else; ``inpaint``, which
        fills what is missing (nodata within the scene's outline, dead and hot lines, what the mask hides) and leaves
        all else as it is; ``all`` of these three; or ``superres``.
    method : str
        ``subspace`` or one that an installed package adds.
    bands, bbox, sensor
        As in `hsgeo.open_scene`.
    scale : int, optional
        With ``superres``, how many times finer the result is along each axis: 2 (the default), 3 or 4.
    mask : path or scene, optional
        Not zero where samples must not be used; of one layer, or one for each band of `scene`; on any grid.
    run : RunOptions, optional
        Tile size, memory and device.
    **params
        Parameters of the method.

    Returns
    -------
    scene (band, y, x)
        Physical values, lazy: tiles are computed as they are asked for. Bands that are not good are left as they are,
        and so are gaps. ``attrs["notes"]``: what was guessed, found or left out, each a sentence.

    Raises
    ------
    InputError
        One of its leaves: a scene that cannot be restored, with the reason and the fix.
    """
    return RestorationJob(
        scene, RestorationOptions(task, method, bands, bbox, sensor, scale, mask), run=run, params=params
    ).scene()


class RestorationJob(Job):
    """A restoration that is planned (`plan`), and then computed lazily (`scene`) or written (`write`).

    Parameters
    ----------
    scene : path or scene (band, y, x)
    options : RestorationOptions, optional
    run : RunOptions, optional
    params : mapping, optional
        The method's own parameters.
    progress : Progress, optional
        Told of each stage.
    """

    def __init__(
        self,
        scene: Scene,
        options: RestorationOptions | None = None,
        *,
        run: RunOptions | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Any = None,
    ):
        from hsgeo.methods.restoration.base import get_restoration, get_superres

        require_scene(scene, "scene")
        o, self.finer = _scaled(options or RestorationOptions())
        if o.task == "destripe" and o.method != RestorationOptions.method:
            raise ParameterError(f"--method {o.method} is not for --task destripe, which has one way; leave it out.")
        find = get_superres if o.task == "superres" else get_restoration
        super().__init__([str(path_of(scene))], find, o, run, params, progress)
        with self.progress.stage("open"):
            self.scene_in = open_input(scene, o.sensor, self.notes, None, bands=o.bands, bbox=o.bbox)
            hiding, self.mask = mask_of(self.scene_in, o.mask, self.notes), o.mask
        self.without, self.grid = Mended(self.scene_in, hiding), zoomed(geobox_of(self.scene_in), self.finer)
        self.source = self.without if self.finer > 1 else SceneSource(self.scene_in)

    def _fit(self) -> Any:
        from hsgeo.methods.inputs import sensor_mtf
        from hsgeo.methods.restoration.base import RestorationInputs
        from hsgeo.methods.restoration.chain import fitted_chain

        good, reasons = (self.scene_in[name].values for name in ("good", "bad_reason"))
        inputs = RestorationInputs(
            self.without,
            np.asarray(good, bool),
            reasons.tolist(),
            wavelength=self.scene_in["wavelength"].values,
            mtf=sensor_mtf(self.scene_in),
            scale=self.finer,
        )
        if self.finer > 1:
            return self.method.fit(inputs, self.params(), self.progress)
        return fitted_chain(self.arguments["task"], self.method, inputs, self.params(), self.progress)

    def tile_plan(self, model: Any | None = None, resumed: Path | None = None) -> Any:
        """The tiles; those of the store `resumed` where there is one and no size is asked for."""
        return planned(self.run, self.grid.shape.yx, self.source.bands, model, self.finer, resumed)

    def plan(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """What a run would do, without fitting or writing: grid, bands, tiles, memory, size on disk."""
        write = write or WriteOptions()
        self.params()
        self._refuse_inputs([Path(output)])
        if Path(output).exists() and not write.overwrite:
            self.notes.append(f"{output} exists: the run needs --overwrite or another output.")
        code, tiles = encoding_for(self.scene_in, write, self.notes), self.tile_plan()
        check_format(output, write, code.dtype, self.source.bands)
        height, width = self.grid.shape
        return {
            "output": str(output),
            "inputs": self.inputs,
            "task": self.arguments["task"],
            "method": self.arguments["method"],
            "parameters": self.values,
            "grid": describe_box(self.grid),
            "bands": self.source.bands,
            "good_bands": int(self.scene_in["good"].values.sum()),
            "dtype": code.dtype,
            "tiles": len(list(tiles)),
            "tile": tiles.tile,
            "memory": self.run.memory,
            "output_bytes": self.source.bands * height * width * np.dtype(code.dtype).itemsize,
            "notes": self.notes,
        }

    def scene(self) -> xr.DataArray:
        """The result as a lazy scene."""
        model, plan = self.model, self.tile_plan(self.model)
        work = RestorationWork(self.source, model, Encoding("float32", np.ones(1), np.zeros(1), None), scale=self.finer)
        data = lazy(work.values, plan, self.source.bands, self.device())
        return self._as_scene(data, {"notes": [str(text) for text in self.notes]}, 1.0, 0.0)

    def write(
        self,
        output: str | os.PathLike[str],
        write: WriteOptions | None = None,
        *,
        residual: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Compute all tiles, write the result whole or not at all, and report.

        Parameters
        ----------
        output, residual : path
            The restored scene; what was removed, the scene less the result, float32 in the scene's units.

        Returns
        -------
        dict
            What was estimated and measured; see ``hsgeo restore --json``.
        """
        from hsgeo.scene.provenance import provenance_record

        write, bands = write or WriteOptions(), self.source.bands
        if residual is not None and self.finer > 1:
            raise ParameterError("--residual: what a finer scene adds is no residual; leave it out with superres.")
        code = encoding_for(self.scene_in, write, self.notes)
        outputs = Outputs(
            {
                "restored": (output, Output(bands, code.dtype, code.nodata)),
                "residual": (residual, Output(bands, "float32", float("nan"))),
            },
            write,
            "the output and --residual",
        )
        self._refuse_inputs(list(outputs.targets.values()))
        outputs.check()
        self.params()
        record = provenance_record(self.inputs, {"command": "restore", **self.arguments}, scenes=(self.scene_in,))
        identity = {
            "inputs": record["inputs"],
            "masks": mask_checksums(self.mask),
            "parameters": {**self.arguments, "dtype": code.dtype},
        }
        if write.resume:
            outputs.refuse_resume(identity, self.run.tile)
        model = self.model
        plan = self.tile_plan(model, outputs.work if write.resume else None)
        work = RestorationWork(self.source, model, code, tuple(outputs.targets), self.finer)
        weights = getattr(model, "fingerprint", None)
        with computed(work, plan, outputs, identity, weights, self.run, self.progress) as done:
            self.notes += done.notes
            estimates = model.report()
            told = estimates.pop("interpolated_bands", [])
            as_scene = partial(self._output, code)
            written = outputs.publish(done.arrays, as_scene, {**record, "estimates": estimates}, self.progress)
        numbers, left = self.scene_in["band"].values, np.setdiff1d(np.arange(bands), [*model.bands, *told])
        removed = removed_of(done.stats)
        clipped = clipping_notes(done.stats, sum(s["values"] for s in done.stats), code.dtype)
        return {
            "output": str(output),
            "outputs": {name: str(path) for name, path in outputs.targets.items() if name != "restored"},
            "driver": written["restored"].driver,
            "bytes": written["restored"].bytes,
            "grid": describe_box(self.grid),
            "bands": {
                "kept": numbers[model.bands].tolist(),
                "interpolated": numbers[told].tolist(),
                "dropped": {str(numbers[i]): model.bad_reason[i] or "flagged" for i in left},
            },
            "task": self.arguments["task"],
            "method": self.arguments["method"],
            **estimates,
            "defects": by_number(estimates.get("defects", {}), numbers),
            "misfit_std" if getattr(model, "misfit", False) else "noise_std": dict(
                zip(map(str, numbers[model.bands]), model.noise.tolist(), strict=True)
            ),
            "removed" if self.finer == 1 else "misfit": removed,
            **{name: sum(s.get(name, 0) for s in done.stats) for name in ("missing", "filled", "saturated")},
            "networks": _share(done.stats, int(np.prod(self.grid.shape))),
            "tiles": {"done": done.done, "resumed": done.skipped, "size": plan.tile, "halo": plan.halo},
            "stages": self.progress.stages,
            "notes": [
                *self.notes,
                *removed_notes(removed, self.finer > 1),
                *_left(done.stats, self.finer > 1),
                *_unfilled(done.stats),
                *clipped,
            ],
        }

    def _refuse_inputs(self, targets: Sequence[Path]) -> None:
        refuse_inputs(targets, (*self.inputs, self.scene_in.attrs.get("source"), self.arguments["mask"]))

    def _output(self, code: Encoding, name: str, data: Any) -> xr.DataArray:
        """One of the rasters that are written, from its stored values."""
        if name == "restored":
            return self._as_scene(data, {"dtype": code.dtype, "nodata": code.nodata}, code.scale, code.offset)
        return self._as_scene(data, {}, 1.0, 0.0)

    def _as_scene(self, data: Any, attrs: Mapping[str, Any], scale: Any, offset: Any) -> xr.DataArray:
        attrs = {
            "source": "",
            "driver": "",
            "interleave": "band",
            "dtype": "float32",
            "nodata": float("nan"),
            **attrs,
        }
        gsd = self.scene_in["gsd"].values / self.finer
        return make_scene(
            data, self.grid, like=self.scene_in, name="restored", attrs=attrs, scale=scale, offset=offset, gsd=gsd
        )


def _scaled(options: RestorationOptions) -> tuple[RestorationOptions, int]:
    """The options, and how many times finer than the scene the result is: a record of other tasks has no scale."""
    if options.task != "superres":
        if options.scale is not None:
            raise ParameterError(f"--scale is for --task superres; {options.task} keeps the scene's pixels.")
        return options, 1
    scale = SCALES[0] if options.scale is None else options.scale
    if scale not in SCALES:
        raise ParameterError(f"--scale {scale}: a scene is made 2, 3 or 4 times finer.")
    return replace(options, scale=scale), scale


def removed_of(stats: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """How large what was removed is, in units of the noise, and the share of it that neighbours have in common."""

    def mean(name: str) -> float | None:
        count = sum(s[f"{name}_count"] for s in stats)
        return sum(s[name] for s in stats) / count if count else None

    power = mean("power") or None  # nothing was taken for noise
    shares = {name: mean(name) for name in ("space", "spectrum")}
    return {
        "over_noise": None if power is None else float(np.sqrt(power)),
        **{name: float(v / power) if v is not None and power else None for name, v in shares.items()},
    }


def removed_notes(removed: Mapping[str, float | None], finer: bool = False) -> list[str]:
    """A warning where what was removed, or a `finer` result misses of the scene, has structure, which noise has not."""
    power = (removed["over_noise"] or 0.0) ** 2
    found = [
        f"{share:.0%} of it is shared by neighbouring {what}"
        for what, share in (("pixels", removed["space"]), ("bands", removed["spectrum"]))
        if share is not None and share * min(power, 1) > STRUCTURED
    ]
    if not found:
        return []
    if finer:
        return [f"what the result, degraded again, misses of the scene is not only white noise: {' and '.join(found)}."]
    return [f"what was removed is not only white noise: {' and '.join(found)}; look at it with --residual."]


def _share(stats: Sequence[Mapping[str, Any]], pixels: int) -> float | None:
    """Of networks in the mean pixel, where a method mixes them with another result."""
    found = [s["networks"] for s in stats if "networks" in s]
    return sum(found) / pixels if found else None


def _left(stats: Sequence[Mapping[str, Any]], finer: bool) -> list[str]:
    left, pixels = (sum(s.get(name, 0) for s in stats) for name in ("left", "pixels"))
    if not left:
        return []
    how = "interpolated alone" if finer else "left as they are"
    return [f"{left} pixels ({left / pixels:.1%}) lack more than half of their bands and were {how}."]


def _unfilled(stats: Sequence[Mapping[str, Any]]) -> list[str]:
    missing, filled = (sum(s.get(name, 0) for s in stats) for name in ("missing", "filled"))
    if missing == filled:
        return []
    return [f"{missing - filled} of {missing} missing samples were left as they are: nothing near them tells of them."]
