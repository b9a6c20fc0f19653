"""Classes of generated pixels, by what labelled pixels of the scene have shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hsgeo.methods.generation.encoding import Encoding

#: added to the pooled covariance of features of variance 1, of its mean variance
RIDGE = 1e-3
#: side of the squares, pixels, every other one of which is a half of the ground
CELL = 16
#: least standard deviation of a feature that is used, of its largest value
LEAST = 1e-9


@dataclass(frozen=True)
class Classifier:
    """Linear discriminant analysis of features.

    Attributes
    ----------
    weights : array (K, f)
    bias : array (K,)
    accuracy : float
        Share of the labelled pixels that classifiers are right of which learned from the other half of the ground.
    """

    weights: np.ndarray
    bias: np.ndarray
    accuracy: float

    @classmethod
    def of(cls, features: np.ndarray, classes: np.ndarray, count: int) -> Classifier:
        """By the pixels of features (f, H, W) whose class (H, W) is 0 to count - 1."""
        rows, columns = (np.arange(n) // CELL for n in classes.shape)
        half = (rows[:, None] + columns) % 2 == 0
        right, known = 0, (classes >= 0) & np.isfinite(features).all(0)
        for part in (half, ~half):
            if (known & part).any() and (known & ~part).any():
                other = cls._fitted(features, np.where(part, -1, classes), count)
                mine = known & part
                right += int((other.classes(features[:, mine]) == classes[mine]).sum())
        return replace(cls._fitted(features, classes, count), accuracy=right / max(int(known.sum()), 1))

    @classmethod
    def _fitted(cls, features: np.ndarray, classes: np.ndarray, count: int) -> Classifier:
        known = (classes >= 0) & np.isfinite(features).all(0)
        x, y = features[:, known].T.astype(np.float64), classes[known]
        spread = x.std(0)
        spread[spread <= LEAST * np.abs(x).max(0, initial=0)] = np.inf  # constant, and so of no weight
        x /= spread
        means = np.stack([x[y == k].mean(0) if (y == k).any() else np.full(x.shape[1], np.inf) for k in range(count)])
        seen = np.isfinite(means).all(1)
        rest = x - means[y]
        pooled = rest.T @ rest / max(len(x) - count, 1)
        within = max(np.trace(pooled) / len(pooled), RIDGE**2)  # nothing varies in classes of one spectrum each
        pooled += RIDGE * within * np.eye(len(pooled))
        weights = np.zeros_like(means)
        weights[seen] = np.linalg.solve(pooled, means[seen].T).T
        share = np.bincount(y, minlength=count) / len(y)
        bias = np.full(count, -np.inf)
        bias[seen] = np.log(share[seen]) - 0.5 * (weights[seen] * means[seen]).sum(1)
        return cls(weights / spread, bias, np.nan)

    def classes(self, features: np.ndarray) -> np.ndarray:
        """The likeliest class (...) of each pixel of features (f, ...)."""
        scores = np.tensordot(self.weights, features, 1)
        return (scores + self.bias.reshape(-1, *(1,) * (features.ndim - 1))).argmax(0)


def features_of(encoding: Encoding, state: np.ndarray) -> np.ndarray:
    """What classes are told by, (p + q + B, ...): the state (p + q, ...), and the spectra without noise that it shows.

    Logarithms of abundances tell traces of a material, spectra brightness; either alone is right less often.
    """
    return np.concatenate([state, encoding.decoded(state)[1]])
