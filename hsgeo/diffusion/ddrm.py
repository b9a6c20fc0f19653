"""DDRM: a sampler tied to data y = H x + noise, in the coordinates in which H is diagonal.

Kawar et al. 2022 (arXiv:2201.11793), in the three cases that DDS2M spells out (Miao et al. 2023,
doi:10.1109/ICCV51070.2023.01107, supplement, eq. 2). Signals are not shrunk by the process here: at noise sigma the
state is x_0 + sigma noise, and sigma^2 = (1 - gamma) / gamma of `Schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
import torch

from hsgeo.diffusion.samplers import Noise
from hsgeo.errors import ParameterError

#: (x_t in pixels, sigma_t, step) -> the clean signal in pixels, expected or drawn; the first step is 1
SpectralPredictor = Callable[[torch.Tensor, float, int], torch.Tensor]

#: share of a step's noise that is new, or the share that makes the steps those of `ancestral`
Eta = float | Literal["ancestral"]


class SpectralOperator(Protocol):
    """A linear observation given by its singular value decomposition, H = U S V'.

    V is square and orthonormal: a signal has as many coordinates as values.
    """

    @property
    def singular(self) -> torch.Tensor:
        """S, broadcastable to the coordinates; 0 where nothing is seen."""
        ...

    def to_spectral(self, x: torch.Tensor) -> torch.Tensor:
        """V' x."""
        ...

    def from_spectral(self, x: torch.Tensor) -> torch.Tensor:
        """V x."""
        ...

    def observed(self, y: torch.Tensor) -> torch.Tensor:
        """S^+ U' y, 0 where nothing is seen."""
        ...


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the data say of each spectral coordinate of the signal: a value, and how far off it may be.

    Attributes
    ----------
    operator : SpectralOperator
    values : tensor
        S^+ U' y, of the coordinates' shape.
    spread : tensor
        Standard deviation of the noise in `values`, sigma_y / s, of the same shape: 0 for data without noise, infinite
        where nothing is seen.
    """

    operator: SpectralOperator
    values: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, operator: SpectralOperator, y: torch.Tensor, noise: float | torch.Tensor) -> Evidence:
        """From the data.

        Parameters
        ----------
        operator : SpectralOperator
        y : tensor
        noise : float or tensor
            Standard deviation of the noise in U' y, broadcastable to the coordinates. White noise of one level per
            band is such, where U mixes no bands.
        """
        values = operator.observed(y)
        singular, noise = operator.singular.to(values), torch.as_tensor(noise, dtype=values.dtype, device=values.device)
        spread = torch.where(singular > 0, noise / singular.clamp(min=torch.finfo(values.dtype).tiny), torch.inf)
        return cls(operator, values, spread.expand_as(values))

    @property
    def seen(self) -> torch.Tensor:
        """Coordinates of which the data say anything."""
        return self.spread.isfinite()

    def without(self, held: torch.Tensor) -> Evidence:
        """The same less the coordinates `held` (bool, of their shape)."""
        return replace(self, values=self.values.masked_fill(held, 0.0), spread=self.spread.masked_fill(held, torch.inf))

    def rescaled(self, offset: torch.Tensor, scale: float) -> Evidence:
        """What the same data say of (x - offset) / scale; `offset` is broadcastable to the signal."""
        moved = self.operator.to_spectral(offset.to(self.values).expand_as(self._signal()))
        values = torch.where(self.seen, (self.values - moved) / scale, 0.0)
        return replace(self, values=values, spread=self.spread / scale)

    def _signal(self) -> torch.Tensor:
        return self.operator.from_spectral(torch.zeros_like(self.values))


def sigmas(levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """Noise relative to the signal, sqrt((1 - gamma) / gamma), of signal powers gamma in (0, 1]."""
    gamma = np.asarray(levels, np.float64)
    return np.sqrt((1 - gamma) / gamma)


def ddrm(
    predict: SpectralPredictor,
    noise: Noise,
    levels: Sequence[float] | np.ndarray,
    evidence: Evidence,
    eta: Eta = "ancestral",
    eta_b: float = 1.0,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """Go from noise to a signal that agrees with the data as well as they agree with themselves.

    With s the singular value, tau = sigma_y / s and y the data of a coordinate, given x_0 and the state before:

    - nothing seen: x_0 + sqrt(1 - eta^2) sigma_t (x_t+1 - x_0) / sigma_t+1, variance eta^2 sigma_t^2;
    - sigma_t < tau, less noise than the data have: x_0 + sqrt(1 - eta^2) sigma_t (y - x_0) / tau, the same variance;
    - sigma_t >= tau: (1 - eta_b) x_0 + eta_b y, variance sigma_t^2 - eta_b^2 tau^2.

    In each, the state has mean x_0 and variance sigma_t^2 over the noise of the data.

    Parameters
    ----------
    predict : callable (x_t, sigma_t, step) -> x_0
        In pixels; steps count from 1.
    noise : callable (step) -> tensor
        Standard normal, of the signal's shape in pixels; 0 is the start.
    levels : sequence of float
        sigma_T, ..., sigma_1, 0: falling (`sigmas` of `Schedule.levels`).
    evidence : Evidence
    eta : float in [0, 1] or "ancestral"
        Of the first two cases; "ancestral" is eta^2 = 1 - sigma_t^2 / sigma_t+1^2, by which coordinates that are not
        seen follow `hsgeo.diffusion.ancestral`.
    eta_b : float in [0, 1]
        Of the third. Data without noise are in the result as they are where it is 1.
    start : tensor, optional
        Estimate of x_0 in pixels; zero where none is given.

    Returns
    -------
    tensor
        The sample, in pixels.

    Raises
    ------
    ParameterError
        Levels that do not fall to 0, or an eta outside [0, 1].

    Notes
    -----
    A coordinate starts at y, with variance sigma_T^2 - tau^2. Where nothing is seen of it, or sigma_T < tau so that
    this would be negative, it starts at `start` with variance sigma_T^2; data that are noisier than sigma_T are
    felt from the first step on, as in the second case (with eta = 1, never).

    If `predict` draws from p(x_0 | x_t, y) and `start` from p(x_0 | y), or sigma_T is large, then the result is a draw
    from p(x_0 | y) for any number of steps, eta and eta_b.

    With the expected x_0 instead, as published, spread is lost. Of a variance of 1 that nobody saw, 400 steps from
    sigma 100 to 0.01 leave 0.98 with "ancestral", 0.99 with eta = 0, 0.65 with 0.95 and 0.49 with 1; 10 steps leave
    0.42, 0.60, 0.41 and 0.32.
    """
    levels = np.asarray(levels, np.float64)
    if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) < 0).all() or levels[-1] != 0:
        raise ParameterError("the noise levels of a sampler fall at every step and end at 0.")
    if not 0 <= eta_b <= 1 or not (eta == "ancestral" or 0 <= eta <= 1):
        raise ParameterError(f"eta and eta_b lie in [0, 1], not at {eta} and {eta_b}.")
    operator = evidence.operator

    def drawn(step: int, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        return mean + variance.clamp(min=0.0).sqrt() * operator.to_spectral(noise(step))

    first = drawn(0, *_start(evidence, levels[0], start))
    x = operator.from_spectral(first)
    for step, (before, sigma) in enumerate(pairwise(levels.tolist()), 1):
        clean = operator.to_spectral(predict(x, before, step))
        new = (1 - (sigma / before) ** 2) ** 0.5 if eta == "ancestral" else eta
        mean, variance = _step(evidence, operator.to_spectral(x), clean, before, sigma, new, eta_b)
        x = operator.from_spectral(drawn(step, mean, variance) if sigma else mean)
    return x


def _start(evidence: Evidence, sigma: float, start: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each coordinate of x_T."""
    tau = evidence.spread
    guess = torch.zeros_like(evidence.values) if start is None else evidence.operator.to_spectral(start)
    clear = tau <= sigma
    return torch.where(clear, evidence.values, guess), sigma**2 - torch.where(clear, tau, 0.0) ** 2


def _step(
    evidence: Evidence,
    state: torch.Tensor,
    clean: torch.Tensor,
    before: float,
    sigma: float,
    eta: float,
    eta_b: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each coordinate of x_t, given x_t+1 (`state`, at noise `before`) and x_0 (`clean`)."""
    tau, missed = evidence.spread, evidence.values - clean
    clear = tau <= sigma
    # neither a zero nor an infinite spread gets into the quotient, whose slope would not be a number
    ratio = torch.where(evidence.seen, missed / torch.where(clear, 1.0, tau), (state - clean) / before)
    mean = clean + torch.where(clear, eta_b * missed, (1 - eta**2) ** 0.5 * sigma * ratio)
    return mean, torch.where(clear, sigma**2 - eta_b**2 * tau**2, eta**2 * sigma**2)
