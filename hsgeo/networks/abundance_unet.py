"""The network of HUD: a U-Net of convolutions that sees a finite part of a map, for maps of any size.

HUD (Shen et al. 2025) names a U-Net and no more. This one has nothing that looks at a whole map, neither attention nor
norms over space: what it makes of a window with `reach` pixels around it is what it makes of the whole map there.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from hsgeo.networks.layers import noise_embedding


class AbundanceUNet(nn.Module):
    """Noise in the projected abundances of p endmembers, at a given level of it.

    Parameters
    ----------
    endmembers : int
        p.
    classes : int
        Channels of what is wanted of each pixel, 0 where nothing can be asked for.
    widths : sequence of int
        Channels at each scale, from the finest; each scale has half the pixels a side.
    blocks : int
        Residual blocks at each scale, on the way down and on the way up.

    Attributes
    ----------
    multiple : int
        Windows begin and end at multiples of this many pixels, but for the end of the map.
    reach : int
        Pixels around a window on which the result inside depends.
    """

    def __init__(
        self, endmembers: int, classes: int = 0, widths: tuple[int, ...] = (64, 96, 128), blocks: int = 1
    ) -> None:
        super().__init__()
        self.level_width = 4 * widths[0]
        self.level = nn.Sequential(nn.Linear(self.level_width, self.level_width), nn.SiLU())
        self.entrance = nn.Conv2d(endmembers + classes, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_Blocks(width, blocks, self.level_width) for width in widths[:-1])
        self.coarser = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.bottom = _Blocks(widths[-1], 2 * blocks, self.level_width)
        self.finer = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.joined = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for width in widths[:-1])
        self.up = nn.ModuleList(_Blocks(width, blocks, self.level_width) for width in widths[:-1])
        self.out = nn.Conv2d(widths[0], endmembers, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        scales = len(widths)
        self.multiple = 2 ** (scales - 1)
        convolutions = 2 + 4 * blocks * sum(2**i for i in range(scales))
        self.reach = (-(-convolutions // self.multiple) + 1) * self.multiple
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        """The noise in z.

        Parameters
        ----------
        z : tensor (N, p, H, W)
            Of any size; it is continued to a multiple by repeating its edge.
        gamma : tensor (N,)
            Signal power left in it.
        wanted : tensor (N, classes, H, W), optional
            Shares of the classes; zeros ask for nothing.

        Returns
        -------
        tensor (N, p, H, W)
        """
        if wanted is not None:
            z = torch.cat([z, wanted], 1)
        height, width = z.shape[-2:]
        below, beside = (-n % self.multiple for n in (height, width))
        x = self.entrance(F.pad(z, (0, beside, 0, below), mode="replicate") if below or beside else z)
        level = self.level(noise_embedding(gamma, self.level_width))
        kept = []
        for blocks, coarser in zip(self.down, self.coarser, strict=True):
            x = blocks(x, level)
            kept.append(x)
            x = coarser(x)
        x = self.bottom(x, level)
        for i in reversed(range(len(kept))):
            x = self.joined[i](torch.cat([kept[i], self.finer[i](x)], 1))
            x = self.up[i](x, level)
        return self.out(F.silu(x))[..., :height, :width]


class _Blocks(nn.Module):
    """Residual blocks of two 3x3 convolutions, each shifted and scaled by the embedded noise level."""

    def __init__(self, width: int, count: int, level: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_ChannelNorm(width) for _ in range(count))
        self.firsts = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))
        self.levels = nn.ModuleList(nn.Linear(level, 2 * width) for _ in range(count))
        self.seconds = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        for norm, first, moved, second in zip(self.norms, self.firsts, self.levels, self.seconds, strict=True):
            shift, scale = moved(level)[:, :, None, None].chunk(2, 1)
            x = x + second(F.silu(first(norm(x)) * (1 + scale) + shift))
        return x


class _ChannelNorm(nn.Module):
    """Each pixel's channels to mean 0 and variance 1, then scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.scale, self.shift)
        return y.permute(0, 3, 1, 2)
