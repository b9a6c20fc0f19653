"""Outlines of grids in longitude and latitude, against projections of single points."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Point, shape

from hsgeo.scene.wgs84 import Footprint


def test_corners_of_a_utm_grid() -> None:
    box = GeoBox((40, 60), Affine(30, 0, 500000, 0, -30, 5800000), "EPSG:32633")
    found = Footprint.of(box)
    to = Transformer.from_crs(32633, 4326)  # latitude first
    corners = [to.transform(500000 + 30 * x, 5800000 - 30 * y)[::-1] for x, y in ((0, 0), (0, 40), (60, 40), (60, 0))]
    ring = np.array(found.geometry["coordinates"][0])
    for corner in corners:
        assert np.abs(ring - corner).max(1).min() < 1e-9
    assert shape(found.geometry).exterior.is_ccw and shape(found.geometry).is_valid
    np.testing.assert_allclose(found.bbox, shape(found.geometry).bounds)
    inside = to.transform(500000 + 900, 5800000 - 600)[::-1]
    assert shape(found.geometry).contains(Point(inside))


def test_edges_bend_where_the_projection_does() -> None:
    box = GeoBox((10, 10), Affine(300000, 0, -1500000, 0, -300000, 1500000), "EPSG:3995")
    assert Footprint.of(GeoBox((10, 10), box.affine * Affine.translation(2, 12), box.crs)) is not None
    wide = GeoBox((2, 100), Affine(10000, 0, 0, 0, -10000, 6500000), "EPSG:32633")
    north = Transformer.from_crs(32633, 4326).transform(500000, 6500000)[0]
    found = Footprint.of(wide)
    corners = shape(found.geometry).exterior.coords
    assert max(y for _, y in corners) == pytest.approx(north, abs=0.01)


def test_across_the_180th_meridian() -> None:
    box = GeoBox((100, 200), Affine(1000, 0, 750000, 0, -1000, 8000000), "EPSG:32760")
    found = Footprint.of(box)
    west, south, east, north = found.bbox
    assert found.geometry["type"] == "MultiPolygon" and 170 < west < 180 and -180 < east < -170 and south < north
    parts = shape(found.geometry)
    assert parts.is_valid and parts.bounds[0] == -180 and parts.bounds[2] == 180
    to = Transformer.from_crs(32760, 4326)
    for x in (760000, 940000):
        assert parts.contains(Point(to.transform(x, 7950000)[::-1]))


def test_none_without_a_place_on_the_earth() -> None:
    here = Affine(1, 0, 0, 0, -1, 0)
    local = 'LOCAL_CS["bench",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    assert Footprint.of(GeoBox((4, 4), here, local)) is None
    assert Footprint.of(GeoBox((4, 4), here, "IAU_2015:49910")) is None  # Mars
    assert Footprint.of(GeoBox((4, 4), here, None)) is None
