"""Generated tiles as they are written: GeoTIFFs or one zarr store, a contact sheet and a catalogue, in a folder.

Values come from the arrays of the working store, those of a tile that is cut window by window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from hsgeo.errors import OutputExistsError, OutputWriteError, ParameterError
from hsgeo.methods.generation.canvas import Canvas
from hsgeo.quality.quicklook import contact_sheet, decimated, rgb_bands, write_png
from hsgeo.scene import make_scene, open_scene, write_scene
from hsgeo.scene.creation import check_creation
from hsgeo.scene.encode import Encoding
from hsgeo.scene.labels import class_tags
from hsgeo.scene.metadata import describe
from hsgeo.scene.model import geobox_of
from hsgeo.scene.staging import SIDECARS, folder_of, publish_folder, staged, write_errors
from hsgeo.scene.tile_store import MARKS, STORE, TileStore, is_tile_store, open_tiles
from hsgeo.scene.window import Window
from hsgeo.scene.write import FORMATS, plan_windows
from hsgeo.tasks.generated import BESIDE
from hsgeo.tasks.options import WriteOptions
from hsgeo.tasks.outputs import BLOCK_OPTIONS, block_options
from hsgeo.tasks.splits import tile_tags
from hsgeo.tasks.stac import COLLECTION, is_collection, tile_name, write_catalogue

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud

#: tiles of a contact sheet, and pixels of each
SHOWN, SHEET = 64, 128
SHEET_NAME = "contact_sheet.png"
TILE_FILE = re.compile(rf"tile_\d+(\.json|({'|'.join(BESIDE)})?\.tif)")
FORMAT_OPTIONS = ("tif", "zarr")
TAGS = {"SYNTHETIC": "yes", "SYNTHETIC_MODEL": "hsgeo hud"}


def check_tile_format(target: Path, kind: str, write: WriteOptions) -> None:
    """Refuse a format, a name or options that stand for nothing, and what tiles may never replace.

    Raises
    ------
    OutputExistsError, OutputWriteError, ParameterError
    """
    if kind not in FORMAT_OPTIONS:
        raise ParameterError(f"--format {kind}: one of {', '.join(FORMAT_OPTIONS)}.")
    if kind == "zarr" and write.cog:
        raise ParameterError("--cog is for GeoTIFFs; leave it out with --format zarr.")
    suffix = target.suffix.lower()
    if suffix in FORMATS and not (suffix == ".zarr" and kind == "zarr"):
        more = "; --format zarr writes one store" if suffix == ".zarr" else ""
        raise OutputWriteError(f"{target}: tiles go into a folder; give a name without {suffix}{more}.")
    driver = "zarr" if kind == "zarr" else "COG" if write.cog else "GTiff"
    check_creation(driver, target, write.creation, write.dtype, None)
    if target.name in ("", ".."):
        raise OutputWriteError(f"{target}: tiles go into a folder of their own; give one in it, {target / 'tiles'}.")
    if target.exists() and not target.is_dir():
        raise OutputWriteError(f"{target} is a file; tiles go into a folder.")
    if target.is_dir() and (other := not_ours(target)) is not None:
        raise OutputExistsError(f"{target} holds {other}, which is not of hsgeo generate; choose another folder.")


def not_ours(folder: Path) -> str | None:
    """Something in a folder that `TileFolder.publish` has not written; None where it wrote everything, or it is empty.

    Files that GDAL puts beside rasters are taken for its own.
    """
    names = sorted(path.name for path in folder.iterdir())
    if is_tile_store(folder):
        return next((n for n in names if _main(n) != SHEET_NAME and not _of_zarr(folder / n)), None)
    known = {SHEET_NAME, COLLECTION, *([STORE] if is_tile_store(folder / STORE) else [])}
    if STORE not in known and not is_collection(folder / COLLECTION):
        return names[0] if names else None
    return next((n for n in names if (m := _main(n)) not in known and not TILE_FILE.fullmatch(m)), None)


def _of_zarr(path: Path) -> bool:
    """Whether it is the description of a store, or an array."""
    return path.name == "zarr.json" or (path / "zarr.json").is_file()


def _main(name: str) -> str:
    """The name of the raster that a file belongs to; its own where it is no sidecar."""
    return name.removesuffix(next((s for s in sorted(SIDECARS, key=len, reverse=True) if name.endswith(s)), ""))


def check_tiles(target: Path, kind: str, write: WriteOptions) -> None:
    """See that tiles can be written, before any work.

    Raises
    ------
    OutputExistsError, OutputWriteError, ParameterError
        The folder exists or cannot be written, or a format or option stands for nothing.
    """
    check_tile_format(target, kind, write)
    if target.exists() and not write.overwrite:
        raise OutputExistsError(f"{target} exists; give --overwrite or another folder.")
    folder_of(target)


@dataclass(frozen=True)
class TileFolder:
    """Where and how tiles are written.

    Parameters
    ----------
    target : path
        The folder; a store itself where it ends in ``.zarr``.
    source : scene (band, y, x)
        Whose bands, units, pixel size and CRS the tiles have.
    model : Hud
    canvas : Canvas
    code : Encoding
        How reflectance is stored.
    kind : {"tif", "zarr"}
    write : WriteOptions
    record : mapping
        Provenance.
    """

    target: Path
    source: xr.DataArray
    model: Hud
    canvas: Canvas
    code: Encoding
    kind: str
    write: WriteOptions
    record: Mapping[str, Any]

    def publish(self, arrays: Mapping[str, Any], progress: Any) -> int:
        """Write all tiles from the arrays of the working store; returns their bytes."""
        with staged(self.target) as folder, progress.stage("write", total=self.canvas.count) as stage:
            inside = folder / self.target.name
            inside.mkdir()
            rgb = rgb_bands(self.source)
            made = self._tifs(inside, arrays, stage) if self.kind == "tif" else self._store(inside, arrays, stage)
            shown = [decimated(scene, rgb, SHEET) for number, scene in enumerate(made) if number < SHOWN]
            with write_errors(self.target, SHOWN * SHEET**2):
                write_png(inside / SHEET_NAME, contact_sheet(shown))
                if not is_tile_store(inside):
                    write_catalogue(inside)
            size = sum(path.stat().st_size for path in inside.rglob("*") if path.is_file())
            publish_folder(folder, self.target)
        return size

    def box(self, number: int) -> GeoBox:
        """The ground of a tile, beside that of the others and from the scene's corner on."""
        whole, size = geobox_of(self.source), self.canvas.size
        row, column = divmod(number, int(np.ceil(self.canvas.count**0.5)))
        return GeoBox((size, size), whole.affine * whole.affine.translation(column * size, row * size), whole.crs)

    def scene(self, number: int, values: Any) -> xr.DataArray:
        """Reflectance of a tile, of its stored values (B, size, size)."""
        code, tags = self.code, {**self.source.attrs.get("tags", {}), **self.tags(number)}
        attrs = {"tags": tags, "source": "", "dtype": code.dtype, "nodata": code.nodata}
        like, box = self.source.isel(y=slice(0, 1), x=slice(0, 1)), self.box(number)
        return make_scene(
            values, box, like=like, name="synthetic", attrs=attrs, scale=code.scale, offset=code.offset
        )  # fmt: skip

    def beside(self, number: int, name: str, values: Any) -> xr.DataArray:
        """Abundances or classes of a tile, of their stored values."""
        if name == "abundances":
            attrs = {"tags": self.tags(number), "dtype": "float32", "nodata": float("nan")}
            return make_scene(values, self.box(number), name=name, attrs=attrs, band_name=self.names(), units="1")
        told = class_tags(self.model.named_kinds())
        attrs = {"tags": self.tags(number) | told, "dtype": values.dtype.name, "nodata": 0.0}
        return make_scene(values, self.box(number), name=name, attrs=attrs, band_name=["class"])

    def tags(self, number: int) -> dict[str, str]:
        """That a tile is synthetic, its seed and its split."""
        return TAGS | tile_tags(self.record, number)

    def names(self) -> list[str]:
        """Of the endmembers."""
        return [f"endmember {i}" for i in range(1, len(self.model.encoding.endmembers) + 1)]

    def _tiles(self, arrays: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and stored values of each tile; lazy where a tile is cut."""
        import dask.array as da

        canvas = self.canvas
        for numbers, part in canvas.parts():
            if canvas.whole:  # a block holds several, and is read once
                rows = slice(canvas.place(numbers[0], part).y0, canvas.place(numbers[-1], part).y1)
                block = {name: array[:, rows] for name, array in arrays.items()}
                for i, number in enumerate(numbers):
                    yield number, {n: v[:, i * canvas.size : (i + 1) * canvas.size] for n, v in block.items()}
            elif (part.y0, part.x0) == (0, 0):
                place = canvas.place(numbers[0], Window(0, canvas.size, 0, canvas.size)).slices
                yield numbers[0], {n: da.from_zarr(array)[(slice(None), *place)] for n, array in arrays.items()}

    def _tifs(self, inside: Path, arrays: Mapping[str, Any], stage: Any) -> Iterator[xr.DataArray]:
        """Write each tile as three rasters; gives it as it is read back."""
        creation = dict(self.write.creation)
        if not (self.canvas.whole or self.write.cog or {k.upper() for k in creation} & BLOCK_OPTIONS):
            creation |= block_options(arrays["reflectance"])
        for number, values in self._tiles(arrays):
            stem = tile_name(number, self.canvas.count)
            for name, data in values.items():
                scene = self.scene(number, data) if name == "reflectance" else self.beside(number, name, data)
                path = inside / (f"{stem}.tif" if name == "reflectance" else f"{stem}_{name}.tif")
                write_scene(
                    scene, path, cog=self.write.cog, creation=creation, provenance=self.record, raw=True
                )  # fmt: skip
            stage.advance()
            yield open_scene(inside / f"{stem}.tif", chunks=None)

    def _store(self, inside: Path, arrays: Mapping[str, Any], stage: Any) -> Iterator[xr.DataArray]:
        """Write all tiles into one store; gives those of the contact sheet as they are read back."""
        place = inside if self.target.suffix.lower() == ".zarr" else inside / STORE
        blank = np.broadcast_to(np.zeros((), self.code.dtype), (self.model.count, *(self.canvas.size,) * 2))
        first = self.scene(0, blank)
        for name in MARKS:  # which each tile has of its own
            del first.attrs["tags"][name]
        meta = describe(first, provenance=self.record, raw=True)
        marks = [self.tags(number) for number in range(self.canvas.count)]
        seeds, splits = [int(mark[MARKS[0]]) for mark in marks], [mark[MARKS[1]] for mark in marks]
        boxes = [self.box(number).affine for number in range(self.canvas.count)]
        store = TileStore(
            place,
            self.target,
            meta,
            boxes,
            seeds,
            splits,
            self.names(),
            self.model.named_kinds(),
            self.write.creation,
        )
        try:
            for number, values in self._tiles(arrays):
                for name, data in values.items():
                    for window in plan_windows(
                        data.shape, store.block, data.dtype.itemsize, getattr(data, "chunks", None)
                    ):
                        with write_errors(self.target, store.needed):
                            store.write(number, name, np.asarray(data[(slice(None), *window.slices)]), window)
                stage.advance()
            with write_errors(self.target, store.needed):
                store.finish()
        except BaseException:
            store.close()
            raise
        for _, scene, _ in islice(open_tiles(place), SHOWN):
            yield scene
