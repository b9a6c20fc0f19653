"""What a scene is, in a dictionary that prints as JSON; and the sensors that are known."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hsgeo.scene import open_scene


def _number(value: Any) -> float | int | None:
    """A JSON number, or None for NaN and None."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _shared(values: np.ndarray) -> Any:
    """One number when all bands agree, else one for each."""
    unique = np.unique(values)
    return unique[0].item() if unique.size == 1 else values.tolist()


def describe(path: str | os.PathLike[str], sensor: str | None = None, **part: Any) -> dict[str, Any]:
    """Open a scene's header and describe it, or a `part` of the scene: ``bands``, ``bbox`` as in `hsgeo.open_scene`.

    Returns
    -------
    dict
        Keys path, driver, crs, transform (six numbers, GDAL's affine order a, b, c, d, e, f), shape (band, y, x),
        dtype, nodata, scale, offset, units, sensor, wavelengths and fwhm (nm, None where unknown), good, bad_reason,
        gsd, bounds (left, bottom, right, top), band_numbers (as ``--bands`` takes them), band_names,
        tags, notes.
    """
    notes: list[str] = []
    scene = open_scene(path, sensor=sensor, chunks=None, notes=notes, **part)
    box = scene.odc.geobox
    has_crs = box is not None and box.crs is not None
    transform = list(box.transform)[:6] if box is not None else None
    bounds = None
    if box is not None:
        corners = [
            box.transform * xy for xy in ((0, 0), (box.shape[1], 0), (0, box.shape[0]), (box.shape[1], box.shape[0]))
        ]
        xs, ys = zip(*corners, strict=True)
        bounds = [min(xs), min(ys), max(xs), max(ys)]
    crs = None
    if has_crs:
        crs = f"EPSG:{box.crs.epsg}" if box.crs.epsg else box.crs.to_wkt()
    return {
        "path": str(path),
        "driver": scene.attrs["driver"],
        "crs": crs,
        "transform": transform,
        "shape": [scene.sizes[d] for d in ("band", "y", "x")],
        "dtype": scene.attrs["dtype"],
        "nodata": _number(scene.attrs["nodata"]),
        "scale": _shared(scene["scale"].values),
        "offset": _shared(scene["offset"].values),
        "units": _shared(scene["units"].values),
        "sensor": scene.attrs["sensor"] or None,
        "wavelengths": [_number(v) for v in scene["wavelength"].values],
        "fwhm": [_number(v) for v in scene["fwhm"].values],
        "good": scene["good"].values.tolist(),
        "bad_reason": scene["bad_reason"].values.tolist(),
        "gsd": _shared(scene["gsd"].values),
        "bounds": bounds,
        "band_numbers": scene["band"].values.tolist(),
        "band_names": scene["band_name"].values.tolist(),
        "tags": dict(scene.attrs["tags"]),
        "notes": notes,
    }


def describe_quality(path: str | os.PathLike[str], sensor: str | None = None, **part: Any) -> dict[str, Any]:
    """Read a scene, or a part of it as `describe` does, and say what is wrong with its measurements.

    Returns
    -------
    dict
        ``noise_std`` (in the scene's units) and ``snr`` (mean over noise) of each band by its number, ``dead_bands``
        (number -> why), and of both directions ``stuck_...``, ``hot_...`` (number -> lines, counted from 0) and
        ``striped_...`` (number -> how many lines).

    Raises
    ------
    InputError
        One of its leaves, where the scene has too few data or bands.
    """
    from hsgeo.methods.restoration.chain import defects_of, diagnosed
    from hsgeo.methods.restoration.destriping import destriped
    from hsgeo.methods.restoration.mended import Mended
    from hsgeo.methods.restoration.survey import learned_from, surveyed
    from hsgeo.tasks.inputs import naming
    from hsgeo.tasks.report import by_number

    scene = open_scene(path, sensor=sensor, chunks=None, **part)
    numbers = [str(n) for n in scene["band"].values.tolist()]
    with naming([str(path)]):
        found = diagnosed(Mended(scene), np.asarray(scene["good"].values, bool))
        stripes = destriped(found.source, found.bands, found.stripe_free) if found.stripe_free else None
        source = found.source if stripes is None else stripes.source
        space, statistics = surveyed(source, found.bands, learned_from(source, 0))
    kept = [numbers[i] for i in found.bands]
    return {
        "noise_std": dict(zip(kept, space.noise.tolist(), strict=True)),
        "snr": dict(zip(kept, (statistics.mean / space.noise).tolist(), strict=True)),
        "dead_bands": {numbers[i]: why for i, why in found.dead.items()},
        **by_number(dict(defects_of(found, stripes)), numbers),
    }


def describe_sensors() -> list[dict[str, Any]]:
    """Name, title, kind, number of bands, range in nm and GSDs in metres of every sensor table."""
    from hsgeo.sensors import load_sensor, sensor_names

    rows = []
    for name in sensor_names():
        sensor = load_sensor(name)
        centres = np.asarray(sensor.wavelengths, dtype=float)
        gsds = sorted({band.gsd for band in sensor.bands if band.gsd})
        rows.append(
            {
                "name": name,
                "title": sensor.title,
                "kind": sensor.kind,
                "bands": len(sensor.bands),
                "range_nm": [float(np.nanmin(centres)), float(np.nanmax(centres))],
                "gsd_m": gsds,
                "source": sensor.source,
            }
        )
    return rows
