"""GeoTIFF and COG: one writer, windows along the blocks of the file, every tag set before the first pixel.

A COG is a copy that GDAL's COG driver makes of such a GeoTIFF. The driver drops every metadata domain but the default
one (with COPY_SRC_MDD=YES it keeps those and drops the tags of the bands instead: GDAL 3.10), so an item of the right
length is reserved in the source, and the other domains take its place in the finished file: no offset changes.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from hsgeo.errors import HsgeoError, ParameterError

from .metadata import UNIT_BYTES, Metadata, unit_side
from .overviews import LARGEST, SMALLEST, Overviews, block_side
from .staging import require_space
from .tiff_blocks import check_blocks
from .window import Window

#: bytes of GDAL's block cache while writing (rasterio takes GDAL_CACHEMAX in bytes); more does not write faster
CACHE_BYTES = 64 << 20
#: largest block of all bands in a COG that GDAL can interleave by pixel only (before 3.11)
COG_BLOCK_BYTES = 8 << 20
#: rasters up to this many pixels a side need no overviews
SMALL = 512
_RESERVED = "HSGEO_RESERVED"


class GeoTiffSink:
    """A GeoTIFF that is being written, in a folder of its own.

    Parameters
    ----------
    folder : path
        Where files are written under their final names.
    target : path
        Where they will be, for messages.
    meta : Metadata
    creation : mapping
        GDAL creation options, over the defaults.
    overviews : bool
        Averages of 2, 4, 8 ... pixels until both sides are at most 512.
    cog : bool
        Copy it into the COG layout at the end.

    Attributes
    ----------
    block : (rows, columns)
        Windows given to `write` start at multiples of it.
    """

    def __init__(
        self, folder: Path, target: Path, meta: Metadata, creation: Mapping[str, Any], overviews: bool, cog: bool
    ) -> None:
        import rasterio

        self.meta, self.target, self.cog = meta, target, cog
        self.path = folder / (f"{target.stem}.source.tif" if cog else target.name)
        self.final = folder / target.name
        self.options = {k.upper(): str(v) for k, v in creation.items()}
        self.overviews = overviews and max(meta.shape[1:]) > SMALL
        # a third more with overviews, the first of which lies there twice for a while; a COG and its source
        twelfths = (32 if cog else 19) if self.overviews else (24 if cog else 12)
        self.needed = meta.nbytes * twelfths // 12
        options = cog_source_options(meta, self.options) if cog else creation_options(meta, self.options)
        by_pixel = cog or options["INTERLEAVE"].upper() == "PIXEL"
        pixel_block = meta.count * int(options.get("BLOCKXSIZE", LARGEST)) ** 2 * meta.dtype.itemsize
        cache = max(CACHE_BYTES, 4 * pixel_block if by_pixel else 0)
        # level 1 halves the time of compressing overviews, for 1 % more bytes of the whole file
        quick = {"ZSTD_LEVEL": "1"} if "ZSTD_LEVEL" in options and "ZSTD_LEVEL" not in self.options else {}
        reduced = {**options, **quick}
        self._env = rasterio.Env(GDAL_CACHEMAX=cache, GDAL_NUM_THREADS="ALL_CPUS", **overview_config(reduced))
        self._env.__enter__()
        self._dataset: Any = None
        self._levels: Overviews | None = None
        try:
            self._dataset = create(self.path, meta, options)
            set_tags(self._dataset, meta, own_domains=not cog)
            if cog and meta.domains:
                self._dataset.update_tags(**{_RESERVED: "x" * _room(meta.domains)})
            rows, cols = self._dataset.block_shapes[0]
            self.block = unit(meta, rows, cols)
            side = block_side(meta, self.block, cols if by_pixel else LARGEST)
            if self.levels() and side:
                self._levels = Overviews(folder / "overviews", target, meta, reduced, len(self.levels()), side)
        except BaseException:
            self.close()
            raise
        self.sparse = options.get("SPARSE_OK", "").upper() in ("TRUE", "YES", "ON", "1")
        self._pending = 0

    def write(self, raw: np.ndarray, window: Window, nodata: float | None) -> None:
        """All bands of one window; `nodata` is the stored value of missing pixels as far as known."""
        from rasterio.windows import Window as RasterioWindow

        require_space(self.target, raw.nbytes * 5 // 4 + self._pending, self.needed)
        self._pending = min(self._pending + raw.nbytes, CACHE_BYTES)
        height, width = window.shape
        self._dataset.write(raw, window=RasterioWindow(window.x0, window.y0, width, height))
        if self._levels is not None:
            self._levels.write(raw, window, nodata)

    def finish(self, nodata: float | None) -> None:
        """Close, add overviews, copy into the COG layout, and check what is on the disk.

        Raises
        ------
        OutputWriteError
            Blocks are missing: the disk is full.
        """
        if nodata != self.meta.nodata and nodata is not None and self._dataset.nodata != nodata:
            self._dataset.nodata = nodata
        self._dataset.close()
        check_blocks(self.path, self.target, self.sparse)
        if levels := self.levels():
            if self._levels is not None:
                self._levels.finish(self.path, nodata, self.needed, self.sparse)
            else:
                self._build(levels)
            check_blocks(self.path, self.target, self.sparse)
        if self.cog:
            require_space(self.target, self.path.stat().st_size * 3 // 2, self.needed)
            self._copy()
            self.path.unlink()
            check_blocks(self.final, self.target, self.sparse)
        self.close()

    def close(self) -> None:
        """Let go of everything; for a write that failed."""
        env, self._env = self._env, None
        with ExitStack() as stack:
            if env is not None:
                stack.callback(env.__exit__, None, None, None)
            if self._levels is not None:
                stack.callback(self._levels.close)
            if self._dataset is not None and not self._dataset.closed:
                stack.callback(self._dataset.close)

    def levels(self) -> list[int]:
        """Decimations of the overviews."""
        levels, factor = [], 2
        while self.overviews and max(self.meta.shape[1:]) * 2 > SMALL * factor:
            levels.append(factor)
            factor *= 2
        return levels

    def _build(self, levels: list[int]) -> None:
        """Overviews by GDAL itself, for what `Overviews` cannot do."""
        import rasterio
        from rasterio.enums import Resampling

        require_space(self.target, self.path.stat().st_size // 2, self.needed)
        with rasterio.open(self.path, "r+") as dataset:
            dataset.build_overviews(levels, Resampling.average)

    def _copy(self) -> None:
        import rasterio.shutil

        options = cog_options(self.meta, self.options, bool(self.levels()))
        rasterio.shutil.copy(self.path, self.final, driver="COG", **options)
        if self.meta.domains:
            fill_reserved(self.final, self.meta.domains)


def creation_options(meta: Metadata, asked: Mapping[str, str]) -> dict[str, str]:
    """Tiles of 512 (less for small rasters), bands one after another, ZSTD with the predictor of the type."""
    side = min(unit_side(meta), _sixteen(max(meta.shape[1:])))
    options = {"TILED": "YES", "BLOCKXSIZE": str(side), "BLOCKYSIZE": str(side)}
    if asked.get("TILED", "YES").upper() in ("NO", "FALSE", "OFF", "0"):
        options = {"TILED": "NO"}
    options |= {
        "INTERLEAVE": "BAND",
        "COMPRESS": "ZSTD",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
        # without these, three or four bands of bytes become red, green, blue and transparency
        "PHOTOMETRIC": "MINISBLACK",
        "ALPHA": "NO",
        **asked,
    }
    return {**_compression(meta, options["COMPRESS"]), **options}


def _compression(meta: Metadata, method: str) -> dict[str, str]:
    if method.upper() not in ("ZSTD", "DEFLATE", "LZW"):
        return {}
    predictor = {"PREDICTOR": "3" if meta.dtype.kind == "f" else "2"}
    # level 3 takes 40 % of the time of GDAL's 9 for 3 % more bytes (224 bands of int16 with noise)
    return {**predictor, "ZSTD_LEVEL": "3"} if method.upper() == "ZSTD" else predictor


def overview_config(options: Mapping[str, str]) -> dict[str, str]:
    """GDAL settings by which internal overviews are compressed as the raster is."""
    pairs = {"ZSTD_LEVEL": "ZSTD_LEVEL_OVERVIEW", "PREDICTOR": "PREDICTOR_OVERVIEW", "BIGTIFF": "BIGTIFF_OVERVIEW"}
    # GDAL's own 128 makes four times as many blocks, a quarter slower to write for 224 bands
    return {
        "GDAL_TIFF_OVR_BLOCKSIZE": str(LARGEST),
        **{config: options[key] for key, config in pairs.items() if key in options},
    }


def cog_options(meta: Metadata, asked: Mapping[str, str], overviews: bool) -> dict[str, str]:
    """Options of the COG driver."""
    import rasterio

    version = tuple(int(v) for v in rasterio.__gdal_version__.split(".")[:2])
    by_band = version >= (3, 11)  # the first that interleaves a COG by band
    side = 512
    while not by_band and side > 128 and meta.count * side * side * meta.dtype.itemsize > COG_BLOCK_BYTES:
        side //= 2
    options = {
        "BLOCKSIZE": str(side),
        **({"INTERLEAVE": "BAND"} if by_band else {}),
        "COMPRESS": "ZSTD",
        "PREDICTOR": "YES",
        "LEVEL": "3",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
        # the driver's own overviews of many bands interleaved by pixel take hours: it decodes a block for each band
        "OVERVIEWS": "FORCE_USE_EXISTING" if overviews else "NONE",
        **asked,
    }
    if options["COMPRESS"].upper() != "ZSTD" and "LEVEL" not in asked:
        del options["LEVEL"]
    if options["COMPRESS"].upper() not in ("ZSTD", "DEFLATE", "LZW") and "PREDICTOR" not in asked:
        del options["PREDICTOR"]
    return options


def cog_source_options(meta: Metadata, asked: Mapping[str, str]) -> dict[str, str]:
    """Options of the GeoTIFF that a COG is copied from: the same blocks, so that each is read once."""
    side = cog_options(meta, asked, False)["BLOCKSIZE"]
    if not side.isdigit() or not int(side) or int(side) % 16:
        raise ParameterError(f"--co BLOCKSIZE={side}: a multiple of 16.")
    return {**creation_options(meta, {"BLOCKXSIZE": side, "BLOCKYSIZE": side}), "ZSTD_LEVEL": "1"}


def create(path: Path, meta: Metadata, options: Mapping[str, str]) -> Any:
    """An open dataset of the grid and type."""
    import rasterio
    from rasterio.crs import CRS

    count, height, width = meta.shape
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=meta.dtype.name,
        nodata=meta.nodata,
        crs=CRS.from_wkt(meta.crs) if meta.crs else None,
        transform=meta.transform,
        **options,
    )


def set_tags(dataset: Any, meta: Metadata, own_domains: bool = True) -> None:
    """All of a scene's metadata, on a dataset open for writing."""
    dataset.update_tags(**meta.dataset_tags())
    for name, items in meta.domains.items() if own_domains else ():
        dataset.update_tags(ns=name, **items)
    scale, offset = meta["scale"], meta["offset"]
    if any(s != 1 for s in scale) or any(o != 0 for o in offset):
        dataset.scales, dataset.offsets = scale, offset
    if any(meta["units"]):
        dataset.units = meta["units"]
    for i, name in enumerate(meta["band_name"]):
        if name:
            dataset.set_band_description(i + 1, name)
        dataset.update_tags(i + 1, **meta.band_tags(i))
        if imagery := meta.imagery(i):
            dataset.update_tags(i + 1, ns="IMAGERY", **imagery)


