"""What a network sees of a fused tile: each coefficient alone, in units of its expected error, beside a common guide.

The fast fusion's coefficients a differ from scene to scene: in number, order, sign and size. In b = V^-1 a, with V of
the prior and the MSI's information (V' S^-1 V = I, V' C'C V = diag(m)), they have an order, by how well the MSI sees
them, and a scale, the posterior standard deviation 1 / sqrt(m + 1 / delta^2), where delta is the standard deviation
of the detail one scale down, that means the same everywhere. Those that the MSI does not see at all have no order by
it; theirs is by how well the HSI, of white noise in a, sees them (V'V diagonal too). A network that treats every
coefficient by the same weights is then bound to no sensor, band count or radiometry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh

from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.prior import coarser_detail
from hsgeo.methods.fusion.solver import mix

#: best-seen coefficients that guide all others
GUIDES = 6

#: channels of a coefficient and of the guide; the first ones of each change sign with the coefficient
OWN, SIGNED = 6, 4
GUIDE = 4 * GUIDES + 1

#: share of the best-seen coefficient's information below which one counts as not seen by the MSI
BLIND = 1e-9

#: where large values begin to count less, in units of the value's own scale
SOFT = 8.0


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of a fitted model.

    Attributes
    ----------
    vectors : array (p, p)
        V; a = V b.
    inverse : array (p, p)
    information : array (p,)
        m, of all MSI bands per fine pixel, falling.
    detail : array (p,)
        Standard deviation of the detail one scale down.
    mean, spread : arrays (p,)
        Of the scene's coefficients.
    ratio : int
    """

    vectors: np.ndarray
    inverse: np.ndarray
    information: np.ndarray
    detail: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    ratio: int

    @classmethod
    def of(cls, model: SubspaceModel, patches: Sequence[Any]) -> Coordinates:
        """Coordinates of a model and the sample patches that it was fitted on."""
        gram = sum(s.matrix.T @ s.matrix / s.ratio**2 for s in model.sensors[:-1])
        m, vectors = eigh(gram, np.linalg.inv(model.covariance))
        m, vectors = np.maximum(m[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])
        blind = m <= BLIND * m[0]
        _, turn = np.linalg.eigh(-vectors[:, blind].T @ vectors[:, blind])
        vectors[:, blind] = vectors[:, blind] @ turn
        inverse = np.linalg.inv(vectors)
        noise = np.diag(inverse @ inverse.T)
        moment, count = np.zeros(len(m)), 0
        for patch in patches:
            coarse = model.coefficients(patch.hsi[model.model_bands].astype(float))
            filled = np.where(np.isfinite(coarse), coarse, model.mean[:, None, None])
            detail = coarser_detail(filled, model.sensors[-1].psf, model.scale)
            if detail is not None:
                moment += np.square(np.tensordot(inverse, detail, 1)).sum((1, 2))
                count += detail[0].size
        variance = np.maximum(moment / count - noise, 0.1 * noise + 1e-6) if count else np.ones(len(m))
        spread = np.sqrt(np.diag(inverse @ model.spread @ inverse.T))
        return cls(vectors, inverse, m, np.sqrt(variance), inverse @ model.mean, spread, model.scale)

    @property
    def error(self) -> np.ndarray:
        """Standard deviation (p,) that the error of each coefficient is expected to have."""
        return 1 / np.sqrt(self.information + 1 / self.detail**2)

    @property
    def outputs(self) -> int:
        """Channels of a signal: each coefficient is one alone."""
        return 1

    def inputs(
        self, interpolated: torch.Tensor, detail: torch.Tensor, msi: Iterable[np.ndarray] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a network sees.

        Parameters
        ----------
        interpolated, detail : tensors (p, H, W)
            Of the fast fusion, in its own coefficients.
        msi : iterable of arrays
            Not looked at: what it says is in the detail.

        Returns
        -------
        own : tensor (p, `OWN`, H, W)
        guide : tensor (`GUIDE`, H, W)
        """
        turned, added = (mix(torch.as_tensor(self.inverse).to(f), f) for f in (interpolated, detail))

        def column(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values).to(turned)[:, None, None]

        error, size, mean, spread = (column(v) for v in (self.error, self.detail, self.mean, self.spread))
        sharp, relative = torch.asinh(added / error), added / size
        full = (turned + added - mean) / spread
        doubt = (error / size).log()
        signed = torch.stack([sharp, (turned - mean) / spread, full, relative], 1)
        constants = torch.stack([doubt, 0.3 * (error / spread).log()], 1).expand(-1, -1, *turned.shape[1:])
        own = torch.cat([_soft(signed), constants], 1)
        guide = torch.cat(
            [
                *(_soft(_first(v)) for v in (full, relative, sharp)),
                _first(0.3 * doubt.expand_as(turned)),
                torch.full_like(turned[:1], float(np.log(self.ratio)) - 1.2),
            ]
        )
        return own, guide

    def target(self, coefficients: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """What a network is to predict: true coefficients (p, H, W) less the fast fusion's, in these units."""
        return mix(torch.as_tensor(self.inverse).to(result), coefficients - result) / self._error(result)

    def residual(self, predicted: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """The fast fusion's error that a prediction (p, H, W) means: itself."""
        return predicted

    def correction(self, predicted: torch.Tensor) -> torch.Tensor:
        """Inverse of `target`: what a prediction (p, H, W) adds to the fast fusion's coefficients."""
        return mix(torch.as_tensor(self.vectors).to(predicted), predicted * self._error(predicted))

    def seen(self, patch: Any) -> tuple[()]:
        """Nothing: neither image is an observation of a coefficient's error alone."""
        return ()

    def weight(self, basis: np.ndarray) -> np.ndarray:
        """What a unit of each coefficient's squared target means for the image of `basis` (B, p): (p,)."""
        return np.square(basis @ self.vectors).sum(0) * self.error**2

    def _error(self, like: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.error).to(like)[:, None, None]


def flipped(
    own: torch.Tensor, guide: torch.Tensor, target: torch.Tensor, signs: torch.Tensor, guide_signs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same example with other signs of its coefficients: `signs` (M,) of each, `guide_signs` (`GUIDES`,)."""
    own, guide = own.clone(), guide.clone()
    own[:, :SIGNED] *= signs[:, None, None, None]
    guide[: 3 * GUIDES] *= guide_signs.repeat(3)[:, None, None]
    return own, guide, target * signs.view(-1, *(1,) * (target.ndim - 1))


def _first(values: torch.Tensor) -> torch.Tensor:
    """The guiding coefficients; zeros where there are fewer."""
    out = values.new_zeros(GUIDES, *values.shape[1:])
    out[: len(values)] = values[:GUIDES]
    return out


def _soft(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + x.abs() / SOFT)
