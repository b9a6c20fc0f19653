"""The catalogue of generated tiles: valid by the specification, read by pystac, and true of the rasters."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from pyproj import CRS
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.warp import transform_bounds
from zarr.storage import LocalStore

import hsgeo
from hsgeo.errors import SceneReadError
from hsgeo.scene import write_scene
from hsgeo.tasks.generated import GeneratedOptions, assess_generated
from hsgeo.tasks.splits import Shares
from hsgeo.tasks.stac import acquired, classification, code_of, united, write_catalogue

from .conftest import COUNT, SEED, SIZE

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pystac.extensions.classification import ClassificationExtension
    from pystac.extensions.eo import EOExtension
    from pystac.extensions.label import LabelExtension, LabelType
    from pystac.extensions.projection import ProjectionExtension
    from pystac.extensions.raster import RasterExtension


def raw(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def items(made) -> list[pystac.Item]:
    collection = pystac.Collection.from_file(str(made / "tiles" / "collection.json"))
    return sorted(collection.get_items(), key=lambda item: item.id)


@pytest.mark.parametrize("name", ["tiles", "stored"])
def test_every_file_is_valid_by_the_schemas_that_pystac_brings(made, name) -> None:
    """Those of the core, which need no network."""
    validator = JsonSchemaSTACValidator()
    validator.validate_core(raw(made / name / "collection.json"), pystac.STACObjectType.COLLECTION, "1.1.0")
    files = sorted((made / name).glob("tile_*.json"))
    assert len(files) == COUNT
    for path in files:
        validator.validate_core(raw(path), pystac.STACObjectType.ITEM, "1.1.0")
    broken = raw(files[0])
    del broken["properties"]["datetime"]
    with pytest.raises(pystac.STACValidationError):
        validator.validate_core(broken, pystac.STACObjectType.ITEM, "1.1.0")


@pytest.mark.parametrize("name", ["tiles", "stored"])
def test_all_links_and_assets_are_relative_and_there(made, tmp_path, name) -> None:
    moved = shutil.copytree(made / name, tmp_path / "elsewhere")
    for path in moved.glob("*.json"):
        content = raw(path)
        targets = [*content["links"], *content["assets"].values()]
        assert targets and all(one["href"].startswith("./") for one in targets)
        assert all((moved / one["href"]).exists() for one in targets)
    found = pystac.Collection.from_file(str(moved / "collection.json"))
    assert [item.id for item in found.get_items()] == [f"tile_{i}" for i in range(1, COUNT + 1)]
    assert all(item.get_collection().id == name and item.get_root().id == name for item in found.get_items())


def test_items_are_true_of_their_rasters(made, items) -> None:
    shares = Shares.of("0.8/0.2")
    for number, item in enumerate(items):
        with rasterio.open(made / "tiles" / f"{item.id}.tif") as tile:
            place, count, tags = tile, tile.count, tile.tags()
            bounds = transform_bounds(tile.crs, "EPSG:4326", *tile.bounds, densify_pts=50)
        np.testing.assert_allclose(item.bbox, bounds, atol=1e-6)
        projection = ProjectionExtension.ext(item)
        assert projection.code == "EPSG:32633" and projection.shape == [SIZE, SIZE]
        np.testing.assert_allclose(projection.transform, list(place.transform)[:6])
        told = item.properties
        split = shares.split_of(SEED + number)
        assert told["hsgeo:synthetic"] is True and told["hsgeo:seed"] == SEED + number
        assert told["hsgeo:split"] == split == tags["SYNTHETIC_SPLIT"] and tags["SYNTHETIC_SEED"] == str(SEED + number)
        eo, stored = (
            ext.ext(item.assets["reflectance"]).bands for ext in (EOExtension, RasterExtension)
        )  # fmt: skip
        assert len(eo) == len(stored) == count == 24 and stored[0].data_type == "float32"
        np.testing.assert_allclose([band.center_wavelength for band in eo], np.linspace(0.4, 0.9, 24), atol=1e-6)
        np.testing.assert_allclose([band.full_width_half_max for band in eo], 0.01, atol=1e-9)
        assert eo[5].description == "not to be trusted: bbl" and eo[4].description is None
        assert item.datetime == datetime(2024, 5, 6, 8, 11, 12, tzinfo=UTC) and told["hsgeo:datetime"] == "acquisition"


def test_labels_are_told_as_the_extension_asks(made, items) -> None:
    """Required of label 1.0.1: properties (null for rasters), description, type; classes without a name."""
    for item in items:
        label = LabelExtension.ext(item)
        assert label.label_type == LabelType.RASTER and label.label_description
        assert "label:properties" in item.properties and label.label_properties is None
        assert "segmentation" in label.label_tasks
        (classes,) = label.label_classes
        assert "name" in classes.to_dict() and classes.name is None and classes.classes == ["class 3", "class 7"]
        with rasterio.open(made / "tiles" / f"{item.id}_classes.tif") as raster:
            values = raster.read(1)
        counts = {one.name: one.count for one in label.label_overviews[0].counts}
        assert counts == {f"class {v}": int((values == v).sum()) for v in (3, 7)}
        assert sum(counts.values()) == SIZE**2
        told = ClassificationExtension.ext(item.assets["classes"]).classes
        assert [c.to_dict() for c in told] == [
            {"value": v, "name": f"class-{v}", "title": f"class {v}"} for v in (3, 7)
        ]
        assert RasterExtension.ext(item.assets["classes"]).bands[0].nodata == 0
        (source,) = [link for link in item.links if link.rel == "source"]
        assert source.extra_fields == {"label:assets": ["reflectance"]}
        for kind in ("abundances", "classes"):
            assert "labels-raster" in item.assets[kind].roles


def test_the_collection_says_what_it_is(made, items) -> None:
    found = raw(made / "tiles" / "collection.json")
    assert "Synthetic" in found["description"] and found["keywords"][0] == "synthetic"
    splits = [item.properties["hsgeo:split"] for item in items]
    assert found["hsgeo:splits"] == {name: splits.count(name) for name in sorted(set(splits))}
    assert found["hsgeo:held_out"]["what"] == "0.25" and found["hsgeo:provenance"]["parameters"]["seed"] == SEED
    boxes = np.array([item.bbox for item in items])
    want = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
    np.testing.assert_allclose(found["extent"]["spatial"]["bbox"][0], want)
    assert found["assets"]["contact_sheet"]["type"] == "image/png"


def test_items_of_a_store_are_those_of_the_rasters(made, items) -> None:
    """All but where values are, which leads to the same ones."""
    places = {"href", "type", "hsgeo:array", "hsgeo:index", "zarr:node_type", "zarr:zarr_format", "zarr:consolidated"}
    collection = pystac.Collection.from_file(str(made / "stored" / "collection.json"))
    found = sorted(collection.get_items(), key=lambda item: item.id)
    for number, (one, other) in enumerate(zip(found, items, strict=True)):
        (*rest, zarr), theirs = one.stac_extensions, other.stac_extensions
        assert sorted(rest) == sorted(theirs) and zarr == "https://stac-extensions.github.io/zarr/v1.1.0/schema.json"
        assert (one.id, one.geometry, one.bbox, one.datetime) == (other.id, other.geometry, other.bbox, other.datetime)
        told, wanted = one.properties | {"created": None}, other.properties | {"created": None}
        assert told == wanted and told["hsgeo:seed"] == SEED + number
        for name, asset in one.assets.items():
            wanted = other.assets[name].to_dict()
            assert {k: v for k, v in asset.to_dict().items() if k not in places} == {
                k: v for k, v in wanted.items() if k not in places
            }
            assert asset.media_type == "application/vnd.zarr" and asset.href == "./tiles.zarr"
            head = raw(made / "stored" / asset.href / "zarr.json")
            assert asset.extra_fields["zarr:node_type"] == head["node_type"]
            assert asset.extra_fields["zarr:zarr_format"] == head["zarr_format"]
            assert asset.extra_fields["zarr:consolidated"] is ("consolidated_metadata" in head)
            store = xr.open_zarr(made / "stored" / asset.href)
            there = store[asset.extra_fields["hsgeo:array"]][asset.extra_fields["hsgeo:index"]]
            assert int(there["seed"]) == told["hsgeo:seed"] and str(there["split"].values) == told["hsgeo:split"]
            with rasterio.open(made / "tiles" / other.assets[name].href) as raster:
                np.testing.assert_array_equal(there.values.reshape(raster.read().shape), raster.read())
    whole, rasters = (raw(made / name / "collection.json") for name in ("stored", "tiles"))
    assert "`hsgeo:index`" in whole["description"] and "`hsgeo:index`" not in rasters["description"]
    for key in ("extent", "summaries", "hsgeo:splits", "hsgeo:held_out", "assets"):
        assert whole[key] == rasters[key]


def test_of_a_store_each_class_is_read_once(made, tmp_path, monkeypatch) -> None:
    """Of tiles of nine chunks, and nothing else that grows with the tiles."""
    folder, reads, get = shutil.copytree(made / "stored", tmp_path / "stored"), [], LocalStore.get
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}

    async def noted(self: LocalStore, key: str, *given, **more):
        reads.append(key)
        return await get(self, key, *given, **more)

    monkeypatch.setattr(LocalStore, "get", noted)
    for path in folder.glob("*.json"):
        path.unlink()
    write_catalogue(folder)
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before
    chunks = [key for key in reads if key.startswith("classes/c/")]
    assert len(set(chunks)) == len(chunks) == COUNT * 9
    assert not [key for key in reads if key.startswith(("reflectance/c/", "abundances/c/"))]
    assert max(Counter(reads).values()) < COUNT  # what all tiles share is not read for each


def test_a_store_alone_has_no_collection(made) -> None:
    assert [path.name for path in (made / "alone.zarr").glob("*.json")] == ["zarr.json"]
    assert not list(made.glob("*.json"))


def test_without_a_place_or_a_time(made, tmp_path) -> None:
    """Of a scene of Mars geometry is null and there is no box; the time is that of generation."""
    scene = hsgeo.open_scene(made / "tiles" / "tile_1.tif", chunks=None)
    for kind in ("", "_abundances", "_classes"):
        one = hsgeo.open_scene(made / "tiles" / f"tile_1{kind}.tif", chunks=None).odc.assign_crs("IAU_2015:49910")
        tags = {k: v for k, v in one.attrs["tags"].items() if k != "acquisition time"}
        write_scene(one.assign_attrs(tags=tags), tmp_path / f"tile_1{kind}.tif", dtype=one.attrs["dtype"])
    write_catalogue(tmp_path)
    item, found = raw(tmp_path / "tile_1.json"), raw(tmp_path / "collection.json")
    validator = JsonSchemaSTACValidator()
    validator.validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    validator.validate_core(found, pystac.STACObjectType.COLLECTION, "1.1.0")
    assert item["geometry"] is None and "bbox" not in item and item["properties"]["proj:code"] == "IAU_2015:49910"
    assert found["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]] and "geometry is null" in found["description"]
    record = json.loads(scene.attrs["tags"]["HSGEO_PROVENANCE"])
    assert item["properties"]["datetime"] == record["time"] and item["properties"]["hsgeo:datetime"] == "generation"
    assert "were generated" in found["description"]


@pytest.mark.parametrize(
    ("tags", "domains", "want"),
    [
        ({"start_time": "2022-07-24T10:45:26"}, {}, "2022-07-24T10:45:26+00:00"),
        ({}, {"ENVI": {"acquisition_time": "{2020-01-02T03:04:05.5Z}"}}, "2020-01-02T03:04:05.500000+00:00"),
        ({}, {"IMAGERY": {"ACQUISITIONDATETIME": "2019-12-31T23:00:00-02:00"}}, "2020-01-01T01:00:00+00:00"),
        ({"acquisition time": "one morning", "TIFFTAG_DATETIME": "2001:01:01 00:00:00"}, {}, None),
    ],
)
def test_times_that_headers_say(made, tags, domains, want) -> None:
    scene = hsgeo.open_scene(made / "s.tif").assign_attrs(tags=tags, domains=domains)
    found = acquired(scene)
    assert (None if found is None else found.isoformat()) == want


def test_small_things() -> None:
    assert united([[1, 2, 3, 4], [0, 3, 2, 9]]) == [0, 2, 3, 9]
    assert united([[179, 0, -179, 1], [-179, 0, -178, 2]]) == [179, 0, -178, 2]
    assert code_of(CRS(32633).to_wkt("WKT1_ESRI")) == "EPSG:32633"
    assert code_of(CRS("+proj=laea +lat_0=51 +lon_0=11 +datum=WGS84").to_wkt()) is None
    names = {1: "Acker/Wiese", 2: "水", 3: "a_b"}
    assert [c["name"] for c in classification(names)] == ["Acker-Wiese", "class-2", "a_b"]
    assert [c["title"] for c in classification(names)] == list(names.values())


def test_a_folder_of_something_else_says_so(made, tmp_path) -> None:
    with pytest.raises(SceneReadError, match="holds no tiles"):
        write_catalogue(tmp_path)
    shutil.copy(made / "s.tif", tmp_path / "s.tif")
    with pytest.raises(SceneReadError, match=r"s\.tif is no tile of hsgeo generate"):
        write_catalogue(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["s.tif"]


def test_tiles_that_the_catalogue_alone_has_are_named(made, tmp_path) -> None:
    left = shutil.copytree(made / "tiles", tmp_path / "left")
    for path in left.glob("tile_2*.tif"):
        path.unlink()
    options = GeneratedOptions(networks=False)
    notes = assess_generated(left, made / "s.tif", options)["notes"]
    assert [note for note in notes if "does not hold all that its collection.json names: tile_2." in note]
    for whole in ("tiles", "stored"):
        assert not any(
            "collection.json" in note for note in assess_generated(made / whole, made / "s.tif", options)["notes"]
        )
