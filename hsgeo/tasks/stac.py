"""A STAC collection of generated tiles: one item for each, beside its rasters or their store, with relative links.

Items have the extensions label (what the class map shows), classification (its values), eo and raster (bands),
projection, and zarr where tiles are in a store. What no extension says has the prefix ``hsgeo:``; all of it is told
of in the collection's description.

References
----------
.. [1] SpatioTemporal Asset Catalog 1.1.0, https://stacspec.org.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import SceneReadError
from hsgeo.scene import open_scene
from hsgeo.scene.labels import class_names
from hsgeo.scene.model import geobox_of, label
from hsgeo.scene.tile_store import MARKS, STORE, is_tile_store, open_tiles
from hsgeo.scene.wgs84 import Footprint
from hsgeo.tasks.generated import BESIDE

VERSION, COLLECTION = "1.1.0", "collection.json"
EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (
        ("label", "1.0.1"), ("classification", "2.0.0"), ("eo", "1.1.0"), ("raster", "1.1.0"),
        ("projection", "2.0.0"), ("zarr", "1.1.0"),
    )
}  # fmt: skip
#: the whole earth, for tiles whose CRS has no place on it
EARTH = [-180.0, -90.0, 180.0, 90.0]
#: names, without case and signs, under which headers say when a scene was recorded
ACQUIRED = ("acquisitiondatetime", "acquisitiontime", "acquisitiondate", "sensingtime", "startdatetime", "starttime")
GEOTIFF, COG = "image/tiff; application=geotiff", "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd.zarr"
ROLES = {"reflectance": ["data"], "abundances": ["labels", "labels-raster"], "classes": ["labels", "labels-raster"]}
TITLES = {
    "reflectance": "Spectra in the bands and units of the scene",
    "abundances": "Share of each endmember in each pixel, of sum 1",
    "classes": "Class of each pixel",
}

DESCRIPTION = """\
Synthetic: none of these tiles was recorded by a sensor. They were drawn by hsgeo from a model of the scene
{scene} and look like it; each has its abundances and classes.
Their places on the ground are nominal: side by side from the upper left corner of the scene, so that they
have its pixel size and CRS; they do not show what is there. Where that CRS has no place on the earth, geometry is null.
`datetime` is {when}.
`hsgeo:split` is the split of a tile, decided by its seed `hsgeo:seed` alone: tiles of one seed are alike.
"""
STORED = """\
All tiles are in one zarr store: an asset is the part `hsgeo:index`, counted from 0, of the store's array `hsgeo:array`
along its first dimension.
"""


@dataclass(frozen=True)
class Tile:
    """What the catalogue is told of a tile, however it is stored.

    Attributes
    ----------
    name : str
        Of its item.
    scene : scene (band, y, x)
        Reflectance, with provenance, seed and split in its tags.
    classes : mapping of int to str
        Names of the classes by their values.
    pixels : mapping of int to int
        How many have a value of the class map.
    assets : mapping
        Of each of `TITLES` where its values are and how its bands are stored.
    """

    name: str
    scene: xr.DataArray
    classes: Mapping[int, str]
    pixels: Mapping[int, int]
    assets: Mapping[str, Mapping[str, Any]]


def write_catalogue(folder: Path) -> Path:
    """Write ``collection.json`` and an item for each tile of a folder of ``hsgeo generate``, by what is stored in it.

    Returns
    -------
    Path
        Of the collection.

    Raises
    ------
    SceneReadError
        There are no tiles, or none of ours.
    """
    store = folder / STORE
    found, record = list[dict[str, Any]](), dict[str, Any]()
    for tile in stored(store) if is_tile_store(store) else rasters(folder):
        record, one = record or provenance(tile.scene), item(tile, folder.name)
        _write(folder / f"{tile.name}.json", one, None)
        if found:  # assets of one are enough for the collection, and those of thousands are large
            del one["assets"]
        found.append(one)
    target = folder / COLLECTION
    _write(target, collection(folder.name, found, record, (folder / "contact_sheet.png").exists()), 1)
    return target


def is_collection(path: Path) -> bool:
    """Whether a file is a collection that `write_catalogue` has written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["summaries"]["hsgeo:synthetic"] == [True]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def tile_name(number: int, count: int) -> str:
    """Of a tile, counted from 0, among `count` of them."""
    return f"tile_{number + 1:0{len(str(count))}d}"


