"""How a task cuts its grid into tiles, and the lazy scene that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.tasks.options import RunOptions


def planned(
    run: RunOptions, shape: tuple[int, int], bands: int, model: Any, multiple: int, resumed: Path | None = None
) -> Any:
    """The tiles of a grid; those of the store `resumed` where there is one and no size is asked for.

    Parameters
    ----------
    run : RunOptions
    shape : (height, width)
    bands : int
    model : fitted model
        None before the fit: tiles then have no context, and begin at multiples of `multiple`.
    """
    from hsgeo.engine.memory import choose_tile
    from hsgeo.engine.plan import TilePlan
    from hsgeo.engine.store import stored_plan

    if resumed is not None and run.tile is None:
        known = stored_plan(resumed)
        if known is not None:
            return known
    halo, multiple = (model.halo, model.multiple) if model is not None else (0, multiple)
    height, width = shape
    per_pixel = 4 * (6 * bands + 160)  # values, encoding and the solver's spectra, measured
    tile = run.tile or choose_tile(
        run.memory, per_pixel, halo=halo, multiple=multiple, shape=(height, width), tasks=max(1, run.workers)
    )
    return TilePlan(height, width, tile=tile, halo=halo, multiple=multiple)


def lazy(values: Callable[..., Any], plan: Any, bands: int, device: str) -> Any:
    """A dask array (bands, H, W), float32, one chunk a tile, each computed when it is asked for.

    Parameters
    ----------
    values : callable (core, outer, device)
        Gives something with `values` (bands, h, w).
    plan : TilePlan
    """
    import dask.array as da

    blocks = {(b.row, b.col): b for b in plan}
    rows = tuple(b.core.shape[0] for (_, c), b in sorted(blocks.items()) if c == 0)
    columns = tuple(b.core.shape[1] for (r, _), b in sorted(blocks.items()) if r == 0)

    def tile(block_info: Any = None) -> np.ndarray:
        _, row, column = block_info[None]["chunk-location"]
        block = blocks[row, column]
        return values(block.core, block.outer, device).values.astype(np.float32, copy=False)

    return da.map_blocks(tile, chunks=((bands,), rows, columns), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
