"""Where a grid lies in longitude and latitude, as GeoJSON has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

#: points along an edge, which is no straight line in another CRS
ALONG = 5


@dataclass(frozen=True)
class Footprint:
    """A polygon on WGS84.

    Attributes
    ----------
    geometry : dict
        A GeoJSON Polygon, anticlockwise, or a MultiPolygon of its parts on both sides of the 180th meridian.
    bbox : list of float
        West, south, east, north in degrees; west is above east where it lies across that meridian.
    """

    geometry: dict[str, Any]
    bbox: list[float]

    @classmethod
    def of(cls, box: GeoBox) -> Footprint | None:
        """Of the outline of a grid; None where its CRS has no place on the earth."""
        from pyproj import CRS, Transformer
        from pyproj.exceptions import ProjError
        from shapely.affinity import translate
        from shapely.geometry import MultiPolygon, Polygon, mapping
        from shapely.geometry import box as rectangle
        from shapely.geometry.polygon import orient

        if box.crs is None:
            return None
        try:
            to = Transformer.from_crs(CRS.from_wkt(box.crs.to_wkt()), "OGC:CRS84", always_xy=True)
            longitude, latitude = to.transform(*_edges(box))
        except ProjError:
            return None
        if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
            return None
        west, south, east, north = longitude.min(), latitude.min(), longitude.max(), latitude.max()
        across = east - west > 180
        if across:
            longitude = np.where(longitude < 0, longitude + 360, longitude)
            west, east = longitude.min(), longitude.max() - 360
        shape = orient(Polygon(np.stack([longitude, latitude], 1)))
        if across:
            parts = shape.intersection(rectangle(0, -90, 180, 90)), shape.intersection(rectangle(180, -90, 360, 90))
            shape = MultiPolygon([orient(parts[0]), orient(translate(parts[1], -360))])
        return cls(mapping(shape), [float(v) for v in (west, south, east, north)])


def _edges(box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Points (x, y) along the outline of a grid, in its CRS."""
    t = np.linspace(0, 1, ALONG)[:-1]
    x = np.concatenate([0 * t, t, 0 * t + 1, 1 - t]) * box.shape[1]
    y = np.concatenate([t, 0 * t + 1, 1 - t, 0 * t]) * box.shape[0]
    a, b, c, d, e, f = box.affine[:6]
    return a * x + b * y + c, d * x + e * y + f
