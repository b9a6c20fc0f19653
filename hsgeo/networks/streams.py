"""What both networks have in common: a stream of the guide, one of the noisy signal, and folded squares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hsgeo.networks.layers import noise_embedding


class TwoStreams(nn.Module, ABC):
    """Predicts the clean signal from a noisy one, its noise level and a guide; a subclass has the layers.

    Several signals may share one guide (`item`): the SR stream is then run once for all of them, and not again for
    every step of a sampler when its features are kept (`features`).

    Parameters
    ----------
    entrances : (Conv2d or None, Conv2d)
        Of the guide, None where it is put beside the signal instead, and of the signal.
    out : Conv2d
        From the width to the channels of the result; starts at 0, so the untrained network says 0.
    width : int
    fold : int
        Squares of this many pixels a side become channels at the entrance and pixels again at the exit.
    multiple : int
        Sides of the folded maps are grown to multiples of this.
    """

    def __init__(
        self,
        entrances: tuple[nn.Conv2d | None, nn.Conv2d],
        out: nn.Conv2d,
        *,
        width: int,
        fold: int,
        multiple: int = 1,
    ) -> None:
        super().__init__()
        self.width, self.fold, self.multiple = width, fold, multiple
        self.guide_in, self.signal_in = entrances
        self.out = out
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)  # type: ignore[arg-type]

    @abstractmethod
    def guided(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The SR stream's features, one for each layer of the other: from (N, width, h, w)."""

    @abstractmethod
    def denoised(self, x: torch.Tensor, level: torch.Tensor, found: list[Any]) -> torch.Tensor:
        """The denoising stream: (M, width, h, w), embedded level (M, width) and features -> (M, width, h, w)."""

    def features(self, guide: torch.Tensor) -> list[torch.Tensor]:
        """What the denoising stream takes from the guide (N, guide, H, W)."""
        x = self._folded(guide)
        return [x] if self.guide_in is None else self.guided(self.guide_in(x))

    def forward(
        self,
        signal: torch.Tensor,
        gamma: torch.Tensor,
        guide: torch.Tensor | list[torch.Tensor],
        item: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict.

        Parameters
        ----------
        signal : tensor (M, signal, H, W)
        gamma : tensor (M,)
            Signal power of each.
        guide : tensor (N, guide, H, W), or what `features` made of it
        item : int tensor (M,), optional
            Which guide belongs to each signal; one to one without.

        Returns
        -------
        tensor (M, outputs, H, W)
        """
        found: list[Any] = guide if isinstance(guide, list) else self.features(guide)
        if item is not None:
            found = [f[item] for f in found]
        height, width = signal.shape[-2:]
        x = self._folded(signal)
        if self.guide_in is None:
            x, found = torch.cat([x, found[0]], 1), []
        x = self.denoised(self.signal_in(x), noise_embedding(gamma.to(x.dtype), self.width), found)
        return F.pixel_shuffle(self.out(x), self.fold)[..., :height, :width]

    def _folded(self, x: torch.Tensor) -> torch.Tensor:
        """Grown below and to the right by repeating the edge, and folded."""
        down, right = (-n % (self.multiple * self.fold) for n in x.shape[-2:])
        if down or right:
            x = F.pad(x, (0, right, 0, down), "replicate")
        return F.pixel_unshuffle(x, self.fold).contiguous(memory_format=torch.channels_last)
