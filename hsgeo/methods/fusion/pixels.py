"""HSR-Diff as published: the signal is the image itself, all fused bands of it, and the guide is both images.

Wu et al. 2023 (HSR-Diff, arXiv:2306.12085). The network predicts the clean image. What the result keeps of it is its
projection onto the subspace of the fast fusion, whose model ties everything else (tiles, gaps, flags, misfits) to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsgeo.methods.fusion.losses import Seen
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.solver import Sensor, mix


@dataclass(frozen=True)
class Pixels:
    """The image of a fitted model in units of its own: z = (Z - mean) / scale.

    The mean is the scene's, band by band; the scale is one number, the root mean square over bands of the scene's
    standard deviation. Both come from the HSI's statistics in the fit. With one scale the response that ties Z to the
    MSI also ties z to it, and the three terms of HSR-Diff's loss have the same units, as on images scaled to [0, 1].

    Attributes
    ----------
    bands : int array (B,)
        Of the HSI, those of the model.
    basis, projection : arrays (B, p), (p, B)
        Coefficients to spectra and back: E, and its inverse for spectra as noisy as the HSI's.
    mean : array (B,)
    scale : float
    responses, offsets : lists of arrays (b_k, B), (b_k,)
        Of each group of MSI bands: x = offset + gain R Z with rows of R that sum to 1.
    gains : list of arrays (b_k,)
    sensors : sequence of Sensor
        Ratio and PSF of the groups, then of the HSI.
    """

    bands: np.ndarray
    basis: np.ndarray
    projection: np.ndarray
    mean: np.ndarray
    scale: float
    responses: list[np.ndarray]
    offsets: list[np.ndarray]
    gains: list[np.ndarray]
    sensors: Sequence[Sensor]

    @classmethod
    def of(cls, model: SubspaceModel, patches: Sequence[Any] = ()) -> Pixels:
        """The image of a model; its sample patches say nothing more."""
        basis = model.basis
        variance = np.einsum("bp,pq,bq->b", basis, model.spread, basis)
        gains = [np.where(r.sum(1) > 0, r.sum(1), 1.0) for r in model.responses]
        return cls(
            bands=model.model_bands,
            basis=basis,
            projection=(basis / model.noise[:, None] ** 2).T,
            mean=basis @ model.mean,
            scale=float(np.sqrt(variance.mean())),
            responses=[r / gain[:, None] for r, gain in zip(model.responses, gains, strict=True)],
            offsets=model.offsets,
            gains=gains,
            sensors=model.sensors,
        )

    @property
    def outputs(self) -> int:
        """Channels of the signal."""
        return len(self.mean)

    def inputs(
        self, interpolated: torch.Tensor, detail: torch.Tensor, msi: Iterable[np.ndarray]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a network sees: nothing beside the noisy image, and a guide of both images.

        Parameters
        ----------
        interpolated, detail : tensors (p, H, W)
            Of the fast fusion, in its own coefficients.
        msi : iterable of arrays (b_k, H, W)
            Groups of bands as they were measured, coarser pixels repeated; NaN in gaps.

        Returns
        -------
        own : tensor (1, 0, H, W)
        guide : tensor (B + b, H, W)
            The interpolated HSI, then the MSI; in the MSI's gaps what the fast fusion says it would be.
        """
        spectra, fused = self._image(interpolated), self._image(interpolated + detail)
        guide = [spectra]
        for k, (x, response) in enumerate(zip(msi, self.responses, strict=True)):
            seen = torch.as_tensor(self._msi(x, k)).to(spectra)
            guide.append(torch.where(torch.isfinite(seen), seen, mix(torch.as_tensor(response).to(spectra), fused)))
        return spectra.new_empty(1, 0, *spectra.shape[1:]), torch.cat(guide)

    def target(self, coefficients: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """What a network is to predict: the image (B, H, W) of the true coefficients (p, H, W)."""
        return self._image(coefficients)

    def residual(self, predicted: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """What a predicted image (B, H, W) adds to the fast fusion's coefficients (p, H, W)."""
        spectra = self._column(self.mean, predicted) + self.scale * predicted
        return mix(torch.as_tensor(self.projection).to(predicted), spectra) - result

    def correction(self, residual: torch.Tensor) -> torch.Tensor:
        """What of `residual` is added to the coefficients: itself."""
        return residual

    def weight(self, basis: np.ndarray) -> np.ndarray:
        """The same for all coefficients, which are in units of the HSI's noise: (1,)."""
        return np.ones(1)

    def seen(self, patch: Any) -> tuple[Seen, ...]:
        """Both images of a patch as the signal's observations: the groups of MSI bands, then the HSI."""
        *groups, last = self.sensors
        out = [
            Seen(self._msi(patch.msi[k], k), sensor.ratio, response, sensor.psf)
            for k, (sensor, response) in enumerate(zip(groups, self.responses, strict=True))
        ]
        hsi = (patch.hsi[self.bands] - self.mean[:, None, None]) / self.scale
        return (*out, Seen(hsi, last.ratio, None, last.psf))

    def _image(self, coefficients: torch.Tensor) -> torch.Tensor:
        spectra = mix(torch.as_tensor(self.basis).to(coefficients), coefficients)
        return (spectra - self._column(self.mean, spectra)) / self.scale

    def _msi(self, x: np.ndarray, k: int) -> np.ndarray:
        """A group in the signal's units."""
        offset, gain = self.offsets[k][:, None, None], self.gains[k][:, None, None]
        return ((x - offset) / gain - (self.responses[k] @ self.mean)[:, None, None]) / self.scale

    @staticmethod
    def _column(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(values).to(like)[:, None, None]
