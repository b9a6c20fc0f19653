"""What a run is: the record by which an interrupted run is known again, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsgeo.errors import ResumeError

from .plan import TilePlan

if TYPE_CHECKING:
    from .store import Output

#: of the working store; raised when an older store can no longer be gone on with
FORMAT = 1


def full_identity(
    identity: Mapping[str, Any], plan: TilePlan, outputs: Mapping[str, Output], **more: Any
) -> dict[str, Any]:
    """What the caller says a run is, with what the engine adds to it."""
    arrays = {name: [o.bands, o.dtype, None if o.fill is None else repr(float(o.fill))] for name, o in outputs.items()}
    return {**identity, "format": FORMAT, "plan": asdict(plan), "outputs": arrays, **more}


def read_identity(path: Path) -> dict[str, Any] | None:
    """The identity of a store; None where there is no complete one."""
    try:
        return json.loads((path / "identity.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def compare(before: Any, now: Any, at: str = "") -> list[str]:
    """Where two JSON values differ, as ``parameters.rank (8 before, 12 now)``."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted({*before, *now})
            for line in compare(before.get(key), now.get(key), f"{at}.{key}" if at else str(key))
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for i, (b, n) in pairs for line in compare(b, n, f"{at}[{i}]")]
    one, other = json.dumps(before), json.dumps(now)  # NaN equals NaN this way
    return [] if one == other else [f"{at} ({_short(one)} before, {_short(other)} now)"]


def refuse_other(
    path: Path, asked: Mapping[str, Any], outputs: Iterable[str] | None = None, name: Path | None = None
) -> None:
    """Refuse to resume the run of a store that is another than the one asked for.

    Parameters
    ----------
    path : path
        Of the store.
    asked : mapping
        All of the run's identity, or some entries.
    outputs : iterable of str, optional
        Names of all outputs, where `asked` does not tell.
    name : path, optional
        What to call the run.

    Raises
    ------
    ResumeError
    """
    known = read_identity(path)
    if known is None:
        return
    differences = compare({key: known.get(key) for key in asked}, json.loads(json.dumps(asked)))
    if outputs is not None:
        before, now = (", ".join(sorted(names)) for names in (known.get("outputs", {}), outputs))
        differences += [f"outputs ({before} before, {now} now)"] if before != now else []
    if differences:
        raise ResumeError(
            f"{name or path}: --resume needs the run that was interrupted, and this one differs in "
            f"{'; '.join(differences[:3])}{' and more' if len(differences) > 3 else ''}. "
            "Give the same inputs and parameters, or start afresh without --resume."
        )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
