"""``xr.open_dataset(path, engine="hsgeo")``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint


class HsgeoBackendEntrypoint(BackendEntrypoint):
    """Opens a scene as a dataset with the variable ``scene`` and the coordinate ``spatial_ref``."""

    description = "Hyperspectral and multispectral scenes: GeoTIFF, ENVI, zarr and folders of band files"
    open_dataset_parameters: ClassVar[Any] = ("filename_or_obj", "drop_variables", "sensor", "bands", "bbox")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        sensor: str | None = None,
        bands: str | Sequence[int] | None = None,
        bbox: Sequence[float] | None = None,
    ) -> xr.Dataset:
        """See `hsgeo.open_scene`; xarray itself applies ``chunks``."""
        from .open import open_scene

        scene = open_scene(filename_or_obj, sensor=sensor, bands=bands, bbox=bbox, chunks=None)
        dataset = xr.Dataset({"scene": scene})
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True for ENVI headers and folders of band files; what other engines may open is left to them."""
        from .envi import is_header
        from .folder import band_files

        try:
            path = Path(filename_or_obj)
        except TypeError:
            return False
        if path.is_dir():
            return path.suffix.lower() != ".zarr" and not (path / "zarr.json").exists() and bool(band_files(path))
        return path.suffix.lower() == ".hdr" and is_header(path)
