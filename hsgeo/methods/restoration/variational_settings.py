"""What the self-supervised restoration is told: the published settings of each task, and ours."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from hsgeo.diffusion import Schedule, sigmas
from hsgeo.diffusion.ddrm import Eta
from hsgeo.errors import ParameterError
from hsgeo.networks import VS2MShape


@dataclass(frozen=True)
class VariationalSettings:
    """Settings of `hsgeo.methods.restoration.variational.reverse`.

    Parameters
    ----------
    shape : VS2MShape
        Of the networks.
    length, first, last : int, float, float
        Steps of the forward process, whose betas grow linearly from `first` to `last`.
    start : int
        Step of the forward process from which the reverse process starts.
    steps : int, optional
        Steps that are taken, evenly spaced; all where not told.
    eta, eta_b : float
        See `hsgeo.diffusion.ddrm.ddrm`.
    inner : int
        Updates of the networks at every step.
    rate : float
        Adam's.
    average : float
        What the running average keeps at every step.
    warm : int
        Updates by which the networks are fitted to an initial estimate first.
    warm_rate : float
        Adam's, in these.
    choice : {"fixed", "held-back"}
        Return the last running average, or the one with the least error on samples that are held back.
    held : float
        Share of the samples that are held back then.
    compile : bool
        Have the networks compiled (`torch.compile`).

    Raises
    ------
    ParameterError
        A start or steps that the forward process does not have, or a share outside (0, 1).
    """

    shape: VS2MShape = field(default_factory=VS2MShape)
    length: int = 2000
    first: float = 1e-4
    last: float = 5e-3
    start: int = 1000
    steps: int | None = None
    eta: Eta = 1.0
    eta_b: float = 1.0
    inner: int = 1
    rate: float = 5e-4
    average: float = 0.98
    warm: int = 0
    warm_rate: float = 5e-4
    choice: Literal["fixed", "held-back"] = "fixed"
    held: float = 0.03
    compile: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.length:
            raise ParameterError(f"start is {self.start}; this process has 1 to {self.length}.")
        if self.steps is not None and not 1 <= self.steps <= self.start:
            raise ParameterError(f"steps is {self.steps}; from this start there are 1 to {self.start}.")
        if not 0 < self.held < 1:
            raise ParameterError(f"the share held back lies between 0 and 1, not at {self.held}.")

    def levels(self) -> np.ndarray:
        """Noise levels that are visited, falling to 0; one more than steps."""
        gamma = Schedule.linear(self.length, self.first, self.last).gamma
        steps = self.steps or self.start
        visited = np.round(self.start * (1 - np.arange(steps) / steps)).astype(int)
        return np.append(sigmas(gamma[visited]), 0.0)


#: what the paper and its code use, for images of values in [0, 1]
PAPER = {
    "denoise": VariationalSettings(),
    "complete": VariationalSettings(length=3000, start=1500, eta=0.95),
    "sharpen": VariationalSettings(length=1000, start=500, eta=0.95),
}

_SMALL = VariationalSettings(
    shape=VS2MShape(channels=(16,) * 5, skips=(4,) * 5, kernels=(3,) * 5, attention=(), spectrum=None),
    steps=400,
    rate=1e-2,
    average=0.95,
)

#: Smaller networks, fewer and larger steps; for coefficients of unit noise, in spectra that all windows share
OURS = {
    "denoise": replace(_SMALL, warm=30, warm_rate=5e-3),
    "complete": replace(_SMALL, eta=0.95, choice="held-back"),
    "sharpen": replace(_SMALL, eta=0.95, choice="held-back"),
}
