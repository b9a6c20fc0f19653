from __future__ import annotations

import numpy as np

from hsgeo.scene.window import Window
from hsgeo.simulation.noise import pixel_noise


def test_noise_belongs_to_the_pixel_not_to_the_window():
    whole = pixel_noise(Window(-70, 150, -5, 200), 3, seed=4)
    for window in (Window(-1, 1, 63, 66), Window(10, 140, 0, 130), Window(-70, -60, 100, 200)):
        rows, columns = window.within(Window(-70, 150, -5, 200)).slices
        np.testing.assert_array_equal(pixel_noise(window, 3, seed=4), whole[:, rows, columns])


def test_noise_is_standard_normal_and_independent_between_streams_seeds_and_blocks():
    window = Window(0, 128, 0, 128)
    a, b, c = (pixel_noise(window, 2, seed, stream) for seed, stream in ((1, 0), (1, 1), (2, 0)))
    assert abs(a.mean()) < 0.02 and abs(a.std() - 1) < 0.02
    for other in (b, c, a[::-1], np.roll(a, 64, axis=1)):
        assert abs(np.corrcoef(a.ravel(), other.ravel())[0, 1]) < 0.03
