"""GuidedNet: CDFormer's two streams made of convolutions, for CPUs and for tiles that must agree to rounding.

What it sees of its surroundings is finite (`reach`), so a tile with that much context gives what the whole scene would.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from hsgeo.networks.layers import noise_embedding


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
        return x + self.second(F.gelu(self.first(x)))


class GuidedNet(nn.Module):
    """Predicts the clean signal from a noisy one, its noise level and a guide; called as `CDFormer` is.

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
        super().__init__()
        area, shared = fold**2, sr_stream
        self.fold, self.width = fold, width
        self.reach = fold * (2 + sum(d + 1 for d in (*(sr_blocks if shared else ()), *blocks)))
        self.guide_in = _conv(guide * area, width) if shared else None
        self.sr_blocks = nn.ModuleList(ResidualBlock(width, d) for d in (sr_blocks if shared else ()))
        self.signal_in = _conv((signal if shared else signal + guide) * area, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, d) for d in blocks)
        self.films = nn.ModuleList(nn.Conv2d(width, 2 * width, 1) for _ in (blocks if shared else ()))
        self.levels = nn.ModuleList(nn.Linear(width, width) for _ in blocks)
        self.out = _conv(width, outputs * area)
        nn.init.zeros_(self.out.weight)  # the untrained network says 0
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        for level in self.levels:
            nn.init.zeros_(level.weight)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, guide: torch.Tensor) -> list[torch.Tensor]:
        """What each block of the denoising stream takes from the guide (N, guide, H, W)."""
        if self.guide_in is None:
            return [self._entrance(guide)]
        x = self.guide_in(self._entrance(guide))
        for block in self.sr_blocks:
            x = block(x)
        return [film(x) for film in self.films]

    def forward(
        self,
        signal: torch.Tensor,
        gamma: torch.Tensor,
        guide: torch.Tensor | list[torch.Tensor],
        item: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict (M, outputs, H, W); see `CDFormer.forward`."""
        found = guide if isinstance(guide, list) else self.features(guide)
        if item is not None:
            found = [f[item] for f in found]
        height, width = signal.shape[-2:]
        x = self._entrance(signal)
        x = self.signal_in(x if self.guide_in is not None else torch.cat([x, found[0]], 1))
        embedded = noise_embedding(gamma.to(x.dtype), self.width)
        for i, (block, level) in enumerate(zip(self.blocks, self.levels, strict=True)):
            x = x + level(embedded)[:, :, None, None]
            if self.guide_in is not None:
                shift, scale = found[i].chunk(2, 1)
                x = torch.addcmul(x + shift, x, scale)
            x = block(x)
        return F.pixel_shuffle(self.out(x), self.fold)[..., :height, :width]

    def _entrance(self, x: torch.Tensor) -> torch.Tensor:
        down, right = (-n % self.fold for n in x.shape[-2:])
        if down or right:
            x = F.pad(x, (0, right, 0, down), "replicate")
        return F.pixel_unshuffle(x, self.fold).contiguous(memory_format=torch.channels_last)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")
