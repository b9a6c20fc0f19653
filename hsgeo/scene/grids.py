"""Grid algebra: how the pixels of one grid lie on another, pixel sizes in one CRS, whole ratios, the overlap.

Pixel coordinates count from the outer edge of the first pixel: pixel j covers [j, j + 1], its centre is j + 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from .window import Window

#: two grids coincide, and a mapping counts as affine, to this part of a pixel
TOLERANCE = 1e-3
#: two grids that drift apart by less than this part of a pixel from end to end differ by a shift alone
DRIFT = 0.02


@dataclass(frozen=True)
class PixelMap:
    """Pixel coordinates of `target` expressed in pixel coordinates of `source`.

    `linear` is (a_y, b_y, a_x, b_x) with y_source = a_y * y_target + b_y, the same for x, where the mapping is
    that simple over the whole target (one CRS, or two spellings of it); otherwise None.
    """

    target: GeoBox
    source: GeoBox
    linear: tuple[float, float, float, float] | None

    @classmethod
    def between(cls, target: GeoBox, source: GeoBox) -> PixelMap:
        """The mapping from `target` to `source`; both need a CRS."""
        if target.crs == source.crs:
            both = ~source.affine * target.affine
            plain = abs(both.b) + abs(both.d) < 1e-12
            return cls(target, source, (both.e, both.f, both.a, both.c) if plain else None)
        probe = cls(target, source, None)
        height, width = target.shape
        x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, width, 9), np.linspace(0, height, 9)))
        us, vs = probe.points(x, y)
        if not (np.isfinite(us).all() and np.isfinite(vs).all()):
            return probe
        fits = []
        for along, mapped in ((y, vs), (x, us)):
            slope, offset = np.polyfit(along, mapped, 1)
            if np.abs(slope * along + offset - mapped).max() > TOLERANCE:
                return probe
            fits += [float(slope), float(offset)]
        return cls(target, source, (fits[0], fits[1], fits[2], fits[3]))

    def points(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source pixel coordinates (x, y) of target pixel coordinates; inf where the CRS knows no such place."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        if self.linear is not None:
            ay, by, ax, bx = self.linear
            return ax * x + bx, ay * y + by
        east, north = transform_points(self.target, self.source, *apply(self.target.affine, x, y))
        return apply(~self.source.affine, east, north)

    @property
    def coincides(self) -> bool:
        """Whether every target pixel is exactly one source pixel."""
        return self.offset is not None

    @property
    def offset(self) -> tuple[int, int] | None:
        """(rows, columns) to add to a target index to get the source index, None where grids do not coincide."""
        if self.linear is None:
            return None
        found = []
        for slope, start, length in zip(self.linear[::2], self.linear[1::2], self.target.shape, strict=True):
            first = round(start)
            if max(abs(start - first), abs(slope * length + start - length - first)) > TOLERANCE:
                return None
            found.append(first)
        return found[0], found[1]

    @property
    def displacement(self) -> tuple[float, float] | None:
        """(rows, columns) to add to target coordinates to get source coordinates, None where more than a shift is
        between the two grids."""
        if self.linear is None:
            return None
        (ay, by, ax, bx), (height, width) = self.linear, self.target.shape
        drift = (ay - 1) * height, (ax - 1) * width
        return (by + drift[0] / 2, bx + drift[1] / 2) if max(map(abs, drift)) < DRIFT else None

    @property
    def steps(self) -> tuple[float, float]:
        """Target pixel height and width in source pixels (positive), at the middle of the target."""
        if self.linear is not None:
            return abs(self.linear[0]), abs(self.linear[2])
        height, width = self.target.shape
        x, y = width / 2 + np.array([0.0, 0.5, -0.5, 0.0, 0.0]), height / 2 + np.array([0.0, 0.0, 0.0, 0.5, -0.5])
        u, v = self.points(x, y)
        along_x = math.hypot(u[1] - u[2], v[1] - v[2])
        along_y = math.hypot(u[3] - u[4], v[3] - v[4])
        return along_y, along_x

    def area(self, x: float, y: float) -> float:
        """Area in source pixels of the target pixel at pixel coordinates (x, y)."""
        u, v = self.points(x + np.array([0.5, -0.5, 0.0, 0.0]), y + np.array([0.0, 0.0, 0.5, -0.5]))
        return abs((u[0] - u[1]) * (v[2] - v[3]) - (v[0] - v[1]) * (u[2] - u[3]))

    def source_bounds(self, window: Window) -> tuple[float, float, float, float] | None:
        """(y0, y1, x0, x1) in source pixel coordinates around a window of the target, None where it maps nowhere."""
        u, v = self.points(*outline(window))
        known = np.isfinite(u) & np.isfinite(v)
        if not known.any():
            return None
        return float(v[known].min()), float(v[known].max()), float(u[known].min()), float(u[known].max())


def apply(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An affine transformation of many points."""
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def transform_points(source: GeoBox, target: GeoBox, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ground coordinates (east, north) from the CRS of one grid to that of another; inf where it has no such place."""
    assert source.crs is not None and target.crs is not None
    east, north = source.crs.transformer_to_crs(target.crs)(np.asarray(x, float), np.asarray(y, float))
    return np.asarray(east), np.asarray(north)


def outline(window: Window, points: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (x, y) along the border of a window, closed."""
    t = np.linspace(0.0, 1.0, points)[:-1]
    flat = np.zeros_like(t)
    x = np.concatenate([t, flat + 1, 1 - t, flat, [0.0]])
    y = np.concatenate([flat, t, flat + 1, 1 - t, [0.0]])
    height, width = window.shape
    return window.x0 + width * x, window.y0 + height * y


def whole(box: GeoBox) -> Window:
    """All pixels of a grid."""
    return Window(0, box.shape[0], 0, box.shape[1])


def crop(box: GeoBox, window: Window) -> GeoBox:
    """The grid of a window, which may reach outside."""
    return GeoBox(window.shape, box.affine * Affine.translation(window.x0, window.y0), box.crs)


def zoomed(box: GeoBox, ratio: int) -> GeoBox:
    """The same ground on pixels `ratio` times smaller; edges coincide."""
    height, width = box.shape
    a, b, c, d, e, f = box.affine[:6]
    return GeoBox((height * ratio, width * ratio), Affine(a / ratio, b / ratio, c, d / ratio, e / ratio, f), box.crs)


def grouped(fine: GeoBox, ratio: int) -> GeoBox:
    """The grid of pixels `ratio` times larger from the same origin, the last row and column may reach outside."""
    height, width = fine.shape
    return GeoBox((-(-height // ratio), -(-width // ratio)), fine.affine * Affine.scale(ratio), fine.crs)


def moved(box: GeoBox, dy: float, dx: float) -> GeoBox:
    """The grid moved by parts of a pixel, down and to the right."""
    return GeoBox(box.shape, box.affine * Affine.translation(dx, dy), box.crs)


def metres(box: GeoBox) -> tuple[float, float]:
    """Height and width in metres of the pixel in the middle of a grid."""
    crs = box.crs
    height, width = box.shape
    if crs is None or not crs.geographic:
        unit = 1.0 if crs is None else float(crs.proj.axis_info[0].unit_conversion_factor or 1.0)
        return abs(box.affine.e) * unit, abs(box.affine.a) * unit
    geod = crs.proj.get_geod()
    assert geod is not None
    lon, lat = box.affine * (width / 2, height / 2)
    rise, run = abs(box.affine.e) / 2, abs(box.affine.a) / 2
    _, _, tall = geod.inv(lon, lat - rise, lon, lat + rise)
    _, _, wide = geod.inv(lon - run, lat, lon + run, lat)
    return float(tall), float(wide)


def overlap(coarse: GeoBox, source: GeoBox, ratio: int) -> Window | None:
    """The smallest window of the coarse grid that holds every pixel which the other image touches.

    A coarse pixel is touched where at least one of its `ratio` x `ratio` fine pixels has its centre on the other
    image. None where there is no such pixel.
    """
    from shapely.geometry import MultiPoint, Polygon
    from shapely.geometry import box as rectangle

    height, width = coarse.shape
    forth = PixelMap.between(coarse, source)

    def on_source(most: int) -> tuple[MultiPoint, float]:
        """Points of a lattice over the coarse grid that lie on the other image, and how far apart the lattice is."""
        rows, cols = (np.linspace(0.5, n - 0.5, min(n, most)) for n in (height, width))
        xs, ys = (axis.ravel() for axis in np.meshgrid(cols, rows))
        u, v = forth.points(xs, ys)
        inside = (u >= 0) & (u <= source.shape[1]) & (v >= 0) & (v <= source.shape[0])
        return MultiPoint(np.column_stack([xs, ys])[inside]), max(1.0, height / rows.size, width / cols.size)

    x, y = PixelMap.between(source, coarse).points(*outline(whole(source)))
    known = bool(np.isfinite(x).all() and np.isfinite(y).all())
    shape = Polygon(np.column_stack([x, y])).buffer(0) if known else Polygon()
    if not on_source(24)[0].difference(shape.buffer(1)).is_empty:
        # an image so large that its outline is cut, folded or nowhere in the coarse CRS
        points, apart = on_source(512)
        shape = points.buffer(apart / 2, cap_style="square")
    shape = shape.intersection(rectangle(0, 0, width, height))
    if shape.is_empty or shape.area == 0:
        return None
    x0, y0, x1, y1 = shape.bounds
    rows_cols = []
    for low, high in ((y0, y1), (x0, x1)):
        first, last = math.ceil(low * ratio - 0.5 - 1e-6), math.floor(high * ratio - 0.5 + 1e-6)
        if last < first:
            return None
        rows_cols += [first // ratio, last // ratio + 1]
    return Window(*rows_cols).clip(height, width)


def extent_text(box: GeoBox, like: GeoBox | None = None) -> str:
    """Bounds "x 383470 to 385248, y 5815927 to 5818304", in the CRS of `like` where given."""
    x, y = apply(box.affine, *outline(whole(box)))
    digits = 0
    target = like or box
    if target.crs is not None and target.crs.geographic:
        digits = 4
    if like is not None and like.crs != box.crs:
        x, y = transform_points(box, like, x, y)
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            return "nowhere in that CRS"
        x, y = x[known], y[known]
    return f"x {x.min():.{digits}f} to {x.max():.{digits}f}, y {y.min():.{digits}f} to {y.max():.{digits}f}"
