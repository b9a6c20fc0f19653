"""Parts of the reports that tasks return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hsgeo.errors import DataError, GridError
from hsgeo.scene.identify import COARSER
from hsgeo.scene.notes import Warned

#: an overlap of more than this many times the pixels needed is not looked through for gaps
LOOKED_AT = 16
#: values of an image that are read at a time to find one
ROWS_VALUES = 2**24


def describe_box(box: Any) -> dict[str, Any]:
    """CRS, transform, shape and pixel size of a grid (`GeoBox`); the CRS is None where there is none."""
    return {
        "crs": None if box.crs is None else f"EPSG:{box.crs.epsg}" if box.crs.epsg else box.crs.to_wkt(),
        "transform": list(box.transform)[:6],
        "shape": list(box.shape),
        "gsd": [abs(box.resolution.y), abs(box.resolution.x)],
    }


def describe_grid(pair: Any) -> dict[str, Any]:
    """The output grid of a pair, and its ratio."""
    return {**describe_box(pair.fine), "ratio": pair.ratio}


def settled(notes: Sequence[str], pair: Any) -> list[str]:
    """The notes of opening two scenes and of aligning them, which settles at what GSD each band is used."""
    return [*(note for note in notes if COARSER not in note), *pair.notes]


def check_overlap(pair: Any, names: Sequence[str], masked: Sequence[bool]) -> None:
    """Refuse an HSI of one pixel, and an image of which a mask leaves nothing (rows are read until one has data).

    `names` and `masked` are those of the HSI and of the MSI.

    Raises
    ------
    GridError, DataError
    """
    height, width = pair.coarse.shape
    if height * width == 1:
        raise GridError(f"only one pixel of {names[0]} lies on {names[1]}; fuse images that share more ground.")
    bands = pair.hsi.sizes["band"]
    if masked[0] and not _any_data(pair.read_hsi, bands, height, width):
        raise DataError(f"{names[0]}: --hsi-mask leaves no pixel with data on {names[1]}; it must be 0 where to fuse.")
    groups = [
        (partial(pair.read_msi, k), len(g.bands), *(n * pair.ratio // g.ratio for n in (height, width)))
        for k, g in enumerate(pair.groups)
    ]
    if masked[1] and not any(_any_data(*group) for group in groups):
        raise DataError(f"{names[1]}: --msi-mask leaves no pixel with data on {names[0]}; it must be 0 where to fuse.")


def _any_data(read: Callable[..., np.ndarray], bands: int, height: int, width: int) -> bool:
    """Whether an image that is read by windows has a number anywhere."""
    from hsgeo.scene.window import Window

    rows = max(1, ROWS_VALUES // (bands * width))
    strips = (read(Window(y, min(y + rows, height), 0, width)) for y in range(0, height, rows))
    return any(bool(np.isfinite(strip).any()) for strip in strips)


def few_pixels(pair: Any) -> list[str]:
    """A warning where the HSI pixels with data in all good bands are too few to find noise, response and PSF from."""
    from hsgeo.observation.noise import pixels_needed
    from hsgeo.scene.window import Window

    good = pair.hsi["good"].values
    (height, width), needed = pair.coarse.shape, pixels_needed(int(good.sum()))
    if height * width > LOOKED_AT * needed:
        return []
    count = int(np.isfinite(pair.read_hsi(Window(0, height, 0, width))[good]).all(0).sum())
    if not 0 < count < needed:
        return []
    text = (
        f"only {count} HSI pixels that lie on the MSI have data in all {int(good.sum())} good bands: noise, response "
        f"and PSF found from fewer than {needed} mean little; fuse images that share more ground."
    )
    return [Warned(text)]


def flag_counts(stats: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many pixels came from both images, from one, from none."""
    total = np.sum([s["flags"] for s in stats], axis=0) if stats else np.zeros(4, int)
    return dict(zip(("both", "hsi_only", "msi_only", "neither"), (int(v) for v in total), strict=True))


def consistency_of(stats: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Root mean square of the result, degraded, against each input, in units of that input's noise (1 is perfect)."""
    report: dict[str, float | None] = {}
    for name in ("hsi", "msi"):
        count = sum(s.get(f"{name}_count", 0) for s in stats)
        total = sum(s.get(f"{name}_chi2", 0.0) for s in stats)
        report[f"{name}_over_noise"] = float(np.sqrt(total / count)) if count else None
    return report


def clipping_notes(stats: Sequence[dict[str, Any]], values: int, dtype: str) -> list[str]:
    """A warning where more than one in a hundred of the `values` did not fit the type."""
    share = sum(s.get("saturated", 0) for s in stats) / max(1, values)
    if share <= 0.01:
        return []
    return [f"{share:.0%} of the values do not fit {dtype} at the HSI's scale and were clipped; give --dtype float32."]


def by_number(defects: Mapping[str, Any], numbers: Any) -> dict[str, Any]:
    """Defects of bands by their place in a scene, by the `numbers` that these have in the file."""
    return {
        name: {str(numbers[int(band)]): lines for band, lines in found.items()} if isinstance(found, dict) else found
        for name, found in defects.items()
    }
