"""Attention and the gated layer against float64 references written with explicit loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hsgeo.networks import ChannelAttention, GatedFeedForward, WindowAttention, noise_embedding


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def softmax(x: list[float]) -> np.ndarray:
    e = np.exp(np.array(x) - max(x))
    return e / e.sum()


def slow_window_attention(layer: WindowAttention, x: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Pixel by pixel, head by head: which pixels share a window is found from their places, not by rolling."""
    height, width, channels = x.shape
    k, shift, size = layer.window, layer.shift, channels // layer.heads
    bias = layer.bias.detach().numpy()

    def window_of(place: int, length: int) -> tuple[int, bool]:
        moved = (place - shift) % length
        return moved // k, place < shift

    out = np.zeros_like(x)
    for y0 in range(height):
        for x0 in range(width):
            query = linear(layer.query, x[y0, x0])
            members = [
                (y1, x1)
                for y1 in range(height)
                for x1 in range(width)
                if window_of(y1, height) == window_of(y0, height) and window_of(x1, width) == window_of(x0, width)
            ]
            seen = np.zeros(channels)
            for head in range(layer.heads):
                part = slice(head * size, (head + 1) * size)
                logits, values = [], []
                for y1, x1 in members:
                    both = linear(layer.key_value, source[y1, x1])
                    # displacement inside the window, where the grid of windows starts at `shift`
                    dy = ((y0 - shift) % height) % k - ((y1 - shift) % height) % k + k - 1
                    dx = ((x0 - shift) % width) % k - ((x1 - shift) % width) % k + k - 1
                    logits.append(
                        query[part] @ both[:channels][part] / math.sqrt(size) + bias[dy * (2 * k - 1) + dx, head]
                    )
                    values.append(both[channels:][part])
                seen[part] = softmax(logits) @ np.array(values)
            out[y0, x0] = linear(layer.out, seen)
    return out


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("cross", [False, True])
def test_window_attention_is_the_loop(shift: int, cross: bool) -> None:
    layer = WindowAttention(6, 2, 4, shift).double()
    torch.nn.init.normal_(layer.bias)
    x, source = torch.randn(2, 8, 12, 6).double(), torch.randn(2, 8, 12, 6).double()
    ours = layer(x, source) if cross else layer(x)
    for i in range(2):
        expected = slow_window_attention(layer, x[i].numpy(), (source if cross else x)[i].numpy())
        np.testing.assert_allclose(ours[i].detach(), expected, atol=1e-12)


def test_pixels_of_opposite_edges_do_not_see_each_other() -> None:
    layer = WindowAttention(4, 1, 4, 2).double()
    x = torch.randn(1, 8, 8, 4).double()
    moved = x.clone()
    moved[:, :, :2] += 1  # the left edge
    assert torch.equal(layer(x)[:, :, 6:], layer(moved)[:, :, 6:])
    assert not torch.allclose(layer(x)[:, :, :2], layer(moved)[:, :, :2])


def test_permuting_windows_permutes_the_result() -> None:
    layer = WindowAttention(6, 3, 4).double()
    x = torch.randn(1, 8, 12, 6).double()
    tiles = x.view(1, 2, 4, 3, 4, 6).permute(0, 1, 3, 2, 4, 5).reshape(6, 4, 4, 6)
    order = torch.tensor([4, 2, 0, 5, 1, 3])

    def whole(t: torch.Tensor) -> torch.Tensor:
        return t.view(1, 2, 3, 4, 4, 6).permute(0, 1, 3, 2, 4, 5).reshape(1, 8, 12, 6)

    torch.testing.assert_close(layer(whole(tiles[order])), whole(layer(tiles)[order]))


def test_channel_attention_is_the_loop() -> None:
    layer = ChannelAttention(6, 2).double()
    torch.nn.init.normal_(layer.temperature)
    x = torch.randn(1, 5, 4, 6).double()
    point, depth = layer.point.weight.detach().numpy()[:, :, 0, 0], layer.depth.weight.detach().numpy()[:, 0]
    flat = np.einsum("oc,yxc->oyx", point, x[0].numpy()) + layer.point.bias.detach().numpy()[:, None, None]
    mixed = np.zeros_like(flat)
    for c in range(18):
        for y in range(5):
            for z in range(4):
                mixed[c, y, z] = layer.depth.bias.detach().numpy()[c] + sum(
                    depth[c, i, j] * flat[c, y + i - 1, z + j - 1]
                    for i in range(3)
                    for j in range(3)
                    if 0 <= y + i - 1 < 5 and 0 <= z + j - 1 < 4
                )
    query, key, value = mixed.reshape(3, 6, 20)
    seen = np.zeros((6, 20))
    for c in range(6):
        mates = [m for m in range(6) if m // 3 == c // 3]
        cosine = [query[c] @ key[m] / np.linalg.norm(query[c]) / np.linalg.norm(key[m]) for m in mates]
        weights = softmax([layer.temperature.detach().numpy()[c // 3, 0, 0] * v for v in cosine])
        seen[c] = weights @ value[mates]
    out = layer.out.weight.detach().numpy()[:, :, 0, 0] @ seen + layer.out.bias.detach().numpy()[:, None]
    np.testing.assert_allclose(layer(x)[0].detach(), out.T.reshape(5, 4, 6), atol=1e-12)


def test_gated_feed_forward_by_its_definition() -> None:
    layer = GatedFeedForward(4, 2.5).double()
    x = torch.randn(1, 3, 3, 4).double()
    point, depth, out = (p.weight.detach().numpy() for p in (layer.point, layer.depth, layer.out))
    assert point.shape[0] == 20
    flat = np.einsum("oc,yxc->oyx", point[:, :, 0, 0], x[0].numpy()) + layer.point.bias.detach().numpy()[:, None, None]
    # the middle pixel of a 3 x 3 map sees all nine
    both = (depth[:, 0] * flat).sum((1, 2)) + layer.depth.bias.detach().numpy()
    gate, value = both[:10], both[10:]
    gelu = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in gate])
    expected = out[:, :, 0, 0] @ (gelu * value) + layer.out.bias.detach().numpy()
    np.testing.assert_allclose(layer(x)[0, 1, 1].detach(), expected, atol=1e-12)


def test_noise_embedding_by_its_definition() -> None:
    embedded = noise_embedding(torch.tensor([0.3, 0.31], dtype=torch.float64), 8)
    for n, gamma in enumerate((0.3, 0.31)):
        for i in range(1, 5):
            angle = 5000 * gamma / 10000 ** (2 * i / 8)
            assert embedded[n, 2 * i - 2].item() == pytest.approx(math.sin(angle))
            assert embedded[n, 2 * i - 1].item() == pytest.approx(math.cos(angle))
    # the scale is what tells two levels apart
    plain = noise_embedding(torch.tensor([0.3, 0.31], dtype=torch.float64), 8, scale=1.0)
    assert (embedded[0] - embedded[1]).abs().max() > 100 * (plain[0] - plain[1]).abs().max()
