"""The linear observation as torch operators: forward, adjoint, pseudo-inverse, singular values.

Images are (..., band, y, x) tensors on any device, float32 or float64; the result has the type and device of
the argument. Operators hold float64 constants on the CPU and are picklable.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix

from hsgeo.errors import ParameterError

from .psf import Boundary, Psf


class LinearOperator(Protocol):
    """A linear map between images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """F x."""
        ...

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """F* y: <F x, y> = <x, F* y>."""
        ...

    def pinv(self, y: torch.Tensor) -> torch.Tensor:
        """The least-squares solution of smallest norm, F+ y."""
        ...

    @property
    def singular_values(self) -> torch.Tensor:
        """All singular values but the zeros of the null space (a mask's are given per sample)."""
        ...


class SpectralResponse:
    """Bands as another sensor sees them: X = R Z along the band axis.

    Parameters
    ----------
    response : array (b, B)
        Rows >= 0, usually of sum 1.
    """

    def __init__(self, response: np.ndarray) -> None:
        self.response = np.asarray(response, dtype=np.float64)
        if self.response.ndim != 2:
            raise ParameterError(f"a spectral response is a matrix (b, B), not of shape {self.response.shape}.")

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.pinv(self.response)

    @cached_property
    def singular_values(self) -> torch.Tensor:
        return torch.from_numpy(np.linalg.svd(self.response, compute_uv=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _mix(self.response, x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return _mix(self.response.T, y)

    def pinv(self, y: torch.Tensor) -> torch.Tensor:
        return _mix(self._inverse, y)


class BlurDecimate:
    """Blur with a separable PSF, then one sample per block, at its centre: Y = Z D.

    Parameters
    ----------
    psf : Psf
        On the fine grid.
    ratio : float
        Fine pixels per coarse pixel; need not be whole.
    shape : (int, int)
        (H, W) of the fine image; the ratio divides both.
    boundary : "reflect" or "circular"
        Reflect mirrors at the edge, the edge pixel repeated.

    Notes
    -----
    D is the Kronecker product of one matrix per axis (`Psf.matrix`), so its singular values are the products of
    theirs and its pseudo-inverse is the product of their pseudo-inverses: exact to working precision.
    """

    def __init__(self, psf: Psf, ratio: float, shape: tuple[int, int], boundary: Boundary = "reflect") -> None:
        self.psf, self.ratio, self.boundary = psf, ratio, boundary
        self.shape = (int(shape[0]), int(shape[1]))
        self._down, self._up = [], []
        for axis, n in enumerate(self.shape):
            index, weight = psf.taps(n, ratio, boundary, axis)
            rows = np.repeat(np.arange(len(index)), index.shape[1])
            matrix = csr_matrix((weight.ravel(), (rows, index.ravel())), shape=(len(index), n))
            self._down.append(_taps(matrix))
            self._up.append(_taps(matrix.T.tocsr()))
        self.coarse_shape = (self._down[0][0].shape[1], self._down[1][0].shape[1])

    @cached_property
    def _svd(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return [
            np.linalg.svd(self.psf.matrix(n, self.ratio, self.boundary, axis), full_matrices=False)
            for axis, n in enumerate(self.shape)
        ]

    @cached_property
    def _inverse(self) -> list[torch.Tensor]:
        out = []
        for u, s, vt in self._svd:
            kept = s > s[0] * max(u.shape[0], vt.shape[1]) * np.finfo(np.float64).eps
            out.append(torch.from_numpy((vt[kept].T / s[kept]) @ u[:, kept].T))
        return out

    @property
    def singular_values(self) -> torch.Tensor:
        """(h, w): products of the singular values of both axes, each in falling order."""
        return torch.from_numpy(np.outer(self._svd[0][1], self._svd[1][1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _expect(x, self.shape)
        return _along(self._down[1], _along(self._down[0], x, -2), -1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        _expect(y, self.coarse_shape)
        return _along(self._up[0], _along(self._up[1], y, -1), -2)

    def pinv(self, y: torch.Tensor) -> torch.Tensor:
        _expect(y, self.coarse_shape)
        rows, columns = (m.to(device=y.device, dtype=y.dtype) for m in self._inverse)
        return rows @ y @ columns.mT


class Mask:
    """Samples that were recorded: y = M z, zero elsewhere. Its own adjoint and pseudo-inverse.

    Parameters
    ----------
    mask : bool array, broadcastable to the image
        True where the sample is there.
    """

    def __init__(self, mask: np.ndarray | torch.Tensor) -> None:
        self.mask = torch.as_tensor(mask, dtype=torch.bool).cpu()

    @property
    def singular_values(self) -> torch.Tensor:
        """1 where recorded, 0 elsewhere, in the shape of the mask."""
        return self.mask.to(torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # where, not a product: a sample that is not there may be NaN
        return torch.where(self.mask.to(x.device), x, torch.zeros((), dtype=x.dtype, device=x.device))

    adjoint = forward
    pinv = forward


def _mix(matrix: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    if x.ndim < 3 or x.shape[-3] != matrix.shape[1]:
        raise ParameterError(f"an image of {matrix.shape[1]} bands (..., band, y, x) is needed, not {tuple(x.shape)}.")
    m = torch.from_numpy(np.ascontiguousarray(matrix)).to(device=x.device, dtype=x.dtype)
    return (m @ x.flatten(-2)).unflatten(-1, x.shape[-2:])


def _expect(x: torch.Tensor, shape: tuple[int, int]) -> None:
    if tuple(x.shape[-2:]) != shape:
        raise ParameterError(f"an image of {shape[0]} x {shape[1]} pixels is needed, not {tuple(x.shape[-2:])}.")


def _taps(matrix: csr_matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """A sparse matrix (m, n) as index and weight, both (k, m): row i is sum_k weight[k, i] * input[index[k, i]]."""
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    count = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), count)
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], count)
    index = np.zeros((max(int(count.max(initial=0)), 1), matrix.shape[0]), dtype=np.int64)
    weight = np.zeros(index.shape)
    index[place, rows], weight[place, rows] = matrix.indices, matrix.data
    return torch.from_numpy(index), torch.from_numpy(weight)


def _along(taps: tuple[torch.Tensor, torch.Tensor], x: torch.Tensor, axis: int) -> torch.Tensor:
    index, weight = taps[0].to(x.device), taps[1].to(device=x.device, dtype=x.dtype)
    if axis == -2:
        weight = weight[..., None]
    out = x.index_select(axis, index[0]) * weight[0]
    for k in range(1, len(index)):
        out = torch.addcmul(out, x.index_select(axis, index[k]), weight[k])
    return out
