"""Classes of states, against the normal densities that they follow from."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal

from hsgeo.methods.generation.classifier import Classifier, features_of
from hsgeo.methods.generation.encoding import fitted_encoding


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


def test_accuracy_is_that_of_ground_held_back() -> None:
    """Of labels drawn at random it is chance, however many features there are to fit them by; so few are no fault."""
    rng = np.random.default_rng(3)
    features, y = rng.standard_normal((60, 64, 64)), rng.integers(0, 3, (64, 64))
    some = np.where(rng.random(y.shape) < 0.1, y, -1)
    found = Classifier.of(features, some, 3)
    known = some >= 0
    assert abs(found.accuracy - 1 / 3) < 4 * np.sqrt(2 / 9 / known.sum())
    assert (found.classes(features)[known] == some[known]).mean() > 0.5
    two = np.full(y.shape, -1)
    two[3, 3], two[3, 40] = 0, 1
    assert Classifier.of(features, two, 2).classes(features)[3, 40] == 1


def test_features_of_any_unit_give_the_same_classes() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, (40, 50))
    features = rng.standard_normal((5, 40, 50)) + rng.standard_normal((5, 3))[:, y]
    units = np.array([1e-3, 1.0, 40.0, 1e4, 1.0])[:, None, None]
    plain, scaled = Classifier.of(features, y, 3), Classifier.of(features * units, y, 3)
    np.testing.assert_array_equal(plain.classes(features), scaled.classes(features * units))
    constant = np.concatenate([features, np.full((1, 40, 50), 0.3)])
    assert Classifier.of(constant, y, 3).accuracy == plain.accuracy


def test_traces_and_brightness_tell_classes() -> None:
    """Classes that differ in a trace of a material, and in the brightness of their spectra."""
    rng = np.random.default_rng(2)
    endmembers = np.array([np.linspace(0.1, 0.9, 20), np.linspace(0.8, 0.2, 20), np.full(20, 0.05)])
    y = rng.integers(0, 3, (60, 60))
    trace = np.where(y == 1, 1e-2, 1e-4) * rng.uniform(0.5, 1.5, y.shape)
    bright = np.where(y == 2, 0.6, 0.3) + 0.02 * rng.standard_normal(y.shape)
    x = np.stack([bright * (1 - trace), trace, (1 - bright) * (1 - trace)])
    image = np.tensordot(endmembers.T, x, 1)
    encoding, _ = fitted_encoding([image], endmembers, 0, floor=0.2, brightness=0.5)
    state = encoding.encoded(image)
    features = features_of(encoding, state)
    assert features.shape == (3 + 20, 60, 60)
    np.testing.assert_array_equal(features[3:], encoding.decoded(state)[1])
    assert Classifier.of(features, y, 3).accuracy > 0.97


def test_classes_of_one_spectrum_each() -> None:
    y = np.arange(30) % 3
    features = np.array([[0.1, 0.5, 0.5], [0.2, 0.2, 0.9]])[:, y][:, None]
    found = Classifier.of(features, y[None], 3)
    np.testing.assert_array_equal(found.classes(features)[0], y)
    assert found.accuracy == 1
