"""Every error that hsgeo raises on purpose: one base, short leaves that also inherit the builtin.

An `InputError` is the user's to mend: its message is one or two sentences that name the file, say what is
wrong and what to do, and the command line ends with exit code 2. Any other `HsgeoError` is ours (exit code 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HsgeoError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(HsgeoError, ValueError):
    """An input, option or parameter that cannot serve; the message says how to mend it."""

    exit_code = 2


class SceneNotFoundError(InputError, FileNotFoundError):
    """The path of a scene does not exist."""


class SceneReadError(InputError, OSError):
    """A file exists but is not a raster that can be read (wrong format, truncated, empty)."""


class GridError(InputError):
    """A grid that cannot serve: no CRS, rotated, no overlap, MSI coarser than HSI."""


class BandError(InputError):
    """Bands that cannot serve: no wavelengths, none good, ranges that do not meet."""


class DataError(InputError):
    """Pixel values that cannot serve: all nodata, all equal."""


class SensorError(InputError, KeyError):
    """A sensor that is not known, or a sensor file that does not parse."""

    __str__ = Exception.__str__


class ParameterError(InputError):
    """A parameter outside its range or of the wrong kind."""


class ModelError(InputError):
    """A trained model that cannot be read, or does not fit what it is asked to do."""


class OutputExistsError(InputError, FileExistsError):
    """The output exists and ``--overwrite`` was not given."""


class OutputWriteError(InputError, OSError):
    """The output cannot be written: folder missing or read-only, disk full."""


class ResumeError(InputError):
    """A run cannot be resumed: nothing to resume, or other inputs or parameters."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when `known` holds something near `name`, else an empty string."""
    near = get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
