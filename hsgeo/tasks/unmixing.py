"""Unmixing of one scene: open -> fit -> tile -> apply -> write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.engine.store import Output
from hsgeo.methods.unmixing.base import get_unmixing
from hsgeo.methods.unmixing.work import UnmixingWork
from hsgeo.scene import make_scene
from hsgeo.scene.model import geobox_of
from hsgeo.scene.open import require_scene
from hsgeo.scene.source import SceneSource
from hsgeo.scene.spectral_library import library_files, write_library
from hsgeo.scene.staging import publish, refuse_existing, staged, write_errors
from hsgeo.tasks.inputs import Scene, open_input, path_of
from hsgeo.tasks.job import Job
from hsgeo.tasks.options import RunOptions, WriteOptions, check_format, refuse_inputs
from hsgeo.tasks.outputs import Outputs, computed
from hsgeo.tasks.report import describe_box
from hsgeo.tasks.tiling import lazy, planned


@dataclass(frozen=True)
class UnmixingOptions:
    """What `unmix` may be told besides the scene and the method's own parameters; see there."""

    method: str = "fcls"
    bands: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    sensor: str | None = None

    def record(self) -> dict[str, Any]:
        """The options as JSON can hold them."""
        return asdict(self)


def unmix(
    scene: Scene,
    *,
    method: str = "fcls",
    endmembers: int | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    sensor: str | None = None,
    run: RunOptions | None = None,
    **params: Any,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Find the endmembers of a scene, and how much of each is in every pixel.

    Parameters
    ----------
    scene : path or scene (band, y, x)
    method : str
        ``fcls``: no abundance below 0, and each pixel's sum 1; or ``linear``, unconstrained.
    endmembers : int, optional
        How many, 2 or more; counted by HySime without.
    bands, bbox, sensor
        As in `hsgeo.open_scene`.
    run : RunOptions, optional
        Tile size, memory, device, and the seed of the search.
    **params
        Parameters of the method.

    Returns
    -------
    scene (endmember, y, x), its first dimension named band
        Abundances, float32, lazy; NaN for pixels that lack a band. ``attrs["notes"]`` as in `hsgeo.restore`.
    array (endmember, band)
        Spectra in the scene's units, NaN in bands that were not used, with the scene's band coordinates.

    Raises
    ------
    InputError
        One of its leaves: a scene that cannot be unmixed, with the reason and the fix.
    """
    params |= {} if endmembers is None else {"endmembers": endmembers}
    job = UnmixingJob(scene, UnmixingOptions(method, bands, bbox, sensor), run=run, params=params)
    return job.scene(), job.endmembers()


class UnmixingJob(Job):
    """An unmixing that is planned (`plan`), and then computed lazily (`scene`) or written (`write`).

    Parameters
    ----------
    scene : path or scene (band, y, x)
    options : UnmixingOptions, optional
    run : RunOptions, optional
    params : mapping, optional
        The method's own parameters.
    progress : Progress, optional
        Told of each stage.
    """

    def __init__(
        self,
        scene: Scene,
        options: UnmixingOptions | None = None,
        *,
        run: RunOptions | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Any = None,
    ):
        require_scene(scene, "scene")
        o = options or UnmixingOptions()
        super().__init__([str(path_of(scene))], get_unmixing, o, run, params, progress)
        self.params()
        with self.progress.stage("open"):
            self.scene_in = open_input(scene, o.sensor, self.notes, None, bands=o.bands, bbox=o.bbox)
        self.grid, self.source = geobox_of(self.scene_in), SceneSource(self.scene_in)

    def _fit(self) -> Any:
        good, reasons = (self.scene_in[name].values for name in ("good", "bad_reason"))
        return self.method.fit(self.source, np.asarray(good, bool), reasons.tolist(), self.params())

    def tile_plan(self, model: Any | None = None, resumed: Path | None = None) -> Any:
        """The tiles; those of the store `resumed` where there is one and no size is asked for."""
        return planned(self.run, self.grid.shape.yx, self.source.bands, model, 1, resumed)

    def plan(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """What a run would do, without fitting or writing: grid, bands, tiles, memory."""
        write, table = write or WriteOptions(), table_of(output)
        self._refuse_inputs(Path(output), table)
        there = [str(path) for path in (Path(output), *library_files(table)) if path.exists()]
        if there and not write.overwrite:
            self.notes.append(f"{there[0]} exists: the run needs --overwrite or another output.")
        check_format(output, write, "float32")
        tiles, count = self.tile_plan(), self.params().endmembers
        return {
            "output": str(output),
            "outputs": {"endmembers": str(table), "library": str(library_files(table)[1])},
            "inputs": self.inputs,
            "method": self.arguments["method"],
            "parameters": self.values,
            "grid": describe_box(self.grid),
            "bands": self.source.bands,
            "good_bands": int(self.scene_in["good"].values.sum()),
            "endmembers": count,
            "dtype": "float32",
            "tiles": len(list(tiles)),
            "tile": tiles.tile,
            "memory": self.run.memory,
            "output_bytes": None if count == "auto" else count * int(np.prod(self.grid.shape)) * 4,
            "notes": self.notes,
        }

    def scene(self) -> xr.DataArray:
        """The abundances as a lazy scene."""
        model = self.model
        data = lazy(
            UnmixingWork(self.source, model).values, self.tile_plan(model), len(model.found.spectra), self.device()
        )
        return self._as_scene(data, {"notes": [str(text) for text in self.notes]})

    def endmembers(self) -> xr.DataArray:
        """Spectra (endmember, band) in the scene's units, NaN in bands that were not used."""
        along = {name: c for name, c in self.scene_in.coords.items() if c.dims == ("band",)}
        return xr.DataArray(
            self._spectra(), dims=("endmember", "band"), coords={"endmember": self._names(), **along}, name="endmembers"
        )

    def write(self, output: str | os.PathLike[str], write: WriteOptions | None = None) -> dict[str, Any]:
        """Compute all tiles, write abundances and endmembers whole or not at all, and report.

        Parameters
        ----------
        output : path
            Of the abundances, float32; the endmembers go beside it as ``NAME_endmembers.csv``, ``.sli`` and ``.hdr``.

        Returns
        -------
        dict
            What was found and measured; see ``hsgeo unmix --json``.
        """
        from hsgeo.scene.provenance import provenance_record

        write, table = write or WriteOptions(), table_of(output)
        self._refuse_inputs(Path(output), table)
        check_unmixed(output, write)
        record = provenance_record(self.inputs, {"command": "unmix", **self.arguments}, scenes=(self.scene_in,))
        identity = {"inputs": record["inputs"], "parameters": self.arguments}
        if write.resume:
            # their number is not known before the fit: a run that was another is refused by the rest first
            Outputs({"abundances": (output, ABUNDANCES)}, write, "outputs").refuse_resume(identity, self.run.tile)
        model = self.model
        names = self._names()
        outputs = Outputs({"abundances": (output, Output(len(names), "float32", float("nan")))}, write, "outputs")
        outputs.check()
        plan = self.tile_plan(model, outputs.work if write.resume else None)
        work, found = UnmixingWork(self.source, model), model.found
        with computed(work, plan, outputs, identity, model.fingerprint, self.run, self.progress) as done:
            self.notes += done.notes
            estimates = {"endmembers": len(names), **found.how, "places": found.places}
            with staged(table) as folder, write_errors(table, self._spectra().nbytes):
                write_library(folder, table, self._spectra(), names, self.scene_in)
                written = outputs.publish(
                    done.arrays,
                    lambda name, data: self._as_scene(data, {}),
                    {**record, "estimates": estimates},
                    self.progress,
                )
                publish(folder, table, [table.name])
        numbers = self.scene_in["band"].values
        left = [i for i in range(self.source.bands) if i not in set(found.bands.tolist())]
        return {
            "output": str(output),
            "outputs": {"endmembers": str(table), "library": str(library_files(table)[1])},
            "driver": written["abundances"].driver,
            "bytes": written["abundances"].bytes,
            "grid": describe_box(self.grid),
            "bands": {
                "kept": numbers[found.bands].tolist(),
                "dropped": {str(numbers[i]): found.bad_reason[i] or "flagged" for i in left},
            },
            "method": self.arguments["method"],
            **estimates,
            **judged(done.stats, len(found.bands)),
            "tiles": {"done": done.done, "resumed": done.skipped, "size": plan.tile},
            "stages": self.progress.stages,
            "notes": [*self.notes, *incomplete_notes(done.stats)],
        }

    def _names(self) -> list[str]:
        return [f"endmember {i}" for i in range(1, len(self.model.found.spectra) + 1)]

    def _spectra(self) -> np.ndarray:
        """Of all bands (p, B)."""
        found = self.model.found
        out = np.full((len(found.spectra), self.source.bands), np.nan)
        out[:, found.bands] = found.spectra
        return out

    def _refuse_inputs(self, output: Path, table: Path) -> None:
        refuse_inputs([output, *library_files(table)], (*self.inputs, self.scene_in.attrs.get("source")))

    def _as_scene(self, data: Any, attrs: Mapping[str, Any]) -> xr.DataArray:
        """Abundances on the scene's grid, with what is known of it but of its bands."""
        own = self.scene_in.attrs
        domains = {name: items for name, items in own.get("domains", {}).items() if name != "ENVI"}
        attrs = {"dtype": "float32", "nodata": float("nan"), "tags": own.get("tags", {}), "domains": domains, **attrs}
        return make_scene(data, self.grid, name="abundances", attrs=attrs, band_name=self._names(), units="1")


#: of a number that is not known yet
ABUNDANCES = Output(1, "float32", float("nan"))


def table_of(output: str | os.PathLike[str]) -> Path:
    """``scene_endmembers.csv`` beside ``scene.tif``."""
    return Path(output).with_name(f"{Path(output).stem}_endmembers.csv")


def check_unmixed(output: str | os.PathLike[str], write: WriteOptions) -> None:
    """See that all that an unmixing writes can be written, before any work."""
    Outputs({"abundances": (output, ABUNDANCES)}, write, "outputs").check()
    refuse_existing(library_files(table_of(output)), write.overwrite)


def judged(stats: Sequence[Mapping[str, Any]], bands: int) -> dict[str, Any]:
    """How far the mixtures are off the pixels, and the mean share of each endmember."""

    def total(name: str) -> float:
        return float(sum(s[name] for s in stats))

    pixels, angles = total("pixels"), total("angles_count")
    shares = np.sum([s["abundances"] for s in stats], axis=0) if stats else np.zeros(0)
    return {
        "rmse": float(np.sqrt(total("squares") / (pixels * bands))) if pixels else None,
        "sam": total("angles") / angles if angles else None,
        "pixels": int(pixels),
        "incomplete": int(total("incomplete")),
        "mean_abundances": (shares / pixels).tolist() if pixels else None,
    }


def incomplete_notes(stats: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is told of pixels that lack some bands."""
    count = int(sum(s["incomplete"] for s in stats))
    if not count:
        return []
    return [f"{count} pixels lack some bands and have no abundances; hsgeo restore --task inpaint fills them."]
