"""A folder of single-band files, at one or several resolutions, as one scene on the finest of their grids."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import GridError, SceneReadError, SensorError

from . import products
from .bands import BandInfo
from .geotiff import Header
from .headers import read_headers
from .identify import identify, native_gsds
from .stack import AxisMap, Layer, StackArray

_SUFFIXES = {".tif", ".tiff", ".jp2", ".vrt", ".img"}
#: the band at the end of a file name: B02, _B8A, _SR_B1, _B008_L1T, _B02_10m
_BAND = re.compile(r"(?:^|[_.\-])B(?:and)?_?(\d{1,3}A?)(?:[_.\-](?:L1\w{1,2}|\d{2}m))?$", re.IGNORECASE)
#: where the band files of a folder may lie: beside each other, in Sentinel-2's R10m ..., in a whole .SAFE
_PLACES = (
    "*",
    "R[0-9]0m/*",
    "IMG_DATA/*",
    "IMG_DATA/R[0-9]0m/*",
    "GRANULE/*/IMG_DATA/*",
    "GRANULE/*/IMG_DATA/R[0-9]0m/*",
)
EXPECTED = "names that end in the band, such as ..._B02.tif, ..._B8A.jp2, ..._SR_B1.TIF or ..._B008_L1T.TIF"


@dataclass(frozen=True)
class BandFile:
    """One file and the band its name ends in: ``written`` as it stands there, ``key`` without leading zeros."""

    path: Path
    written: str

    @property
    def key(self) -> str:
        return self.written.upper().lstrip("0") or "0"

    @property
    def order(self) -> tuple[int, str]:
        return int(re.sub(r"\D", "", self.written)), re.sub(r"\d", "", self.written).upper()


def band_files(folder: Path) -> list[BandFile]:
    """The single-band files of a folder, empty when there are none."""
    for pattern in _PLACES:
        found = []
        for path in sorted(folder.glob(pattern)):
            match = _BAND.search(path.stem)
            if match and path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith("MSK_"):
                found.append(BandFile(path, match[1]))
        if found:
            return found
    return []


def open_folder(folder: Path, sensor: str | None, say: Callable[[str], None]) -> tuple[StackArray, Header] | Path:
    """Read the headers of a folder's band files; or the path of the one raster that the folder wraps.

    Raises
    ------
    SceneReadError
        No band files, one band twice, or files with several bands.
    GridError
        The files differ in CRS or orientation, or do not overlap.
    """
    files = band_files(folder)
    if not files:
        return _only_raster(folder, say)
    headers = dict(zip(files, read_headers([file.path for file in files]), strict=True))
    kept = _one_per_band(folder, files, headers)
    _check(folder, kept, headers)
    infos = [_info(file, headers[file]) for file in kept]
    texts = [folder.name, folder.resolve().parent.name, *(file.path.name for file in kept)]
    first = headers[kept[0]]
    name = identify(infos, name=str(folder), sensor=sensor, written="", texts=[*texts, *_short(first.tags)], say=say)
    order = _order(kept, infos, name)
    kept, infos = [kept[i] for i in order], [infos[i] for i in order]
    ordered = [headers[file] for file in kept]
    fill = _complete(folder, kept, infos, ordered, name, say)
    geobox = _finest_grid(folder, ordered, say)
    layers = [_layer(header, geobox, file, info) for header, file, info in zip(ordered, kept, infos, strict=True)]
    if name and geobox.crs is not None and geobox.crs.projected:
        native_gsds(infos, name, abs(geobox.resolution.x), str(folder), say)
    array = StackArray(tuple(layers), (geobox.shape[0], geobox.shape[1]), None if fill is None else layers[fill])
    return array, _merged(kept, infos, ordered, geobox, name)


def _only_raster(folder: Path, say: Callable[[str], None]) -> Path:
    """The raster in a folder that holds just one: an EnMAP product, an ENVI pair."""
    suffixes = {".tif", ".tiff", ".hdr", ".bsq", ".bil", ".bip", ".zarr"}
    inside = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    spectral = [p for p in inside if "SPECTRAL_IMAGE" in p.name.upper() and p.suffix.lower() != ".hdr"]
    single = spectral if len(spectral) == 1 else inside
    if len({p.stem for p in single}) == 1:
        say(f"{folder}: opened {single[0].name}, the only raster in the folder.")
        return single[0]
    if any(p.stem.startswith("tile_") and p.stem.endswith("_classes") for p in inside):
        raise SceneReadError(
            f"{folder} holds tiles of hsgeo generate: name a raster in it, or measure them by hsgeo assess {folder} "
            "--reference SCENE."
        )
    if len(inside) > 1:
        listed = ", ".join(p.name for p in inside[:4]) + (" ..." if len(inside) > 4 else "")
        raise SceneReadError(f"{folder} holds several rasters ({listed}); name one, or give the band files {EXPECTED}.")
    if not any(folder.iterdir()):
        raise SceneReadError(f"{folder} is an empty folder; give one that holds rasters.")
    raise SceneReadError(f"{folder} holds no band files; a scene in a folder needs {EXPECTED}.")


def _one_per_band(folder: Path, files: list[BandFile], headers: dict[BandFile, Header]) -> list[BandFile]:
    """The file of each band: the finest where one is there at several resolutions."""
    chosen: dict[str, BandFile] = {}
    for file in files:
        other = chosen.setdefault(file.key, file)
        if other is file:
            continue
        mine, theirs = (abs(headers[f].geobox.resolution.x) for f in (file, other))
        if math.isclose(mine, theirs, rel_tol=1e-6):
            raise SceneReadError(
                f"{folder} holds band {file.written} twice ({other.path.name}, {file.path.name}); "
                "put one scene in a folder."
            )
        if mine < theirs:
            chosen[file.key] = file
    return sorted(chosen.values(), key=lambda file: file.order)


def _check(folder: Path, files: list[BandFile], headers: dict[BandFile, Header]) -> None:
    first = headers[files[0]]
    for file in files:
        header = headers[file]
        if header.source.shape[0] != 1:
            raise SceneReadError(
                f"{file.path} holds {header.source.shape[0]} bands; the files of a folder hold one each."
            )
        if header.geobox.crs != first.geobox.crs:
            raise GridError(
                f"{folder}: {files[0].path.name} is in {_crs(first)}, {file.path.name} in {_crs(header)}; "
                "bring all bands to one CRS with gdalwarp."
            )
        ours, theirs = header.geobox.affine, first.geobox.affine
        turned = max(abs(ours.b), abs(ours.d)) > 1e-9 * abs(ours.a)
        if (turned or ours.a * theirs.a < 0 or ours.e * theirs.e < 0) and header.geobox != first.geobox:
            raise GridError(
                f"{folder}: {file.path.name} is rotated or flipped against {files[0].path.name}; use gdalwarp."
            )


def _crs(header: Header) -> str:
    crs = header.geobox.crs
    return "no CRS" if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt()[:40]


def _short(tags: dict[str, str]) -> list[str]:
    return [value for value in tags.values() if len(value) < 200]


def _info(file: BandFile, header: Header) -> BandInfo:
    return replace(header.infos[0], name=f"B{file.written.upper()}")


def _order(files: list[BandFile], infos: list[BandInfo], sensor: str) -> list[int]:
    """Positions in the order of the sensor's table; bands it lacks go last, by number."""
    from hsgeo.sensors import load_sensor

    places: dict[str, int] = {}
    if sensor:
        try:
            table = load_sensor(sensor)
        except SensorError:
            table = None
        if table is not None:
            found = table.find([info.name for info in infos])
            rank = {band.name: i for i, band in enumerate(table.bands)}
            places = {info.name: rank[band.name] for info, band in zip(infos, found, strict=True) if band is not None}
    key = [(places.get(info.name, len(infos) + 10**6), *file.order) for info, file in zip(infos, files, strict=True)]
    return sorted(range(len(infos)), key=key.__getitem__)


