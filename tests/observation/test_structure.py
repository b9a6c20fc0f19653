"""What neighbours share, against loops; and how far chance reaches."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.errors import ParameterError
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.observation.structure import NeighbourStatistics
from hsgeo.unmixing.subspace import structured_subspace


def test_products_of_neighbours() -> None:
    """All pairs once, pixels with a gap in none; in parts, with the row below, as at once."""
    x = np.random.default_rng(0).standard_normal((3, 6, 5))
    x[1, 2, 3] = np.nan
    total, count = np.zeros((3, 3)), 0
    for y in range(6):
        for c in range(5):
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                if y + dy < 6 and 0 <= c + dx < 5:
                    a, b = x[:, y, c], x[:, y + dy, c + dx]
                    if np.isfinite([a, b]).all():
                        total += np.outer(a, b) + np.outer(b, a)
                        count += 1
    found = NeighbourStatistics(3).update(x)
    assert found.n == count
    np.testing.assert_allclose(found.correlation, total / (2 * count))
    parts = NeighbourStatistics(3).update(x[:, :4], x[:, 4:5]).update(x[:, 4:])
    assert parts.n == count
    np.testing.assert_allclose(parts.correlation, found.correlation)


def test_the_edge_is_what_noise_reaches() -> None:
    """On the mean a little less: by 1.2065 / (2 B^(2/3)) of it (Tracy & Widom 1996, doi:10.1007/BF02099545)."""
    reached = []
    for seed in range(8):
        found = NeighbourStatistics(40).update(np.random.default_rng(seed).standard_normal((40, 80, 80)))
        reached.append(np.linalg.eigvalsh(found.correlation)[-1] / found.edge())
    assert np.mean(reached) == pytest.approx(1 - 1.2065 / 2 / 40 ** (2 / 3), abs=0.03)


def scene(weak: float) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth images on two directions of 40 bands, one strong and one as weak as asked, in noise of variance 1."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:80, :80] / 80
    images = np.stack([30 * np.sin(5 * x), weak * np.sqrt(2) * np.sin(9 * y)])
    directions = np.linalg.qr(rng.standard_normal((40, 2)))[0]
    return directions, np.tensordot(directions, images, 1) + rng.standard_normal((40, 80, 80))


def both(data: np.ndarray) -> tuple[SpectralStatistics, NeighbourStatistics]:
    return SpectralStatistics(len(data)).update(data.reshape(len(data), -1).T), NeighbourStatistics(len(data)).update(
        data
    )


def test_signal_far_below_the_noise_is_found() -> None:
    """A tenth of the noise's variance, where the eigenvalues of noise alone spread by twice as much."""
    directions, data = scene(0.1**0.5)
    found = both(data)
    space = structured_subspace(*found, np.ones(40))
    assert space.p == 2 and "in 2 of 40 directions" in space.criterion
    inside = np.linalg.svd(directions.T @ space.basis)[1]
    assert inside[0] > 0.999 and inside[1] > 0.85
    power = np.linalg.eigvalsh(found[0].correlation)
    assert power[-2] < (1 + np.sqrt(40 / 6400)) ** 2 + 0.06  # by power alone it can hardly be seen


def test_what_is_too_strong_for_noise_is_kept() -> None:
    """A checkerboard, on which neighbours disagree; and noise that some bands share."""
    rng = np.random.default_rng(4)
    directions, data = scene(1.0)
    y, x = np.mgrid[:80, :80]
    odd = np.linalg.qr(np.column_stack([directions, rng.standard_normal((40, 2))]))[0][:, 2:]
    data = data + odd[:, :1, None] * 5 * (-1.0) ** (x + y) + odd[:, 1:, None] * 2.5 * rng.standard_normal((80, 80))
    space = structured_subspace(*both(data), np.ones(40))
    assert space.p == 4 and "in 2 of 40 directions" in space.criterion and "2 more" in space.criterion
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(4), atol=1e-9)
    assert np.linalg.svd(odd.T @ space.basis)[1].min() > 0.99


def test_correlated_noise_is_no_signal() -> None:
    """Resampled images share noise with their neighbours in all bands alike; 7 directions a draw, were it not seen."""
    dimensions = []
    for seed in range(8):
        white = np.random.default_rng(seed).standard_normal((40, 81, 81))
        smooth = (white[:, 1:, 1:] + 0.3 * (white[:, :-1, 1:] + white[:, 1:, :-1])) / np.sqrt(1.18)
        dimensions.append(structured_subspace(*both(smooth), np.ones(40)).p)
    assert max(dimensions) <= 2 and np.median(dimensions) == 1  # the one that there is at least


def test_a_given_dimension() -> None:
    found = both(scene(1.0)[1])
    space = structured_subspace(*found, np.ones(40), 5)
    assert space.p == 5 and (space.basis.sum(0) >= 0).all() and "as asked" in space.criterion
    for wrong in (0, 41):
        with pytest.raises(ParameterError, match="between 1 and the 40 bands"):
            structured_subspace(*found, np.ones(40), wrong)
    with pytest.raises(ParameterError, match="above 0"):
        structured_subspace(*found, np.zeros(40))
