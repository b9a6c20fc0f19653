"""The scene as that with which sets of pixels are compared: its angles, texture and classes, and a network of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hsgeo.quality.generated.angles import Angles, angle_distance, angle_histogram
from hsgeo.quality.generated.classes import Clusters
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.frechet import SceneClassifier, frechet_distance, inception_score
from hsgeo.quality.generated.layout import Layout, layout_distance
from hsgeo.quality.generated.pieces import Piece, spectra
from hsgeo.quality.generated.variogram import semivariogram, variogram_distance

#: spectra of each set whose angles are measured, and features of each set that are kept
SPECTRA, FEATURES = 100_000, 200_000


class Judge:
    """Compares pieces with those of a scene.

    Parameters
    ----------
    real : sequence of Piece
        The scene; their classes count where `count` is given.
    components : Components
        Of the scene.
    count : int or None
        Classes of a label raster; None takes the scene's own clusters.
    networks : bool
        Whether a network is trained, for the inception score and the Fréchet distance.
    seed : int
    device : str
        A torch device.
    """

    def __init__(
        self,
        real: Sequence[Piece],
        components: Components,
        count: int | None = None,
        networks: bool = True,
        seed: int = 0,
        device: str = "cpu",
    ):
        self.components, self.seed = components, seed
        rows = self._spectra(real)
        self.clusters = Clusters.of(rows, components, seed=seed) if count is None else None
        self.count = count if count is not None else len(self.clusters.centres) if self.clusters is not None else 0
        known = self._classified(real)
        self.angles = Angles.of(rows, components.mean, seed)
        self.variogram = semivariogram((p.values for p in real), components)
        self.layout = Layout.of((p.classes for p in known if p.classes is not None), self.count)
        self.classifier = SceneClassifier.fit(known, self.count, components, seed, device) if networks else None
        self.features = self._seen(real)[0]

    def _spectra(self, pieces: Sequence[Piece]) -> np.ndarray:
        return spectra(pieces, SPECTRA, np.random.default_rng(self.seed))

    def _classified(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Pieces with their classes: by the clusters, or as they came."""
        if self.clusters is None:
            return list(pieces)
        return [replace(piece, classes=self.clusters.of_pixels(piece.values)) for piece in pieces]

    def _seen(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
        """Features and probabilities, at most `FEATURES` of them, evenly spread."""
        if self.classifier is None:
            return np.empty((0, 1)), np.empty((0, 1))
        found, shares = self.classifier.seen([piece.values for piece in pieces])
        step = max(1, -(-len(found) // FEATURES))
        return found[::step], shares[::step]

    def compare(self, pieces: Sequence[Piece]) -> dict[str, float | None]:
        """The figures of a set of pieces that hold at least one pixel with data.

        Returns
        -------
        dict
            ``spectral_angle_distance`` (degrees, of angles to the mean), ``pair_angle_distance`` (degrees, of angles
            between pixels), ``variogram_distance``, ``class_frequency_distance``, ``layout_distance``,
            ``inception_score``, ``fid``; None for what could not be measured.
        """
        apart = angle_distance(Angles.of(self._spectra(pieces), self.components.mean, self.seed), self.angles)
        layout = self.layout_of(pieces)
        shares = None if layout is None else layout_distance(layout, self.layout)
        features, probabilities = self._seen(pieces)
        enough = min(len(features), len(self.features)) > 1
        return {
            "spectral_angle_distance": apart["to_mean"],
            "pair_angle_distance": apart["between_pairs"],
            "variogram_distance": variogram_distance(self.variogram_of(pieces), self.variogram),
            "class_frequency_distance": None if shares is None else shares["frequency"],
            "layout_distance": None if shares is None else shares["neighbours"],
            "inception_score": inception_score(probabilities) if enough else None,
            "fid": frechet_distance(features, self.features) if enough else None,
        }

    def details(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """What the figures were computed from, as charts show it.

        Returns
        -------
        dict
            ``spectral_angles`` (edges, generated, real), ``variogram`` (generated, real: direction, component, lag),
            ``classes`` (source, generated, real: frequency, adjacency), ``classifier_accuracy``.
        """
        layout = self.layout_of(pieces)
        return {
            "spectral_angles": angle_histogram(
                Angles.of(self._spectra(pieces), self.components.mean, self.seed), self.angles
            ),
            "variogram": {"generated": self.variogram_of(pieces).tolist(), "real": self.variogram.tolist()},
            "classes": {
                "source": "the label raster" if self.clusters is None else f"{self.count} clusters of the scene",
                "generated": None if layout is None else layout.summary(),
                "real": self.layout.summary(),
            },
            "classifier_accuracy": None if self.classifier is None else self.classifier.accuracy,
        }

    def variogram_of(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Semivariances (direction, component, lag) in the scene's components."""
        return semivariogram((piece.values for piece in pieces), self.components)

    def layout_of(self, pieces: Sequence[Piece]) -> Layout | None:
        """The layout of classes; None where the pieces have none of their own and the scene is labelled."""
        known = [piece.classes for piece in self._classified(pieces) if piece.classes is not None]
        return Layout.of(known, self.count) if known else None
