"""Two ways to take white noise of variance 1 out of groups of similar patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dct

#: eigenvectors that are first looked for
FEW = 8


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
    gram = rest @ rest.mT
    short, long = sorted((members, rest.shape[2]))
    beta = short / long
    edge = long * (1 + math.sqrt(beta)) ** 2
    shrink, kept = torch.zeros_like(gram), gram.new_zeros(count)
    for which, squares, vectors in _large(gram, edge):
        inverse = long / squares.clamp(min=edge)  # 1 / y^2, so that nothing overflows
        factor = ((1 - (beta + 1) * inverse).square() - 4 * beta * inverse.square()).clamp(min=0).sqrt()
        shrink[which] = (vectors * factor[:, None]) @ vectors.mT
        kept[which] = factor.square().sum(1)
    found = torch.baddbmm(mean.flatten(2), shrink, rest)
    return found.view_as(patches), (1 / (1 + kept))[:, None].expand(count, patches.shape[3])


def _large(gram: torch.Tensor, edge: float) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Those of some positive matrices (n, K, K) that have eigenvalues above `edge`, with these and their vectors.

    Most have none or few, which is certain where the edge exceeds what is left of them (a Cholesky factor exists), and
    takes a fifth of the time of all eigenvectors.

    Yields
    ------
    which : int tensor (m,)
    values, vectors : tensors (m, r), (m, K, r)
        Others are among them.
    """
    which = torch.nonzero(_reaches(gram, edge)).flatten()
    if gram.shape[1] > 2 * FEW and len(which):
        some = gram[which]
        values, vectors = _leading(some)
        more = _reaches(some - (vectors * values[:, None]) @ vectors.mT, edge)
        yield which[~more], values[~more], vectors[~more]
        which = which[more]
    if len(which):
        yield which, *torch.linalg.eigh(gram[which])


def _reaches(gram: torch.Tensor, edge: float) -> torch.Tensor:
    """Whether each of some symmetric matrices (n, K, K) has an eigenvalue from `edge` up."""
    below = -gram
    below.diagonal(dim1=1, dim2=2).add_(edge)
    return torch.linalg.cholesky_ex(below).info != 0


def _leading(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """About the `FEW` largest eigenvalues (n, r), and vectors (n, K, r), by orthogonal iteration."""
    vectors = _start(gram.shape[1]).to(gram)
    fourth = gram / gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=1e-12)
    for _ in range(2):
        fourth = fourth @ fourth
    for _ in range(2):
        vectors = torch.linalg.qr(fourth @ vectors).Q
    values, turned = torch.linalg.eigh(vectors.mT @ gram @ vectors)
    return values, vectors @ turned


@lru_cache(maxsize=8)
def _start(members: int) -> torch.Tensor:
    """Directions (K, r) that no matrix is likely to be orthogonal to."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal((members, FEW)))


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

    gain = spectrum(pilot).square_().reciprocal_().add_(1).reciprocal_()
    found = across.T @ (over.T @ spectrum(patches).mul_(gain)).view(count, members, -1)
    return found.view_as(patches), 1 / gain.square_().view_as(patches).sum((1, 2)).clamp(min=1)


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
