"""Inception score and Fréchet distance, with a small network that learns the scene's own classes.

There is no network that knows all hyperspectral scenes, so one is trained on each [3]_: the figures of different
scenes, classes or seeds do not compare.

References
----------
.. [1] Salimans et al. 2016, Improved techniques for training GANs, arXiv:1606.03498 (inception score).
.. [2] Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv:1706.08500, eq. 6 (Fréchet distance).
.. [3] HUD, hyperspectral unmixing diffusion, sec. IV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.quality.generated.cells import Crops, fold_map
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.diversity import oriented
from hsgeo.quality.generated.pieces import Piece

#: side of the crops that are learned from, steps, and crops in a step
CROP, STEPS, BATCH = 20, 250, 8
#: side of the cells of which a quarter is held back, pixels
CELL = 32


def inception_score(probabilities: np.ndarray) -> float:
    """exp of the mean Kullback-Leibler divergence of p(class | pixel) from its mean [1]_; (n, k) -> 1 to k."""
    p = np.asarray(probabilities, dtype=np.float64)
    mean = p.mean(0)
    ratio = np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(mean, 1e-300))
    return float(np.exp((p * ratio).sum(1).mean()))


def frechet_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2) of two sets of features (n, d), (m, d) [2]_.

    In float64, by tr (C1 C2)^1/2 = tr (S C2 S)^1/2 with S = C1^1/2, whose matrices are symmetric.
    """
    one, two = (np.asarray(v, dtype=np.float64) for v in (ours, theirs))
    first, second = (np.atleast_2d(np.cov(v.T)) for v in (one, two))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = ((one.mean(0) - two.mean(0)) ** 2).sum()
    return max(0.0, float(apart + np.trace(first) + np.trace(second) - 2 * middle))


@dataclass(frozen=True)
class SceneClassifier:
    """A network that tells the classes of a scene.

    Attributes
    ----------
    net : PixelClassifier
    mean, matrix : array (B,), (B, B)
        What spectra are brought to before.
    accuracy : float or None
        On cells of the scene that were held back; None where it is too small to hold any back.
    device : str
    """

    net: Any
    mean: np.ndarray
    matrix: np.ndarray
    accuracy: float | None
    device: str

    @classmethod
    def fit(
        cls, real: Sequence[Piece], count: int, components: Components, seed: int = 0, device: str = "cpu"
    ) -> SceneClassifier | None:
        """Train it.

        Parameters
        ----------
        real : sequence of Piece
            With classes 1..`count`; 0 is not learned from.
        count : int
        components : Components
        seed : int
        device : str

        Returns
        -------
        SceneClassifier or None
            None where the scene holds no square of `CROP` pixels with data.
        """
        import torch

        from hsgeo.quality.generated.network import PixelClassifier, normalised, trained

        matrix = components.standard()
        pieces = [Piece(normalised(p.values, components.mean, matrix), p.source, p.y0, p.x0, p.classes) for p in real]
        maps = [fold_map(piece, CELL) for piece in pieces]
        crops, held = Crops(pieces, [m != 0 for m in maps], CROP), True
        if not len(crops):
            crops, held = Crops(pieces, [np.ones(m.shape, bool) for m in maps], CROP), False
        if not len(crops):
            return None
        edge = PixelClassifier.REACH

        def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            drawn = list(zip(crops.draw(BATCH, rng), rng.integers(0, 8, BATCH), strict=True))
            values = np.stack([oriented(v, int(k)) for (v, _), k in drawn])
            classes = [oriented(np.asarray(c), int(k)) for (_, c), k in drawn]
            return values, np.stack(classes)[:, edge:-edge, edge:-edge].astype(np.int64) - 1

        def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            each = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
            return each / torch.clamp((targets >= 0).sum(), min=1)

        net = trained(lambda: PixelClassifier(len(components.mean), count), batch, loss, STEPS, seed, device)
        made = cls(net, components.mean, matrix, None, device)
        if not held:
            return made
        right = total = 0
        for piece, raw, fold in zip(pieces, real, maps, strict=True):
            if min(fold.shape) <= 2 * edge or piece.classes is None:
                continue
            inner = np.s_[edge:-edge, edge:-edge]
            logits = made._run(raw.values)[1]
            classes = piece.classes[inner]
            seen = (fold[inner] == 0) & (classes > 0) & np.isfinite(logits[0])
            right += int((logits.argmax(0) + 1 == classes)[seen].sum())
            total += int(seen.sum())
        return cls(net, components.mean, matrix, right / total if total else None, device)

    def _run(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (d, h - 8, w - 8) and logits (k, h - 8, w - 8) of values (B, h, w); NaN where one was missing."""
        import torch

        from hsgeo.quality.generated.network import normalised

        with torch.no_grad():
            given = torch.from_numpy(normalised(values, self.mean, self.matrix))[None].to(self.device)
            features = self.net.trunk(given)
            logits = self.net.head(features)
        return features[0].cpu().numpy(), logits[0].cpu().numpy()

    def seen(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, d) and probabilities (n, k) of the pixels of (B, h, w) whose neighbourhoods have data."""
        features, probabilities = [], []
        for values in parts:
            if min(values.shape[1:]) <= 2 * self.net.REACH:
                continue
            found, logits = (v.reshape(len(v), -1).T.astype(np.float64) for v in self._run(values))
            known = np.isfinite(found).all(1) & np.isfinite(logits).all(1)
            shifted = np.exp(logits[known] - logits[known].max(1, keepdims=True, initial=-np.inf))
            features.append(found[known])
            probabilities.append(shifted / shifted.sum(1, keepdims=True))
        if not features:
            return np.empty((0, 1)), np.empty((0, 1))
        return np.concatenate(features), np.concatenate(probabilities)
