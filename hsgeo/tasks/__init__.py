"""The public functions: each reads like open -> align -> fit -> tile -> apply -> blend -> write -> assess."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assessment import assess
    from .conversion import convert
    from .demonstration import demo
    from .fusion import FusionJob, fuse
    from .generated import GeneratedOptions
    from .generation import GenerationJob, generate
    from .generation_options import GenerationOptions
    from .hold_out import HoldOut, held_out
    from .hud_training import train_hud
    from .info import describe, describe_quality, describe_sensors
    from .inputs import FusionOptions
    from .options import RunOptions, WriteOptions
    from .reduction import simulate
    from .restoration import RestorationJob, RestorationOptions, restore
    from .synthetic_tiles import SyntheticTiles
    from .training import train
    from .unmixing import UnmixingJob, UnmixingOptions, unmix

__all__ = [
    "FusionJob",
    "FusionOptions",
    "GeneratedOptions",
    "GenerationJob",
    "GenerationOptions",
    "HoldOut",
    "RestorationJob",
    "RestorationOptions",
    "RunOptions",
    "SyntheticTiles",
    "UnmixingJob",
    "UnmixingOptions",
    "WriteOptions",
    "assess",
    "convert",
    "demo",
    "describe",
    "describe_quality",
    "describe_sensors",
    "fuse",
    "generate",
    "held_out",
    "restore",
    "simulate",
    "train",
    "train_hud",
    "unmix",
]

_MODULES = {
    "fusion": ("FusionJob", "fuse"),
    "inputs": ("FusionOptions",),
    "assessment": ("assess",),
    "generated": ("GeneratedOptions",),
    "reduction": ("simulate",),
    "conversion": ("convert",),
    "info": ("describe", "describe_quality", "describe_sensors"),
    "demonstration": ("demo",),
    "options": ("RunOptions", "WriteOptions"),
    "restoration": ("RestorationJob", "RestorationOptions", "restore"),
    "training": ("train",),
    "generation": ("GenerationJob", "generate"),
    "generation_options": ("GenerationOptions",),
    "hold_out": ("HoldOut", "held_out"),
    "hud_training": ("train_hud",),
    "synthetic_tiles": ("SyntheticTiles",),
    "unmixing": ("UnmixingJob", "UnmixingOptions", "unmix"),
}
_EXPORTS = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
