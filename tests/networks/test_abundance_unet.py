"""HUD's network: what it sees is finite, any size will do, and every part of it counts."""

from __future__ import annotations

import pytest
import torch

from hsgeo.networks import AbundanceUNet


def made(endmembers: int = 3, classes: int = 0, **shape) -> AbundanceUNet:
    torch.manual_seed(0)
    net = AbundanceUNet(endmembers, classes, **({"widths": (4, 6, 8), "blocks": 1} | shape)).double()
    for value in net.parameters():
        value.data = value + 0.1 * torch.randn(value.shape, dtype=value.dtype)
    return net


@pytest.mark.parametrize("shape", [{}, {"widths": (4,)}, {"widths": (4, 6, 8, 8)}, {"blocks": 2}], ids=str)
def test_a_window_with_its_surroundings_is_a_part_of_the_whole(shape: dict) -> None:
    net = made(**shape)
    reach, step = net.reach, net.multiple
    side = 2 * reach + 5 * step + 3
    z = torch.randn(1, 3, side, side, dtype=torch.float64)
    gamma = torch.tensor([0.4], dtype=torch.float64)
    with torch.no_grad():
        whole = net(z, gamma)
        for y, x in ((reach, reach), (reach + step, 0)):
            top, left = y - reach, max(0, x - reach)
            found = net(z[..., top : y + 2 * step + reach, left : x + 2 * step + reach], gamma)
            part = found[..., y - top : y - top + 2 * step, x - left : x - left + 2 * step]
            torch.testing.assert_close(part, whole[..., y : y + 2 * step, x : x + 2 * step], rtol=0, atol=1e-12)
        cut = net(z[..., : -reach // 2, :], gamma)
    assert not torch.allclose(cut[..., -4:, :], whole[..., : cut.shape[2], :][..., -4:, :], atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (16, 16), (17, 5)])
def test_any_size(size: tuple[int, int]) -> None:
    net = made(2, 3)
    out = net(torch.randn(2, 2, *size).double(), torch.tensor([0.1, 0.9]).double(), torch.rand(2, 3, *size).double())
    assert out.shape == (2, 2, *size) and out.isfinite().all()


def test_every_parameter_counts() -> None:
    net = made(2, 2)
    z, wanted = torch.randn(2, 2, 12, 12).double(), torch.rand(2, 2, 12, 12).double()
    (net(z, torch.tensor([0.1, 0.9]).double(), wanted) * torch.randn(2, 2, 12, 12)).sum().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, name


def test_level_and_wish_decide() -> None:
    net = made(2, 2)
    z, wanted = torch.randn(1, 2, 12, 12).double(), torch.zeros(1, 2, 12, 12).double()
    low, high = (net(z, torch.tensor([g]).double(), wanted) for g in (0.1, 0.9))
    asked = net(z, torch.tensor([0.1]).double(), wanted + 1)
    assert not torch.allclose(low, high) and not torch.allclose(low, asked)
    fresh = AbundanceUNet(2)
    assert (fresh(z.float(), torch.tensor([0.5])) == 0).all()
