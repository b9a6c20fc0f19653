"""VS2M, the untrained networks of DDS2M (Miao et al. 2023, doi:10.1109/ICCV51070.2023.01107): an image as a mixture.

Each endmember r has two networks on noise that stays the same: a U-Net with skips gives its map of abundance S_r, a
fully connected network its spectrum c_r; the image is sum_r S_r o c_r. Where the bands are coefficients in spectra
found before, each of them is a map, and no network of spectra is needed. That networks of this kind take to images
before they take to noise is all the prior there is (Ulyanov et al. 2018, doi:10.1109/CVPR.2018.00984). The networks of
all endmembers are computed as one, by grouped convolutions and batched products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from hsgeo.errors import ParameterError
from hsgeo.networks.cbam import Cbam
from hsgeo.networks.grouped import GroupedConv, GroupedLinear, MapNorm, beside

#: slope of the leaky ReLU below zero
SLOPE = 0.2

#: pixels that the smallest map keeps
LEAST = 4

#: side of the kernel of CBAM's attention over space
SPACE = 7

Range = Literal["free", "softplus", "sigmoid"]

#: what the last layer's values are made into
RANGES = {"free": nn.Identity, "softplus": nn.Softplus, "sigmoid": nn.Sigmoid}


@dataclass(frozen=True)
class VS2MShape:
    """How large the networks are; the defaults are those of the published code.

    Parameters
    ----------
    endmembers : int
        R; without spectrum networks the number of bands stands in its place.
    channels, skips, kernels : sequences of int
        One for each scale from the finest: channels on the way down and up, of the skip (0 for none), and side of the
        kernels, odd.
    attention : sequence of int
        Scales, counted from 0, with CBAM on the way down.
    spectrum : sequence of int, optional
        Widths inside the spectrum networks. None for no such networks: each band is a map, as where the bands are
        coefficients in spectra that many images share.
    noise : int
        Channels of the noise that a U-Net sees.
    abundances, spectra : {"free", "softplus", "sigmoid"}
        Values that these may have: any, as in the published code; positive; or between 0 and 1.

    Raises
    ------
    ParameterError
        The scales are not told of alike, or a kernel is even.
    """

    endmembers: int = 10
    channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    skips: tuple[int, ...] = (0, 0, 4, 4, 4, 4)
    kernels: tuple[int, ...] = (7, 7, 5, 5, 3, 3)
    attention: tuple[int, ...] = (2, 3)
    spectrum: tuple[int, ...] | None = (128, 256, 256, 128)
    noise: int = 1
    abundances: Range = "free"
    spectra: Range = "free"

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.skips) == len(self.kernels):
            raise ParameterError("channels, skips and kernels are given for each scale alike.")
        if any(k % 2 == 0 for k in self.kernels):
            raise ParameterError(f"kernels are odd, not {self.kernels}.")

    def scales(self, height: int, width: int) -> int:
        """Those that a map of this size has room for: the smallest keeps `LEAST` pixels."""
        sizes = [(-(-height // 2**i)) * (-(-width // 2**i)) for i in range(1, len(self.channels) + 1)]
        return sum(size >= LEAST for size in sizes)


class VS2M(nn.Module):
    """An image of B bands and H x W pixels as a mixture that the networks give.

    Parameters
    ----------
    bands, height, width : int
    shape : VS2MShape
        Small images have fewer scales (`VS2MShape.scales`) and, where a map is narrow, smaller kernels, down to a
        single pixel whose abundances are a linear map of the noise.
    seed : int
        Of the weights and the noise; nothing else decides them.
    """

    def __init__(self, bands: int, height: int, width: int, shape: VS2MShape | None = None, seed: int = 0) -> None:
        super().__init__()
        shape = shape or VS2MShape()
        if shape.spectrum is None:
            shape = replace(shape, endmembers=bands)
        rng, count = torch.Generator().manual_seed(seed), shape.endmembers
        self.map_noise: torch.Tensor
        self.spectrum_noise: torch.Tensor
        self.register_buffer("map_noise", torch.randn(count * shape.noise, height, width, generator=rng))
        self.register_buffer("spectrum_noise", torch.randn(count, 1, bands, generator=rng))
        scales = shape.scales(height, width)
        self.unet = _Scale(shape, 0, scales, shape.noise, height, width, rng) if scales else None
        self.map_out = GroupedConv(count, shape.channels[0] if scales else shape.noise, 1, 1, rng, bias=True)
        widths = () if shape.spectrum is None else (bands, *shape.spectrum, bands)
        self.spectrum = nn.ModuleList(GroupedLinear(count, a, b, rng) for a, b in pairwise(widths))
        self.map_range, self.spectrum_range = RANGES[shape.abundances](), RANGES[shape.spectra]()

    def abundances(self) -> torch.Tensor:
        """(R, H, W)."""
        x = self.map_noise[None]
        return self.map_range(self.map_out(x if self.unet is None else self.unet(x)))[0]

    def spectra(self) -> torch.Tensor:
        """(R, B); of networks without spectra the unit matrix."""
        if not self.spectrum:
            return torch.eye(len(self.spectrum_noise)).to(self.spectrum_noise)
        x = self.spectrum_noise
        for layer in self.spectrum[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.spectrum_range(self.spectrum[-1](x))[:, 0]

    def forward(self) -> torch.Tensor:
        """The image (B, H, W)."""
        maps = self.abundances()
        return (self.spectra().T @ maps.flatten(1)).unflatten(1, maps.shape[1:])


class _Scale(nn.Module):
    """One scale of the U-Nets and all below it: down by half, what lies below, up again, beside the skip."""

    def __init__(
        self, shape: VS2MShape, index: int, scales: int, inputs: int, height: int, width: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        count, own, skip = shape.endmembers, shape.channels[index], shape.skips[index]
        low = -(-height // 2), -(-width // 2)
        self.networks = count

        def conv(inputs: int, kernel: int, *size: int) -> nn.Module:
            fitting = min(kernel, 2 * min(size) - 1)
            return GroupedConv(count, inputs, own, fitting, rng)

        kernel, last = shape.kernels[index], index + 1 == scales
        self.skip = nn.Sequential(GroupedConv(count, inputs, skip, 1, rng), _normed(count * skip)) if skip else None
        self.down = nn.Sequential(
            conv(inputs, kernel, height, width),
            nn.AvgPool2d(2, ceil_mode=True),
            _normed(count * own),
            conv(own, kernel, *low),
            _normed(count * own),
        )
        fitting = min(SPACE, 2 * min(low) - 1)
        self.attention = Cbam(count, own, fitting, rng) if index in shape.attention else nn.Identity()
        self.below = nn.Identity() if last else _Scale(shape, index + 1, scales, own, *low, rng)
        joined = skip + (own if last else shape.channels[index + 1])
        self.up = nn.Sequential(
            MapNorm(count * joined, moved=False),
            conv(joined, kernel, height, width),
            _normed(count * own),
            conv(own, 1, height, width),
            _normed(count * own),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, R inputs, H, W) -> (1, R channels, H, W)."""
        y = self.below(self.attention(self.down(x)))
        y = F.interpolate(y, x.shape[-2:], mode="bilinear")
        return self.up(y if self.skip is None else beside(self.networks, self.skip(x), y))


def _normed(channels: int) -> nn.Module:
    return nn.Sequential(MapNorm(channels), nn.LeakyReLU(SLOPE))
