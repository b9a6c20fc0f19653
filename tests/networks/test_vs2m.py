"""VS2M: the grouped networks against single ones built of torch's own layers; any size; what decides its weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hsgeo.errors import ParameterError
from hsgeo.networks.vs2m import VS2M, VS2MShape

PUBLISHED = VS2MShape()
SMALL = VS2MShape(3, (4, 6, 8), (0, 2, 3), (5, 3, 3), (1, 2), (7, 5), 2, "softplus", "sigmoid")

SIZES = [(13, 18), (32, 32), (5, 3)]


def scrambled(model: VS2M, seed: int = 4) -> VS2M:
    """Scales and offsets of the normalisations start alike, and would hide an exchange."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if value.ndim == 1 and name != "map_out.bias":
            value.data += 0.3 * torch.randn(value.shape, generator=rng).to(value)
    return model


def part(model: VS2M, shape: VS2MShape, r: int) -> dict[str, torch.Tensor]:
    return {name: value.chunk(shape.endmembers)[r].clone() for name, value in model.state_dict().items()}


class Single:
    """One endmember's networks, spelt out by torch's own layers from the weights alone."""

    def __init__(self, state: dict[str, torch.Tensor], shape: VS2MShape) -> None:
        self.state = {
            name: value.requires_grad_(value.ndim < 3 or "noise" not in name) for name, value in state.items()
        }
        self.shape = shape

    def conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        kernel = self.state[f"{name}.weight"]
        layer = nn.Conv2d(*kernel.shape[1::-1], kernel.shape[-1], padding="same", padding_mode="reflect")
        bias = self.state.get(f"{name}.bias", torch.zeros(len(kernel)).to(kernel))
        return torch.func.functional_call(layer, {"weight": kernel, "bias": bias}, x)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        layer, weight = nn.BatchNorm2d(x.shape[1], track_running_stats=False), self.state[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias", torch.zeros_like(weight))
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    def act(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.leaky_relu(self.norm(x, f"{name}.0"), 0.2)

    def cbam(self, x: torch.Tensor, name: str) -> torch.Tensor:
        def shared(v: torch.Tensor) -> torch.Tensor:
            narrow = F.relu(F.linear(v, self.state[f"{name}.squeeze.weight"][:, :, 0, 0]))
            return F.linear(narrow, self.state[f"{name}.widen.weight"][:, :, 0, 0])

        flat = x.flatten(2)
        weight = torch.sigmoid(shared(flat.mean(2)) + shared(flat.max(2).values))
        y = x * weight[:, :, None, None]
        both = torch.stack([y.mean(1), y.max(1).values], 1)
        return x + y * torch.sigmoid(self.conv(both, f"{name}.space"))

    def scale(self, x: torch.Tensor, index: int, scales: int) -> torch.Tensor:
        name = "unet" + ".below" * index
        y = F.avg_pool2d(self.conv(x, f"{name}.down.0"), 2, ceil_mode=True)
        y = self.act(y, f"{name}.down.2")
        y = self.act(self.conv(y, f"{name}.down.3"), f"{name}.down.4")
        if index in self.shape.attention:
            y = self.cbam(y, f"{name}.attention")
        if index + 1 < scales:
            y = self.scale(y, index + 1, scales)
        y = F.interpolate(y, x.shape[-2:], mode="bilinear")
        if self.shape.skips[index]:
            y = torch.cat([self.act(self.conv(x, f"{name}.skip.0"), f"{name}.skip.1"), y], 1)
        y = self.act(self.conv(self.norm(y, f"{name}.up.0"), f"{name}.up.1"), f"{name}.up.2")
        return self.act(self.conv(y, f"{name}.up.3"), f"{name}.up.4")

    def image(self) -> torch.Tensor:
        noise = self.state["map_noise"]
        x = self.scale(noise[None], 0, self.shape.scales(*noise.shape[1:]))
        ranges = {"free": lambda v: v, "softplus": F.softplus, "sigmoid": torch.sigmoid}
        abundance = ranges[self.shape.abundances](self.conv(x, "map_out"))[0, 0]
        v, layers = self.state["spectrum_noise"][0, 0], len(self.shape.spectrum)
        for i in range(layers + 1):
            v = v @ self.state[f"spectrum.{i}.weight"][0] + self.state[f"spectrum.{i}.bias"][0, 0]
            v = F.leaky_relu(v, 0.2) if i < layers else v
        return ranges[self.shape.spectra](v)[:, None, None] * abundance


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["double", "single"])
@pytest.mark.parametrize("shape, size", [(SMALL, size) for size in SIZES] + [(PUBLISHED, (24, 40))], ids=str)
def test_equals_single_networks(shape: VS2MShape, size: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    """Forward and slopes; their errors relative to the largest of the parameter, in single precision of all.

    In the published networks rounding to single precision takes some of the many values over the kink of a ReLU, where
    slopes jump; those are compared in double precision alone.
    """
    model = scrambled(VS2M(6, *size, shape, seed=1)).to(dtype)
    weight = torch.randn(6, *size, generator=torch.Generator().manual_seed(2)).to(dtype)
    image = model()
    (image * weight).sum().backward()
    slopes = {name: value.grad for name, value in model.named_parameters()}
    singles = [Single(part(model, shape, r), shape) for r in range(shape.endmembers)]
    others = sum(single.image() for single in singles)
    assert image.std() > 1e-3
    torch.testing.assert_close(image, others, rtol=0, atol=tolerance * image.abs().max().item())
    if shape is PUBLISHED and dtype == torch.float32:
        return
    (others * weight).sum().backward()
    largest = max(slope.abs().max().item() for slope in slopes.values())
    for name, slope in slopes.items():
        theirs = torch.cat([single.state[name].grad for single in singles])
        scale = slope.abs().max().item() if dtype == torch.float64 else largest
        torch.testing.assert_close(slope, theirs, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("shape", [SMALL, PUBLISHED], ids=["small", "published"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (1, 9), (3, 3), (7, 4), (33, 17)])
def test_any_size(shape: VS2MShape, size: tuple[int, int]) -> None:
    model = VS2M(5, *size, shape)
    image = model()
    assert image.shape == (5, *size) and image.isfinite().all()
    assert model.abundances().shape == (shape.endmembers, *size) and model.spectra().shape == (shape.endmembers, 5)
    image.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bands_that_are_maps_need_no_spectra() -> None:
    """A network for each band, the same as that of an endmember; what is said of endmembers plays no part."""
    model, other = (VS2M(3, 20, 24, shape, seed=2) for shape in (replace(SMALL, endmembers=9, spectrum=None), SMALL))
    assert torch.equal(model.spectra(), torch.eye(3)) and not len(model.spectrum)
    torch.testing.assert_close(model(), model.abundances(), rtol=0, atol=0)
    torch.testing.assert_close(model.abundances(), other.abundances(), rtol=0, atol=0)


def test_scales_stop_before_the_map_is_a_point() -> None:
    assert PUBLISHED.scales(256, 256) == PUBLISHED.scales(128, 128) == 6
    assert PUBLISHED.scales(64, 64) == 5
    assert PUBLISHED.scales(1, 2) == 0 and PUBLISHED.scales(3, 3) == 1


def test_every_parameter_counts() -> None:
    model = scrambled(VS2M(5, 20, 24, SMALL)).double()
    (model() * torch.randn(5, 20, 24, dtype=torch.float64)).sum().backward()
    for name, value in model.named_parameters():
        assert all(piece.abs().sum() > 0 for piece in value.grad.chunk(SMALL.endmembers)), name


def test_seed_decides_everything() -> None:
    torch.manual_seed(1)
    first = VS2M(4, 12, 12, SMALL, seed=3).state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    other = torch.get_rng_state()
    second = VS2M(4, 12, 12, SMALL, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), other) and not torch.equal(state, other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    third = VS2M(4, 12, 12, SMALL, seed=4).state_dict()
    assert not torch.equal(first["map_noise"], third["map_noise"])
    assert not torch.equal(first["unet.down.0.weight"], third["unet.down.0.weight"])


def test_no_two_endmembers_are_alike() -> None:
    model = VS2M(4, 12, 12, SMALL)
    for name, value in model.state_dict().items():
        pieces = value.chunk(SMALL.endmembers)
        if value.ndim > 1:
            assert not torch.equal(pieces[0], pieces[1]), name


@pytest.mark.parametrize("kind, low, high", [("softplus", 0, torch.inf), ("sigmoid", 0, 1)])
def test_ranges(kind: str, low: float, high: float) -> None:
    model = VS2M(4, 16, 16, VS2MShape(2, (4, 4), (0, 2), (3, 3), (), (5,), 1, kind, kind))
    with torch.no_grad():
        model.map_out.weight *= 100
        model.spectrum[-1].weight *= 100
    for values in (model.abundances(), model.spectra()):
        assert (values >= low).all() and (values <= high).all()
    free = VS2M(4, 16, 16, VS2MShape(2, (4, 4), (0, 2), (3, 3), (), (5,)))
    assert (free.abundances() < 0).any() and (free.spectra() < 0).any()


def test_it_learns_an_image() -> None:
    """A mixture of two maps is fitted to a hundredth of its power in 300 steps."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 20), indexing="ij")
    maps = torch.stack([(x > 0.5).float(), y])
    image = torch.tensordot(torch.tensor([[1.0, -0.2], [0.3, 0.9], [-0.5, 0.4]]), maps, 1)
    model = VS2M(3, 24, 20, VS2MShape(2, (8, 8), (0, 4), (3, 3), (1,), (16,)))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (model() - image).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.01 * image.square().mean()


@pytest.mark.parametrize("given", [{"channels": (4, 8)}, {"kernels": (7, 7, 5, 4, 3, 3)}])
def test_refuses_what_is_no_shape(given: dict) -> None:
    with pytest.raises(ParameterError, match=r"each scale|odd"):
        VS2MShape(**given)
