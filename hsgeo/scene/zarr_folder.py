"""A folder for zarr to write in, which is at rest once it is given up."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore


class QuietFolder(LocalStore):
    """A local store that nothing is written to after `stop`.

    Where one chunk cannot be written, zarr reports that at once and its threads go on with the others; they would make
    the folder anew while, or after, it is removed.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._changed = threading.Condition()
        self._at_work = 0
        self._stopped = False

    async def set(self, key: str, value: Any) -> None:
        """Write one value; `OSError` after `stop`."""
        with self._writing(key):
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Write one value that is not there; `OSError` after `stop`."""
        with self._writing(key):
            await super().set_if_not_exists(key, value)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        with self._changed:
            if self._stopped:
                raise OSError(errno.ECANCELED, "the output was given up", str(self.root / key))
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def stop(self) -> None:
        """Refuse further writing, and return when none is under way."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: self._at_work == 0)
