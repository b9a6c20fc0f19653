"""Two ways to take white noise of variance 1 out of groups of similar patches."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dct


def low_rank(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each group about its mean patch, its singular values shrunk as is best for a matrix in white noise.

    Gavish & Donoho 2017, Optimal shrinkage of singular values (doi:10.1109/TIT.2017.2653801), eq. 7: for the Frobenius
    norm, with beta the ratio of the sides and y the singular value over the root of the longer side, y becomes
    sqrt((y^2 - beta - 1)^2 - 4 beta) / y, and 0 below 1 + sqrt(beta). Nothing is to be chosen.

    Parameters
    ----------
    patches : tensor (n, K, d, p)

    Returns
    -------
    tensor (n, K, d, p)
    weights : tensor (n, p)
        Of each group: the inverse of the directions that it keeps.
    """
    count, members = patches.shape[:2]
    mean = patches.mean(1, keepdim=True)
    rest = (patches - mean).flatten(2)
    squares, vectors = torch.linalg.eigh(rest @ rest.mT)
    short, long = sorted((members, rest.shape[2]))
    beta, inverse = short / long, long / squares.clamp(min=1e-12)  # 1 / y^2, so that nothing overflows
    kept = ((1 - (beta + 1) * inverse).square() - 4 * beta * inverse.square()).clamp(min=0).sqrt()
    factor = torch.where(inverse < (1 + math.sqrt(beta)) ** -2, kept, 0.0)
    shrunk = ((vectors * factor[:, None]) @ vectors.mT) @ rest
    weights = 1 / (1 + factor.square().sum(1, keepdim=True))
    return shrunk.view_as(patches) + mean, weights.expand(count, patches.shape[3])


def wiener(patches: torch.Tensor, pilot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each coefficient of a group's transform by the Wiener gain that a pilot estimate tells.

    The second step of BM3D (Dabov et al. 2007, doi:10.1109/TIP.2007.901238, eq. 11): cosines over the patch, Haar
    wavelets over its group.

    Parameters
    ----------
    patches, pilot : tensors (n, K, d, p)
        K a power of two, d a square.

    Returns
    -------
    tensor (n, K, d, p)
    weights : tensor (n, p)
        The inverse of the noise that is left.
    """
    count, members, size, channels = patches.shape
    over, across = (torch.as_tensor(m).to(patches) for m in (_cosines(math.isqrt(size)), _haar(members)))

    def spectrum(values: torch.Tensor) -> torch.Tensor:
        return over @ (across @ values.flatten(2)).view(-1, size, channels)  # (n K, d, p)

    gain = 1 / (1 + 1 / spectrum(pilot).square())
    found = across.T @ (over.T @ (gain * spectrum(patches))).view(count, members, -1)
    return found.view_as(patches), 1 / gain.square().view_as(patches).sum((1, 2)).clamp(min=1)


@lru_cache(maxsize=8)
def _cosines(side: int) -> np.ndarray:
    """Orthonormal cosine transform of a patch, (side^2, side^2), rows the frequencies."""
    one = dct(np.eye(side), axis=0, norm="ortho")
    return np.kron(one, one)


@lru_cache(maxsize=8)
def _haar(count: int) -> np.ndarray:
    """Orthonormal Haar wavelets of `count` values, a power of two, (count, count)."""
    if count == 1:
        return np.ones((1, 1))
    half = _haar(count // 2)
    means, differences = np.kron(half, [1.0, 1.0]), np.kron(np.eye(count // 2), [1.0, -1.0])
    return np.concatenate([means, differences]) / math.sqrt(2)
