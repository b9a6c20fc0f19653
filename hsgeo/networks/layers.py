"""Small parts of the networks: GELU, the gated feed-forward layer and the embedding of a noise level."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

#: gamma in [0, 1] times this is what the sines see (Chen et al. 2020, WaveGrad, arXiv:2009.00713)
LEVEL_SCALE = 5000.0


#: below this GELU is 0 within 1e-14
LOWEST = -8.0


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU, whose slope is taken as 0 below `LOWEST`.

    Not far below, exp(-x^2 / 2) is a denormal number, with which CPUs are so slow that a step of training took three
    times as long once some units had gone there.
    """
    return F.gelu(x.clamp(min=LOWEST))


class GatedFeedForward(nn.Module):
    """Two 1x1 + depthwise 3x3 branches, one the gate of the other (Restormer's GDFN), on maps (N, H, W, C)."""

    def __init__(self, width: int, expansion: float = 2.66) -> None:
        super().__init__()
        hidden = int(width * expansion)
        self.point = nn.Conv2d(width, 2 * hidden, 1)
        self.depth = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.out = nn.Conv2d(hidden, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) -> (N, H, W, C)."""
        gate, value = self.depth(self.point(x.permute(0, 3, 1, 2))).chunk(2, 1)
        return self.out(gelu(gate) * value).permute(0, 2, 3, 1)


def noise_embedding(gamma: torch.Tensor, width: int, scale: float = LEVEL_SCALE) -> torch.Tensor:
    """Sines and cosines of a noise level: gamma (N,) -> (N, width), `width` even.

    HSR-Diff, eq. 7, i from 1 to width / 2. As printed, with gamma in [0, 1] (`scale` 1), the embedding hardly changes
    with gamma; WaveGrad, from which it is taken, scales gamma by 5000, and so does this.
    """
    i = torch.arange(1, width // 2 + 1, dtype=gamma.dtype, device=gamma.device)
    angle = scale * gamma[:, None] / 10000 ** (2 * i / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
