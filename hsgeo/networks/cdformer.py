"""CDFormer, the conditional denoising transformer of HSR-Diff (Wu et al. 2023, arXiv:2306.12085).

Two streams of layers side by side. The SR stream turns the guide (what is known: both images) into features, once for
each scene; the denoising stream takes the noisy signal and, layer by layer, attends to the SR stream's features.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hsgeo.networks.attention import ChannelAttention, WindowAttention
from hsgeo.networks.layers import GatedFeedForward
from hsgeo.networks.streams import TwoStreams


class SpatioSpectralLayer(nn.Module):
    """S2TL (HSR-Diff, figure 4): window attention, channel attention, gated feed-forward, each normed and residual."""

    def __init__(self, width: int, heads: int, window: int, shift: int, expansion: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.parts = nn.ModuleList(
            [
                WindowAttention(width, heads, window, shift),
                ChannelAttention(width, heads),
                GatedFeedForward(width, expansion),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) -> (N, H, W, C)."""
        for norm, part in zip(self.norms, self.parts, strict=True):
            x = x + part(norm(x))
        return x


class NoiseAwareLayer(nn.Module):
    """NC-S2TL (HSR-Diff, figure 5): the noise level joins, the features attend to the SR stream's, then an S2TL."""

    def __init__(self, width: int, heads: int, window: int, shift: int, expansion: float, guided: bool) -> None:
        super().__init__()
        self.level = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 if guided else 0))
        self.cross = WindowAttention(width, heads, window, shift) if guided else None
        self.layer = SpatioSpectralLayer(width, heads, window, shift, expansion)

    def forward(self, x: torch.Tensor, level: torch.Tensor, guide: torch.Tensor | None) -> torch.Tensor:
        """(N, H, W, C), embedded noise level (N, C), the SR stream's features (N, H, W, C) -> (N, H, W, C)."""
        x = x + self.level(level)[:, None, None]
        if self.cross is not None and guide is not None:
            own, other = self.norms
            x = x + self.cross(own(x), other(guide))
        return self.layer(x)


class CDFormer(TwoStreams):
    """Predicts the clean signal from a noisy one, its noise level and a guide.

    Parameters
    ----------
    signal, guide, outputs : int
        Channels of the noisy signal (with whatever else is known of each one), of the guide and of the result.
    width : int
        Channels of the layers, even and a multiple of `heads`.
    depth : int
        Layers of each stream.
    heads, window, expansion
        Attention heads, side of the windows, widening of the feed-forward layers.
    sr_stream : bool
        Without it the guide is put beside the signal, as diffusion models usually do.
    fold : int
        Squares of this many pixels a side become channels at the entrance and pixels again at the exit.
    recompute : bool
        In training keep only what goes into each layer and compute what is inside twice: much less memory for a
        third more time.
    """

    def __init__(
        self,
        signal: int,
        guide: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 12,
        heads: int = 8,
        window: int = 8,
        expansion: float = 2.66,
        sr_stream: bool = True,
        fold: int = 1,
        recompute: bool = False,
    ) -> None:
        area = fold**2
        entrances = (
            nn.Conv2d(guide * area, width, 3, padding=1) if sr_stream else None,
            nn.Conv2d((signal if sr_stream else signal + guide) * area, width, 3, padding=1),
        )
        out = nn.Conv2d(width, outputs * area, 3, padding=1)
        super().__init__(entrances, out, width=width, fold=fold, multiple=window)
        self.recompute = recompute
        shifts = [window // 2 * (i % 2) for i in range(depth)]
        self.sr_layers = nn.ModuleList(
            SpatioSpectralLayer(width, heads, window, shift, expansion) for shift in (shifts if sr_stream else ())
        )
        self.layers = nn.ModuleList(
            NoiseAwareLayer(width, heads, window, shift, expansion, sr_stream) for shift in shifts
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.out:
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def guided(self, x: torch.Tensor) -> list[torch.Tensor]:
        """One map (N, h, w, width) after each layer."""
        x, found = x.permute(0, 2, 3, 1), []
        for layer in self.sr_layers:
            x = self._run(layer, x)
            found.append(x)
        return found

    def denoised(self, x: torch.Tensor, level: torch.Tensor, found: list[torch.Tensor]) -> torch.Tensor:
        """(M, width, h, w) -> the same."""
        x = x.permute(0, 2, 3, 1)
        for i, layer in enumerate(self.layers):
            x = self._run(layer, x, level, found[i] if found else None)
        return x.permute(0, 3, 1, 2)

    def _run(self, layer: nn.Module, *inputs: torch.Tensor | None) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)
