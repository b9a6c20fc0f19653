"""Creation options (``--co KEY=VALUE``), checked before any work: GDAL only warns of what it does not know.

The GDAL at hand is the judge: a raster of a few pixels is written in memory with the options that the output would
have, and what GDAL says of one that was asked for refuses it. The names listed here serve for advice alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from hsgeo.errors import ParameterError

from .metadata import Metadata

#: pixels a side of the raster that is tried
SIDE = 16
#: bands of it: as many as any rule of GDAL's counts, and few enough for the blocks of a COG, which hold them all
BANDS = 5
_BOTH = (
    "COMPRESS", "PREDICTOR", "NUM_THREADS", "NBITS", "BIGTIFF", "SPARSE_OK", "GEOTIFF_VERSION", "MAX_Z_ERROR",
    "MAX_Z_ERROR_OVERVIEW", "INTERLEAVE",
)  # fmt: skip
#: options that are advised
NAMES = {
    "GTiff": (
        *_BOTH, "TILED", "BLOCKXSIZE", "BLOCKYSIZE", "ZSTD_LEVEL", "ZLEVEL", "LZMA_PRESET", "JPEG_QUALITY",
        "JPEGTABLESMODE", "WEBP_LEVEL", "WEBP_LOSSLESS", "DISCARD_LSB", "PHOTOMETRIC", "ALPHA", "PROFILE", "TFW",
        "ENDIANNESS", "GEOTIFF_KEYS_FLAVOR",
    ),
    "COG": (
        *_BOTH, "BLOCKSIZE", "LEVEL", "QUALITY", "OVERVIEWS", "OVERVIEW_COMPRESS", "OVERVIEW_PREDICTOR",
        "OVERVIEW_QUALITY", "OVERVIEW_COUNT", "OVERVIEW_RESAMPLING", "RESAMPLING", "STATISTICS",
    ),
}  # fmt: skip
#: values that are advised
VALUES = {
    "COMPRESS": (
        "NONE", "DEFLATE", "LZW", "ZSTD", "PACKBITS", "LZMA", "LERC", "LERC_DEFLATE", "LERC_ZSTD", "JPEG", "WEBP",
    ),
    "BIGTIFF": ("YES", "NO", "IF_NEEDED", "IF_SAFER"),
    "INTERLEAVE": ("BAND", "PIXEL"),
}  # fmt: skip


def check_creation(
    kind: str, target: Path, creation: Mapping[str, Any], dtype: Any = None, bands: int | None = None
) -> None:
    """See that a format knows the creation options asked for.

    Parameters
    ----------
    kind : "GTiff", "COG", "ENVI" or "zarr"
    target : path
        For messages.
    creation : mapping
        Options and their values.
    dtype : dtype, optional
        Stored type. Without it names and values are checked, but not whether they suit the type.
    bands : int, optional
        Number of bands.

    Raises
    ------
    ParameterError
        An option that the format does not know, or a value that it does not take.
    """
    if not creation:
        return
    if kind == "zarr":
        from .zarr_store import array_options

        array_options(target, creation)
    elif kind == "ENVI":
        from .envi_writer import interleave_of

        interleave_of(target, creation)
    else:
        asked = {key.upper(): str(value) for key, value in creation.items()}
        said, failure = _tried(kind, asked, np.dtype(dtype or "uint8"), bands or 1)
        for text in said:
            # a word on the type of the pixels counts only where it is their own
            if dtype is not None or "creation option" in text or "not recogni" in text:
                _refuse(kind, asked, text)
        if failure is not None and dtype is not None:
            listed = " ".join(f"--co {key}={value}" for key, value in asked.items())
            raise ParameterError(f"{target}: {listed} cannot serve for {np.dtype(dtype)} ({failure}).")


def _refuse(kind: str, asked: Mapping[str, str], said: str) -> None:
    """Raise where GDAL speaks of an option that was asked for."""
    key = max((key for key in asked if key in said), key=len, default=None)
    if key is None:
        return
    option = f"--co {key}={asked[key]}"
    if "not support" in said and "creation option" in said:
        raise ParameterError(f"{option}: GDAL's {kind} driver has no option {key}.{_near(key, NAMES[kind])}")
    if key in VALUES:
        near = _near(asked[key], VALUES[key])
        raise ParameterError(f"{option}: one of {', '.join(VALUES[key])}.{near}")
    raise ParameterError(f"{option}: GDAL's {kind} driver does not take that value ({said}).")


def _near(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word.upper(), known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def _tried(kind: str, asked: Mapping[str, str], dtype: np.dtype, bands: int) -> tuple[list[str], str | None]:
    """What GDAL says when it writes a small raster with the options, and what it fails with."""
    import rasterio
    import rasterio.shutil
    from rasterio.io import MemoryFile

    from .gtiff_writer import cog_options, creation_options

    meta = Metadata((min(bands, BANDS), SIDE, SIDE), dtype, None, "", Affine(10, 0, 0, 0, -10, 0), {}, [])
    profile = {"driver": "GTiff", "count": meta.count, "height": SIDE, "width": SIDE, "dtype": dtype.name}
    # of what fails in a thread of its own nothing comes back
    asked = {"NUM_THREADS": "1", **asked}
    options = cog_options(meta, asked, False) if kind == "COG" else creation_options(meta, asked)
    failure = None
    with rasterio.Env(), _said() as said, MemoryFile(ext=".tif") as file, MemoryFile(ext=".tif") as copy:
        try:
            with file.open(**profile, transform=meta.transform, **({} if kind == "COG" else options)) as dataset:
                dataset.write(np.zeros(meta.shape, dtype))
            if kind == "COG":
                rasterio.shutil.copy(file.name, copy.name, driver="COG", **options)
        except Exception as error:
            if not type(error).__module__.startswith("rasterio"):
                raise
            failure = str(error.__cause__ or error)
    names = "|".join(re.escape(name) for name in (file.name, copy.name, Path(file.name).name, Path(copy.name).name))

    def clean(text: str) -> str:
        return re.sub(rf"^CPLE_\w+ in |({names}): ", "", text).splitlines()[0].rstrip(".")

    return [clean(text) for text in said], None if failure is None else clean(failure)


@contextmanager
def _said() -> Iterator[list[str]]:
    """Gather GDAL's warnings, which reach nobody else meanwhile."""
    logger, said = logging.getLogger("rasterio._env"), []

    def gather(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addFilter(gather)
    try:
        yield said
    finally:
        logger.removeFilter(gather)
        logger.setLevel(level)
