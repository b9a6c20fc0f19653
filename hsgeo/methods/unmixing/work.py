"""What one unmixing task does with one tile; the engine is handed this object as a plain callable, picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hsgeo.methods.unmixing.base import UnmixedTile, Unmixer
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class UnmixingWork:
    """Callable of one block.

    Parameters
    ----------
    source : SceneSource
    model : Unmixer
    """

    source: Any
    model: Unmixer

    def values(self, core: Window, outer: Window, device: str) -> UnmixedTile:
        """Abundances of the pixels of `core`."""
        return self.model.apply(self.source.read(outer), outer, core, device)

    def __call__(self, block: Any, device: str) -> Mapping[str, Any]:
        """The output of one block, and its statistics."""
        result = self.values(block.core, block.outer, device)
        return {"abundances": result.values, "stats": result.stats}
