"""Outputs that appear whole or not at all: written in a hidden folder beside the target, moved into place at the end.

The hidden folder goes on any exception. One left by a process that was killed is removed by the next write to the
same target; a lock held by the writing process tells the two apart.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hsgeo.errors import HsgeoError, OutputExistsError, OutputWriteError

try:
    import fcntl
except ImportError:  # Windows: leftovers of killed processes stay
    fcntl = None  # type: ignore[assignment]

#: files that GDAL reads together with a raster of that name
SIDECARS = (".aux.xml", ".ovr", ".msk", ".ovr.aux.xml", ".msk.ovr")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOCK = "lock"


def folder_of(path: Path) -> Path:
    """The folder of an output, tried for writing.

    Raises
    ------
    OutputWriteError
        It does not exist, is no folder or cannot be written.
    """
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist; create it"
        raise OutputWriteError(f"{path}: the folder {folder} {what} or choose another output.")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".hsgeo-", dir=folder))
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(path, 0) from error
        raise OutputWriteError(
            f"{path}: the folder {folder} cannot be written ({error.strerror}); choose another output."
        ) from error
    return folder


def refuse_existing(paths: Sequence[Path], overwrite: bool) -> None:
    """Stop where a file of the output, or one that GDAL would read with it, is there already.

    Raises
    ------
    OutputExistsError
        And `overwrite` was not given.
    OutputWriteError
        It is a folder, which is never replaced by a file.
    """
    for path in paths:
        if path.is_dir():
            raise OutputWriteError(f"{path} is a folder; choose another output.")
        if os.path.lexists(path) and not overwrite:
            raise OutputExistsError(f"{path} exists; give --overwrite or another output.")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write in; it is gone afterwards, whatever happens."""
    _remove_abandoned(path)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    lock = None
    try:
        lock = _lock(folder / _LOCK)
        inside = folder / "output"
        inside.mkdir()
        yield inside
    finally:
        _remove(folder)
        if lock is not None:
            lock.close()


def publish(staging: Path, path: Path, last: Sequence[str] = ()) -> list[Path]:
    """Move the files written in `staging` beside each other into the folder of `path`.

    Parameters
    ----------
    staging : path
        The hidden folder; the files in it have their final names.
    path : path
        The output.
    last : sequence of str
        Names to be moved after the others, in this order: without them the output cannot be opened.

    Returns
    -------
    list of path
    """
    names = sorted((p.name for p in staging.iterdir()), key=lambda n: (last.index(n) + 1 if n in last else 0, n))
    for name in reversed(last):  # an old output must not be read with new parts
        if name != path.name:
            (path.parent / name).unlink(missing_ok=True)
    for suffix in SIDECARS:
        if path.name + suffix not in names:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    for name in names:
        os.replace(staging / name, path.parent / name)
    return [path.parent / name for name in names]


def publish_folder(staging: Path, path: Path) -> None:
    """Move one folder from `staging` to `path`, an older one there giving way."""
    new, old = staging / path.name, staging / (path.name + ".old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise


def disk_full(path: Path, needed: int) -> OutputWriteError:
    """The error of a disk that is full while `path`, of at most `needed` bytes, is being written."""
    try:
        given_back = sum(p.stat().st_size for d in _hidden(path) for p in d.rglob("*") if p.is_file())
        missing = needed - shutil.disk_usage(path.parent).free - given_back
    except OSError:
        missing = needed
    return OutputWriteError(f"disk full while writing {path}; free {_size(max(missing, 1))} or choose another folder.")


def incomplete(path: Path) -> OutputWriteError:
    """The error of a file that lacks a part although nothing was reported."""
    return OutputWriteError(
        f"{path} could not be written completely: the disk is full, or a quota or limit on file sizes is reached; "
        "choose another folder."
    )


def require_space(path: Path, wanted: int, needed: int) -> None:
    """Stop before GDAL fills the disk: its threads report that late, and once for each block.

    Parameters
    ----------
    path : path
        The output or anything on its disk.
    wanted : int
        Bytes that the next step may take.
    needed : int
        Bytes that the whole output may take, for the message.
    """
    if shutil.disk_usage(path.parent).free < wanted:
        raise disk_full(path, needed)


@contextmanager
def write_errors(path: Path, needed: int) -> Iterator[None]:
    """Turn what the system and GDAL raise while writing into one sentence about `path`.

    Raises
    ------
    OutputWriteError
    """
    try:
        yield
    except HsgeoError as error:
        if isinstance(error, OutputWriteError) and _nearly_full(path) and "disk full" not in str(error):
            raise disk_full(path, needed) from error
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if not isinstance(error, OSError) and not type(error).__module__.startswith("rasterio"):
            raise
        if number in _FULL or _mentions(error, "No space left", "quota exceeded") or _nearly_full(path):
            raise disk_full(path, needed) from error
        if number == errno.EFBIG or _mentions(error, "File too large"):
            raise OutputWriteError(
                f"{path} becomes larger than its disk or the limit on file sizes allows; choose another folder."
            ) from error
        raise OutputWriteError(f"{path} cannot be written ({_reason(error)}).") from error


def _mentions(error: BaseException | None, *texts: str) -> bool:
    while error is not None:
        if any(text in str(error) for text in texts):
            return True
        error = error.__cause__ or error.__context__
    return False


def _nearly_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 1 << 20
    except OSError:
        return False


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error.__cause__ or error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _size(count: int) -> str:
    for unit, power in (("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return "1 MB"


def _prefix(path: Path) -> str:
    return f".{path.name}.hsgeo-tmp-"


def _lock(path: Path) -> IO[Any]:
    file = open(path, "w")  # noqa: SIM115 (held for as long as the folder is written)
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # a file system without locks: nobody takes the folder for abandoned there
            path.unlink()
    return file


def _remove_abandoned(path: Path) -> None:
    if fcntl is None:
        return
    for folder in _hidden(path):
        try:
            with open(folder / _LOCK, "r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (folder / "output").is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _hidden(path: Path) -> list[Path]:
    """The hidden folders of all writers of an output."""
    return list(path.parent.glob(glob.escape(_prefix(path)) + "*"))


def _remove(folder: Path) -> None:
    """Remove a folder in which threads of a failed write may still be at work."""
    for pause in (0, 0.05, 0.2, 0.5, 1, 2, 4, 8):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
