"""CDFormer, the conditional denoising transformer of HSR-Diff (Wu et al. 2023, arXiv:2306.12085).

Two streams of layers side by side. The SR stream turns the guide (what is known: both images) into features, once for
each scene; the denoising stream takes the noisy signal and, layer by layer, attends to the SR stream's features.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hsgeo.networks.attention import ChannelAttention, WindowAttention
from hsgeo.networks.layers import GatedFeedForward, noise_embedding


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


class CDFormer(nn.Module):
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

    Notes
    -----
    Several signals may share one guide (`item`): the SR stream is then run once for all of them, and not again for
    every step of a sampler when its features are kept (`features`).
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
        super().__init__()
        self.window, self.fold, self.width, self.recompute = window, fold, width, recompute
        shifts = [window // 2 * (i % 2) for i in range(depth)]
        area = fold**2
        self.guide_in = nn.Conv2d(guide * area, width, 3, padding=1) if sr_stream else None
        self.sr_layers = nn.ModuleList(
            SpatioSpectralLayer(width, heads, window, shift, expansion) for shift in (shifts if sr_stream else ())
        )
        self.signal_in = nn.Conv2d((signal if sr_stream else signal + guide) * area, width, 3, padding=1)
        self.layers = nn.ModuleList(
            NoiseAwareLayer(width, heads, window, shift, expansion, sr_stream) for shift in shifts
        )
        self.out = nn.Conv2d(width, outputs * area, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.out.weight)  # the untrained network changes nothing

    def features(self, guide: torch.Tensor) -> list[torch.Tensor]:
        """What the denoising stream takes from the guide (N, guide, H, W): one map for each layer."""
        if self.guide_in is None:
            return [self._entrance(guide)]
        x = self.guide_in(self._entrance(guide)).permute(0, 2, 3, 1)
        found = []
        for layer in self.sr_layers:
            x = self._run(layer, x)
            found.append(x)
        return found

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
        found = guide if isinstance(guide, list) else self.features(guide)
        if item is not None:
            found = [f[item] for f in found]
        height, width = signal.shape[-2:]
        x = self._entrance(signal)
        if self.guide_in is None:
            x, found = torch.cat([x, found[0]], 1), [None] * len(self.layers)  # type: ignore[list-item]
        x = self.signal_in(x).permute(0, 2, 3, 1)
        level = noise_embedding(gamma.to(x.dtype), self.width)
        for layer, seen in zip(self.layers, found, strict=True):
            x = self._run(layer, x, level, seen)
        out = F.pixel_shuffle(self.out(x.permute(0, 3, 1, 2)), self.fold)
        return out[..., :height, :width]

    def _run(self, layer: nn.Module, *inputs: torch.Tensor | None) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)

    def _entrance(self, x: torch.Tensor) -> torch.Tensor:
        """Grown below and to the right to whole windows by repeating the edge, and folded."""
        step = self.window * self.fold
        down, right = (-n % step for n in x.shape[-2:])
        if down or right:
            x = F.pad(x, (0, right, 0, down), "replicate")
        return F.pixel_unshuffle(x, self.fold).contiguous(memory_format=torch.channels_last)
