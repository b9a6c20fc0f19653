"""Tiles as a lazy dataset: each is drawn when it is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from hsgeo.methods.generation.hud import Hud
    from hsgeo.methods.generation.work import Drawing


def lazy_tiles(source: xr.DataArray, model: Hud, drawing: Drawing, count: int, size: int, device: str) -> xr.Dataset:
    """Reflectance (tile, band, y, x), abundances (tile, endmember, y, x) and classes (tile, y, x).

    Parameters
    ----------
    source : scene (band, y, x)
        Whose bands the tiles have; those that the model does not know are NaN.
    model : Hud
    drawing : Drawing
    count, size : int
        Tiles, and the side of one in pixels.
    device : str
    """
    import dask
    import dask.array as da

    bands = source.sizes["band"]
    draw = dask.delayed(partial(_drawn, model, drawing, size, bands, device), name="tile", pure=False, nout=3)
    each = [draw(drawing.seed + number) for number in range(count)]
    shapes = ((bands, size, size), np.float32), ((len(model.encoding.endmembers), size, size), np.float32)
    parts = zip((*shapes, ((size, size), np.int64)), zip(*each, strict=True), strict=True)
    arrays = [da.stack([da.from_delayed(one, shape, dtype) for one in made]) for (shape, dtype), made in parts]
    place = ("y", "x")
    return xr.Dataset(
        {
            "reflectance": (("tile", "band", *place), arrays[0]),
            "abundances": (("tile", "endmember", *place), arrays[1]),
            "classes": (("tile", *place), arrays[2]),
        },
        coords={name: coord for name, coord in source.coords.items() if coord.dims == ("band",)}
        | {"seed": ("tile", drawing.seed + np.arange(count))},
        attrs={"synthetic": "true", "class_names": {str(v): text for v, text in model.named_kinds().items()}},
    )


def _drawn(
    model: Hud, drawing: Drawing, size: int, bands: int, device: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectance, abundances and classes of a tile."""
    from hsgeo.methods.generation.work import whole_tiles

    ((shares, spectra, classes),) = whole_tiles(model, drawing, size, [seed], [drawing.wanted], device)
    out = np.full((bands, size, size), np.nan, np.float32)
    out[model.bands] = spectra
    return out, shares.astype(np.float32), classes.astype(np.int64)
