from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsgeo.engine.plan import TilePlan
from hsgeo.errors import ParameterError
from hsgeo.scene.window import Window

sizes = st.integers(1, 60)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(sizes, sizes, st.integers(1, 70), st.integers(0, 9), st.integers(1, 7))
def test_every_pixel_lies_in_exactly_one_core(height, width, tile, halo, multiple):
    plan = TilePlan(height, width, tile=max(tile, multiple), halo=halo, multiple=multiple)
    count = np.zeros((height, width), int)
    for block in plan:
        count[block.core.slices] += 1
        assert block.core == block.core.clip(height, width)
        assert block.core.y0 % multiple == 0 and block.core.x0 % multiple == 0
        assert block.outer == block.core.grow(halo)
    assert (count == 1).all()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(sizes, sizes, st.integers(1, 70), st.integers(0, 9))
def test_outer_windows_have_one_shape_but_for_the_last_row_and_column(height, width, tile, halo):
    plan = TilePlan(height, width, tile=tile, halo=halo)
    rows, cols = plan.shape
    inner = {b.outer.shape for b in plan if b.row < rows - 1 and b.col < cols - 1}
    assert inner <= {(plan.tile + 2 * halo, plan.tile + 2 * halo)}
    assert len(plan) == rows * cols == len(list(plan))


def test_blocks_come_row_by_row_and_know_their_place():
    blocks = list(TilePlan(5, 7, tile=4, halo=1))
    assert [(b.row, b.col) for b in blocks] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert blocks[3].core == Window(4, 5, 4, 7)
    assert blocks[0].outer == Window(-1, 5, -1, 5)


def test_tile_is_taken_down_to_the_multiple_and_may_exceed_the_output():
    assert TilePlan(100, 100, tile=64, multiple=3).tile == 63
    plan = TilePlan(7, 5, tile=512, halo=4)
    assert [b.core for b in plan] == [Window(0, 7, 0, 5)]
    assert plan.chunk == (7, 5)


@pytest.mark.parametrize("bad", [{"height": 0}, {"tile": 0}, {"tile": 2, "multiple": 3}, {"halo": -1}, {"multiple": 0}])
def test_a_plan_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ParameterError):
        TilePlan(**{"height": 10, "width": 10, "tile": 4, **bad})
