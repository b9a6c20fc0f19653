"""A small convolutional network over all bands, and its training: what two measures of generated tiles learn by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

#: channels between layers
WIDTH = 32


class Trunk(nn.Module):
    """Spectra to `WIDTH` channels, then 3 x 3 convolutions without padding, each followed by a ReLU.

    Parameters
    ----------
    bands : int
    layers : int
        3 x 3 convolutions; each takes a pixel off every side.
    """

    def __init__(self, bands: int, layers: int):
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(bands, WIDTH, 1), nn.ReLU()]
        for _ in range(layers):
            parts += [nn.Conv2d(WIDTH, WIDTH, 3), nn.ReLU()]
        self.parts = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, B, h, w) -> (n, WIDTH, h - 2 layers, w - 2 layers)."""
        found: torch.Tensor = self.parts(x)
        return found


class PixelClassifier(nn.Module):
    """The class of each pixel from its neighbourhood of 9 x 9; (n, B, h, w) -> logits (n, k, h - 8, w - 8)."""

    REACH = 4

    def __init__(self, bands: int, classes: int):
        super().__init__()
        self.trunk, self.head = Trunk(bands, self.REACH), nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes."""
        found: torch.Tensor = self.head(self.trunk(x))
        return found


class BlockClassifier(nn.Module):
    """One number for a block, above 0 for a generated one; (n, B, b, b) with b of 5 or more -> (n,)."""

    def __init__(self, bands: int):
        super().__init__()
        self.trunk, self.head = Trunk(bands, 2), nn.Linear(3 * WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        found = self.trunk(x)
        spread = (found.var((2, 3), correction=0) + 1e-6).sqrt()
        pooled = torch.cat([found.mean((2, 3)), found.amax((2, 3)), spread], 1)
        logits: torch.Tensor = self.head(pooled)[:, 0]
        return logits


def normalised(values: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Values (B, ...) less a mean spectrum (B,), times a matrix (B, B); float32."""
    centred = np.asarray(values, dtype=np.float32) - mean.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return np.tensordot(matrix.astype(np.float32), centred, 1)


def trained(
    build: Callable[[], nn.Module],
    batch: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    steps: int,
    seed: int,
    device: str = "cpu",
) -> Any:
    """A network trained by Adam, its rate falling from 3e-3 along half a cosine.

    Parameters
    ----------
    build : callable
        Makes the network, whose weights the seed decides.
    batch : callable
        Inputs (n, B, h, w) float32 and targets, drawn from the generator it is handed.
    loss : callable
        Of the network's result and the targets.
    steps, seed : int
    device : str
        A torch device.

    Returns
    -------
    nn.Module
        On the device, in evaluation mode.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        inputs, targets = (torch.from_numpy(np.ascontiguousarray(v)).to(device) for v in batch(rng))
        optimiser.zero_grad()
        loss(net(inputs), targets).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net.eval()
