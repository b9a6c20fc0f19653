"""hsgeo: fusion, restoration and generation of georeferenced hyperspectral imagery.

The public surface is lazy: ``import hsgeo`` loads neither torch nor dask.distributed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "open_scene": "hsgeo.scene",
    "write_scene": "hsgeo.scene",
    "make_scene": "hsgeo.scene",
    "fuse": "hsgeo.tasks",
    "generate": "hsgeo.tasks",
    "restore": "hsgeo.tasks",
    "unmix": "hsgeo.tasks",
    "assess": "hsgeo.tasks",
    "simulate": "hsgeo.tasks",
    "convert": "hsgeo.tasks",
    "SyntheticTiles": "hsgeo.tasks",
    "HsgeoError": "hsgeo.errors",
    "InputError": "hsgeo.errors",
}

__all__ = [
    "HsgeoError",
    "InputError",
    "SyntheticTiles",
    "__version__",
    "assess",
    "convert",
    "fuse",
    "generate",
    "make_scene",
    "open_scene",
    "restore",
    "simulate",
    "unmix",
    "write_scene",
]

if TYPE_CHECKING:
    from hsgeo.errors import HsgeoError, InputError
    from hsgeo.scene import make_scene, open_scene, write_scene
    from hsgeo.tasks import SyntheticTiles, assess, convert, fuse, generate, restore, simulate, unmix


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'hsgeo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
