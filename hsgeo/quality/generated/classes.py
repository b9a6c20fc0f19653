"""Classes of a scene without a label raster: clusters of its own spectra, to which generated pixels belong as well."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from hsgeo.quality.generated.components import Components

#: clusters, components that they are looked for in, and spectra that they are found from
CLUSTERS, DIRECTIONS, SPECTRA = 6, 10, 20_000


@dataclass(frozen=True)
class Clusters:
    """Centres (k, d) of clusters in the leading d principal components, the most frequent first."""

    components: Components
    centres: np.ndarray

    @classmethod
    def of(cls, spectra: np.ndarray, components: Components, count: int = CLUSTERS, seed: int = 0) -> Clusters:
        """By k-means, begun by k-means++.

        Parameters
        ----------
        spectra : array (n, B)
            Of the scene.
        components : Components
            Of the same.
        count : int
            Clusters; fewer are found where spectra are equal.
        seed : int

        References
        ----------
        Arthur & Vassilvitskii 2007, k-means++: the advantages of careful seeding, doi:10.5555/1283383.1283494.
        """
        rng = np.random.default_rng(seed)
        if len(spectra) > SPECTRA:
            spectra = spectra[np.sort(rng.choice(len(spectra), SPECTRA, replace=False))]
        points = components.scores(np.asarray(spectra).T, min(DIRECTIONS, spectra.shape[1])).T
        picked = [points[rng.integers(len(points))]]
        apart = ((points - picked[0]) ** 2).sum(1)
        while len(picked) < count and apart.max() > 0:
            picked.append(points[rng.choice(len(points), p=apart / apart.sum())])
            apart = np.minimum(apart, ((points - picked[-1]) ** 2).sum(1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a cluster that loses all its points keeps its centre
            centres, member = kmeans2(points, np.array(picked), iter=50, minit="matrix")
        often = np.bincount(member, minlength=len(centres))
        return cls(components, centres[np.argsort(-often, kind="stable")])

    def of_pixels(self, values: np.ndarray) -> np.ndarray:
        """The nearest cluster of each pixel of (B, h, w), from 1; 0 for pixels with NaN."""
        scores = self.components.scores(values, self.centres.shape[1])
        points = scores.reshape(len(scores), -1).T
        known = np.isfinite(points[:, 0])
        found = np.zeros(len(points), np.int64)
        found[known] = vq(points[known], self.centres)[0] + 1
        return found.reshape(values.shape[1:])
