"""GuidedNet: what it computes, spelt out once more; what it sees of its surroundings; what its parts depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hsgeo.networks import GuidedNet
from hsgeo.networks.layers import LEVEL_SCALE
from tests.networks.inputs import inputs

SHAPES = [{}, {"fold": 1}, {"sr_stream": False}, {"fold": 1, "sr_stream": False}, {"fold": 3}]


def small(**changes) -> GuidedNet:
    torch.manual_seed(0)
    options = {"width": 6, "sr_blocks": (1, 2), "blocks": (2, 1)} | changes
    net = GuidedNet(3, 5, 2, **options).double()
    for parameter in net.parameters():  # an untrained one gives zero, and its blocks do nothing
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return net


def spelt_out(net: GuidedNet, signal: np.ndarray, gamma: float, guide: np.ndarray, fold: int) -> np.ndarray:
    """One item, (c, H, W) each, from the weights alone: loops over taps, no module of the network is called."""
    state = {name: value.detach().numpy() for name, value in net.state_dict().items()}

    def folded(x: np.ndarray) -> np.ndarray:
        c, h, w = x.shape
        x = np.pad(x, ((0, 0), (0, -h % fold), (0, -w % fold)), "edge")
        return np.concatenate([x[k : k + 1, i::fold, j::fold] for k in range(c) for i, j in np.ndindex(fold, fold)])

    def conv(x: np.ndarray, name: str, dilation: int = 1) -> np.ndarray:
        kernel, (_, h, w) = state[f"{name}.weight"], x.shape
        half = kernel.shape[-1] // 2 * dilation
        wide = np.pad(x, ((0, 0), (half, half), (half, half)), "edge")
        out = np.repeat(state[f"{name}.bias"][:, None, None], h * w, 1).reshape(-1, h, w).copy()
        for i in range(kernel.shape[2]):
            for j in range(kernel.shape[3]):
                seen = wide[:, i * dilation : i * dilation + h, j * dilation : j * dilation + w]
                out += np.einsum("oc,chw->ohw", kernel[:, :, i, j], seen)
        return out

    def block(x: np.ndarray, name: str, dilation: int) -> np.ndarray:
        y = conv(x, f"{name}.first", dilation)
        y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
        return x + conv(y, f"{name}.second")

    shared = "guide_in.weight" in state
    if shared:
        g = conv(folded(guide), "guide_in")
        for i, dilation in enumerate((1, 2)):
            g = block(g, f"sr_blocks.{i}", dilation)
        x = conv(folded(signal), "signal_in")
    else:
        x = conv(np.concatenate([folded(signal), folded(guide)]), "signal_in")
    width = len(x)
    level = np.empty(width)
    for i in range(1, width // 2 + 1):
        angle = LEVEL_SCALE * gamma / 10000 ** (2 * i / width)
        level[2 * i - 2 : 2 * i] = math.sin(angle), math.cos(angle)
    for i, dilation in enumerate((2, 1)):
        x = x + (state[f"levels.{i}.weight"] @ level + state[f"levels.{i}.bias"])[:, None, None]
        if shared:
            film = conv(g, f"films.{i}")
            x = x + film[:width] + x * film[width:]
        x = block(x, f"blocks.{i}", dilation)
    x = conv(x, "out")
    out = np.empty((2, x.shape[1] * fold, x.shape[2] * fold))
    for channel in range(len(x)):
        k, place = divmod(channel, fold**2)
        out[k, place // fold :: fold, place % fold :: fold] = x[channel]
    return out[:, : signal.shape[1], : signal.shape[2]]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("size", [(7, 6), (8, 9)])
def test_equals_the_network_spelt_out(changes: dict, size: tuple[int, int]) -> None:
    net = small(**changes)
    z, gamma, guide = inputs(1, 1, *size)
    ours = net(z, gamma, guide)[0].detach().numpy()
    other = spelt_out(net, z[0].numpy(), gamma.item(), guide[0].numpy(), changes.get("fold", 2))
    assert np.abs(ours).max() > 0.1
    np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (13, 7), (30, 4)])
def test_any_size(changes: dict, size: tuple[int, int]) -> None:
    out = small(**changes)(*inputs(2, 2, *size))
    assert out.shape == (2, 2, *size) and out.isfinite().all()


@pytest.mark.parametrize("changes", SHAPES)
def test_every_parameter_and_input_counts(changes: dict) -> None:
    net = small(**changes)
    z, gamma, guide = (v.requires_grad_() for v in inputs(2, 2, 12, 10))
    net(z, gamma, guide).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    for value in (z, gamma, guide):
        assert value.grad is not None and value.grad.abs().min() > 0


def test_every_parameter_learns_from_the_untrained_state() -> None:
    """Some start at zero on purpose, which must not keep others from ever moving."""
    torch.manual_seed(0)
    net = GuidedNet(3, 5, 2, width=6, sr_blocks=(1, 2), blocks=(2, 1))
    first = {name: value.detach().clone() for name, value in net.named_parameters()}
    z, gamma, guide = (v.float() for v in inputs(4, 4, 8, 8))
    assert not net(z, gamma, guide).any()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(6):
        optimiser.zero_grad()
        (net(z, gamma, guide) - z[:, :2] * guide[:, :1]).square().mean().backward()
        optimiser.step()
    for name, value in net.named_parameters():
        assert not torch.equal(value, first[name]), name


def seen_by(net: GuidedNet, cell: slice, which: int, side: int) -> tuple[int, int]:
    """First and last row of the signal (0) or the guide (2) on which the rows `cell` of the result depend."""
    values = list(inputs(1, 1, side, 6))
    values[which].requires_grad_()
    out = net(*values)[:, :, cell]
    torch.manual_seed(2)
    (slope,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), values[which])
    rows = slope.abs().amax((0, 1, 3)).nonzero().flatten()
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize("changes", SHAPES)
def test_reach_is_exact(changes: dict) -> None:
    """A window whose edges lie between folded squares sees `reach` pixels around it: not more, and not fewer."""
    net = small(**changes)
    fold = changes.get("fold", 2)
    first = -(-net.reach // fold) * fold + fold
    side = first + 2 * fold + net.reach + 2 * fold
    cell = slice(first, first + 2 * fold)
    assert seen_by(net, cell, 2, side) == (first - net.reach, first + 2 * fold - 1 + net.reach)
    low, high = seen_by(net, cell, 0, side)
    assert low >= first - net.reach and high <= first + 2 * fold - 1 + net.reach
    if changes.get("sr_stream", True):  # the SR stream's blocks are not on the signal's way
        assert low == first - net.reach + fold * 5


@pytest.mark.parametrize("changes", SHAPES)
def test_a_tile_with_context_equals_the_whole(changes: dict) -> None:
    net, fold = small(**changes), changes.get("fold", 2)
    z, gamma, guide = inputs(1, 1, 90, 84)
    whole = net(z, gamma, guide)
    y, x, side = 6 * fold, 7 * fold, 4 * fold
    top, left, bottom, right = max(0, y - net.reach), max(0, x - net.reach), y + side + net.reach, x + side + net.reach
    part = net(z[..., top:bottom, left:right], gamma, guide[..., top:bottom, left:right])
    inside = part[..., y - top :, x - left :][..., :side, :side]
    torch.testing.assert_close(inside, whole[..., y : y + side, x : x + side], rtol=0, atol=1e-12)
    far = net(z[..., top:bottom, left : right - fold], gamma, guide[..., top:bottom, left : right - fold])
    assert not torch.allclose(far[..., y - top :, x - left :][..., :side, :side], inside, rtol=0, atol=1e-12)


@pytest.mark.parametrize("changes", SHAPES)
def test_signals_share_a_guide(changes: dict) -> None:
    net = small(**changes)
    z, gamma, guide = inputs(5, 2, 9, 8)
    item = torch.tensor([0, 0, 1, 0, 1])
    together = net(z, gamma, guide, item)
    one_by_one = [net(z[i : i + 1], gamma[i : i + 1], guide[k : k + 1]) for i, k in enumerate(item)]
    torch.testing.assert_close(together, torch.cat(one_by_one))
    torch.testing.assert_close(together, net(z, gamma, net.features(guide), item))
    assert not torch.allclose(together, net(z, gamma, guide, 1 - item))


def test_features_are_the_sr_stream_alone() -> None:
    """Made once they serve every step of a sampler: neither the signal nor its level is in them."""
    net = small()
    z, gamma, guide = inputs(1, 1, 8, 8)
    kept = net.features(guide)
    assert [f.shape for f in kept] == [(1, 12, 4, 4)] * 2
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith(("guide_in", "sr_blocks", "films")):
                parameter.zero_()
    torch.testing.assert_close(net(z, gamma, kept), small()(z, gamma, guide))


def test_result_depends_on_level_guide_and_signal() -> None:
    net = small()
    z, gamma, guide = inputs(1, 1, 8, 8)
    base = net(z, gamma, guide)
    for other in (net(z, gamma * 0.9, guide), net(z, gamma, guide + 1), net(-z, gamma, guide)):
        assert (other - base).abs().max() > 1e-3


def test_gradient_is_the_slope() -> None:
    net = small()
    z, gamma, guide = inputs(1, 1, 6, 6)
    guide.requires_grad_()
    (slope,) = torch.autograd.grad(net(z, gamma, guide).square().sum(), guide)
    step = torch.randn_like(guide)
    with torch.no_grad():
        ahead, behind = (net(z, gamma, guide + e * step).square().sum() for e in (1e-5, -1e-5))
    assert ((ahead - behind) / 2e-5).item() == pytest.approx((slope * step).sum().item(), rel=1e-6)


def test_float32_is_near_float64() -> None:
    net = small()
    z, gamma, guide = inputs(2, 2, 20, 20)
    exact = net(z, gamma, guide)
    found = net.float()(z.float(), gamma.float(), guide.float())
    # the sines of 5000 gamma are the least exact part: 5000 times the rounding of gamma
    assert (found - exact).abs().max() < 2e-3 * exact.abs().max()
