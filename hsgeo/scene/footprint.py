"""Where a scene has data: its outline, and how far the sensor's track is turned against the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .window import Window

#: values read at a time
CHUNK = 2**25

#: pixels that an edge's place may be off a straight line
OFF = 1.5

#: share of the rows that both edges must be straight in to tell a track
STRAIGHT = 0.4

#: a track turned by less moves no line by a pixel in a hundred
LEAST = 0.01


@dataclass(frozen=True)
class Footprint:
    """First and end of the data in each row and column of a scene.

    What lies beyond them in its row or in its column was not seen; gaps within are gaps. Rows and columns without any
    data between others have an outline like theirs.

    Attributes
    ----------
    rows : int array (height, 2)
        Columns; equal where a row was not seen.
    columns : int array (width, 2)
        Rows.
    """

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, read: Callable[[Window], np.ndarray], shape: tuple[int, int], bands: int) -> Footprint:
        """Of a scene's windows (B, h, w), read in strips; a pixel has data where any band has."""
        height, width = shape
        step = max(1, CHUNK // (width * bands))
        rows = np.zeros((height, 2), int)
        first, end = np.full(width, height), np.zeros(width, int)
        for y in range(0, height, step):
            stop = min(height, y + step)
            known = np.isfinite(read(Window(y, stop, 0, width))).any(0)
            some = known.any(1)
            rows[y:stop, 0] = np.where(some, known.argmax(1), 0)
            rows[y:stop, 1] = np.where(some, width - known[:, ::-1].argmax(1), 0)
            seen = known.any(0)
            first = np.where(seen, np.minimum(first, y + known.argmax(0)), first)
            end = np.where(seen, stop - known[::-1].argmax(0), end)
        return cls(_bridged(rows), _bridged(np.stack([np.minimum(first, end), end], 1)))

    def holds(self, window: Window) -> np.ndarray:
        """Pixels of a window that lie within, bool (h, w)."""
        height, width = len(self.rows), len(self.columns)
        out = np.zeros(window.shape, bool)
        part = window.clip(height, width)
        y, x = np.arange(part.y0, part.y1), np.arange(part.x0, part.x1)
        of_rows, of_columns = self.rows[part.y0 : part.y1], self.columns[part.x0 : part.x1]
        inside = (x >= of_rows[:, :1]) & (x < of_rows[:, 1:])
        inside &= (y[:, None] >= of_columns[:, 0]) & (y[:, None] < of_columns[:, 1])
        out[part.within(window).slices] = inside
        return out

    def slope(self) -> float:
        """Columns by which the sensor's track moves right with each row down; 0 where the outline does not tell.

        Both sides of an image that was turned to north run along its track for most of its rows.
        """
        seen = np.flatnonzero(self.rows[:, 1] > self.rows[:, 0])
        if len(seen) < 32:
            return 0.0
        left, right = (_line(seen, self.rows[seen, side]) for side in (0, 1))
        if left is None or right is None or abs(left - right) * len(seen) > 4 * OFF:
            return 0.0
        slope = (left + right) / 2
        return slope if LEAST < abs(slope) <= 1 else 0.0


def _bridged(places: np.ndarray) -> np.ndarray:
    """First and end (n, 2) of lines, those that are empty between others by a straight line from one to the next."""
    seen = np.flatnonzero(places[:, 1] > places[:, 0])
    if not len(seen):
        return places
    between = np.arange(seen[0], seen[-1] + 1)
    out = places.copy()
    for side in (0, 1):
        out[between, side] = np.round(np.interp(between, seen, places[seen, side]))
    return out


def _line(at: np.ndarray, place: np.ndarray) -> float | None:
    """Slope of the straight line that most places lie on, or None where too few do."""
    far = len(at) // 4
    slope = float(np.median((place[far:] - place[:-far]) / (at[far:] - at[:-far])))
    near = np.ones(len(at), bool)
    for _ in range(10):
        off = place - slope * at
        near = np.abs(off - np.median(off[near])) <= OFF
        if near.mean() < STRAIGHT:
            return None
        slope = float(np.polyfit(at[near], place[near], 1)[0])
    return slope
