"""How reports are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

#: bands that are named one by one
NAMED = 8


def print_json(report: dict[str, Any]) -> None:
    """One JSON object on stdout; NaN and infinities become null."""
    typer.echo(json.dumps(_plain(report), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def print_notes(report: Mapping[str, Any]) -> None:
    """What the user must be told, on stderr."""
    for note in report.get("notes", []):
        typer.echo(f"note: {note}", err=True)


def print_rows(rows: Iterable[tuple[str, Any]]) -> None:
    """Aligned ``name  value`` lines."""
    pairs = [(name, str(value)) for name, value in rows if value not in (None, "", [])]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        typer.echo(f"{name:<{width}}  {value}")


def ranges(numbers: Iterable[int]) -> str:
    """``1-7, 58-76`` for a list of band numbers."""
    parts: list[list[int]] = []
    for n in sorted(numbers):
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def say(text: str) -> None:
    """A line for a person who waits, beside the result."""
    typer.echo(text, err=True)


def defect_rows(defects: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with detector lines, e.g. ``stuck columns   12 in 3 bands``; nothing for what was not found."""
    rows = []
    for name, found in defects.items():
        if isinstance(found, float):
            rows.append(("track", f"moves {found:.3f} columns a row"))
        elif found:
            count = sum(n if isinstance(n, int) else len(n) for n in found.values())
            which = (
                f"{len(found)} bands"
                if len(found) > NAMED
                else f"band{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
            )
            rows.append((name.replace("_", " "), f"{count} in {which}"))
    return rows
