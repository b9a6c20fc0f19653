"""Classes of generated pixels, by what labelled pixels of the scene have shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: added to the pooled covariance, of its mean variance
RIDGE = 1e-3


@dataclass(frozen=True)
class Classifier:
    """Linear discriminant analysis of states.

    Attributes
    ----------
    weights : array (K, c)
    bias : array (K,)
    accuracy : float
        Share of the labelled pixels that it is right of.
    """

    weights: np.ndarray
    bias: np.ndarray
    accuracy: float

    @classmethod
    def of(cls, state: np.ndarray, classes: np.ndarray, count: int) -> Classifier:
        """By the pixels of a state (c, H, W) whose class (H, W) is 0 to count - 1."""
        known = (classes >= 0) & np.isfinite(state).all(0)
        x, y = state[:, known].T.astype(np.float64), classes[known]
        means = np.stack([x[y == k].mean(0) if (y == k).any() else np.full(x.shape[1], np.inf) for k in range(count)])
        seen = np.isfinite(means).all(1)
        rest = x - means[y]
        pooled = rest.T @ rest / max(len(x) - count, 1)
        pooled += RIDGE * np.trace(pooled) / len(pooled) * np.eye(len(pooled))
        weights = np.zeros_like(means)
        weights[seen] = np.linalg.solve(pooled, means[seen].T).T
        share = np.bincount(y, minlength=count) / len(y)
        bias = np.full(count, -np.inf)
        bias[seen] = np.log(share[seen]) - 0.5 * (weights[seen] * means[seen]).sum(1)
        right = float(((x @ weights.T + bias).argmax(1) == y).mean())
        return cls(weights, bias, right)

    def classes(self, state: np.ndarray) -> np.ndarray:
        """The likeliest class (...) of each pixel of a state (c, ...)."""
        scores = np.tensordot(self.weights, state, 1)
        return (scores + self.bias.reshape(-1, *(1,) * (state.ndim - 1))).argmax(0)
