"""CBAM, for grouped networks: attention over channels, then over space (Woo et al. 2018,
doi:10.1007/978-3-030-01234-2_1)."""

from __future__ import annotations

import torch
from torch import nn

from hsgeo.networks.grouped import GroupedConv, beside

#: channels are narrowed by this much inside the channel attention, but not below so many
NARROWER, NARROWEST = 8, 4


class Cbam(nn.Module):
    """What attention makes of a map is added to it.

    Parameters
    ----------
    networks, width : int
        R, and the channels of each network.
    kernel : int
        Of the attention over space, odd, below twice the shorter side of the map.
    """

    def __init__(self, networks: int, width: int, kernel: int, rng: torch.Generator) -> None:
        super().__init__()
        self.networks = networks
        narrow = max(NARROWEST, width // NARROWER)
        self.squeeze = GroupedConv(networks, width, narrow, 1, rng)
        self.widen = GroupedConv(networks, narrow, width, 1, rng)
        self.space = GroupedConv(networks, 2, 1, kernel, rng)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, R width, H, W) -> the same."""
        pooled = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        y = x * sum(self.widen(self.squeeze(p).relu()) for p in pooled).sigmoid()
        own = y.unflatten(1, (self.networks, -1))
        weight = self.space(beside(self.networks, own.mean(2), own.amax(2))).sigmoid()
        return x + (own * weight.unsqueeze(2)).flatten(1, 2)
