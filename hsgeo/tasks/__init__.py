"""The public functions: each reads like open -> align -> fit -> tile -> apply -> blend -> write -> assess."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "fuse": "fuse",
    "FusionJob": "fuse",
    "assess": "assess",
    "simulate": "simulate",
    "convert": "convert",
    "describe": "info",
    "describe_sensors": "info",
    "demo": "demo",
    "RunOptions": "options",
    "WriteOptions": "options",
}

__all__ = list(_EXPORTS)

if TYPE_CHECKING:
    from .assess import assess
    from .convert import convert
    from .demo import demo
    from .fuse import FusionJob, fuse
    from .info import describe, describe_sensors
    from .options import RunOptions, WriteOptions
    from .simulate import simulate


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
