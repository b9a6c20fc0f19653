"""Many generated tiles of one size as one zarr store (format 3), for whoever trains on them.

    reflectance  (tile, band, y, x)       stored values, with CF's scale_factor and add_offset as in `zarr_store`
    abundances   (tile, endmember, y, x)  float32, of sum 1
    classes      (tile, y, x)             whole numbers, 0 for none; CF's flag_values and flag_meanings name them

Coordinates along ``band`` are those of a scene, ``endmember`` holds names, ``geotransform`` (tile, coefficient) says
where each tile lies in the CRS of ``spatial_ref``, ``seed`` and ``split`` (tile) what it was drawn from and is for.
``xarray.open_zarr`` reads all of it; `open_tiles` gives scenes, with the tags that rasters of tiles have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from xarray.core.indexing import LazilyIndexedArray

from hsgeo.errors import SceneReadError

from .labels import class_tags
from .metadata import Metadata
from .model import BAND_COORDS, make_scene
from .staging import require_space
from .window import Window
from .zarr_store import (
    CHUNK_BYTES,
    KIND,
    TILES,
    ZarrArray,
    array_attributes,
    array_options,
    attributes_of,
    blank_of,
    consolidate,
    opened,
    scaling_of,
    write_band_coordinates,
    write_coordinate,
)

#: name of a store in a folder of tiles
STORE = "tiles.zarr"
#: tags of a tile: its seed and its split
MARKS = ("SYNTHETIC_SEED", "SYNTHETIC_SPLIT")
#: what the coefficients of a geotransform are
ORDER = "as GDAL has them: x of the corner, pixel width, row rotation, y of the corner, column rotation, pixel height"
#: coordinates of every array
PLACES = "spatial_ref geotransform seed split"


class TileStore:
    """A store of tiles that is being written.

    Parameters
    ----------
    path : path
        Where it is written.
    target : path
        Where it will be, for messages.
    meta : Metadata
        Of the reflectance of one tile.
    transforms : sequence of Affine
        One for each tile.
    seeds : sequence of int
    splits : sequence of str
        Of the tiles.
    endmembers : sequence of str
        Their names.
    classes : mapping of int to str
        Values of the class map and what they mean.
    creation : mapping
        ``CHUNK`` (pixels a side), ``LEVEL`` (of zstd).

    Attributes
    ----------
    block : (rows, columns)
        Windows given to `write` start at multiples of it.
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        meta: Metadata,
        transforms: Sequence[Affine],
        seeds: Sequence[int],
        splits: Sequence[str],
        endmembers: Sequence[str],
        classes: Mapping[int, str],
        creation: Mapping[str, Any],
    ) -> None:
        import zarr

        from .zarr_folder import QuietFolder

        side, self.level = array_options(target, creation)
        (count, height, width), number = meta.shape, len(transforms)
        self.path, self.target, self.needed = path, target, number * meta.nbytes
        self.block, self._size = (min(side, height), min(side, width)), (height, width)
        self._folder = QuietFolder(path)
        try:
            told = {"Conventions": "CF-1.8", KIND: TILES, "synthetic": True, "tags": meta.dataset_tags()}
            self._group = zarr.create_group(self._folder, zarr_format=3, attributes=told)
            own = {**array_attributes(meta), "coordinates": " ".join([*BAND_COORDS, PLACES])}
            shares = {"units": "1", "grid_mapping": "spatial_ref", "coordinates": PLACES}
            meanings = " ".join(re.sub(r"[^\w.@+-]+", "_", name) for name in classes.values())
            kinds = {"flag_values": list(classes), "flag_meanings": meanings, "class_names": list(classes.values())}
            kinds |= {"grid_mapping": "spatial_ref", "coordinates": PLACES}
            small = np.min_scalar_type(max(classes))
            self._arrays = {
                "reflectance": self._array("reflectance", (number, count), "band", meta.dtype, blank_of(meta), own),
                "abundances": self._array(
                    "abundances", (number, len(endmembers)), "endmember", np.dtype("float32"), float("nan"), shares
                ),
                "classes": self._array("classes", (number,), "", small, 0, kinds),
            }
            write_band_coordinates(self._group, meta)
            for name, along, values in (
                ("tile", "tile", np.arange(1, number + 1)),
                ("endmember", "endmember", np.array(endmembers)),
                ("seed", "tile", np.array(seeds, np.int64)),
                ("split", "tile", np.array(splits)),
            ):
                write_coordinate(self._group, name, values, (along,), {})
            corners = np.array([transform.to_gdal() for transform in transforms])
            write_coordinate(self._group, "geotransform", corners, ("tile", "coefficient"), {"order": ORDER})
            grid = xr_coords(GeoBox((height, width), meta.transform, meta.crs or None), crs_coord_name="spatial_ref")
            reference = {k: v for k, v in grid["spatial_ref"].attrs.items() if k != "GeoTransform"}
            write_coordinate(self._group, "spatial_ref", np.array(0), (), reference)
        except BaseException:
            self.close()
            raise

    def _array(
        self, name: str, front: tuple[int, ...], along: str, dtype: np.dtype, blank: Any, attrs: Mapping[str, Any]
    ) -> Any:
        from zarr.codecs import BloscCodec

        deep = max(1, CHUNK_BYTES // (self.block[0] * self.block[1] * dtype.itemsize))
        chunk = [1, *(-(-n // -(-n // deep)) for n in front[1:]), *self.block]
        return self._group.create_array(
            name,
            shape=(*front, *self._size),
            chunks=tuple(chunk),
            dtype=dtype,
            fill_value=blank,
            compressors=BloscCodec(cname="zstd", clevel=self.level, shuffle="shuffle"),
            dimension_names=("tile", *([along] if along else []), "y", "x"),
            attributes=dict(attrs),
        )

    def write(self, number: int, name: str, values: np.ndarray, window: Window) -> None:
        """Stored values (c, h, w) of a window of one tile, counted from 0."""
        require_space(self.target, values.nbytes, self.needed)
        array = self._arrays[name]
        array[(number, *(slice(None),) * (array.ndim - 3), *window.slices)] = values if array.ndim == 4 else values[0]

    def finish(self) -> None:
        """Gather the metadata in one place."""
        consolidate(self.path)

    def close(self) -> None:
        """Nothing is written afterwards, nor by a thread that has not heard of an error yet."""
        self._folder.stop()


def is_tile_store(path: Path) -> bool:
    """Whether a folder is such a store."""
    try:
        return json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"].get(KIND) == TILES
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def open_tiles(path: Path) -> Iterator[tuple[str, xr.DataArray, xr.DataArray]]:
    """Name, reflectance (band, y, x) and classes (1, y, x) of each tile of a store, read as they are asked for.

    Raises
    ------
    SceneReadError
        Not such a store, or an incomplete one.
    """
    text = str(path)
    if not is_tile_store(path):
        raise SceneReadError(f"{path} is not a store of generated tiles; hsgeo generate --format zarr writes one.")
    try:
        with opened(text) as store:
            variable, kinds = (store[name] for name in ("reflectance", "classes"))
            columns = {k: store[k].values.tolist() for k in ("band", *BAND_COORDS)}
            bare, tags = attributes_of(variable, text), dict(store.attrs.get("tags", {}))
            scale, offset = scaling_of(variable, columns)
            columns |= {"scale": scale, "offset": offset}
            crs = store["spatial_ref"].attrs.get("crs_wkt") or None
            corners = [Affine.from_gdal(*row) for row in store["geotransform"].values.tolist()]
            numbers, seeds, splits = (store[name].values.tolist() for name in ("tile", "seed", "split"))
            names = class_tags(dict(zip(kinds.attrs["flag_values"], kinds.attrs["class_names"], strict=True)))
            stored = {"reflectance": variable.dtype.name, "classes": kinds.dtype.name}
    except (KeyError, ValueError) as error:
        raise SceneReadError(f"{path} is an incomplete store of tiles ({error!r}); generate them again.") from error
    bands, height, width = (int(n) for n in variable.shape[1:])
    for i, (number, corner, seed, split) in enumerate(zip(numbers, corners, seeds, splits, strict=True)):
        box = GeoBox((height, width), corner, crs)
        name = f"{path.name}, tile {number}"
        array = ZarrArray(
            text, stored["reflectance"], (bands, height, width), scale, offset, bare["nodata"], "reflectance", (i,)
        )
        single = ZarrArray(text, stored["classes"], (1, height, width), (1.0,), (0.0,), 0.0, "classes", (i,))
        marks = tags | dict(zip(MARKS, (str(seed), split), strict=True))
        scene = make_scene(LazilyIndexedArray(array), box, attrs={**bare, "tags": marks, "source": name}, **columns)
        told = {"dtype": stored["classes"], "nodata": 0.0, "tags": names, "source": f"{name}, classes"}
        yield name, scene, make_scene(LazilyIndexedArray(single), box, name="classes", attrs=told)
