"""What one restoration task does with one tile: read, apply the model, judge what was removed, store.

The engine is handed this object as a plain callable; it is picklable, so worker processes get it whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.methods.restoration.base import RestoredTile
from hsgeo.scene.encode import Encoding, encode
from hsgeo.scene.resample import read_window
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class RestorationWork:
    """Callable of one block.

    Parameters
    ----------
    source : SceneSource
        Where the scene is read from; windows may reach outside.
    model : restorer
        Fitted.
    encoding : Encoding
        Of the output ``restored``.
    outputs : tuple of str
        Any of ``restored``, ``residual``.
    scale : int
        Output pixels, which blocks count, per pixel of the scene.
    """

    source: Any
    model: Any
    encoding: Encoding
    outputs: tuple[str, ...] = ("restored",)
    scale: int = 1

    def values(self, core: Window, outer: Window, device: str) -> RestoredTile:
        """The model's result for the pixels of `core`, in physical units."""
        return self.model.apply(self.source.read(outer.coarsen(self.scale)), outer, core, device)

    def __call__(self, block: Any, device: str) -> Mapping[str, Any]:
        """Outputs of one block as they will be stored, and its statistics."""
        before = self.source.read(block.outer.coarsen(self.scale))
        result = self.model.apply(before, block.outer, block.core, device)
        removed = result.removed
        if removed is None:
            removed = before[(slice(None), *block.core.within(block.outer).slices)] - result.values
        judged = removed if result.noise is None else result.noise
        code = self.encoding
        stored, saturated = encode(
            self._exact(result.values, before, block), code.dtype, code.scale, code.offset, code.nodata
        )
        arrays: dict[str, Any] = {"restored": stored}
        if "residual" in self.outputs:
            arrays["residual"] = removed
        arrays["stats"] = {
            **result.stats,
            **structure(judged[self.model.bands] / self.model.noise[:, None, None]),
            "saturated": int(saturated),
            "values": int(np.isfinite(result.values).sum()),
        }
        return arrays

    def _exact(self, values: np.ndarray, before: np.ndarray, block: Any) -> np.ndarray:
        """The result with what it left alone as the scene has it, where that is more than float32 holds."""
        scene = self.source.scene
        if self.scale > 1 or scene.dtype.itemsize <= values.dtype.itemsize:
            return values
        same = values == before[(slice(None), *block.core.within(block.outer).slices)]
        return np.where(same, read_window(scene, block.core, np.float64), values)


def structure(removed: np.ndarray) -> dict[str, float]:
    """How large what was removed is, and what neighbours share of it: sums that add up over tiles.

    Parameters
    ----------
    removed : array (B, h, w)
        In units of the noise; NaN where nothing was seen.

    Returns
    -------
    dict
        ``power``, ``space`` and ``spectrum``: sums of squares, of products of neighbouring pixels and of neighbouring
        bands; each with the number of its products, ``..._count``.
    """
    known = np.isfinite(removed)
    r = np.where(known, removed, 0.0)
    out: dict[str, float] = {}

    def add(name: str, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
        out[name] = out.get(name, 0.0) + float(np.einsum("bhw,bhw->", r[one], r[other], dtype=np.float64))
        out[f"{name}_count"] = out.get(f"{name}_count", 0) + int((known[one] & known[other]).sum())

    every, first, rest = slice(None), slice(None, -1), slice(1, None)
    add("power", (every,), (every,))
    add("space", (every, first), (every, rest))
    add("space", (every, every, first), (every, every, rest))
    add("spectrum", (first,), (rest,))
    return out
