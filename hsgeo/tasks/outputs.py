"""The rasters that a run writes: which they are, how their values are stored, and each from the working store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsgeo.engine.store import Output
from hsgeo.errors import ParameterError
from hsgeo.scene import write_scene
from hsgeo.scene.encode import Encoding
from hsgeo.scene.write import WriteReport, output_format
from hsgeo.tasks.options import RunOptions, WriteOptions, check_target

if TYPE_CHECKING:
    from hsgeo.engine.run import RunReport

#: creation options by which a user chooses the blocks of a GeoTIFF
BLOCK_OPTIONS = {"BLOCKXSIZE", "BLOCKYSIZE", "TILED"}
APath = str | os.PathLike[str]


class Outputs:
    """The result of a run and what is asked for beside it.

    Parameters
    ----------
    asked : mapping of name to (path, Output)
        How the working store keeps each, and its file too. The first is the result; a path that is None is not written.
    write : WriteOptions
    options : str
        What a user calls them, for messages.

    Attributes
    ----------
    targets : dict of name to Path
    stored : dict of name to Output
    result : str
        Name of the first one.
    work : Path
        The working store.

    Raises
    ------
    ParameterError
        Two of them are one file.
    """

    def __init__(self, asked: Mapping[str, tuple[APath | None, Output]], write: WriteOptions, options: str) -> None:
        self.targets = {name: Path(path) for name, (path, _) in asked.items() if path is not None}
        self.stored = {name: asked[name][1] for name in self.targets}
        self.write_options, self.result = write, next(iter(self.targets))
        result = self.targets[self.result]
        self.work = result.with_name(f".{result.name}.hsgeo-work")
        if len({target.resolve() for target in self.targets.values()}) < len(self.targets):
            raise ParameterError(f"{options} need different paths.")

    def check(self) -> None:
        """See that each can be written, before any work."""
        for name, target in self.targets.items():
            check_target(target, self.write_options, self.stored[name].dtype, self.stored[name].bands)

    def refuse_resume(self, identity: Mapping[str, Any], tile: int | None) -> None:
        """Refuse, before anything is trained or fitted, to go on with what was another run.

        Parameters
        ----------
        identity : mapping
            ``inputs`` and ``parameters``, the size of the tiles not among them.
        tile : int, optional
            The size that is asked for.
        """
        from hsgeo.engine.identity import refuse_other
        from hsgeo.engine.store import stored_plan

        known = stored_plan(self.work)
        if known is not None:
            size = known.tile if tile is None else replace(known, tile=tile).tile
            asked = {**identity, "parameters": {**identity["parameters"], "tile": size}}
            refuse_other(self.work, asked, self.stored, self.targets[self.result])

    def publish(
        self, arrays: Mapping[str, Any], as_scene: Callable[[str, Any], xr.DataArray], record: dict[str, Any],
        progress: Any,
    ) -> dict[str, WriteReport]:  # fmt: skip
        """Write all of them from the working store, which is then removed.

        Parameters
        ----------
        arrays : mapping of name to zarr.Array (bands, height, width)
            Stored values.
        as_scene : callable
            Of a name and its stored values, the scene that is written.
        record : dict
            Provenance.
        progress : Progress
        """
        import dask.array as da

        written = {}
        for name, target in self.targets.items():
            with progress.stage("write" if name == self.result else f"write {name}"):
                scene = as_scene(name, da.from_zarr(arrays[name]))
                written[name] = self._write(scene, target, arrays[name], record)
        shutil.rmtree(self.work, ignore_errors=True)
        return written

    def _write(self, scene: xr.DataArray, target: Path, array: Any, record: dict[str, Any]) -> WriteReport:
        write = self.write_options
        creation = dict(write.creation)
        if output_format(target, write.cog) == "GTiff" and not {k.upper() for k in creation} & BLOCK_OPTIONS:
            creation = {**block_options(array), **creation}
        return write_scene(
            scene, target, cog=write.cog, creation=creation, overwrite=write.overwrite, provenance=record, raw=True
        )


@contextmanager
def computed(
    work: Any, plan: Any, outputs: Outputs, identity: Mapping[str, Any], weights: str | None, run: RunOptions,
    progress: Any,
) -> Iterator[RunReport]:  # fmt: skip
    """All tiles of a run, in its working store, which no other run may enter meanwhile.

    Parameters
    ----------
    work : callable
        See `hsgeo.engine.run.run`.
    plan : TilePlan
    outputs : Outputs
    identity : mapping
        ``inputs`` and ``parameters``.
    weights : str, optional
        Fingerprint of a network.
    run : RunOptions
    progress : Progress
    """
    from hsgeo.engine.run import run as run_tiles

    parameters = {**identity["parameters"], "tile": plan.tile}
    with progress.stage("apply", total=len(list(plan))) as stage:
        done = run_tiles(
            work,
            plan,
            outputs.stored,
            outputs.work,
            identity={**identity, "parameters": parameters, "weights": weights},
            resume=outputs.write_options.resume,
            workers=run.workers,
            scheduler=run.scheduler,
            devices=run.device,
            progress=stage,
            keep_lock=True,
        )
    try:
        yield done
    finally:
        done.release()


def block_options(array: Any) -> dict[str, str]:
    """Blocks of a GeoTIFF that divide the tiles of the working store, so that each tile is read and decoded once.

    None where there is but one tile or no block of 128 to 512 pixels divides it; the writer then chooses.
    """
    tile = array.chunks[-1]
    sides = [side for side in range(512, 127, -16) if tile % side == 0]
    several = array.chunks[-2] == tile and max(array.shape[-2:]) > tile
    return {"BLOCKXSIZE": str(sides[0]), "BLOCKYSIZE": str(sides[0])} if sides and several else {}


def encoding_for(hsi: xr.DataArray, write: WriteOptions, notes: list[str]) -> Encoding:
    """How a result is stored: the HSI's own type, scale and nodata unless told otherwise."""
    source = np.dtype(hsi.attrs["dtype"])
    dtype = np.dtype(write.dtype or source)
    scale, offset = hsi["scale"].values, hsi["offset"].values
    if dtype.kind == "f" and source.kind != "f":
        scale, offset = np.ones_like(scale), np.zeros_like(offset)
    nodata = write.nodata if write.nodata is not None else hsi.attrs["nodata"]
    if write.nodata is not None and not _fits(write.nodata, dtype):
        raise ParameterError(f"--nodata {write.nodata:g} is no value of {dtype}; give one that is, or another --dtype.")
    if nodata is None or not _fits(nodata, dtype):
        nodata = float("nan") if dtype.kind == "f" else float(np.iinfo(dtype).min if dtype.kind == "i" else 0)
        notes.append(f"the output's nodata value is {nodata:g}, since the input gives none that fits {dtype}.")
    return Encoding(dtype.name, scale, offset, nodata)


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max