def _complete(
    folder: Path,
    files: list[BandFile],
    infos: list[BandInfo],
    headers: list[Header],
    sensor: str,
    say: Callable[[str], None],
) -> int | None:
    """Scale, offset and fill value of products that leave them unsaid; the band whose zeros are fill, if one is."""
    scaled = set()
    for file, info, header in zip(files, infos, headers, strict=True):
        known = products.scaling(file.path.parent, file.path.stem, file.key, sensor)
        if known is not None and info.scale == 1 and info.offset == 0:
            info.scale, info.offset = known
            header.source = replace(header.source, scale=(known[0],), offset=(known[1],))
            scaled.add(known)
    if scaled:
        listed = ", ".join(f"{s:g}{o:+g}" if o else f"{s:g}" for s, o in sorted(scaled)[:3])
        say(f"{folder}: values are scaled by {listed}, as the {sensor} product defines.")
    silent = [header for header in headers if header.nodata is None and np.dtype(header.source.stored).kind in "iu"]
    if len(silent) < len(headers):
        return None
    if products.fills_with_zero(sensor) and all(header.source.stored == "uint16" for header in headers):
        for header in headers:
            header.source, header.nodata = products.with_nodata(header.source), 0.0
        say(f"{folder}: no nodata value in the files; 0 is taken for no data, as in {sensor} products.")
    elif products.fill_is_dark(sensor) and (fill := products.reference_band(infos)) is not None:
        for header in headers:
            header.nodata = 0.0
        say(f"{folder}: no nodata value in the files; pixels where {infos[fill].name} is 0 are taken for no data.")
        return fill
    return None


