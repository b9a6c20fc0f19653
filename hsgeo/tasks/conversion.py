"""One scene from one format into another, with everything that is known of it."""

from __future__ import annotations

import os
from typing import Any

from hsgeo.errors import ParameterError
from hsgeo.scene import open_scene, write_scene
from hsgeo.tasks.inputs import path_of
from hsgeo.tasks.options import WriteOptions, check_target, refuse_inputs


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    sensor: str | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    write: WriteOptions | None = None,
    progress: Any = None,
) -> dict[str, Any]:
    """Read any scene and write it as GeoTIFF, COG, ENVI or zarr.

    Parameters
    ----------
    source, output : path
        The output's suffix chooses the format.
    sensor : str, optional
        Sensor name or YAML file for wavelengths that the file lacks.
    bands : str, optional
        Band numbers (``1-20,35``) or wavelengths (``450-900nm``).
    bbox : (left, bottom, right, top), optional
        In the CRS of the scene.

    Returns
    -------
    dict
        output, driver, bytes, shape, saturated, seconds, notes.
    """
    from hsgeo.scene.provenance import provenance_record

    write = write or WriteOptions()
    if write.resume:
        raise ParameterError("convert has nothing to resume; run it again with --overwrite.")
    refuse_inputs([output], [path_of(source)])
    check_target(output, write)
    notes: list[str] = []
    scene = open_scene(source, sensor=sensor, bands=bands, bbox=bbox, chunks=None, notes=notes)
    asked = {"command": "convert", "bands": bands, "bbox": bbox, "sensor": sensor}
    record = provenance_record([source], asked, scenes=[scene])
    options: dict[str, Any] = {} if write.nodata is None else {"nodata": write.nodata}
    report = write_scene(
        scene,
        output,
        cog=write.cog,
        dtype=write.dtype,
        creation=dict(write.creation),
        overwrite=write.overwrite,
        provenance=record,
        progress=progress,
        **options,
    )
    return {
        "output": str(report.path),
        "driver": report.driver,
        "bytes": report.bytes,
        "shape": [scene.sizes[d] for d in ("band", "y", "x")],
        "saturated": report.saturated,
        "seconds": report.seconds,
        "notes": notes,
    }
