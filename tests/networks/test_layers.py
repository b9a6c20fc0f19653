"""Small parts of the networks."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from hsgeo.networks.layers import LOWEST, gelu


def test_gelu_is_gelu_without_far_slopes() -> None:
    x = torch.linspace(-30, 10, 4001, requires_grad=True)
    (slope,) = torch.autograd.grad(gelu(x).sum(), x)
    (plain,) = torch.autograd.grad(F.gelu(x).sum(), x)
    assert (gelu(x) - F.gelu(x)).abs().max() < 1e-14
    assert (slope - plain).abs().max() < 1e-6
    assert (slope[x < LOWEST] == 0).all()
