"""Random inputs of a small network: three channels of a signal, five of a guide."""

from __future__ import annotations

import torch


def inputs(signals: int, guides: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signals (signals, 3, H, W), their levels, guides (guides, 5, H, W), in float64."""
    torch.manual_seed(1)
    return (
        torch.randn(signals, 3, height, width).double(),
        torch.rand(signals).double(),
        torch.randn(guides, 5, height, width).double(),
    )
