"""DDS2M: untrained networks, fitted to one image while a reverse diffusion tied to its data runs.

Miao et al. 2023 (doi:10.1109/ICCV51070.2023.01107). At every step of DDRM (`hsgeo.diffusion.ddrm`) the networks of VS2M
(`hsgeo.networks.vs2m`) are fitted a little to the state, and what they then show is its prediction of the clean image.
The result is a running average of these predictions. Which of them is returned is decided by the data alone: the last
one, or the one that best tells samples that were kept from the process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from hsgeo.diffusion import Evidence, ddrm, noise_field
from hsgeo.errors import ParameterError
from hsgeo.methods.restoration.variational_settings import VariationalSettings
from hsgeo.networks import VS2M

#: (step, running average in the units of the data) -> whether that is enough
Callback = Callable[[int, torch.Tensor], bool | None]


@dataclass(frozen=True)
class Restored:
    """The result of a reverse process.

    Attributes
    ----------
    image : tensor (B, H, W)
        In the units of the data.
    step : int
        Whose running average it is, counted from 1.
    errors : array (steps,) or None
        Of each step's average, the mean squared error on the samples held back less the variance of their noise, in
        the squared units of the data. None where none were held back.
    """

    image: torch.Tensor
    step: int
    errors: np.ndarray | None


def reverse(
    evidence: Evidence,
    settings: VariationalSettings,
    estimate: torch.Tensor | None = None,
    span: tuple[torch.Tensor, float] | None = None,
    seed: int = 0,
    callback: Callback | None = None,
) -> Restored:
    """Restore one image (B, H, W) that fits into memory.

    The bands may be coefficients in a subspace: their noise is white, of one level, where the subspace is that of
    spectra whitened by their noise, and each pixel has all of its bands or none.

    Parameters
    ----------
    evidence : Evidence
        What is known of the image, in any units.
    settings : VariationalSettings
    estimate : tensor (B, H, W), optional
        What another method makes of the data. The networks are fitted to it first (`VariationalSettings.warm`), and
        what the data do not show starts from it.
    span : (tensor broadcastable to the image, float), optional
        Middle and half width of what is mapped to [-1, 1]: `span_of` the estimate, or of the data where there is none.
    seed : int
        Of the networks, the noise and the samples held back.
    callback : callable, optional
        Told of every running average; where it returns True, the process ends there.

    Returns
    -------
    Restored
        Data without noise are in it as they are.

    Raises
    ------
    ParameterError
        Too few data to hold any back.
    """
    shown = evidence.operator.from_spectral(evidence.values) if estimate is None else estimate
    offset, scale = span_of(shown) if span is None else span
    whole = evidence.rescaled(offset, scale)
    held = _held_back(whole, settings.held, seed) if settings.choice == "held-back" else None
    known = whole if held is None else whole.without(held)
    guess = None if estimate is None else (estimate - offset) / scale
    networks = _Networks(shown, settings, seed)
    if guess is not None:
        networks.warm_up(guess)
    average, best, chosen, errors = torch.zeros_like(shown), torch.zeros_like(shown), 0, []

    def predict(state: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        nonlocal average, best, chosen
        image = networks.fit(state, sigma)
        average = image if step == 1 else settings.average * average + (1 - settings.average) * image
        if held is not None:
            errors.append(_error(whole, held, average))
        if held is None or errors[-1] == min(errors):
            best, chosen = average, step
        if callback is not None and callback(step, average * scale + offset):
            raise _EnoughError
        return image

    def noise(step: int) -> torch.Tensor:
        return torch.from_numpy(noise_field(seed, step, len(shown), 0, shown.shape[1], 0, shown.shape[2])).to(shown)

    with suppress(_EnoughError):
        ddrm(predict, noise, settings.levels(), known, settings.eta, settings.eta_b, guess)
    image = _with_exact_data(whole, best) * scale + offset
    return Restored(image, chosen, np.array(errors) * scale**2 if errors else None)


def span_of(image: torch.Tensor, outer: float = 1e-3) -> tuple[torch.Tensor, float]:
    """Middle (1, 1, 1) and half width of the values, but for a share `outer` at either end."""
    low, high = np.quantile(image.cpu().numpy(), [outer, 1 - outer])
    return image.new_full((1, 1, 1), (low + high) / 2), float(high - low) / 2 or 1.0


class _EnoughError(Exception):
    """Ends a process; it never leaves this file."""


class _Networks:
    """VS2M and the optimiser that fits it."""

    def __init__(self, like: torch.Tensor, settings: VariationalSettings, seed: int) -> None:
        self.settings = settings
        bands, height, width = like.shape
        self.model = VS2M(bands, height, width, settings.shape, seed).to(like)
        self.shown = torch.compile(self.model) if settings.compile else self.model
        self.optimiser = torch.optim.Adam(self.model.parameters(), settings.rate)

    def warm_up(self, image: torch.Tensor) -> None:
        """Fit an image, before anything else."""
        self._learn(self.settings.warm_rate)
        for _ in range(self.settings.warm):
            self._update(image, 1.0)
        self._learn(self.settings.rate)

    def fit(self, state: torch.Tensor, sigma: float) -> torch.Tensor:
        """Fit a state, by |sqrt(gamma) (state - image)|^2 (eq. 10 of the supplement): the last update's image."""
        for _ in range(self.settings.inner):
            image = self._update(state, 1 / (1 + sigma**2))
        return image

    def _learn(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _update(self, target: torch.Tensor, gamma: float) -> torch.Tensor:
        self.optimiser.zero_grad()
        image = self.shown()
        (gamma * (image - target).square().mean()).backward()
        self.optimiser.step()
        return image.detach()


def _held_back(evidence: Evidence, share: float, seed: int) -> torch.Tensor:
    """Coordinates, of those seen, that are kept from the process (bool)."""
    draw = torch.rand(evidence.values.shape, generator=torch.Generator().manual_seed(seed)).to(evidence.values)
    held = evidence.seen & (draw < share)
    if not held.any():
        raise ParameterError("there are too few data to hold any back; take the choice 'fixed'.")
    return held


def _error(evidence: Evidence, held: torch.Tensor, image: torch.Tensor) -> float:
    """Mean squared error of H x on the coordinates held back, the variance of their noise taken off."""
    singular = evidence.operator.singular.to(image).expand_as(held)[held]
    missed = (evidence.operator.to_spectral(image) - evidence.values)[held]
    return float((singular**2 * (missed**2 - evidence.spread[held] ** 2)).mean())


def _with_exact_data(evidence: Evidence, image: torch.Tensor) -> torch.Tensor:
    """The image with the data in place of the coordinates that were seen without noise."""
    exact = evidence.spread == 0
    if not exact.any():
        return image
    return evidence.operator.from_spectral(torch.where(exact, evidence.values, evidence.operator.to_spectral(image)))
