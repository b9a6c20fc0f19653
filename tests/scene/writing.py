"""Scenes and look-ups shared by the tests of writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.scene.model import make_scene

GRID = GeoBox((37, 53), Affine(30, 0, 500010, 0, -30, 5800020), "EPSG:32633")
WAVELENGTHS = [418.24, 423.874, 2410.125, np.nan]


def full_scene(grid: GeoBox = GRID, *, seed: int = 3, varied: bool = True) -> xr.DataArray:
    """Four bands with something in every kind of metadata, values that int16 stores exactly, and missing pixels."""
    height, width = grid.shape
    raw = np.random.default_rng(seed).integers(-50, 9000, (4, height, width)).astype(np.float64)
    scale = [1e-4, 1e-4, 2e-4, 1e-3] if varied else 1e-4
    offset = [0.0, -0.1, 0.0, 0.5] if varied else 0.0
    values = raw * np.reshape(scale, (-1, 1, 1)) + np.reshape(offset, (-1, 1, 1))
    values[:, 2:4, 5] = np.nan
    return make_scene(
        values.astype(np.float32),
        grid,
        band_name=["blue, deep", "vegetation {red}", "SWIR", "Temperatur ä"],
        wavelength=WAVELENGTHS,
        fwhm=[6.99561, 6.6675, 10.5, np.nan],
        good=[True, True, False, True],
        bad_reason=["", "", "water vapour", ""],
        scale=scale,
        offset=offset,
        units=["reflectance", "reflectance", "reflectance", "K"],
        gsd=[30.0, 30.0, 60.0, 30.0],
        band_tags=[json.dumps({"detector": f"VNIR {i}", "note": 'a < b & "c"'}) for i in range(4)],
        attrs={
            "dtype": "int16",
            "nodata": -32768.0,
            "sensor": "enmap",
            "tags": {"start_time": "2022-07-24T10:45:26", "remark": 'two\nlines, {braces} & "quotes" <ü>'},
            "domains": {
                "ENVI": {
                    "bands": "4",
                    "wavelength": "{0.41824, 0.423874, 2.410125, 0}",
                    "wavelength_units": "Micrometers",
                    "correction_factors": "{1.0, 1.1, 1.2, 1.3}",
                    "acquisition_time": "2022-07-24T10:45:26Z",
                    "z_plot_titles": "{wavelength, reflectance}",
                    "default_bands": "{3, 2, 1}",
                    "samples": "99",
                    "map_info": "{UTM, 1, 1, 0, 0, 1, 1}",
                },
                "MY_DOMAIN": {"key": "value & <tag>", "list": "{1, 2}"},
                "IMAGERY": {"CLOUDCOVER": "3"},
            },
        },
    )


def stored(scene: xr.DataArray) -> np.ndarray:
    """What `scene` holds in the file, computed here without the writer; nodata for NaN."""
    shape = (-1, 1, 1)
    values = scene.values.astype(np.float64)
    raw = np.rint((values - scene["offset"].values.reshape(shape)) / scene["scale"].values.reshape(shape))
    return np.where(np.isnan(values), scene.attrs["nodata"], raw)


def leftovers(folder: Path) -> list[str]:
    """Hidden entries of a folder."""
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))
