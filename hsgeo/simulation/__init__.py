"""Simulated scenes: a drawn land seen by two sensors, and reduced-resolution pairs of real scenes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "DemoPair": "pair",
    "PairSpec": "pair",
    "Truth": "pair",
    "make_pair": "generator",
    "make_truth": "generator",
    "Material": "materials",
    "material_library": "materials",
    "pixel_noise": "noise",
    "simulate_pair": "reduced",
}

__all__ = [
    "DemoPair",
    "Material",
    "PairSpec",
    "Truth",
    "make_pair",
    "make_truth",
    "material_library",
    "pixel_noise",
    "simulate_pair",
]

if TYPE_CHECKING:
    from .generator import make_pair, make_truth
    from .materials import Material, material_library
    from .noise import pixel_noise
    from .pair import DemoPair, PairSpec, Truth
    from .reduced import simulate_pair


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
