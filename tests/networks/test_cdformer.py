"""CDFormer: shapes, gradients, what its parts depend on, and its size in the paper's configuration."""

from __future__ import annotations

import pytest
import torch

from hsgeo.networks import CDFormer
from tests.networks.inputs import inputs


def small(**changes) -> CDFormer:
    torch.manual_seed(0)
    net = CDFormer(
        **{"signal": 3, "guide": 5, "outputs": 2, "width": 8, "depth": 2, "heads": 2, "window": 4} | changes
    ).double()
    torch.nn.init.normal_(net.out.weight, std=0.1)  # an untrained one gives zero
    return net


@pytest.mark.parametrize("size", [(8, 8), (13, 7), (1, 1), (5, 30)])
@pytest.mark.parametrize("changes", [{}, {"fold": 2}, {"sr_stream": False}])
def test_any_size(size: tuple[int, int], changes: dict) -> None:
    z, gamma, guide = inputs(2, 2, *size)
    assert small(**changes)(z, gamma, guide).shape == (2, 2, *size)


@pytest.mark.parametrize("bands", [2, 6, 20])
def test_any_number_of_bands(bands: int) -> None:
    net = CDFormer(bands, bands + 3, bands, width=8, depth=1, heads=2, window=4)
    assert net(torch.randn(1, bands, 9, 9), torch.rand(1), torch.randn(1, bands + 3, 9, 9)).shape == (1, bands, 9, 9)


@pytest.mark.parametrize("changes", [{}, {"fold": 2}, {"sr_stream": False}])
def test_every_parameter_learns(changes: dict) -> None:
    net = small(**changes)
    net(*inputs(2, 2, 12, 10)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("changes", [{}, {"sr_stream": False}])
def test_recomputing_changes_memory_alone(changes: dict) -> None:
    slopes, kept = [], []
    for recompute in (False, True):
        net, held = small(recompute=recompute, **changes), 0

        def pack(x: torch.Tensor) -> torch.Tensor:
            nonlocal held
            held += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = net(*inputs(2, 2, 12, 10)).square().sum()
        kept.append(held)
        loss.backward()
        slopes.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(slopes[0], slopes[1])
    assert kept[1] < 0.3 * kept[0]


def test_gradient_is_the_slope() -> None:
    net = small()
    z, gamma, guide = inputs(1, 1, 6, 6)
    z.requires_grad_()
    out = net(z, gamma, guide).square().sum()
    (slope,) = torch.autograd.grad(out, z)
    step = torch.randn_like(z)
    with torch.no_grad():
        ahead, behind = (net(z + e * step, gamma, guide).square().sum() for e in (1e-5, -1e-5))
    assert ((ahead - behind) / 2e-5).item() == pytest.approx((slope * step).sum().item(), rel=1e-6)


def test_signals_share_a_guide() -> None:
    net = small()
    z, gamma, guide = inputs(5, 2, 9, 9)
    item = torch.tensor([0, 0, 1, 0, 1])
    together = net(z, gamma, guide, item)
    torch.testing.assert_close(together, net(z, gamma, guide[item]))
    torch.testing.assert_close(together, net(z, gamma, net.features(guide), item))


def test_result_depends_on_level_guide_and_signal() -> None:
    net = small()
    z, gamma, guide = inputs(1, 1, 8, 8)
    base = net(z, gamma, guide)
    for other in (net(z, gamma * 0.9, guide), net(z, gamma, guide + 1), net(-z, gamma, guide)):
        assert (other - base).abs().max() > 1e-3


def test_untrained_network_gives_zero() -> None:
    net = CDFormer(3, 5, 2, width=8, depth=1, heads=2, window=4)
    assert not net(torch.randn(1, 3, 8, 8), torch.rand(1), torch.randn(1, 5, 8, 8)).any()


def test_size_of_the_reported_configuration() -> None:
    """PaviaU: 103 bands, the MSI of eight; 31.56 million parameters are reported, the depth is not."""
    with torch.device("meta"):
        net = CDFormer(103, 103 + 8, 103)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(31.56e6, rel=0.04)
