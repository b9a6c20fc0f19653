"""The rasters that a fusion writes: which they are, how their values are stored, and each from the working store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from hsgeo.engine.store import Output
from hsgeo.errors import ParameterError
from hsgeo.methods.fusion.work import Encoding
from hsgeo.scene import make_scene, write_scene
from hsgeo.scene.write import WriteReport, output_format
from hsgeo.tasks.options import WriteOptions, check_target

#: creation options by which a user chooses the blocks of a GeoTIFF
BLOCK_OPTIONS = {"BLOCKXSIZE", "BLOCKYSIZE", "TILED"}
#: what the values of the raster of flags mean
FLAGS = "0 both images, 1 HSI only, 2 MSI only, 3 neither"

APath = str | os.PathLike[str]


class FusionOutputs:
    """The fused scene and what is asked for beside it.

    Parameters
    ----------
    output, uncertainty, flags : path
        The last two may be None.
    write : WriteOptions
    code : Encoding
        Of the fused values.
    bands : int
        Of the fused scene.

    Attributes
    ----------
    targets : dict of name to Path
    stored : dict of name to Output
        How the working store keeps them, and their files too.
    work : Path
        The working store.

    Raises
    ------
    ParameterError
        Two of them are one file.
    """

    def __init__(
        self, output: APath, uncertainty: APath | None, flags: APath | None, write: WriteOptions, code: Encoding,
        bands: int,
    ) -> None:  # fmt: skip
        asked = {"fused": output, "uncertainty": uncertainty, "flags": flags}
        every = {
            "fused": Output(bands, code.dtype, code.nodata),
            "uncertainty": Output(bands, "float32", float("nan")),
            "flags": Output(1, "uint8", 3),
        }
        self.targets = {name: Path(path) for name, path in asked.items() if path is not None}
        self.stored = {name: every[name] for name in self.targets}
        self.write_options, self.code = write, code
        self.work = self.targets["fused"].with_name(f".{self.targets['fused'].name}.hsgeo-work")
        if len({target.resolve() for target in self.targets.values()}) < len(self.targets):
            raise ParameterError("the output, --uncertainty and --flags need different paths.")

    def check(self) -> None:
        """See that each can be written, before any work."""
        for name, target in self.targets.items():
            check_target(target, self.write_options, self.stored[name].dtype, self.stored[name].bands)

    def write(
        self, name: str, array: Any, as_scene: Callable[..., xr.DataArray], grid: GeoBox, record: dict[str, Any]
    ) -> WriteReport:
        """Write one of them from the working store.

        Parameters
        ----------
        name : "fused", "uncertainty" or "flags"
        array : zarr.Array (bands, height, width)
            Stored values.
        as_scene : callable
            ``as_scene(data, attrs, scale=..., offset=...)`` gives the scene with the HSI's bands.
        grid : GeoBox
        record : dict
            Provenance.
        """
        import dask.array as da

        data, code, write, target = da.from_zarr(array), self.code, self.write_options, self.targets[name]
        if name == "fused":
            scene = as_scene(data, {"dtype": code.dtype, "nodata": code.nodata}, scale=code.scale, offset=code.offset)
        elif name == "uncertainty":
            scene = as_scene(data, {"dtype": "float32", "nodata": float("nan")}, scale=1.0, offset=0.0)
        else:
            scene = make_scene(data, grid, name=name, attrs={"dtype": "uint8", "nodata": None}, band_name=[FLAGS])
        creation = dict(write.creation)
        if output_format(target, write.cog) == "GTiff" and not {k.upper() for k in creation} & BLOCK_OPTIONS:
            creation = {**block_options(array), **creation}
        return write_scene(
            scene, target, cog=write.cog, creation=creation, overwrite=write.overwrite, provenance=record, raw=True
        )


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
        notes.append(f"the output's nodata value is {nodata:g}, since the HSI gives none that fits {dtype}.")
    return Encoding(dtype.name, scale, offset, nodata)


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max
