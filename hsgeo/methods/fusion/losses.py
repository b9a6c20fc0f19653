"""What a prediction is judged by: its distance to the truth, and, as HSR-Diff has it, to both images as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from hsgeo.methods.fusion.solver import mix
from hsgeo.observation.psf import Psf

#: errors beyond this many expected ones count linearly
HUBER = 3.0

#: part of a coarse pixel's PSF that may lie outside a patch
OUTSIDE = 1e-6


@dataclass(frozen=True)
class Seen:
    """One image of an example, in the units of its signal Z: image = response Z blurred by the PSF and decimated.

    Attributes
    ----------
    image : array (n, H / ratio, W / ratio)
        NaN in gaps. Pixel edges coincide with those of the fine grid.
    ratio : int
        Fine pixels per pixel.
    response : array (n, k), optional
        Of the signal's k channels; none where they are the image's own.
    psf : Psf, optional
        In fine pixels; none for an image on the fine grid.
    """

    image: np.ndarray
    ratio: int
    response: np.ndarray | None = None
    psf: Psf | None = None

    def about(self) -> dict[str, Any]:
        """All but the image, as JSON can hold it."""
        response = None if self.response is None else np.asarray(self.response).tolist()
        return {"ratio": self.ratio, "response": response, "psf": None if self.psf is None else asdict(self.psf)}

    @classmethod
    def of(cls, image: np.ndarray, about: Mapping[str, Any]) -> Seen:
        """From an image and `about`."""
        response, psf = about["response"], about["psf"]
        return cls(
            image,
            about["ratio"],
            None if response is None else np.asarray(response),
            None if psf is None else Psf(**psf),
        )

    def patch(self, y: int, x: int, side: int) -> SeenPatch:
        """What of it a square patch of the example explains: pixels whose PSF does not reach beyond the patch.

        Parameters
        ----------
        y, x : int
            First fine row and column, multiples of the ratio.
        side : int
        """
        count = side // self.ratio
        (y0, rows), (x0, columns) = (self._along(axis, count, side) for axis in (0, 1))
        top, left = y // self.ratio + y0, x // self.ratio + x0
        image = self.image[:, top : top + len(rows), left : left + len(columns)]
        return SeenPatch(_tensor(image), None if self.response is None else _tensor(self.response), rows, columns)

    def _along(self, axis: int, count: int, side: int) -> tuple[int, torch.Tensor]:
        """First coarse pixel that sees the patch alone, and from there on the weights of fine pixels (m, side)."""
        psf = self.psf or Psf(0.0, 0.0)
        index, weight = psf.rows(count, self.ratio, axis)
        inside = (index >= 0) & (index < side)
        matrix = np.zeros((count, side))
        np.add.at(matrix, (np.nonzero(inside)[0], index[inside]), weight[inside])
        kept = np.flatnonzero(matrix.sum(1) > 1 - OUTSIDE)
        return int(kept[0]) if len(kept) else 0, _tensor(matrix[kept])


@dataclass(frozen=True)
class SeenPatch:
    """One image over a patch: image = response (rows Z columns^T), all tensors.

    Attributes
    ----------
    image : tensor (n, h, w)
    response : tensor (n, k) or None
    rows, columns : tensors (h, H) and (w, W)
        Blur and decimation along each axis.
    """

    image: torch.Tensor
    response: torch.Tensor | None
    rows: torch.Tensor
    columns: torch.Tensor

    def misfit(self, signal: torch.Tensor) -> torch.Tensor:
        """Image less what `signal` (k, H, W) would look like (n, h, w); NaN in gaps."""
        mixed = signal if self.response is None else mix(self.response, signal)
        return self.image - self.rows @ mixed @ self.columns.T

    def turned(self, turns: int, mirror: bool) -> SeenPatch:
        """The same of a patch turned by `turns` quarters (`torch.rot90`), then mirrored along its last axis."""
        image, rows, columns = self.image, self.rows, self.columns
        for _ in range(turns):
            image, rows, columns = torch.rot90(image, 1, (-2, -1)), columns.flip(0, 1), rows
        if mirror:
            image, columns = image.flip(-1), columns.flip(0, 1)
        return replace(self, image=image, rows=rows, columns=columns)

    def to(self, device: torch.device | str) -> SeenPatch:
        """The same on another device."""
        response = None if self.response is None else self.response.to(device)
        return SeenPatch(self.image.to(device), response, self.rows.to(device), self.columns.to(device))


@dataclass(frozen=True)
class SeenBatch:
    """What both images show of each patch of a batch; the HSI is the last of each."""

    patches: tuple[tuple[SeenPatch, ...], ...] = ()

    def to(self, device: torch.device | str) -> SeenBatch:
        """The same on another device."""
        return SeenBatch(tuple(tuple(one.to(device) for one in patch) for patch in self.patches))


def loss_of(predicted: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, kind: str) -> torch.Tensor:
    """Loss of a batch, a sum over signals (M, k, H, W) with their `weight` (M,).

    ``huber`` is the squared error up to three expected errors and grows linearly beyond; ``l1`` the absolute error.
    """
    error = predicted - target
    size = torch.where(torch.isfinite(error), error, 0.0).abs()
    each = torch.where(size < HUBER, size**2, 2 * HUBER * size - HUBER**2) if kind == "huber" else size
    return (weight * each.mean((1, 2, 3))).sum()


def observed_loss(predicted: torch.Tensor, target: torch.Tensor, seen: SeenBatch) -> torch.Tensor:
    """Mean over patches of |X - R Z| + |Y - Z D| + |Z_0 - Z|, each a mean over what is known (HSR-Diff, eq. 8).

    Parameters
    ----------
    predicted, target : tensors (N, k, H, W)
        Z and Z_0; the target is NaN where it is not known.
    seen : SeenBatch
        Of N patches: the groups of MSI bands, whose misfits make one mean, then the HSI.
    """
    total = predicted.new_zeros(())
    for z, truth, (*msi, hsi) in zip(predicted, target, seen.patches, strict=True):
        for misfits in ([one.misfit(z) for one in msi], [hsi.misfit(z)], [z - truth]):
            total = total + _mean(misfits)
    return total / len(seen.patches)


def _mean(misfits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute value of all that is finite; 0 where nothing is."""
    known = [torch.isfinite(m) for m in misfits]
    count = sum(k.sum() for k in known)
    total = sum(torch.where(k, m, 0.0).abs().sum() for k, m in zip(known, misfits, strict=True))
    return torch.as_tensor(total / torch.as_tensor(count).clamp(min=1))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32)
