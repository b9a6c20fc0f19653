"""The network over a window: whatever the cut, and samples of the right distribution where that is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from hsgeo.diffusion import noise_field
from hsgeo.methods.fusion import sampling
from hsgeo.methods.fusion.sampling import OVERLAP, PATCH, Turn, context, denoised, patches, sample
from hsgeo.methods.fusion.settings import NetworkParams, ProcessParams, TrainingParams
from hsgeo.methods.fusion.weights import Weights
from hsgeo.scene.window import Window

GUIDED = NetworkParams(width=6, sr_blocks=(1,), blocks=(2, 1))
CDFORMER = NetworkParams(kind="cdformer", width=4, depth=1, heads=1, fold=2)


def made(network: NetworkParams = GUIDED, **process) -> Weights:
    settings = TrainingParams(network=network, process=ProcessParams(**{"levels": 100} | process))
    w = Weights.untrained(settings, (4, 5, 1))
    torch.manual_seed(2)
    with torch.no_grad():
        for value in w.network.parameters():
            value.normal_(std=value[0].numel() ** -0.5 if value.ndim > 1 else 0.3)
    return w


SCENE = Window(-130, 200, -130, 210)


def seen(window: Window, signals: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """What is known of a window of the scene."""
    rows, columns = window.within(SCENE).slices
    whole = torch.randn(signals * 3 + 5, *SCENE.shape, generator=torch.Generator().manual_seed(3))
    part = whole[:, rows, columns].contiguous()
    return part[: signals * 3].unflatten(0, (signals, 3)), part[signals * 3 :]


def sampled(w: Weights, core: Window, steps: int, seed: int = 5, more: int = 0, ensemble: bool = False) -> torch.Tensor:
    outer = core.grow(context(w, steps) + more)
    return sample(w, *seen(outer), outer, core, steps, seed, ensemble=ensemble)


@pytest.mark.parametrize(
    "core", [Window(0, 1, 0, 1), Window(0, 96, 0, 96), Window(-17, 40, 31, 200), Window(48, 64, 112, 113)]
)
@pytest.mark.parametrize(("network", "steps"), [(CDFORMER, 1), (CDFORMER, 2), (GUIDED, 2)])
def test_the_shares_of_a_pixel_add_up_to_1(core: Window, network: NetworkParams, steps: int) -> None:
    w, total = made(network), np.zeros(core.shape)
    outer = core.grow(context(w, steps))
    for window, share in patches(w, outer, core, steps):
        assert window.shape == share.shape == (PATCH, PATCH) and (share > 0).all()
        assert window.y0 % (PATCH - OVERLAP) == window.x0 % (PATCH - OVERLAP) == 0  # one lattice for all tiles
        assert window.clip_to(outer) == window
        both = window.clip_to(core)
        total[both.within(core).slices] += share[both.within(window).slices]
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_network_of_finite_reach_is_shown_the_whole() -> None:
    """For one step; every further one would add its reach to what a pixel depends on."""
    outer = Window(-20, 60, 4, 44)
    ((window, share),) = patches(made(), outer, outer.grow(-20), 1)
    assert window == outer and (share == 1).all()


def test_context_is_the_reach_in_whole_squares() -> None:
    for fold in (1, 2, 3):
        w = made(NetworkParams(width=4, sr_blocks=(1, 2), blocks=(1,), fold=fold))
        assert context(w, 1) == w.network.reach == fold * (2 + 2 + 3 + 2)
        assert PATCH <= context(w, 2) < PATCH + fold and context(w, 2) % fold == 0
    assert context(made(CDFORMER), 1) == context(made(CDFORMER), 5) == PATCH
    wide = made(NetworkParams(width=4, sr_blocks=(), blocks=(40,), fold=2))
    assert context(wide, 2) == context(wide, 1) == 86  # regression may be asked for as well


@pytest.mark.parametrize(("steps", "ensemble"), [(1, False), (2, False), (1, True)])
@pytest.mark.parametrize(("network", "sampler"), [(GUIDED, "ddim"), (GUIDED, "ancestral"), (CDFORMER, "ancestral")])
def test_a_sample_does_not_depend_on_the_cut(network: NetworkParams, sampler: str, steps: int, ensemble: bool) -> None:
    w = made(network, sampler=sampler)
    core = Window(0, 50, -20, 60)
    whole = sampled(w, core, steps, ensemble=ensemble)
    assert whole.std() > 0.1
    for part in (Window(0, 20, -20, 10), Window(20, 50, 10, 60), Window(16, 22, 40, 60)):
        tile = sampled(w, part, steps, ensemble=ensemble)
        rows, columns = part.within(core).slices
        assert (tile - whole[:, :, rows, columns]).abs().max() < 2e-5 * whole.abs().max()
    more = sampled(w, core, steps, more=2 * w.settings.network.fold, ensemble=ensemble)
    assert (more - whole).abs().max() < 2e-5 * whole.abs().max()
    assert (sampled(w, core, steps, seed=6, ensemble=ensemble) - whole).abs().max() > 1e-4 * whole.abs().max()


@pytest.mark.parametrize("network", [GUIDED, CDFORMER])
def test_few_signals_at_once_give_the_same(network: NetworkParams, monkeypatch) -> None:
    """Each signal keeps its own noise."""
    w, core = made(network, sampler="ancestral"), Window(0, 40, 0, 40)
    whole = sampled(w, core, 2)
    monkeypatch.setattr(sampling, "AT_ONCE", 1)
    torch.testing.assert_close(sampled(w, core, 2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [0, 3])
def test_every_turn_is_undone(channels: int) -> None:
    x = torch.randn(2, channels, 7, 10)
    turns = [Turn(quarters, mirror, 4) for quarters in range(4) for mirror in (False, True)]
    assert [tuple(turn(x).shape[-2:]) for turn in turns[:3]] == [(8, 12), (8, 12), (12, 8)]
    assert all(torch.equal(turn.back(turn(x), (7, 10)), x) for turn in turns)
    if channels:
        assert not any(torch.equal(a(x), b(x)) for a, b in combinations(turns, 2) if a(x).shape == b(x).shape)


def test_an_ensemble_is_the_mean_of_all_eight_ways() -> None:
    w, core = made(), Window(6, 39, 2, 33)
    outer = core.grow(context(w, 1))
    own, guide = (x.numpy() for x in seen(outer))
    noise = noise_field(5, 0, 3, outer.y0, outer.y1, outer.x0, outer.x1)[:, None]
    gamma = float(w.settings.process.schedule().gamma[-1])
    found = []
    for symmetry in (lambda x: x, lambda x: x[..., ::-1]):
        for quarters in range(4):
            # grown to whole squares below and to the right, as the network does for itself
            turned = [
                symmetry(
                    np.rot90(
                        np.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, n % 2) for n in x.shape[-2:]], "edge"),
                        quarters,
                        (-2, -1),
                    )
                )
                for x in (own, noise, guide)
            ]
            o, z, g = (torch.as_tensor(x.copy()) for x in turned)
            with torch.inference_mode():
                out = denoised(w.network, o, z, torch.full((3,), gamma), g[None], torch.zeros(3).long()).numpy()
            found.append(np.rot90(symmetry(out), -quarters, (-2, -1))[..., : outer.shape[0], : outer.shape[1]])
    rows, columns = core.within(outer).slices
    mean = np.mean(found, 0)[:, :, rows, columns]
    result = sampled(w, core, 1, ensemble=True).numpy()
    np.testing.assert_allclose(result, mean, atol=1e-4 * np.abs(mean).max())
    assert np.abs(result - sampled(w, core, 1).numpy()).max() > 0.05 * np.abs(mean).max()


def test_one_step_is_regression_at_the_noisiest_level() -> None:
    w, core = made(), Window(6, 40, 2, 33)
    outer = core.grow(context(w, 1))
    own, guide = seen(outer)
    noise = torch.as_tensor(noise_field(5, 0, 3, outer.y0, outer.y1, outer.x0, outer.x1))[:, None]
    gamma = float(w.settings.process.schedule().gamma[-1])
    with torch.inference_mode():
        net = w.network(
            torch.cat([own, gamma**0.5 * noise], 1), torch.full((3,), gamma), guide[None], torch.zeros(3).long()
        )
        expected = gamma**0.5 * noise + (1 - gamma) ** 0.5 * net
    rows, columns = core.within(outer).slices
    torch.testing.assert_close(sampled(w, core, 1), expected[:, :, rows, columns], rtol=1e-4, atol=1e-4)


def test_denoised_is_what_it_is_said_to_be() -> None:
    own, z, guide = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.randn(2, 5, 4, 4)
    item, gamma = torch.tensor([0, 1, 0]), torch.tensor([0.0, 0.36, 1.0])
    told: list[tuple[torch.Tensor, ...]] = []

    def network(signal, level, seen, which):
        told.append((signal, level, seen, which))
        return torch.full_like(z, 2.0)

    found = denoised(network, own, z, gamma, guide, item)
    assert (found[0] == 2).all()  # plain regression: the noisy signal does not count
    torch.testing.assert_close(found[1], 0.6 * z[1] + 0.8 * 2)
    torch.testing.assert_close(found[2], z[2])  # nothing left open
    signal, level, given, which = told[0]
    torch.testing.assert_close(signal, torch.cat([own, gamma.sqrt().view(3, 1, 1, 1) * z], 1))
    assert level is gamma and given is guide and which is item
    denoised(network, own, z, gamma, guide, item, features="kept")
    assert told[1][2] == "kept"
    torch.testing.assert_close(denoised(network, own, z, gamma, guide, item, plain=True), guide[item, :2] + 2)
    assert torch.equal(told[2][0], torch.cat([own, z], 1))


def test_the_guide_is_looked_at_once_for_each_window(monkeypatch) -> None:
    for network, steps, windows in ((GUIDED, 1, 1), (GUIDED, 3, 4), (CDFORMER, 2, 4)):
        w, calls = made(network), []
        features = w.network.features
        monkeypatch.setattr(w.network, "features", lambda g, f=features, c=calls: (c.append(1), f(g))[1])
        sampled(w, Window(0, 40, 0, 40), steps)
        assert len(calls) == windows


class Exact:
    """The denoiser of independent Gaussians whose mean and deviation are in `own`: F of `denoised`."""

    reach = 0

    def features(self, guide: torch.Tensor) -> torch.Tensor:
        return guide

    def __call__(self, signal: torch.Tensor, gamma: torch.Tensor, guide: object, item: object) -> torch.Tensor:
        mean, std, scaled = signal.double().split(1, 1)
        g = gamma.double().view(-1, 1, 1, 1)
        gain = std**2 * g / (g * std**2 + 1 - g)
        clean = mean + gain * (scaled / g - mean)
        return ((clean - scaled) / (1 - g).sqrt()).float()


@pytest.mark.parametrize(
    ("sampler", "steps", "deviation"), [("ddim", 300, (0.3, 1.0, 2.0)), ("ancestral", 40, (1.0, 1.0, 1.0))]
)
def test_samples_of_a_gaussian_have_its_mean_and_variance(sampler: str, steps: int, deviation: tuple) -> None:
    """The upper variance of eq. 6 is exact for white data of variance 1, the implicit sampler for all."""
    settings = TrainingParams(process=ProcessParams(sampler=sampler))
    w = Weights(Exact(), settings, (3, 1, 1))
    core = Window(16, 64, 0, 48)
    outer = core.grow(PATCH)
    mean = torch.tensor([-1.0, 0.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, *outer.shape)
    std = torch.tensor(deviation).view(3, 1, 1, 1).expand_as(mean)
    own, guide = torch.cat([mean, std], 1), torch.zeros(1, *outer.shape)
    drawn = torch.stack([sample(w, own, guide, outer, core, steps, seed)[:, 0] for seed in range(2)])
    of = torch.tensor(deviation).view(3, 1, 1)
    z = (drawn - mean[:, 0, :1, :1]) / of
    assert z.mean((0, 2, 3)).abs().max() < 0.06  # four standard errors
    np.testing.assert_allclose(z.std((0, 2, 3)), 1, rtol=0.05)
    assert (z[..., 1:] * z[..., :-1]).mean((0, 2, 3)).abs().max() < 0.06
    assert (z[0] * z[1]).mean((1, 2)).abs().max() < 0.08
    one = sample(w, own, guide, outer, core, 1, 0)[:, 0]
    assert ((one - mean[:, 0, :1, :1]) / of).std() < 0.05  # the mean of all samples


def test_the_prediction_of_every_step_is_made_to_agree() -> None:
    """Window by window, level by level; the sample is the last answer."""
    w, core, called = made(), Window(3, 70, -20, 50), []
    outer = core.grow(context(w, 3))

    def agree(window: Window, z: torch.Tensor, gamma: float) -> torch.Tensor:
        assert z.shape == (3, 1, *window.shape)
        called.append((window, gamma))
        y = torch.arange(window.y0, window.y1).view(-1, 1)
        return (y + 1000.0 * len([c for c in called if c[0] == window])).expand_as(z)

    z = sample(w, *seen(outer), outer, core, 3, 5, agreement=agree)
    levels = w.settings.process.schedule().levels(3).tolist()[:-1]
    lattice = [window for window, _ in patches(w, outer, core, 3)]
    assert called == [(window, gamma) for window in lattice for gamma in levels]
    wanted = 3000.0 + torch.arange(core.y0, core.y1).view(-1, 1)
    torch.testing.assert_close(z, wanted.expand_as(z))
