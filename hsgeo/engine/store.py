"""The working store: where finished blocks are kept until the whole is written, and what makes a run resumable.

    STORE/hsgeo-store        says that the folder is ours; locked while a run uses it
    STORE/identity.json      what the run is; written last, so that a store that has one is complete
    STORE/arrays/NAME        zarr arrays, one chunk column per block: one block, one writer
    STORE/blocks/ROW.COL     marker of a finished block: its statistics, and the size of its chunk files

A block's chunks are written first and its marker after them, both by renaming a finished file. Whenever the run is
killed, a block with a marker is whole, and one without is done again.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.errors import HsgeoError, OutputExistsError, OutputWriteError, ParameterError

from .blend import as_named
from .identity import read_identity, refuse_other
from .plan import Block, TilePlan

TAG = "hsgeo-store"
#: bytes of one chunk before compression: what is compressed is held several times over, and few bands are read alone
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Output:
    """One array that a run makes.

    Parameters
    ----------
    bands : int
    dtype : str
        numpy name of the stored type. Values of another type are rounded half to even, and clipped to its range.
    fill : float
        Stored where nothing was computed, and for NaN when `dtype` is an integer.
    """

    bands: int
    dtype: str
    fill: float | int | None = 0

    def cast(self, values: np.ndarray) -> np.ndarray:
        """Values as they are stored."""
        kind = np.dtype(self.dtype)
        if values.dtype == kind or values.dtype.kind == "b" or kind.kind not in "iu":
            return values.astype(kind, copy=False)
        limits = np.iinfo(kind)
        low, high = limits.min, limits.max
        if values.dtype.kind in "iu":
            own = np.iinfo(values.dtype)
            return np.clip(values, max(low, own.min), min(high, own.max)).astype(kind)
        wide = np.float64 if kind.itemsize > 2 else values.dtype
        rounded = np.rint(values, dtype=wide)
        rounded[np.isnan(rounded)] = self.fill or 0
        top = float(high) if int(float(high)) <= high else np.nextafter(float(high), 0)
        return np.clip(rounded, low, top, out=rounded).astype(kind)


class Store:
    """A working store on disk.

    Parameters
    ----------
    path : path
        A folder; need not exist.
    plan : TilePlan
    outputs : mapping of name to Output
    """

    def __init__(self, path: str | os.PathLike[str], plan: TilePlan, outputs: Mapping[str, Output]) -> None:
        self.path, self.plan, self.outputs = Path(path).absolute(), plan, dict(outputs)
        self._arrays: dict[str, Any] = {}
        self._lock: Any = None

    def open(self, identity: Mapping[str, Any], resume: bool) -> list[str]:
        """Make the store, or go on with the one that is there.

        Returns
        -------
        list of str
            What the user should know.

        Raises
        ------
        ResumeError
            The store belongs to a run with another identity.
        OutputExistsError
            The folder is there and not ours, or in use.
        OutputWriteError
            It cannot be made.
        """
        try:
            text = json.dumps(dict(identity), sort_keys=True, indent=1)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"the identity of a run must be JSON: {error}.") from error
        notes: list[str] = []
        known = read_identity(self.path)
        if resume and known is not None:
            refuse_other(self.path, {**dict.fromkeys(known), **identity})
            self._hold()
            return notes
        if resume:
            notes.append(f"nothing to resume: {self.path} has no interrupted run; starting with the first block.")
        elif known is not None:
            notes.append(f"{self.path} had an interrupted run, which is gone now; --resume would have gone on with it.")
        try:
            self._remove()
            self._create(text)
        except OSError as error:
            if self._lock is not None:
                self.discard_if_empty()
                self.release()
            raise _write_error(self.path, error) from error
        return notes

    def _hold(self) -> None:
        """Keep others out for as long as this process lives; the kernel lets go when it is killed."""
        self._lock = open(self.path / TAG, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            self._lock.close()
            raise OutputExistsError(
                f"{self.path} is in use by another run of hsgeo; wait for it, or choose another output."
            ) from error

    def release(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard_if_empty(self) -> None:
        """Remove the store, which this run holds, where it keeps no finished block."""
        if not any((self.path / "blocks").glob("*")):
            shutil.rmtree(self.path, ignore_errors=True)

    def _remove(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir() or (any(self.path.iterdir()) and not (self.path / TAG).exists()):
            raise OutputExistsError(f"{self.path} exists and is not a working store of hsgeo; move it out of the way.")
        self._hold()
        # renamed first: a half-removed store must not be taken for one
        rest = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}.old")
        os.rename(self.path, rest)
        self.release()
        shutil.rmtree(rest, ignore_errors=True)

    def _create(self, identity: str) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        self.path.mkdir(parents=True)
        self._hold()
        (self.path / "blocks").mkdir()
        h, w = self.plan.chunk
        for name, output in self.outputs.items():
            layer = h * w * np.dtype(output.dtype).itemsize
            zarr.create_array(
                str(self.path / "arrays" / name),
                shape=(output.bands, self.plan.height, self.plan.width),
                chunks=(max(1, min(output.bands, CHUNK_BYTES // layer)), h, w),
                dtype=output.dtype,
                fill_value=output.fill,
                # int16 images: 0.7 of the size at 300 MB/s a core; zstd-1 is 2 % smaller and half as fast
                compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
                dimension_names=("band", "y", "x"),
            )
        write_atomically(self.path / "identity.json", identity)

    def array(self, name: str) -> Any:
        """The zarr array of an output."""
        if name not in self._arrays:
            import zarr

            self._arrays[name] = zarr.open_array(str(self.path / "arrays" / name), mode="r+")
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_lock": None}

    def finished(self) -> dict[tuple[int, int], Any]:
        """Statistics (or None) of each block that is done, by (row, col). Remains of a killed run are cleared."""
        for leftover in self.path.rglob("*.partial"):  # of zarr's writes and of ours
            leftover.unlink(missing_ok=True)
        found: dict[tuple[int, int], Any] = {}
        for marker in (self.path / "blocks").iterdir():
            row, _, col = marker.name.partition(".")
            if not (row.isdigit() and col.isdigit()):
                continue
            record = self.record(int(row), int(col))
            # after a power cut a marker may have outlived its chunk
            if record is not None and record["sizes"] == self._sizes(int(row), int(col)):
                found[int(row), int(col)] = record["stats"]
            else:
                marker.unlink()
        return found

    def record(self, row: int, col: int) -> dict[str, Any] | None:
        """The marker of a block: ``stats`` and ``sizes``; None where there is none that can be read."""
        try:
            record = json.loads((self.path / "blocks" / f"{row}.{col}").read_text(encoding="utf-8"))
            return record if {"stats", "sizes"} <= record.keys() else None
        except (OSError, ValueError, AttributeError):
            return None

    def write(self, block: Block, result: Any) -> Any:
        """Store the result of one block; returns its statistics as a resumed run will read them.

        Parameters
        ----------
        result : mapping or array
            Arrays (bands, h, w) over the block's core or its outer window, and optionally ``stats``.

        Raises
        ------
        OutputWriteError
            The disk is full or the folder cannot be written.
        HsgeoError
            The result does not fit the outputs.
        """
        stats = result.get("stats") if isinstance(result, Mapping) else None
        rows, cols = block.core.slices
        for name, values in as_named(result, self.outputs).items():
            output = self.outputs[name]
            if values.shape[1:] == block.outer.shape != block.core.shape:
                inner = block.core.within(block.outer).slices
                values = values[:, inner[0], inner[1]]
            if values.shape != (output.bands, *block.core.shape):
                raise HsgeoError(
                    f"output {name!r}: block {block.row}, {block.col} came back as {values.shape}, "
                    f"not {(output.bands, *block.core.shape)}."
                )
            array, values = self.array(name), output.cast(values)
            step = array.chunks[0]
            try:
                for k in range(0, output.bands, step):
                    array[k : k + step, rows, cols] = values[k : k + step]
            except OSError as error:
                raise _write_error(self.path, error) from error
        record = {"stats": stats, "sizes": self._sizes(block.row, block.col)}
        text = json.dumps(record, default=_plain)
        try:
            write_atomically(self.path / "blocks" / f"{block.row}.{block.col}", text)
        except OSError as error:
            raise _write_error(self.path, error) from error
        return json.loads(text)["stats"]

    def _sizes(self, row: int, col: int) -> list[int]:
        """Bytes of each chunk file of a block; 0 for one that is all fill, which zarr does not write."""
        sizes = []
        for name in self.outputs:
            array = self.array(name)
            for k in range(math.ceil(array.shape[0] / array.chunks[0])):
                key = array.metadata.encode_chunk_key((k, row, col))
                try:
                    sizes.append((self.path / "arrays" / name / key).stat().st_size)
                except FileNotFoundError:
                    sizes.append(0)
        return sizes


def stored_plan(path: str | os.PathLike[str]) -> TilePlan | None:
    """The tile plan of an interrupted run, for one that resumes it without being told the tile size."""
    known = read_identity(Path(path))
    return TilePlan(**known["plan"]) if known is not None else None


def write_atomically(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"statistics must be JSON, not {type(value).__name__}")


def _write_error(path: Path, error: OSError) -> Exception:
    if isinstance(error, HsgeoError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputWriteError(f"the disk of {path.parent} is full; free some space and go on with --resume.")
    reason = error.strerror or str(error)
    return OutputWriteError(f"{path} cannot be written ({reason}); choose a folder that can be.")
