"""Notes: what a user should know of what was guessed, left out or found; gathered in lists, and logged."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("hsgeo")


class Warned(str):
    """A note on something that changes what the data mean, so that it is heard where nobody listens to notes."""


def log_note(text: str) -> None:
    """Log a note on ``hsgeo``: a `Warned` one as a warning, others as information.

    The record's attribute ``note`` lets whoever prints the notes of a report leave it out.
    """
    _LOG.log(logging.WARNING if isinstance(text, Warned) else logging.INFO, "%s", text, extra={"note": True})
