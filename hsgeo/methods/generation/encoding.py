"""Spectra as abundances of endmembers and what these miss, and back: the space in which scenes are generated.

HUD (Shen et al. 2025) decodes abundances by fixed endmembers, so that all its spectra lie on one simplex. Real spectra
lie about it. What the mixture misses is kept along the directions in which the scene varies most about it, and drawn
together with the abundances: so it has the scene's covariance, belongs to its materials, and is as smooth in space.
It is divided by what the endmembers of a pixel vary by: a hundredth of a roof's reflectance is all of water's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hsgeo.methods.generation.simplex import bound, unbound
from hsgeo.unmixing.abundances import fcls

#: least standard deviation of a channel, by which it is divided
LEAST = 1e-6

#: least variance of an endmember along a direction, of the scene's
SPREAD = 1e-4

#: least share of a band's noise that is taken to be left by a fit
FREE = 0.05


@dataclass(frozen=True)
class Encoding:
    """How spectra of B bands become a state of p + q channels, each of mean 0 and variance 1 over the scene.

    Attributes
    ----------
    endmembers : array (p, B)
        In the scene's units.
    directions : array (q, B)
        Orthonormal; of what mixtures miss.
    variances : array (p, q)
        Of each endmember along each direction; a mixture has their mean by its abundances.
    noise : array (B,)
        Standard deviation of what is left, which is white.
    offset, scale : arrays (p + q,)
        Mean and standard deviation of the channels before.
    low, high : arrays (p + q,)
        Least and largest value of the state over the scene.
    """

    endmembers: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    noise: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def channels(self) -> int:
        """p + q."""
        return len(self.offset)

    def encoded(self, spectra: np.ndarray, device: str = "cpu") -> np.ndarray:
        """The state (p + q, h, w), float32, of spectra (B, h, w); NaN where a band is missing."""
        pixels = spectra.reshape(len(spectra), -1).T.astype(np.float64)
        abundances = fcls(pixels, self.endmembers, device)
        along = (pixels - abundances @ self.endmembers) @ self.directions.T
        raw = np.concatenate([unbound(abundances.T), along.T / np.sqrt(self.variances.T @ abundances.T)])
        state = (raw - self.offset[:, None]) / self.scale[:, None]
        return state.reshape(-1, *spectra.shape[1:]).astype(np.float32)

    def decoded(
        self, state: np.ndarray, variability: bool = True, noise: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a state (p + q, ...) shows.

        Parameters
        ----------
        state : array (p + q, ...)
        variability : bool
            With what mixtures miss; else spectra are mixtures of the endmembers alone.
        noise : array (B, ...), optional
            Standard normal; the sensor's noise is made of it.

        Returns
        -------
        abundances : float32 array (p, ...)
            Not negative, of sum 1.
        spectra : float32 array (B, ...)
        """
        p, shape = len(self.endmembers), (-1, *(1,) * (state.ndim - 1))
        raw = state.astype(np.float64) * self.scale.reshape(shape) + self.offset.reshape(shape)
        abundances = bound(raw[:p])
        spectra = np.tensordot(self.endmembers.T, abundances, 1)
        if variability:
            along = raw[p:] * np.sqrt(np.tensordot(self.variances.T, abundances, 1))
            spectra += np.tensordot(self.directions.T, along, 1)
        if noise is not None:
            spectra += self.noise.reshape(shape) * noise
        return abundances.astype(np.float32), spectra.astype(np.float32)


def fitted_encoding(
    images: Iterable[np.ndarray], endmembers: np.ndarray, wanted: float | int, most: int, device: str = "cpu"
) -> tuple[Encoding, float]:
    """The encoding of a scene by its endmembers.

    Parameters
    ----------
    images : iterable of arrays (B, h, w)
        Parts of the scene, each pixel once; NaN where a band is missing.
    endmembers : array (p, B)
    wanted : float or int
        Directions beside the mixture: as many, or, below 1, as many as bring the mean cosine of pixels and what is
        made of them there.
    most : int
        Directions at most.

    Returns
    -------
    Encoding
    cosine : float
        Of the scene's pixels and what the encoding makes of them, in the mean.
    """
    parts = [image.reshape(len(image), -1) for image in images]
    pixels = np.concatenate([part[:, np.isfinite(part).all(0)] for part in parts], 1).T.astype(np.float64)
    abundances = fcls(pixels, endmembers, device)
    missed = pixels - abundances @ endmembers
    values, vectors = np.linalg.eigh(missed.T @ missed / len(pixels))
    order = np.argsort(values)[::-1][:most]
    basis, count = vectors[:, order].T, len(order)
    along, lengths = missed @ basis.T, np.linalg.norm(pixels, axis=1)

    def cosine(count: int) -> float:
        made = abundances @ endmembers + along[:, :count] @ basis[:count]
        size = lengths * np.linalg.norm(made, axis=1)
        return float(((pixels * made).sum(1)[size > 0] / size[size > 0]).mean())

    enough = (n for n in range(count) if cosine(n) >= wanted)
    count = next(enough, count) if wanted < 1 else min(int(wanted), count)
    left = missed - along[:, :count] @ basis[:count]
    taken = np.linalg.qr(np.concatenate([endmembers[1:] - endmembers[0], basis[:count]]).T)[0]
    free = np.maximum(1 - np.square(taken).sum(1), FREE)  # of each band, what the fit cannot take of its noise
    variances = endmember_variances(along[:, :count], abundances)
    raw = np.concatenate([unbound(abundances.T), along[:, :count].T / np.sqrt(variances.T @ abundances.T)])
    offset, scale = raw.mean(1), np.maximum(raw.std(1), LEAST)
    encoding = Encoding(
        endmembers=np.asarray(endmembers, np.float64),
        directions=basis[:count],
        variances=variances,
        noise=left.std(0) / np.sqrt(free),
        offset=offset,
        scale=scale,
        low=(raw.min(1) - offset) / scale,
        high=(raw.max(1) - offset) / scale,
    )
    return encoding, cosine(count)


def endmember_variances(along: np.ndarray, abundances: np.ndarray) -> np.ndarray:
    """Variances (p, q) of endmembers, whose means by the abundances (n, p) are nearest to squares of `along` (n, q)."""
    out = np.empty((abundances.shape[1], along.shape[1]))
    gram = abundances.T @ abundances
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)))
    for j, squares in enumerate(np.square(along).T):
        out[:, j] = nnls(root.T, np.linalg.solve(root, abundances.T @ squares))[0]
        out[:, j] = np.maximum(out[:, j], SPREAD * squares.mean())
    return np.maximum(out, 1e-300)