def _finest_grid(folder: Path, headers: list[Header], say: Callable[[str], None]) -> GeoBox:
    """The grid of the finest bands; the union of their extents where their pixels coincide."""
    finest = min(abs(header.geobox.resolution.x) for header in headers)
    boxes = [h.geobox for h in headers if math.isclose(abs(h.geobox.resolution.x), finest, rel_tol=1e-6)]
    base = boxes[0]
    if all(box == base for box in boxes):
        return base
    corners = []
    for box in boxes:
        col, row = ~base.affine * (box.affine.c, box.affine.f)
        if max(abs(col - round(col)), abs(row - round(row))) > 1e-3:
            say(
                f"{folder}: the finest bands lie on different grids; "
                "the nearest pixels of the others are used on the first."
            )
            return base
        corners.append((round(row), round(col), round(row) + box.shape[0], round(col) + box.shape[1]))
    y0, x0 = min(c[0] for c in corners), min(c[1] for c in corners)
    y1, x1 = max(c[2] for c in corners), max(c[3] for c in corners)
    return GeoBox((y1 - y0, x1 - x0), base.affine * Affine.translation(x0, y0), base.crs)


def _layer(header: Header, grid: GeoBox, file: BandFile, info: BandInfo) -> Layer:
    """Place one file on the grid, and note its native grid where it is coarser."""
    native = header.geobox
    size = abs(native.resolution.x)
    if size > 1.001 * abs(grid.resolution.x):
        info.gsd = size
        info.tags = {**info.tags, "gsd_origin": f"{native.affine.c!r} {native.affine.f!r}", "gsd_resampling": "nearest"}
    if native == grid:
        rows, cols = AxisMap(1.0, 0.0, grid.shape[0]), AxisMap(1.0, 0.0, grid.shape[1])
    else:
        fine, coarse = grid.affine, native.affine
        rows = AxisMap(fine.e / coarse.e, (fine.f - coarse.f) / coarse.e, native.shape[0])
        cols = AxisMap(fine.a / coarse.a, (fine.c - coarse.c) / coarse.a, native.shape[1])
    if not ((rows(np.arange(grid.shape[0])) >= 0).any() and (cols(np.arange(grid.shape[1])) >= 0).any()):
        raise GridError(f"{file.path} does not overlap with the finest bands of its folder; put one scene in a folder.")
    return Layer(header.source, rows, cols)


def _merged(files: list[BandFile], infos: list[BandInfo], headers: list[Header], grid: GeoBox, sensor: str) -> Header:
    """One header for the stack; of the tags those that all files share."""
    numbers = [file.order[0] for file in files]
    tags = dict(headers[0].tags)
    for header in headers[1:]:
        tags = {k: v for k, v in tags.items() if header.tags.get(k) == v}
    finest = next(h for h in headers if math.isclose(abs(h.geobox.resolution.x), abs(grid.resolution.x), rel_tol=1e-6))
    coarsest = max(abs(h.geobox.resolution.x) for h in headers)
    ratio = max(1, round(coarsest / abs(grid.resolution.x)))
    rows, cols = (-(-b // ratio) * ratio for b in finest.block)
    return Header(
        source=finest.source,
        stored=str(np.result_type(*(np.dtype(h.source.stored) for h in headers))),
        geobox=grid,
        infos=infos,
        driver=finest.driver,
        block=(rows, cols),
        interleave="band",
        nodata=next((h.nodata for h in headers if h.nodata is not None), None),
        sensor=sensor,
        tags=tags,
        numbers=numbers if len(set(numbers)) == len(numbers) else None,
    )