def rasters(folder: Path) -> Iterator[Tile]:
    """The tiles of a folder of rasters.

    Raises
    ------
    SceneReadError
        There are none.
    """
    import rasterio

    paths = [path for path in sorted(folder.glob("*.tif")) if not path.stem.endswith(BESIDE)]
    if not paths:
        raise SceneReadError(f"{folder} holds no tiles; give a folder of hsgeo generate.")
    for path in paths:
        scene = open_scene(path, chunks=None)
        provenance(scene)  # a raster of something else has none, nor others beside it
        kind, assets = COG if scene.attrs["driver"] == "COG" else GEOTIFF, {}
        for name, ending in zip(TITLES, ("", *BESIDE), strict=True):
            file = path.with_stem(path.stem + ending)
            with rasterio.open(file) as raster:
                columns = raster.dtypes, raster.nodatavals, raster.scales, raster.offsets, raster.units
                bands = [raster_band(*column) for column in zip(*columns, strict=True)]
                if name == "classes":
                    classes = class_names(raster.tags())
                    pixels = counted(raster.read(1, window=window) for _, window in raster.block_windows(1))
            assets[name] = {"href": f"./{file.name}", "type": kind, "raster:bands": bands}
        yield Tile(path.stem, scene, classes, pixels, assets)


def stored(place: Path) -> Iterator[Tile]:
    """The tiles of a store; of its arrays the classes alone are read, each chunk once."""
    import zarr

    group: Any = zarr.open_group(place, mode="r")
    shares, kinds, bands = group["abundances"], group["classes"], dict[str, list[dict[str, Any]]]()
    (count, height, width), (_, rows, cols) = kinds.shape, kinds.chunks
    told = {"href": f"./{place.name}", "type": ZARR}
    opened = {"zarr:node_type": "group", "zarr:zarr_format": 3, "zarr:consolidated": True}
    for number, (_, scene, classes) in enumerate(open_tiles(place)):
        if not bands:  # the same of all tiles
            columns = [scene[key].values.tolist() for key in ("scale", "offset", "units")]
            how = scene.attrs["dtype"], scene.attrs["nodata"]
            bands["reflectance"] = [raster_band(*how, *column) for column in zip(*columns, strict=True)]
            bands["abundances"] = [raster_band("float32", float("nan"), unit="1")] * shares.shape[1]
            bands["classes"] = [raster_band(classes.attrs["dtype"], 0.0)]
        corners = ((y, x) for y in range(0, height, rows) for x in range(0, width, cols))
        pixels = counted(kinds[number, y : y + rows, x : x + cols] for y, x in corners)
        assets = {
            name: {**told, **opened, "hsgeo:array": name, "hsgeo:index": number, "raster:bands": bands[name]}
            for name in TITLES
        }
        yield Tile(tile_name(number, count), scene, class_names(classes.attrs["tags"]), pixels, assets)


