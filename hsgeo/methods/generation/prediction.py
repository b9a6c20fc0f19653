"""What the network is to find, and the clean state that it implies."""

from __future__ import annotations

from typing import Literal

import torch

#: the noise, as HUD has it, or the velocity sqrt(gamma) noise - sqrt(1 - gamma) clean (Salimans & Ho 2022,
#: arXiv:2202.00512, appendix D): an error in the noise is 150 times as large in the state where sampling begins
Target = Literal["velocity", "epsilon"]


def sought(clean: torch.Tensor, noise: torch.Tensor, gamma: torch.Tensor, target: Target) -> torch.Tensor:
    """What is to be found in sqrt(gamma) clean + sqrt(1 - gamma) noise; `gamma` broadcasts."""
    return noise if target == "epsilon" else gamma.sqrt() * noise - (1 - gamma).sqrt() * clean


def clean_of(found: torch.Tensor, z: torch.Tensor, gamma: float, target: Target) -> torch.Tensor:
    """The clean state that what was `found` in z implies."""
    if target == "epsilon":
        return (z - (1 - gamma) ** 0.5 * found) / gamma**0.5
    return gamma**0.5 * z - (1 - gamma) ** 0.5 * found
