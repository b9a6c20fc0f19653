"""The outline of a scene's data, and the track that it tells."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.scene.footprint import Footprint
from hsgeo.scene.window import Window


def footprint(known: np.ndarray) -> Footprint:
    values = np.where(known, 1.0, np.nan)[None].repeat(2, 0)
    return Footprint.of(lambda w: values[:, w.y0 : w.y1, w.x0 : w.x1], known.shape, 2)


def turned(slope: float, shape: tuple[int, int] = (200, 220), width: int = 90, height: int = 130) -> np.ndarray:
    """A rectangle turned so that its sides move `slope` columns a row."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = np.arctan(slope)
    u = (x - shape[1] / 2) * np.cos(angle) - (y - shape[0] / 2) * np.sin(angle)
    v = (x - shape[1] / 2) * np.sin(angle) + (y - shape[0] / 2) * np.cos(angle)
    return (abs(u) < width / 2) & (abs(v) < height / 2)


def test_gaps_within_are_inside_and_what_was_not_seen_is_not() -> None:
    known = turned(0.25)
    holed = known.copy()
    holed[90:100, 105:120] = False
    found = footprint(holed)
    inside = found.holds(Window(0, 200, 0, 220))
    assert inside[90:100, 105:120].all()
    assert (inside == known).mean() > 0.999 and (inside | ~known).all()
    np.testing.assert_array_equal(found.holds(Window(-5, 100, -3, 50))[5:, 3:], inside[:100, :50])
    assert not found.holds(Window(-5, 0, 0, 10)).any()


def test_lines_without_data_between_others_are_gaps() -> None:
    """Dead lines of the detector, along and across, in an upright image and in a turned one."""
    for known in (np.ones((200, 220), bool), turned(0.25)):
        torn = known.copy()
        torn[90:93], torn[:, 100] = False, False
        inside = footprint(torn).holds(Window(0, 200, 0, 220))
        assert (inside == known).mean() > 0.998 and inside[90:93].sum() > 0.95 * known[90:93].sum()
        assert inside[:, 100].sum() > 0.95 * known[:, 100].sum()
    torn = np.ones((30, 40), bool)
    torn[:4], torn[-2:], torn[:, 35:] = False, False, False
    np.testing.assert_array_equal(footprint(torn).holds(Window(0, 30, 0, 40)), torn)


@pytest.mark.parametrize("slope", [0.2, -0.35])
def test_the_track_of_a_turned_image(slope: float) -> None:
    known = turned(slope)
    known[60:80, 40:110] &= np.random.default_rng(0).random((20, 70)) > 0.5  # ragged where clouds were cut out
    assert footprint(known).slope() == pytest.approx(slope, abs=0.01)


def test_no_track_where_the_outline_does_not_tell() -> None:
    full = np.ones((80, 90), bool)
    assert footprint(full).slope() == 0
    ragged = np.random.default_rng(0).random((80, 90)) > 0.7
    assert footprint(ragged).slope() == 0
    y, x = np.mgrid[:80, :90]
    assert footprint((x - 45) ** 2 + (y - 40) ** 2 < 900).slope() == 0
    assert footprint(np.zeros((80, 90), bool)).slope() == 0
