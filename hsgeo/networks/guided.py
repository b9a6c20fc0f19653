"""GuidedNet: CDFormer's two streams made of convolutions, for CPUs and for tiles that must agree to rounding.

What it sees of its surroundings is finite (`reach`), so a tile with that much context gives what the whole scene would.
"""

from __future__ import annotations

import torch
from torch import nn

from hsgeo.networks.layers import gelu
from hsgeo.networks.streams import TwoStreams


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first dilated; starts as the identity. Maps are (N, C, H, W)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, padding_mode="replicate")
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.second(gelu(self.first(x)))


class GuidedNet(TwoStreams):
    """Two streams of convolutions; called as `CDFormer` is.

    The SR stream turns the guide into features once. Each block of the denoising stream is scaled and shifted by them
    (Perez et al. 2018, FiLM, arXiv:1709.07871) and by the embedded noise level.

    Parameters
    ----------
    signal, guide, outputs : int
        Channels of the signal (with whatever else is known of each one), of the guide and of the result.
    width : int
        Channels of the blocks, even.
    sr_blocks, blocks : sequences of int
        Dilation of each block of the two streams.
    sr_stream : bool
        Without it the guide is put beside the signal.
    fold : int
        Squares of this many pixels a side become channels at the entrance and pixels again at the exit.

    Attributes
    ----------
    reach : int
        Pixels around a window, whose edges lie on multiples of `fold`, on which the result inside depends.
    """

    def __init__(
        self,
        signal: int,
        guide: int,
        outputs: int,
        *,
        width: int = 32,
        sr_blocks: tuple[int, ...] = (1, 2, 1),
        blocks: tuple[int, ...] = (1, 2, 1, 1),
        sr_stream: bool = True,
        fold: int = 2,
    ) -> None:
        area, sr_blocks = fold**2, sr_blocks if sr_stream else ()
        entrances = (
            _conv(guide * area, width) if sr_stream else None,
            _conv((signal if sr_stream else signal + guide) * area, width),
        )
        super().__init__(entrances, _conv(width, outputs * area), width=width, fold=fold)
        self.reach = fold * (2 + sum(d + 1 for d in (*sr_blocks, *blocks)))
        self.sr_blocks = nn.ModuleList(ResidualBlock(width, d) for d in sr_blocks)
        self.blocks = nn.ModuleList(ResidualBlock(width, d) for d in blocks)
        self.films = nn.ModuleList(nn.Conv2d(width, 2 * width, 1) for _ in (blocks if sr_stream else ()))
        self.levels = nn.ModuleList(nn.Linear(width, width) for _ in blocks)
        for level in self.levels:
            nn.init.zeros_(level.weight)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def guided(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Shift and scale of each block: (N, 2 width, h, w)."""
        for block in self.sr_blocks:
            x = block(x)
        return [film(x) for film in self.films]

    def denoised(self, x: torch.Tensor, level: torch.Tensor, found: list[torch.Tensor]) -> torch.Tensor:
        """(M, width, h, w) -> the same."""
        for i, (block, embed) in enumerate(zip(self.blocks, self.levels, strict=True)):
            x = x + embed(level)[:, :, None, None]
            if found:
                shift, scale = found[i].chunk(2, 1)
                x = torch.addcmul(x + shift, x, scale)
            x = block(x)
        return x


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")
