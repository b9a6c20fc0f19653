"""Noise schedules: how much of the signal's power is left after each step of the forward process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hsgeo.errors import ParameterError


@dataclass(frozen=True, eq=False)
class Schedule:
    """The forward process z_t = sqrt(gamma_t) z_0 + sqrt(1 - gamma_t) noise.

    Parameters
    ----------
    gamma : float64 array (T + 1,)
        Signal power left after t steps (alpha-bar in Ho et al. 2020, gamma in HSR-Diff): 1 at t = 0, falling.

    Raises
    ------
    ParameterError
        `gamma` does not start at 1 and fall, or reaches zero.
    """

    gamma: np.ndarray

    def __post_init__(self) -> None:
        gamma = np.asarray(self.gamma, np.float64)
        if gamma.ndim != 1 or len(gamma) < 2 or gamma[0] != 1 or not (np.diff(gamma) < 0).all() or gamma[-1] <= 0:
            raise ParameterError("a noise schedule starts at 1 and falls at every step, but not to zero.")
        object.__setattr__(self, "gamma", gamma)

    @classmethod
    def of_betas(cls, betas: Sequence[float] | np.ndarray) -> Schedule:
        """From the variance beta_t = 1 - alpha_t that each step adds."""
        return cls(np.concatenate([[1.0], np.cumprod(1 - np.asarray(betas, np.float64))]))

    @classmethod
    def linear(cls, steps: int = 2000, first: float = 1e-6, last: float = 1e-2) -> Schedule:
        """Betas that grow linearly.

        The defaults are those of Saharia et al. 2021 (SR3, arXiv:2104.07636) at HSR-Diff's 2000 steps; gamma ends at
        4e-5.
        """
        return cls.of_betas(np.linspace(first, last, steps))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.gamma) - 1

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Continuous noise levels for training: t uniform in 1..T, then gamma uniform between its neighbours.

        HSR-Diff, section 3.2.3, after Chen et al. 2020 (WaveGrad, arXiv:2009.00713). Returns float64 (count,).
        """
        t = rng.integers(1, self.steps + 1, count)
        return rng.uniform(self.gamma[t], self.gamma[t - 1])

    def levels(self, steps: int) -> np.ndarray:
        """Noise levels that a sampler visits: `steps` + 1 values from the noisiest to 1 (clean), evenly spaced in t.

        "Trailing" in Lin et al. 2024 (doi:10.1109/WACV57701.2024.00532, table 2).

        Raises
        ------
        ParameterError
            More steps than the schedule has, or fewer than one.
        """
        if not 1 <= steps <= self.steps:
            raise ParameterError(f"steps is {steps}; this schedule takes 1 to {self.steps}.")
        stride = self.steps / steps
        visited = np.round(self.steps - stride * np.arange(steps)).astype(int)
        return np.append(self.gamma[visited], 1.0)
