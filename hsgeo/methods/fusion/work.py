"""What one fusion task does with one tile: read both images, apply the model, store the values as they will be written.

The engine is handed this object as a plain callable; it is picklable, so worker processes get it whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.methods.base import TileResult, read_tile
from hsgeo.scene.encode import Encoding, encode
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class FusionWork:
    """Callable of one block of the fine grid.

    Parameters
    ----------
    pair : AlignedPair
        Where the images are read from; windows may reach outside.
    model : fusion model
        Fitted; `apply` maps windows of both images to the fine grid.
    encoding : Encoding
        Of the output ``fused``.
    outputs : tuple of str
        Any of ``fused``, ``uncertainty``, ``flags``.
    """

    pair: Any
    model: Any
    encoding: Encoding
    outputs: tuple[str, ...] = ("fused",)

    def values(self, core: Window, outer: Window, device: str) -> TileResult:
        """The model's result for the pixels of `core`, in physical units."""
        hsi, msi = read_tile(self.pair, outer)
        return self.model.apply(hsi, msi, outer, core, device)

    def __call__(self, block: Any, device: str) -> Mapping[str, Any]:
        """Outputs of one block as they will be stored, and its statistics."""
        result = self.values(block.core, block.outer, device)
        code = self.encoding
        stored, saturated = encode(result.values, code.dtype, code.scale, code.offset, code.nodata)
        arrays: dict[str, Any] = {"fused": stored}
        if "uncertainty" in self.outputs and result.variance is not None:
            arrays["uncertainty"] = np.sqrt(result.variance)
        if "flags" in self.outputs:
            arrays["flags"] = result.flags[None]
        counts = np.bincount(result.flags.ravel(), minlength=4).tolist()
        arrays["stats"] = {**result.stats, "saturated": int(saturated), "flags": counts}
        return arrays
