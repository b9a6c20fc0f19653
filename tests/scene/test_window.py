"""Windows: the blocks of a lattice that one meets."""

from __future__ import annotations

import pytest

from hsgeo.scene.window import Window


@pytest.mark.parametrize("window", [Window(0, 5, 0, 5), Window(3, 21, 8, 17), Window(-3, 1, 8, 9), Window(2, 2, 0, 9)])
def test_blocks_are_those_that_a_window_meets(window: Window) -> None:
    found = list(window.blocks(8))
    assert len(set(found)) == len(found)
    every = [Window(y, y + 8, x, x + 8) for y in range(-16, 40, 8) for x in range(-16, 40, 8)]
    assert set(found) == {block for block in every if 0 not in block.clip_to(window).shape}
