"""Methods found by name: those of the package, and those that others add by an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hsgeo.errors import ParameterError, did_you_mean


def names_of(group: str, built_in: Mapping[str, str]) -> list[str]:
    """Names of all methods of an entry point's group, sorted."""
    return sorted({*built_in, *(e.name for e in entry_points(group=group))})


def find(group: str, built_in: Mapping[str, str], name: str) -> Any:
    """The method of a name; `built_in` holds the package's own as ``module:class``.

    Raises
    ------
    ParameterError
        No such method.
    """
    if name in built_in:
        module, _, attribute = built_in[name].partition(":")
        return getattr(import_module(module), attribute)()
    for entry in entry_points(group=group):
        if entry.name == name:
            return entry.load()()
    known = names_of(group, built_in)
    raise ParameterError(f"no method {name!r}: there is {', '.join(known)}.{did_you_mean(name, known)}")
