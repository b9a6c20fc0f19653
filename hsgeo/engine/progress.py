"""Progress of a run: a bar on a terminal, JSON lines for programs, and a record of each stage's seconds and memory.

with Progress("auto") as progress, progress.stage("apply", total=96) as stage:
    stage.advance()
"""

from __future__ import annotations

import json
import sys
import threading
import time
from types import TracebackType
from typing import Any, TextIO

from hsgeo.errors import ParameterError

from .memory import peak_rss, tree_rss

MODES = ("auto", "bar", "json", "none")


class Stage:
    """One stage of a run; a context manager, made by `Progress.stage`.

    Attributes
    ----------
    name : str
    done : float
        Units of work that are done, the skipped ones included.
    total : float or None
        All units of work; None where that is not known.
    """

    def __init__(self, name: str, total: float | None = None, owner: Progress | None = None) -> None:
        self.name, self.total, self.done = name, total, 0.0
        self._owner, self._skipped, self._lock = owner, 0.0, threading.Lock()
        self._start = time.perf_counter()

    def advance(self, n: float = 1) -> None:
        """`n` more units are done."""
        with self._lock:
            self.done += n
            if self._owner is not None:
                self._owner._show(self)

    def skip(self, n: float) -> None:
        """`n` units were done by an earlier run: they count as done, not as work from which the time left follows."""
        self._skipped += n
        self.advance(n)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.perf_counter() - self._start

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the pace so far; None while there is nothing to tell it from."""
        fresh = self.done - self._skipped
        if self.total is None or (fresh <= 0 and self.done < self.total):
            return None
        return self.seconds * (self.total - self.done) / fresh if self.done < self.total else 0.0

    def __enter__(self) -> Stage:
        self._start = time.perf_counter()
        if self._owner is not None:
            self._owner._begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owner is not None:
            self._owner._end(self)


class Progress:
    """Shows stages and records them.

    Parameters
    ----------
    mode : str
        ``auto`` (a bar if `stream` is a terminal, else nothing), ``bar``, ``json`` (one object a line) or ``none``.
    stream : text file, optional
        Standard error when None.
    interval : float
        Least seconds between two lines or redraws, and between two looks at the memory.

    Attributes
    ----------
    stages : list of dict
        One for each stage that ended: ``stage``, ``seconds``, ``peak_rss_bytes`` (this process and its
        descendants, pages that they share counted for each), ``done``.

    Raises
    ------
    ParameterError
        No such mode.
    """

    def __init__(self, mode: str = "auto", stream: TextIO | None = None, interval: float = 0.2) -> None:
        if mode not in MODES:
            raise ParameterError(f"--progress {mode!r}: one of {', '.join(MODES)}.")
        self.stream = stream if stream is not None else sys.stderr
        if mode == "auto":
            mode = "bar" if self.stream.isatty() else "none"
        self.mode, self.interval = mode, interval
        self.stages: list[dict[str, Any]] = []
        self._open: list[tuple[Stage, _MemoryWatch]] = []
        self._shown = 0.0
        self._bar: Any = None
        self._tasks: dict[int, Any] = {}

    def stage(self, name: str, total: float | None = None) -> Stage:
        """A stage, to be entered by ``with``."""
        return Stage(name, total, self)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar down; called at the end of the outermost stage too."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, stage: Stage) -> None:
        self._open.append((stage, _MemoryWatch(self.interval)))
        if self.mode == "bar":
            if self._bar is None:
                self._bar = _rich_bar(self.stream, self.interval)
                self._bar.start()
            self._tasks[id(stage)] = self._bar.add_task(stage.name, total=stage.total)
        self._show(stage, always=True)

    def _end(self, stage: Stage) -> None:
        self._show(stage, always=True)
        watch = next(w for s, w in self._open if s is stage)
        self._open = [(s, w) for s, w in self._open if s is not stage]
        self.stages.append(
            {
                "stage": stage.name,
                "seconds": round(stage.seconds, 3),
                "peak_rss_bytes": watch.stop(),
                "done": _whole(stage.done),
            }
        )
        if self._bar is not None:
            task = self._tasks.pop(id(stage))
            if stage.total is None:
                self._bar.update(task, total=1, completed=1)
            self._bar.stop_task(task)
            if not self._open:
                self.close()

    def _show(self, stage: Stage, always: bool = False) -> None:
        if self.mode == "bar" and id(stage) in self._tasks:
            self._bar.update(self._tasks[id(stage)], completed=stage.done)
        elif self.mode == "json":
            now = time.perf_counter()
            if always or stage.done == stage.total or now - self._shown >= self.interval:
                self._shown = now
                eta = stage.eta
                line = {
                    "event": "progress",
                    "stage": stage.name,
                    "done": _whole(stage.done),
                    "total": None if stage.total is None else _whole(stage.total),
                    "eta_s": None if eta is None else round(eta, 1),
                }
                print(json.dumps(line), file=self.stream, flush=True)


class NullProgress:
    """Shows and records nothing; for calls from Python."""

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []

    def stage(self, name: str, total: float | None = None) -> Stage:
        """A stage that only counts."""
        return Stage(name, total)


class _MemoryWatch:
    """The largest resident size of the process tree while a stage lasts.

    Sampled, which may miss a short peak; the kernel's own mark catches it whenever the stage sets a new record.
    """

    def __init__(self, interval: float) -> None:
        self.mark, self.largest = peak_rss(), tree_rss()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, args=(interval,), name="hsgeo-memory", daemon=True)
        self.thread.start()

    def _watch(self, interval: float) -> None:
        pause = interval
        while not self.ended.wait(pause):
            start = time.perf_counter()
            self.largest = max(self.largest, tree_rss())
            # looking for descendants goes through all processes of the machine; keep it under 5 % of the time
            pause = max(interval, 20 * (time.perf_counter() - start))

    def stop(self) -> int:
        self.ended.set()
        self.thread.join(timeout=1)
        mark = peak_rss()
        return max(self.largest, tree_rss(), mark if mark > self.mark else 0)


def _whole(number: float) -> int | float:
    return int(number) if float(number).is_integer() else number


def _rich_bar(stream: TextIO, interval: float) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=stream),
        refresh_per_second=1 / interval,
    )