def _items(domains: Mapping[str, Mapping[str, str]]) -> bytes:
    """The domains as GDAL writes them into the TIFF tag GDAL_METADATA: names escaped once, values twice."""
    quotes = {'"': "&quot;"}
    return "".join(
        f'<Item name="{escape(key, quotes)}" domain="{escape(name, quotes)}">{escape(escape(value, quotes))}</Item>\n'
        for name, items in domains.items()
        for key, value in items.items()
    ).encode()


def _room(domains: Mapping[str, Mapping[str, str]]) -> int:
    """Characters that the reserved item needs for the domains to fit in its place."""
    return max(1, len(_items(domains)) - len(_reserved(0)))


def _reserved(length: int) -> bytes:
    return f'<Item name="{_RESERVED}">{"x" * length}</Item>\n'.encode()


def fill_reserved(path: Path, domains: Mapping[str, Mapping[str, str]]) -> None:
    """Put the domains in the place of the reserved item of a COG, byte for byte.

    Raises
    ------
    HsgeoError
        The item is not in the file.
    """
    hole = _reserved(_room(domains)).rstrip(b"\n")
    items = _items(domains).rstrip(b"\n").ljust(len(hole), b"\n")
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        at = view.find(hole)
        if at < 0 or len(items) != len(hole):
            raise HsgeoError(f"{path.name}: the metadata domains found no place in the COG.")
        view[at : at + len(hole)] = items


def _sixteen(size: int) -> int:
    return -(-size // 16) * 16


def unit(meta: Metadata, rows: int, cols: int) -> tuple[int, int]:
    """Whole blocks of `rows` x `cols` that are written at once: about 512 x 512 pixels, or as many whole lines."""
    if cols < meta.shape[2]:
        side = unit_side(meta)
        return rows * max(1, side // rows), cols * max(1, side // cols)
    lines = min(512, UNIT_BYTES // (meta.count * cols * max(4, meta.dtype.itemsize)))
    step = math.lcm(rows, 2 * SMALLEST)  # whole blocks of overviews too, if memory allows
    step = step if step <= lines else rows
    return step * max(1, lines // step), cols
