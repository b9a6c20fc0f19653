"""Clean estimates of a sampler, held to the moments that they have on crops which have those of the scene.

A network that has seen one scene alone knows its pixels too well: of what is new to it, its own samples, it finds less
than there is, and each step of DDIM takes a little off what varies. Both are measured on tiles drawn for that, and made
up for channel by channel and level by level; Ning et al. 2024 (arXiv:2308.15321) do so by one number for all.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsgeo.diffusion import Schedule, ddim_step
from hsgeo.methods.generation.prediction import clean_of
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.generation.training import Crops

#: steps of the two samplers that are measured; for others the correction is linear in the length of a step
COARSE, FINE = 20, 50

#: fewer steps than these are corrected as they are
FEWEST = 10

#: least level at which anything is corrected: below it, next to nothing is told from noise
FAINT = 0.002

#: what estimates are multiplied with at least and at most
LEAST, MOST = 0.8, 1.6


@dataclass(frozen=True)
class Correction:
    """What deviations of clean estimates from their mean are multiplied with, and which mean they get.

    Attributes
    ----------
    levels : array (L,)
        Signal power gamma, rising.
    strides : array (2,)
        Length of a step, of a coarse sampler and a fine one, as a part of all.
    factor, found, wanted : arrays (2, L, c)
        Of these two: what deviations are multiplied with, the mean of estimates in samples, and that on crops.
    """

    levels: np.ndarray
    strides: np.ndarray
    factor: np.ndarray
    found: np.ndarray
    wanted: np.ndarray

    def at(self, gamma: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """What estimates are multiplied with and what is added then, arrays (c,), at a level, for so many steps."""
        coarse, fine = self.strides
        part = (1 / max(steps, FEWEST) - fine) / (coarse - fine) if coarse > fine else 0.0
        rough, finer = _between(self.levels, np.stack([self.factor, self.found, self.wanted], 1), gamma)
        factor, found, wanted = finer + part * (rough - finer)
        factor = np.clip(factor, LEAST, MOST)
        return factor, wanted - factor * found


def levels_of(settings: HudTrainingParams) -> int:
    """How many levels of noise `corrected` goes through."""
    return sum(min(steps, settings.length) for steps in (COARSE, FINE)) if settings.correction else 0


def corrected(
    network: Any,
    schedule: Schedule,
    crops: Crops,
    low: np.ndarray,
    high: np.ndarray,
    device: str = "cpu",
    progress: Any = None,
) -> Correction:
    """The correction of a trained network, by its own samples beside noisy crops of the scene.

    Of both there are few: the crops are typical of the scene, and samples begin from noise and from its opposite, so
    that what chance does to their mean cancels to first order (antithetic variates, Hammersley & Morton 1956).

    Parameters
    ----------
    network : AbundanceUNet
    schedule : Schedule
    crops : Crops
        Whose settings say how many are compared.
    low, high : arrays (c,)
        Least and largest value of a clean state.
    device : str
    progress : Stage, optional
        Advances by one a level.
    """
    s = crops.settings
    clean = crops.typical(s.correction)
    asked = None if crops.classes is None else torch.zeros((len(clean), crops.count, *clean.shape[2:]))
    rng = torch.Generator().manual_seed(s.seed)
    half = (2, -(-len(clean) // 2), *clean.shape[1:])
    noise, start = (torch.cat([n, -n])[: len(clean)] for n in torch.randn(half, generator=rng))
    least, most = (torch.as_tensor(b, dtype=clean.dtype).view(1, -1, 1, 1) for b in (low, high))
    network = network.to(device).eval()

    def estimated(z: torch.Tensor, gamma: float) -> torch.Tensor:
        parts = []
        for i in range(0, len(z), s.batch):
            part = z[i : i + s.batch].to(device)
            wanted = None if asked is None else asked[i : i + s.batch].to(device)
            with torch.inference_mode():
                parts.append(network(part, torch.full((len(part),), gamma, device=device), wanted).cpu())
        return torch.clamp(clean_of(torch.cat(parts), z, gamma, s.target), least, most)

    def measured(steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Levels (L,), and factors and both means (3, L, c)."""
        z, levels, rows = start, schedule.levels(steps).tolist(), []
        for gamma, cleaner in itertools.pairwise(levels):
            found, factor = estimated(z, gamma), torch.ones(1, clean.shape[1], 1, 1)
            mean = wanted = torch.zeros_like(factor)
            if gamma >= FAINT:
                mean, spread = _moments(found)
                wanted, wanted_spread = _moments(estimated(gamma**0.5 * clean + (1 - gamma) ** 0.5 * noise, gamma))
                factor = (wanted_spread / spread).nan_to_num(1.0).clamp(LEAST, MOST)
            rows.append(torch.stack([factor, mean, wanted]).flatten(1).numpy())
            found = torch.clamp(factor * (found - mean) + wanted, least, most)
            z = ddim_step(z, found, gamma, cleaner, 0.0, start.clone)
            if progress is not None:
                progress.advance()
        return np.array(levels[:-1]), np.stack(rows, 1)

    (coarse, rough), (fine, finer) = (measured(min(steps, schedule.steps)) for steps in (COARSE, FINE))
    network.cpu()
    rough = np.stack([_between(coarse, rough, gamma) for gamma in fine], 1)
    return Correction(fine, np.array([1 / len(coarse), 1 / len(fine)]), *np.stack([rough, finer], 1))


def _moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel."""
    return x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True, correction=0)


def _between(levels: np.ndarray, table: np.ndarray, gamma: float) -> np.ndarray:
    """Rows (..., c) of tables (..., L, c) at a level between, by the logarithm of signal over noise."""
    place = np.interp(_log_ratio(gamma), _log_ratio(levels), np.arange(len(levels)))
    below = min(int(place), len(levels) - 2)
    here, after = table[..., below, :], table[..., below + 1, :]
    return here + (place - below) * (after - here)


def _log_ratio(gamma: Any) -> Any:
    return np.log(gamma) - np.log1p(-gamma)
