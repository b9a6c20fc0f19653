"""Classes of states, against the normal densities that they follow from."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal

from hsgeo.methods.generation.classifier import Classifier


def test_the_likeliest_class_of_normal_ones() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    means = np.array([[0.0, 0, 0], [1, 2, 0], [-2, 1, 1]])
    y = rng.choice(3, (120, 100), p=[0.6, 0.3, 0.1])
    state = (means[y] + rng.standard_normal((120, 100, 3)) @ root.T).transpose(2, 0, 1)
    labels = np.where(rng.random(y.shape) < 0.5, y, -1)
    state[:, 0, 0] = np.nan
    found = Classifier.of(state, labels, 4)  # of the last one there is none
    shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    normal = [multivariate_normal(mean, root @ root.T) for mean in means]
    density = [share * one.pdf(state[:, 1:].T) for share, one in zip(shares, normal, strict=True)]
    want = np.argmax(density, 0).T
    assert (found.classes(state[:, 1:]) == want).mean() > 0.98
    known = labels[1:] >= 0
    assert abs(found.accuracy - (want == y[1:])[known].mean()) < 0.01