def item(tile: Tile, parent: str) -> dict[str, Any]:
    """The item of a tile in the collection `parent`, as JSON has it."""
    scene, classes = tile.scene, tile.classes
    record, when, box, tags = provenance(scene), acquired(scene), geobox_of(scene), scene.attrs["tags"]
    footprint = Footprint.of(box)
    assert box.crs is not None  # every scene has one
    wkt, code = box.crs.to_wkt(), code_of(box.crs.to_wkt())
    properties = {
        "title": f"{tile.name.replace('_', ' ')}, synthetic",
        "datetime": _text(when) if when else record["time"],
        "created": record["time"],
        "hsgeo:synthetic": True,
        "hsgeo:datetime": "acquisition" if when else "generation",
        "hsgeo:seed": int(tags[MARKS[0]]),
        "hsgeo:split": tags[MARKS[1]],
        "label:type": "raster",
        "label:properties": None,
        "label:description": "Class of each pixel, and the shares of the endmembers that it was made of",
        "label:tasks": ["segmentation", "regression"],
        "label:methods": ["automated"],
        "label:classes": [{"name": None, "classes": list(classes.values())}],
        "label:overviews": [
            {"counts": [{"name": name, "count": tile.pixels.get(v, 0)} for v, name in classes.items()]}
        ],
        "proj:code": code,
        **({"proj:wkt2": wkt} if code is None else {}),
        "proj:shape": list(box.shape),
        "proj:transform": [float(v) for v in box.affine[:6]],
    }
    assets = {name: {**told, "title": TITLES[name], "roles": ROLES[name]} for name, told in tile.assets.items()}
    assets["reflectance"]["eo:bands"] = eo_bands(scene)
    assets["classes"]["classification:classes"] = classification(classes)
    up = {"href": f"./{COLLECTION}", "type": "application/json"}
    links: list[dict[str, Any]] = [{"rel": rel, **up} for rel in ("root", "parent", "collection")]
    source = {"rel": "source", "href": f"./{tile.name}.json", "type": "application/geo+json"}
    in_store = "zarr:node_type" in assets["reflectance"]
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [url for name, url in EXTENSIONS.items() if name != "zarr" or in_store],
        "id": tile.name,
        "collection": parent,
        "geometry": None if footprint is None else footprint.geometry,
        **({} if footprint is None else {"bbox": footprint.bbox}),
        "properties": properties,
        "links": [*links, {**source, "label:assets": ["reflectance"]}],
        "assets": assets,
    }


