"""Empirical semivariograms: how soon neighbouring pixels grow unlike each other, in tiles and in their scene.

gamma(h) is half the mean squared difference of pixels h apart [1]_, along rows and along columns, of each of the
scene's leading principal components. The distance of two variograms is sum |a - b| / sum b over lags and directions,
its mean over components: 0 for the same texture, about 1 where there is none.

References
----------
.. [1] Matheron 1963, Principles of geostatistics, doi:10.2113/gsecongeo.58.8.1246.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hsgeo.quality.generated.components import Components

#: components and lags in pixels
COMPONENTS, LAGS = 3, 16


def semivariogram(
    parts: Iterable[np.ndarray], components: Components, count: int = COMPONENTS, lags: int = LAGS
) -> np.ndarray:
    """Semivariances of the leading components.

    Parameters
    ----------
    parts : iterable of array (B, h, w)
        Pixels with NaN have no part; pairs lie within a part.
    components : Components
        Of the real scene.
    count, lags : int

    Returns
    -------
    float64 array (2, count, lags)
        Along columns (downwards), then along rows; NaN where no two pixels with data lie so far apart.
    """
    total, pairs = np.zeros((2, count, lags)), np.zeros((2, 1, lags))
    for part in parts:
        scores = components.scores(part, count)
        for axis in (0, 1):
            for lag in range(1, min(lags, scores.shape[axis + 1] - 1) + 1):
                moved = np.moveaxis(scores, axis + 1, 1)
                squares = (moved[:, lag:] - moved[:, :-lag]) ** 2
                known = np.isfinite(squares[0])
                total[axis, :, lag - 1] += squares[:, known].sum(1)
                pairs[axis, 0, lag - 1] += known.sum()
    return np.divide(total, 2 * pairs, out=np.full(total.shape, np.nan), where=pairs > 0)


def variogram_distance(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """The mean over components of sum |ours - theirs| / sum theirs; None where no lag is known of both."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    apart = np.where(known, np.abs(ours - theirs), 0).sum((0, 2))
    whole = np.where(known, theirs, 0).sum((0, 2))
    varies = whole > 0
    return float((apart[varies] / whole[varies]).mean()) if varies.any() else None
