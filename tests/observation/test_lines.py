"""Detector lines: their geometry, upright and slanted."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.observation.lines import Lines


@pytest.mark.parametrize("along", ["columns", "rows"])
def test_upright_lines_are_columns_or_rows(along: str) -> None:
    lines = Lines((5, 7), along)
    index = lines.of_window(1, 4, 2, 6)
    across = np.arange(2, 6)[None] if along == "columns" else np.arange(1, 4)[:, None]
    np.testing.assert_array_equal(index, np.broadcast_to(across, (3, 4)))
    assert lines.count == (7 if along == "columns" else 5)
    np.testing.assert_array_equal(lines.of_window(-2, 0, -3, 0), 0)  # beyond the image the nearest line


@pytest.mark.parametrize("along", ["columns", "rows"])
@pytest.mark.parametrize("slope", [0.0, 0.3, -0.7])
def test_values_laid_upright_come_back_from_their_lines(along: str, slope: float) -> None:
    """Each pixel lies once in the layout, in the column of its line."""
    lines = Lines((9, 11), along, slope)
    values = np.arange(2 * 9 * 11, dtype=np.float32).reshape(2, 9, 11)
    first, end = 3, 8
    y0, y1, x0, x1 = lines.window(first, end)
    part = values[:, y0:y1, x0:x1]
    upright = lines.upright(part, first)
    assert upright.shape == (2, end - first, lines.count) and np.isfinite(upright).sum() == part.size
    index = lines.of_window(y0, y1, x0, x1)
    along_of = np.arange(y0, y1)[:, None] if along == "columns" else np.arange(x0, x1)[None]
    rows = np.broadcast_to(along_of - first, index.shape)
    np.testing.assert_array_equal(upright[:, rows, index], part)


@pytest.mark.parametrize("slope", [0.31, -0.31])
def test_pixels_of_one_line_lie_within_a_line_of_it(slope: float) -> None:
    lines = Lines((60, 40), "columns", slope)
    index = lines.of_window(0, 60, 0, 40)
    y, x = np.mgrid[:60, :40]
    place = x - slope * y
    for line in range(0, lines.count, 17):
        if (index == line).any():
            assert np.ptp(place[index == line]) <= 1 / lines.step + 1e-9


@pytest.mark.parametrize("length", [20, 700, 5000])
def test_strips_see_enough_of_each_line_and_no_pixel_twice(length: int) -> None:
    lines = Lines((length, 300))
    strips = list(lines.strips(bands=400, seen=512))
    seen = np.concatenate([np.arange(*s) for s in strips])
    assert len(seen) == len(set(seen.tolist())) >= min(length, 512)
    assert seen.min() == 0 and seen.max() == length - 1 and len(seen) <= 1.2 * 512


def test_neighbours_on_other_lines() -> None:
    assert [p for p in ((0, 1), (1, 0), (1, 1), (1, -1)) if Lines((9, 9)).apart(p)] == [(0, 1), (1, 1), (1, -1)]
    assert [p for p in ((0, 1), (1, 0), (1, 1), (1, -1)) if Lines((9, 9), "rows").apart(p)] == [(1, 0), (1, 1), (1, -1)]
    assert not Lines((9, 9), slope=0.4).apart((1, 1)) and Lines((9, 9), slope=0.4).apart((1, -1))
