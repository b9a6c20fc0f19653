"""Fusion of an HSI with an MSI: open -> align -> fit -> tile -> apply -> write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.engine.store import Output
from hsgeo.errors import ParameterError
from hsgeo.methods.fusion.work import FusionWork
from hsgeo.scene import make_scene
from hsgeo.scene.align import AlignedPair, align
from hsgeo.scene.encode import Encoding
from hsgeo.scene.notes import log_note
from hsgeo.scene.open import require_scene
from hsgeo.tasks.inputs import FusionOptions, Scene, mask_checksums, masked, open_input, path_of
from hsgeo.tasks.job import Job
from hsgeo.tasks.options import RunOptions, WriteOptions, check_format, refuse_inputs
from hsgeo.tasks.outputs import Outputs, computed, encoding_for
from hsgeo.tasks.report import (
    check_overlap,
    clipping_notes,
    consistency_of,
    describe_grid,
    few_pixels,
    flag_counts,
    settled,
)
from hsgeo.tasks.tiling import lazy, planned

#: what the values of the raster of flags mean
FLAGS = "0 both images, 1 HSI only, 2 MSI only, 3 neither"


def fuse(
    hsi: Scene,
    msi: Scene,
    *,
    method: str = "subspace",
    gsd: float | None = None,
    register: bool = True,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    hsi_sensor: str | None = None,
    msi_sensor: str | None = None,
    hsi_mask: Scene | None = None,
    msi_mask: Scene | None = None,
    run: RunOptions | None = None,
    **params: Any,
) -> xr.DataArray:
    """Fuse a hyperspectral scene with a finer multispectral one.

    Parameters
    ----------
    hsi, msi : path or scene (band, y, x)
        Any CRS, extent, GSD and origin; the HSI's pixels are never resampled.
    method : str
        ``subspace``, ``hsr-diff``, ``gsa``, ``bicubic`` or one that an installed package adds.
    gsd : float, optional
        Pixel size wanted (m); the nearest whole fraction of the HSI's is used.
    register : bool
        Estimate the residual shift between the two, and apply it when it is reliable.
    bands, bbox, hsi_sensor, msi_sensor
        As in `hsgeo.open_scene`; `bands` and `bbox` refer to the HSI.
    hsi_mask, msi_mask : path or scene, optional
        Rasters that are not zero where the image must not be used (clouds, shadows).
    run : RunOptions, optional
        Tile size, memory and device.
    **params
        Parameters of the method.

    Returns
    -------
    scene (band, y, x)
        All HSI bands on the fine grid, physical values, lazy: tiles are computed as they are asked for.
        Bands that are not good carry the HSI alone. ``attrs["notes"]``: what was guessed, found or left out, each a
        sentence, which the logger ``hsgeo`` hears too.

    Raises
    ------
    InputError
        One of its leaves: inputs that cannot be fused, with the reason and the fix.
    """
    options = FusionOptions(method, gsd, register, bands, bbox, hsi_sensor, msi_sensor, hsi_mask, msi_mask)
    return FusionJob(hsi, msi, options, run=run, params=params).scene()


class FusionJob(Job):
    """A fusion that is planned (`plan`), and then computed lazily (`scene`) or written (`write`).

    Parameters
    ----------
    hsi, msi : path or scene (band, y, x)
    options : FusionOptions, optional
    run : RunOptions, optional
    params : mapping, optional
        The method's own parameters.
    given : mapping, optional
        What is known of the observation: ``response``, ``psf``, ``noise_hsi``, ``noise_msi`` (see
        `hsgeo.methods.base.FusionInputs`).
    progress : Progress, optional
        Told of each stage.
    """

    def __init__(
        self,
        hsi: Scene,
        msi: Scene,
        options: FusionOptions | None = None,
        *,
        run: RunOptions | None = None,
        params: Mapping[str, Any] | None = None,
        given: Mapping[str, Any] | None = None,
        progress: Any = None,
    ):
        from hsgeo.methods.base import get_method

        require_scene(hsi, "hsi")
        require_scene(msi, "msi")
        o = options or FusionOptions()
        super().__init__([str(path_of(hsi)), str(path_of(msi))], get_method, o, run, params, progress)
        self.given = dict(given or {})
        with self.progress.stage("open"):
            hsi = open_input(hsi, o.hsi_sensor, self.notes, o.hsi_mask, bands=o.bands, bbox=o.bbox)
            msi = open_input(msi, o.msi_sensor, self.notes, o.msi_mask)
            said = len(self.notes)
            self.hsi, self.msi = masked(hsi, o.hsi_mask, self.notes), masked(msi, o.msi_mask, self.notes)
        with self.progress.stage("align"):
            self.pair: AlignedPair = align(self.hsi, self.msi, gsd=o.gsd, register=o.register)
        self.masks = o.hsi_mask, o.msi_mask
        check_overlap(self.pair, self.inputs, [mask is not None for mask in (o.hsi_mask, o.msi_mask)])
        few = few_pixels(self.pair)
        for text in (*self.notes[said:], *self.pair.notes, *few):  # opening has logged its own
            log_note(text)
        self.notes = [*settled(self.notes, self.pair), *few]

    def _fit(self) -> Any:
        from hsgeo.methods.inputs import fusion_inputs

        inputs = fusion_inputs(self.pair, self.msi, **self.given)
        return self.method.fit(inputs, self.params(), self.progress)

    def by(self, method: str) -> FusionJob:
        """The same pair by another method with its defaults: silent, and without the notes of this job."""
        from hsgeo.engine.progress import NullProgress
        from hsgeo.methods.base import get_method

        job = copy(self)
        job.method, job.values, job.arguments = get_method(method), {}, {**self.arguments, "method": method}
        job.notes, job.progress, job._model = [], NullProgress(), None
        return job

    def tile_plan(self, model: Any | None = None, resumed: Path | None = None) -> Any:
        """The tiles of the fine grid; those of the store `resumed` where there is one and no size is asked for."""
        return planned(self.run, self.pair.fine.shape.yx, self.hsi.sizes["band"], model, self.pair.ratio, resumed)

    def _refuse_inputs(self, targets: Iterable[Path]) -> None:
        read = (*self.inputs, self.hsi.attrs.get("source"), self.msi.attrs.get("source"))
        refuse_inputs(targets, (*read, self.arguments["hsi_mask"], self.arguments["msi_mask"]))

    def plan(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """What a run would do, without fitting or writing: grid, bands, tiles, memory, size on disk."""
        write = write or WriteOptions()
        self.params()
        self._refuse_inputs([Path(output)])
        if Path(output).exists() and not write.overwrite:
            self.notes.append(f"{output} exists: the run needs --overwrite or another output.")
        code = encoding_for(self.hsi, write, self.notes)
        tiles = self.tile_plan()
        good = self.hsi["good"].values
        check_format(output, write, code.dtype, good.size)
        bands, (height, width) = len(good), self.pair.fine.shape
        size = bands * height * width * np.dtype(code.dtype).itemsize
        return {
            "output": str(output),
            "inputs": self.inputs,
            "method": self.arguments["method"],
            "parameters": self.values,
            "grid": describe_grid(self.pair),
            "bands": bands,
            "good_bands": int(good.sum()),
            "shift": _shift(self.pair),
            "dtype": code.dtype,
            "tiles": len(list(tiles)),
            "tile": tiles.tile,
            "memory": self.run.memory,
            "output_bytes": size,
            "working_bytes": size,
            "notes": self.notes,
        }

    def scene(self) -> xr.DataArray:
        """The result as a lazy scene."""
        model, plan = self.model, self.tile_plan(self.model)
        work = FusionWork(self.pair, model, Encoding("float32", np.ones(1), np.zeros(1), None))
        data = lazy(work.values, plan, self.hsi.sizes["band"], self.device())
        attrs = {"dtype": "float32", "nodata": float("nan"), "notes": [str(text) for text in self.notes]}
        return self._as_scene(data, attrs, scale=1.0, offset=0.0)

    def _as_scene(self, data: Any, attrs: Mapping[str, Any], **bands: Any) -> xr.DataArray:
        model = self.model
        pixel = abs(self.pair.fine.resolution.x)
        attrs = {"source": "", "driver": "", "interleave": "band", **attrs}
        bands = {"good": model.good, "bad_reason": model.bad_reason, "gsd": pixel, **bands}
        return make_scene(data, self.pair.fine, like=self.hsi, name="fused", attrs=attrs, **bands)

    def _output(self, code: Encoding, name: str, data: Any) -> xr.DataArray:
        """One of the rasters that are written, from its stored values."""
        if name == "fused":
            attrs = {"dtype": code.dtype, "nodata": code.nodata}
            return self._as_scene(data, attrs, scale=code.scale, offset=code.offset)
        if name == "uncertainty":
            return self._as_scene(data, {"dtype": "float32", "nodata": float("nan")}, scale=1.0, offset=0.0)
        attrs = {"dtype": "uint8", "nodata": None}
        return make_scene(data, self.pair.fine, name=name, attrs=attrs, band_name=[FLAGS])

    def write(
        self,
        output: str | os.PathLike[str],
        write: WriteOptions | None = None,
        *,
        uncertainty: str | os.PathLike[str] | None = None,
        flags: str | os.PathLike[str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Compute all tiles, write the result whole or not at all, and report.

        Parameters
        ----------
        output, uncertainty, flags : path
            The fused scene; per-band standard deviation in the HSI's units; uint8 raster, 0 both images, 1 HSI only,
            2 MSI only, 3 neither.
        prepare : callable, optional
            Called before the fit, once all that was asked for has been checked: makes what the parameters name.

        Returns
        -------
        dict
            What was estimated and measured; see ``hsgeo fuse --json``.
        """
        from hsgeo.scene.provenance import provenance_record

        write, bands = write or WriteOptions(), self.hsi.sizes["band"]
        code = encoding_for(self.hsi, write, self.notes)
        outputs = Outputs(
            {
                "fused": (output, Output(bands, code.dtype, code.nodata)),
                "uncertainty": (uncertainty, Output(bands, "float32", float("nan"))),
                "flags": (flags, Output(1, "uint8", 3)),
            },
            write,
            "the output, --uncertainty and --flags",
        )
        self._refuse_inputs(outputs.targets.values())
        outputs.check()
        self.params()
        record = provenance_record(self.inputs, {"command": "fuse", **self.arguments}, scenes=(self.hsi, self.msi))
        identity = {
            "inputs": record["inputs"],
            "masks": mask_checksums(*self.masks),
            "parameters": {**self.arguments, "dtype": code.dtype},
        }
        if write.resume:
            outputs.refuse_resume(identity, self.run.tile)
        if prepare is not None:
            prepare()
        if uncertainty is not None and "uncertainty" in self.method.Params.model_fields:
            self.values["uncertainty"] = True
        model = self.model
        if uncertainty is not None and not model.has_variance:
            raise ParameterError(
                f"--uncertainty: the method {self.arguments['method']} has none; use subspace or hsr-diff."
            )
        plan = self.tile_plan(model, outputs.work if write.resume else None)
        work = FusionWork(self.pair, model, code, tuple(outputs.targets))
        weights = getattr(model, "fingerprint", None)
        with computed(work, plan, outputs, identity, weights, self.run, self.progress) as done:
            self.notes += done.notes
            estimates = {**model.report(), "ratio": self.pair.ratio, "shift": _shift(self.pair)}
            kept = {k: v for k, v in estimates.items() if not k.startswith("noise_") or isinstance(v, str)}
            written = outputs.publish(
                done.arrays, partial(self._output, code), {**record, "estimates": kept}, self.progress
            )
        good, numbers, pixels = model.good, self.hsi["band"].values, flag_counts(done.stats)
        return {
            "output": str(output),
            "outputs": {name: str(path) for name, path in outputs.targets.items() if name != "fused"},
            "driver": written["fused"].driver,
            "bytes": written["fused"].bytes,
            "grid": describe_grid(self.pair),
            "bands": {
                "kept": numbers[good].tolist(),
                "dropped": {str(numbers[i]): model.bad_reason[i] or "flagged" for i in np.flatnonzero(~good)},
            },
            "method": self.arguments["method"],
            **estimates,
            "consistency": consistency_of(done.stats),
            "pixels": pixels,
            "saturated": sum(s.get("saturated", 0) for s in done.stats),
            "tiles": {"done": done.done, "resumed": done.skipped, "size": plan.tile, "halo": plan.halo},
            "stages": self.progress.stages,
            "notes": self.notes + clipping_notes(done.stats, bands * sum(pixels.values()), code.dtype),
        }


def _shift(pair: AlignedPair) -> dict[str, Any]:
    s = pair.shift
    return {"dy": s.dy, "dx": s.dx, "reliability": s.reliability, "applied": s.applied, "reason": s.reason}
