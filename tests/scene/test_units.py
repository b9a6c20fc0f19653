"""Units are told by brightness, where spectra are known."""

import numpy as np
import pytest

from hsgeo.scene.units import other_units


def test_counts_and_reflectance_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((50, 4)), rng.random((30, 4))
    ours[3, 1] = np.nan
    assert other_units(ours, 5 * theirs) is None and other_units(ours, theirs / 5) is None
    assert other_units(1e4 * ours, theirs) == pytest.approx(1e4, rel=0.3)
    assert other_units(ours, 100 * theirs) == pytest.approx(0.01, rel=0.3)
    assert other_units(ours[3:4], theirs) is None and other_units(ours, 0 * theirs) is None
