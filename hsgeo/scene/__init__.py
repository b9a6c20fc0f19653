"""Scenes: what one is, how it is opened, aligned with another, and written."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "make_scene": "model",
    "geobox_of": "model",
    "label": "model",
    "band_tags": "model",
    "Window": "window",
    "open_scene": "open",
    "write_scene": "write",
    "AlignedPair": "align",
}

__all__ = ["AlignedPair", "Window", "band_tags", "geobox_of", "label", "make_scene", "open_scene", "write_scene"]

if TYPE_CHECKING:
    from .align import AlignedPair
    from .model import band_tags, geobox_of, label, make_scene
    from .open import open_scene
    from .window import Window
    from .write import write_scene


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