def collection(name: str, items: Sequence[Mapping[str, Any]], record: Mapping[str, Any], sheet: bool) -> dict[str, Any]:
    """The collection of items, as JSON has it."""
    first = items[0]
    times = sorted(one["properties"]["datetime"] for one in items)
    boxes = [one["bbox"] for one in items if "bbox" in one]
    splits = Counter(one["properties"]["hsgeo:split"] for one in items)
    when = {
        "acquisition": "when the scene was recorded",
        "generation": "when the tiles were generated, since the scene does not say when it was recorded",
    }[first["properties"]["hsgeo:datetime"]]
    scene, in_store = record["inputs"][0]["name"], "hsgeo:index" in first["assets"]["reflectance"]
    kinds = {
        kind: {key: asset[key] for key in ("type", "title", "roles", "classification:classes") if key in asset}
        for kind, asset in first["assets"].items()
    }
    out = {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [EXTENSIONS["classification"]],
        "id": name,
        "title": f"Synthetic tiles of {scene}",
        "description": DESCRIPTION.format(scene=scene, when=when) + (STORED if in_store else ""),
        "keywords": ["synthetic", "hyperspectral", "labels"],
        "license": "other",
        "extent": {
            "spatial": {"bbox": [united(boxes) if len(boxes) == len(items) else EARTH]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "summaries": {"hsgeo:synthetic": [True], "hsgeo:split": sorted(splits)},
        "hsgeo:splits": dict(sorted(splits.items())),
        "hsgeo:held_out": record.get("held_out"),
        "hsgeo:provenance": {key: record[key] for key in ("software", "version", "time", "inputs", "parameters")},
        "item_assets": kinds,
        "links": [
            {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"},
            *({"rel": "item", "href": f"./{one['id']}.json", "type": "application/geo+json"} for one in items),
        ],
    }
    if sheet:
        out["assets"] = {
            "contact_sheet": {"href": "./contact_sheet.png", "type": "image/png", "roles": ["overview"],
                              "title": "The first tiles in one stretch"}
        }  # fmt: skip
    return out


def code_of(wkt: str) -> str | None:
    """Such as ``EPSG:32633``; None where no authority has an equivalent CRS."""
    from pyproj import CRS

    found = CRS.from_wkt(wkt).to_authority(min_confidence=70)
    return None if found is None else ":".join(found)


def eo_bands(scene: xr.DataArray) -> list[dict[str, Any]]:
    """Names, centres and widths in micrometres, and why a band is not used."""
    columns = [scene[key].values.tolist() for key in ("band_name", "wavelength", "fwhm", "bad_reason")]
    out = []
    for number, (name, centre, width, reason) in enumerate(zip(*columns, strict=True), 1):
        one: dict[str, Any] = {"name": name or f"band {number}"}
        for key, value in (("center_wavelength", centre), ("full_width_half_max", width)):
            if np.isfinite(value):
                one[key] = round(value / 1000, 7)
        out.append(one | ({"description": f"not to be trusted: {reason}"} if reason else {}))
    return out


def raster_band(
    dtype: str, nodata: float | None, scale: float = 1, offset: float = 0, unit: str | None = None
) -> dict[str, Any]:
    """How the values of a band are stored."""
    out: dict[str, Any] = {"data_type": dtype, "sampling": "area"}
    if nodata is not None:
        out["nodata"] = "nan" if np.isnan(nodata) else nodata
    if (scale, offset) != (1, 0):
        out |= {"scale": scale, "offset": offset}
    return out | ({"unit": unit} if unit else {})


def counted(parts: Iterable[np.ndarray]) -> Counter[int]:
    """How many pixels have a value, of the parts of a class map."""
    pixels: Counter[int] = Counter()
    for part in parts:
        values, counts = np.unique(part, return_counts=True)
        pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return pixels


def classification(table: Mapping[int, str]) -> list[dict[str, Any]]:
    """Values, names that the extension allows, and the names as they are."""
    plain = {value: re.sub(r"[^0-9A-Za-z_-]+", "-", name).strip("-") for value, name in table.items()}
    return [{"value": v, "name": plain[v] or f"class-{v}", "title": name} for v, name in table.items()]


def acquired(scene: xr.DataArray) -> datetime | None:
    """When a scene was recorded, as far as its header says; without a zone UTC is meant."""
    domains: Iterable[Mapping[str, str]] = (scene.attrs["tags"], *scene.attrs["domains"].values())
    said = {re.sub(r"[^a-z]", "", key.lower()): text for tags in domains for key, text in tags.items()}
    for name in ACQUIRED:
        try:
            found = datetime.fromisoformat(said[name].strip(" {}"))
        except (KeyError, ValueError):
            continue
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    return None


def provenance(scene: xr.DataArray) -> dict[str, Any]:
    """The record of what a tile is.

    Raises
    ------
    SceneReadError
        It is none of ``hsgeo generate``.
    """
    try:
        record = json.loads(scene.attrs["tags"]["HSGEO_PROVENANCE"])
        if record["synthetic"] and MARKS[1] in scene.attrs["tags"]:
            return record
    except (KeyError, TypeError, ValueError):
        pass
    raise SceneReadError(f"{label(scene)} is no tile of hsgeo generate, or one of an older version; generate it again.")


def united(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The box (west, south, east, north) around boxes; west is above east where it lies across the 180th meridian."""
    west, south, east, north = np.array(boxes).T
    if (west > east).any():
        west, east = np.where(west < 0, west + 360, west), np.where(east < 0, east + 360, east)
        return [float(west.min()), float(south.min()), float(east.max() - 360), float(north.max())]
    return [float(west.min()), float(south.min()), float(east.max()), float(north.max())]


def _text(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def _write(path: Path, content: Mapping[str, Any], indent: int | None) -> None:
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
