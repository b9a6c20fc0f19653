"""Observations by their singular values, H = U S V', with U and V as maps: for samplers in spectral coordinates.

Images are (..., band, y, x) tensors of any float type on any device, and so are coordinates. No map here mixes bands,
so white noise of one level per band stays such in U' y.
"""

from __future__ import annotations

import numpy as np
import torch

from hsgeo.errors import ParameterError
from hsgeo.observation.psf import Boundary, Psf, coarse_size

#: singular values below this share of the largest, times the longer side, are taken as 0
NEGLIGIBLE = float(np.finfo(np.float64).eps)


class SpectralMask:
    """Samples that were recorded; the coordinates are the pixels. ``SpectralMask(True)`` is the identity.

    Parameters
    ----------
    mask : bool or bool array, broadcastable to the image
        True where the sample is there.
    """

    def __init__(self, mask: bool | np.ndarray | torch.Tensor) -> None:
        own = mask.copy() if isinstance(mask, np.ndarray) else mask  # torch wants it writable
        self.mask = torch.as_tensor(own, dtype=torch.bool).cpu()

    @property
    def singular(self) -> torch.Tensor:
        """1 where recorded, 0 elsewhere, in the shape of the mask."""
        return self.mask.to(torch.float64)

    def to_spectral(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def from_spectral(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def observed(self, y: torch.Tensor) -> torch.Tensor:
        # where, not a product: a sample that is not there may be NaN
        return torch.where(self.mask.to(y.device), y, torch.zeros((), dtype=y.dtype, device=y.device))


class SpectralBlur:
    """Blur and decimation by one matrix per axis, y = R x C'.

    Its singular vectors are the products of both matrices' own, its singular values the products of theirs.

    Parameters
    ----------
    rows, columns : arrays (h, H) and (w, W)
        With h <= H and w <= W.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray) -> None:
        if any(m.ndim != 2 or m.shape[0] > m.shape[1] for m in (rows, columns)):
            raise ParameterError(f"decimation makes fewer pixels of more, not {rows.shape} and {columns.shape}.")
        self.shape = (rows.shape[1], columns.shape[1])
        self.coarse_shape = (rows.shape[0], columns.shape[0])
        both = [np.linalg.svd(np.asarray(m, np.float64), full_matrices=True) for m in (rows, columns)]
        values = [np.pad(s, (0, len(vt) - len(s))) for _, s, vt in both]
        kept = [s > s[0] * len(s) * NEGLIGIBLE for s in values]
        self._left = [torch.from_numpy(u) for u, _, _ in both]
        self._right = [torch.from_numpy(vt.T.copy()) for _, _, vt in both]
        #: (H, W), 0 where nothing is seen
        self.singular = torch.from_numpy(np.outer(*(np.where(k, s, 0.0) for k, s in zip(kept, values, strict=True))))

    @classmethod
    def of_psf(cls, psf: Psf, ratio: float, shape: tuple[int, int], boundary: Boundary = "reflect") -> SpectralBlur:
        """The spectral form of `BlurDecimate`; a PSF of no width with a box of `ratio` is each block's mean."""
        rows, columns = (psf.matrix(n, ratio, boundary, axis) for axis, n in enumerate(shape))
        return cls(rows, columns)

    @classmethod
    def bicubic(cls, ratio: int, shape: tuple[int, int]) -> SpectralBlur:
        """Decimation by the cubic kernel widened by `ratio`; see `bicubic_matrix`."""
        return cls(bicubic_matrix(shape[0], ratio), bicubic_matrix(shape[1], ratio))

    def to_spectral(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (v.to(x) for v in self._right)
        return rows.mT @ x @ columns

    def from_spectral(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (v.to(x) for v in self._right)
        return rows @ x @ columns.mT

    def observed(self, y: torch.Tensor) -> torch.Tensor:
        if tuple(y.shape[-2:]) != self.coarse_shape:
            h, w = self.coarse_shape
            raise ParameterError(f"an image of {h} x {w} pixels is needed, not {tuple(y.shape[-2:])}.")
        rows, columns = (u.to(y) for u in self._left)
        singular = self.singular.to(y)
        out = y.new_zeros(*y.shape[:-2], *self.shape)
        h, w = self.coarse_shape
        out[..., :h, :w] = rows.mT @ y @ columns
        return torch.where(singular > 0, out / torch.where(singular > 0, singular, 1.0), 0.0)


def bicubic_matrix(n: int, ratio: int) -> np.ndarray:
    """Antialiased bicubic decimation along one axis, (n / ratio, n), rows that sum to 1; the edge pixel is repeated.

    The cubic kernel of Keys 1981 (doi:10.1109/TASSP.1981.1163711, a = -1/2), `ratio` times as wide, at the centres of
    the blocks.
    """
    m = coarse_size(n, ratio)
    reach = 2 * ratio
    index = ratio * np.arange(m)[:, None] + np.arange(-reach, reach + ratio)
    u = abs(index - (ratio * np.arange(m)[:, None] + (ratio - 1) / 2)) / ratio
    weight = np.where(u < 1, 1.5 * u**3 - 2.5 * u**2 + 1, -0.5 * u**3 + 2.5 * u**2 - 4 * u + 2) * (u < 2)
    weight /= weight.sum(1, keepdims=True)
    folded = index % (2 * n)
    out = np.zeros((m, n))
    np.add.at(out, (np.arange(m)[:, None], np.where(folded < n, folded, 2 * n - 1 - folded)), weight)
    return out
