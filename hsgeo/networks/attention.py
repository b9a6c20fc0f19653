"""Attention over space, inside windows, and over channels. All maps are (N, H, W, C): channels last."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F


class WindowAttention(nn.Module):
    """Multi-head attention inside square windows with a learned bias for each displacement.

    Liu et al. 2021 (Swin, doi:10.1109/ICCV48922.2021.00986). With a second map it is cross attention: queries from
    the first, keys and values from the second.

    Parameters
    ----------
    width : int
        Channels, a multiple of `heads`.
    window : int
        Side of the windows.
    shift : int
        The windows' grid is moved by this many pixels. Pixels of opposite edges then share windows, but do not see
        each other.
    """

    def __init__(self, width: int, heads: int, window: int, shift: int = 0) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.displacement: torch.Tensor
        self.register_buffer("displacement", _displacements(window), persistent=False)

    def forward(self, x: torch.Tensor, source: torch.Tensor | None = None) -> torch.Tensor:
        """Attend: (N, H, W, C) -> (N, H, W, C); both sides are multiples of the window."""
        source = x if source is None else source
        if self.shift:
            x, source = (torch.roll(t, (-self.shift, -self.shift), (1, 2)) for t in (x, source))
        shape = x.shape
        query = self._split(self.query(x))
        key, value = (self._split(t) for t in self.key_value(source).chunk(2, -1))
        bias = self.bias[self.displacement].permute(2, 0, 1)
        if self.shift:
            bias = bias + _apart(shape[1], shape[2], self.window, self.shift, str(x.device)).to(bias.dtype)
        seen = F.scaled_dot_product_attention(query, key, value, bias)
        out = self._join(self.out(seen.transpose(-2, -3).flatten(-2)), shape)
        return torch.roll(out, (self.shift, self.shift), (1, 2)) if self.shift else out

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) -> (N, windows, heads, window ** 2, C / heads)."""
        n, h, w, c = x.shape
        k = self.window
        x = x.view(n, h // k, k, w // k, k, self.heads, c // self.heads)
        return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, -1, self.heads, k * k, c // self.heads)

    def _join(self, x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """(N, windows, window ** 2, C) -> (N, H, W, C)."""
        n, h, w, c = shape
        k = self.window
        return x.view(n, h // k, w // k, k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(shape)


def _displacements(window: int) -> torch.Tensor:
    """Index of the displacement between any two pixels of a window, (window ** 2, window ** 2)."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()])
    dy, dx = place[:, :, None] - place[:, None, :] + window - 1
    return dy * (2 * window - 1) + dx


@lru_cache(maxsize=16)
def _apart(height: int, width: int, window: int, shift: int, device: str) -> torch.Tensor:
    """0, or minus infinity for pairs that the shift brought into one window from opposite edges.

    (windows, 1, window ** 2, window ** 2), added to the logits.
    """
    side = torch.zeros(height, width)
    side[height - shift :] += 1
    side[:, width - shift :] += 2
    k = window
    part = side.view(height // k, k, width // k, k).permute(0, 2, 1, 3).reshape(-1, 1, k * k)
    differ = part[..., :, None] != part[..., None, :]
    return torch.zeros(differ.shape).masked_fill(differ, -torch.inf).to(device)


class ChannelAttention(nn.Module):
    """Attention between channels: each is a weighted sum of all, weights from their correlation over the map.

    Zamir et al. 2022 (Restormer's MDTA, doi:10.1109/CVPR52688.2022.00564). Its cost is linear in the pixels.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.point = nn.Conv2d(width, 3 * width, 1)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend: (N, H, W, C) -> (N, H, W, C)."""
        n, h, w, c = x.shape
        mixed = self.depth(self.point(x.permute(0, 3, 1, 2)))
        query, key, value = mixed.reshape(n, 3, self.heads, c // self.heads, h * w).unbind(1)
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        weights = (query @ key.transpose(-1, -2) * self.temperature).softmax(-1)
        return self.out((weights @ value).reshape(n, c, h, w)).permute(0, 2, 3, 1)
