"""Layers of several networks side by side that share nothing: what one of them computes, no other one sees.

Maps are (1, R C, H, W): R networks of C channels. Every parameter is R equal parts along its first axis, one for each
network. Weights are drawn from a given generator, so that they do not depend on what was drawn before.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def uniform(shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> nn.Parameter:
    """Uniform within 1 / sqrt(fan_in) of zero, PyTorch's own start of a convolution or a linear map."""
    bound = fan_in**-0.5
    return nn.Parameter((torch.rand(shape, generator=rng) * 2 - 1) * bound)


class GroupedConv(nn.Module):
    """A convolution for each network; the map is mirrored at its edge, the edge pixel not repeated.

    Parameters
    ----------
    networks, inputs, outputs : int
        R, and the channels of each network.
    kernel : int
        Odd, below twice the shorter side of the map.
    bias : bool
        None is needed before a normalisation.
    """

    def __init__(
        self, networks: int, inputs: int, outputs: int, kernel: int, rng: torch.Generator, bias: bool = False
    ) -> None:
        super().__init__()
        self.networks, self.margin = networks, kernel // 2
        fan_in = inputs * kernel**2
        self.weight = uniform((networks * outputs, inputs, kernel, kernel), fan_in, rng)
        self.bias = uniform((networks * outputs,), fan_in, rng) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, R inputs, H, W) -> (1, R outputs, H, W)."""
        if self.margin:
            x = F.pad(x, (self.margin,) * 4, mode="reflect")
        return F.conv2d(x, self.weight, self.bias, groups=self.networks)


class MapNorm(nn.Module):
    """Batch normalisation of a batch of one: each channel by its mean and variance over the map, then scaled, moved.

    Parameters
    ----------
    channels : int
    moved : bool
        Not needed where a convolution and another normalisation follow at once, which take a constant away.
    """

    def __init__(self, channels: int, moved: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if moved else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, C, H, W) -> the same; the map has more than one pixel."""
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


class GroupedLinear(nn.Module):
    """A linear map for each network."""

    def __init__(self, networks: int, inputs: int, outputs: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform((networks, inputs, outputs), inputs, rng)
        self.bias = uniform((networks, 1, outputs), inputs, rng)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(R, N, inputs) -> (R, N, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


def beside(networks: int, *maps: torch.Tensor) -> torch.Tensor:
    """Join the channels of each network: maps (1, R C_i, H, W) -> (1, R sum C_i, H, W)."""
    return torch.cat([x.unflatten(1, (networks, -1)) for x in maps], 2).flatten(1, 2)
