"""A STAC collection of generated tiles: one item for each, beside its rasters, with links that are all relative.

Items have the extensions label (what the class map shows), classification (its values), eo and raster (bands) and
projection. What no extension says has the prefix ``hsgeo:``; all of it is told of in the collection's description.

References
----------
.. [1] SpatioTemporal Asset Catalog 1.1.0, https://stacspec.org.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import SceneReadError
from hsgeo.scene import open_scene
from hsgeo.scene.model import geobox_of
from hsgeo.scene.wgs84 import Footprint
from hsgeo.tasks.generated import BESIDE

VERSION, COLLECTION = "1.1.0", "collection.json"
EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (
        ("label", "1.0.1"), ("classification", "2.0.0"), ("eo", "1.1.0"), ("raster", "1.1.0"), ("projection", "2.0.0")
    )
}  # fmt: skip
#: the whole earth, for tiles whose CRS has no place on it
EARTH = [-180.0, -90.0, 180.0, 90.0]
#: names, without case and signs, under which headers say when a scene was recorded
ACQUIRED = ("acquisitiondatetime", "acquisitiontime", "acquisitiondate", "sensingtime", "startdatetime", "starttime")
GEOTIFF, COG = "image/tiff; application=geotiff", "image/tiff; application=geotiff; profile=cloud-optimized"
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


def write_catalogue(folder: Path) -> Path:
    """Write ``collection.json`` and an item for each tile of a folder of ``hsgeo generate``, by what their rasters say.

    Returns
    -------
    Path
        Of the collection.

    Raises
    ------
    SceneReadError
        There are no tiles, or none of ours.
    """
    tiles = [path for path in sorted(folder.glob("*.tif")) if not path.stem.endswith(BESIDE)]
    if not tiles:
        raise SceneReadError(f"{folder} holds no tiles; give a folder of hsgeo generate.")
    found = [item(path, folder.name) for path in tiles]
    record = provenance(open_scene(tiles[0], chunks=None), tiles[0])
    for path, one in zip(tiles, found, strict=True):
        _write(path.with_suffix(".json"), one, None)
    target = folder / COLLECTION
    _write(target, collection(folder.name, found, record, (folder / "contact_sheet.png").exists()), 1)
    return target


def item(path: Path, parent: str) -> dict[str, Any]:
    """The item of a tile in the collection `parent`, as JSON has it."""
    shown = {"reflectance": path}
    shown |= {kind.removeprefix("_"): path.with_name(f"{path.stem}{kind}{path.suffix}") for kind in BESIDE}
    tile = open_scene(path, chunks=None)
    record, when, box, tags = provenance(tile, path), acquired(tile), geobox_of(tile), tile.attrs["tags"]
    table, count = classes_of(shown["classes"])
    footprint = Footprint.of(box)
    assert box.crs is not None  # every scene has one
    wkt, code = box.crs.to_wkt(), code_of(box.crs.to_wkt())
    properties = {
        "title": f"{path.stem.replace('_', ' ')}, synthetic",
        "datetime": _text(when) if when else record["time"],
        "created": record["time"],
        "hsgeo:synthetic": True,
        "hsgeo:datetime": "acquisition" if when else "generation",
        "hsgeo:seed": int(tags["SYNTHETIC_SEED"]),
        "hsgeo:split": tags["SYNTHETIC_SPLIT"],
        "label:type": "raster",
        "label:properties": None,
        "label:description": "Class of each pixel, and the shares of the endmembers that it was made of",
        "label:tasks": ["segmentation", "regression"],
        "label:methods": ["automated"],
        "label:classes": [{"name": None, "classes": list(table.values())}],
        "label:overviews": [{"counts": [{"name": name, "count": count[v]} for v, name in table.items()]}],
        "proj:code": code,
        **({"proj:wkt2": wkt} if code is None else {}),
        "proj:shape": list(box.shape),
        "proj:transform": [float(v) for v in box.affine[:6]],
    }
    kind = COG if tile.attrs["driver"] == "COG" else GEOTIFF
    assets: dict[str, dict[str, Any]] = {
        name: {"href": f"./{file.name}", "type": kind, "title": TITLES[name], "roles": ROLES[name]}
        for name, file in shown.items()
    }
    for name, file in shown.items():
        assets[name]["raster:bands"] = raster_bands(file)
    assets["reflectance"]["eo:bands"] = eo_bands(tile)
    assets["classes"]["classification:classes"] = classification(table)
    up = {"href": f"./{COLLECTION}", "type": "application/json"}
    links: list[dict[str, Any]] = [{"rel": rel, **up} for rel in ("root", "parent", "collection")]
    source = {"rel": "source", "href": f"./{path.stem}.json", "type": "application/geo+json"}
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(EXTENSIONS.values()),
        "id": path.stem,
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
    scene = record["inputs"][0]["name"]
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
        "description": DESCRIPTION.format(scene=scene, when=when),
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


def raster_bands(path: Path) -> list[dict[str, Any]]:
    """How the values of each band of a raster are stored."""
    import rasterio

    with rasterio.open(path) as dataset:
        stored = zip(dataset.dtypes, dataset.nodatavals, dataset.scales, dataset.offsets, dataset.units, strict=True)
    out = []
    for dtype, nodata, scale, offset, unit in stored:
        one: dict[str, Any] = {"data_type": dtype, "sampling": "area"}
        if nodata is not None:
            one["nodata"] = "nan" if np.isnan(nodata) else nodata
        if (scale, offset) != (1, 0):
            one |= {"scale": scale, "offset": offset}
        out.append(one | ({"unit": unit} if unit else {}))
    return out


def classes_of(path: Path) -> tuple[dict[int, str], Counter[int]]:
    """Names of the classes of a class map, by their values, and their pixels."""
    import rasterio

    with rasterio.open(path) as dataset:
        tags, values = dataset.tags(), dataset.read(1)
    found = {int(key[6:]): name for key, name in tags.items() if re.fullmatch(r"CLASS_\d+", key)}
    return dict(sorted(found.items())), Counter(values.ravel().tolist())


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


def provenance(scene: xr.DataArray, path: Path) -> dict[str, Any]:
    """The record of what a tile is.

    Raises
    ------
    SceneReadError
        It is none of ``hsgeo generate``.
    """
    try:
        record = json.loads(scene.attrs["tags"]["HSGEO_PROVENANCE"])
        if record["synthetic"] and "SYNTHETIC_SPLIT" in scene.attrs["tags"]:
            return record
    except (KeyError, TypeError, ValueError):
        pass
    raise SceneReadError(f"{path} is no tile of hsgeo generate, or one of an older version; generate it again.")


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
