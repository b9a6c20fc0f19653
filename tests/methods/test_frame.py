"""Frames: what lies around an image that is a scene of its own."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.methods.fusion.frame import Frame


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_an_image_alone_is_mirrored_on_all_sides(ratio: int) -> None:
    """The frame is periodic: what precedes the image stands at the frame's end."""
    frame = Frame.alone((40, 24), 8, 4)
    image = np.arange(40 * 24 // ratio**2, dtype=float).reshape(40 // ratio, 24 // ratio)
    found = frame.take(image, ratio)
    assert found.shape == (frame.shape[0] // ratio, frame.shape[1] // ratio)
    margin = 8 // ratio
    around = np.roll(found, (margin, margin), (0, 1))[: 40 // ratio + 2 * margin, : 24 // ratio + 2 * margin]
    np.testing.assert_array_equal(around, np.pad(image, margin, "symmetric"))
