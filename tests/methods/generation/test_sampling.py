"""Samples: of known distributions, the same in any window and company; and training, which learns what is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hsgeo.diffusion import Schedule
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.generation import sampling
from hsgeo.methods.generation.prediction import clean_of, sought
from hsgeo.methods.generation.sampling import Sampler, sampled
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.generation.training import Crops, shares_of, trained
from hsgeo.networks import AbundanceUNet
from hsgeo.scene.window import Window

SCHEDULE = Schedule.linear(1000, 1e-4, 0.02)


class Normal(nn.Module):
    """Finds what is sought in normal data of a given mean and variance, as well as can be."""

    multiple, reach = 2, 4

    def __init__(self, mean: float, variance: float, target: str = "velocity") -> None:
        super().__init__()
        self.mean, self.variance, self.target = mean, variance, target

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        g = gamma.view(-1, 1, 1, 1)
        off = (z - g.sqrt() * self.mean) / (g * self.variance + 1 - g)
        clean, noise = self.mean + g.sqrt() * self.variance * off, (1 - g).sqrt() * off
        return sought(clean, noise, g, self.target)


@pytest.mark.parametrize("target", ["velocity", "epsilon"])
@pytest.mark.parametrize("eta, steps", [(0.0, 100), (1.0, 400)])
def test_normal_data_come_out_as_they_are(eta: float, steps: int, target: str) -> None:
    sampler = Sampler(Normal(0.7, 0.09, target), SCHEDULE, 2, steps, eta, target=target)
    found = sampled(sampler, (64, 64), [1, 2])
    assert float(found.mean()) == pytest.approx(0.7, abs=0.01)
    assert float(found.std()) == pytest.approx(0.3, rel=0.04)


def test_what_is_sought_tells_the_clean_state() -> None:
    rng = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 5, generator=rng).double() for _ in range(2))
    for gamma in (0.9, 0.01):
        z = gamma**0.5 * clean + (1 - gamma) ** 0.5 * noise
        for target in ("velocity", "epsilon"):
            found = sought(clean, noise, torch.tensor(gamma).double(), target)
            torch.testing.assert_close(clean_of(found, z, gamma, target), clean)


def test_samples_keep_within_bounds() -> None:
    bounds = np.array([-1.0, 0.2]), np.array([0.5, 0.4])
    found = sampled(Sampler(Normal(0.0, 1.0), SCHEDULE, 2, 20, bounds=bounds), (32, 32), [1])[0].numpy()
    for one, low, high in zip(found, *bounds, strict=True):
        assert one.min() > low - 1e-6 and one.max() < high + 1e-6 and one.std() > 0


def test_neither_windows_nor_company_matter(monkeypatch) -> None:
    torch.manual_seed(0)
    net = AbundanceUNet(2, 3, (4, 6), 1)
    for value in net.parameters():
        value.data += 0.1 * torch.randn(value.shape)
    field = np.random.default_rng(0).random((3, 90, 75), np.float32)
    asked = [lambda w: field[(slice(None), *w.slices)], lambda w: 0 * field[(slice(None), *w.slices)]]
    sampler, shape = Sampler(net, SCHEDULE, 2, 3), (90, 75)
    whole = sampled(sampler, shape, [5, 6], asked)
    alone = sampled(sampler, shape, [6], asked[1:])
    monkeypatch.setattr(sampling, "AT_ONCE", (2 * net.reach + 20) ** 2)
    assert len(list(sampler._parts(Window(0, 90, 0, 75)))) > 4
    parts = sampled(sampler, shape, [5, 6], asked)
    rounding = 1e-4 * float(whole.std())
    torch.testing.assert_close(parts, whole, rtol=0, atol=rounding)
    torch.testing.assert_close(alone[0], whole[1], rtol=0, atol=rounding)
    assert (whole[0] - whole[1]).abs().mean() > 0.1
    free = sampled(sampler, shape, [5], asked[1:])
    assert (free[0] - whole[0]).abs().mean() > 1e-3


def test_a_step_of_a_window_is_that_of_the_canvas_wherever_it_begins() -> None:
    torch.manual_seed(2)
    net = AbundanceUNet(2, 0, (4, 6, 8), 1)
    for value in net.parameters():
        value.data += 0.1 * torch.randn(value.shape)
    sampler, shape, shown = Sampler(net, SCHEDULE, 2, 4), (150, 131), []
    z = sampler.noise(0, [3], Window(0, 150, 0, 131))

    def read(window: Window) -> torch.Tensor:
        shown.append(window)
        return z[(..., *window.slices)]

    whole = sampler.step(2, read, Window(0, 150, 0, 131), shape, [3])
    for window in (Window(0, 17, 0, 131), Window(101, 118, 63, 64), Window(149, 150, 130, 131), Window(5, 150, 70, 99)):
        part = sampler.step(2, read, window, shape, [3])
        torch.testing.assert_close(part, whole[(..., *window.slices)], rtol=0, atol=1e-5 * float(whole.std()))
        assert shown[-1].y0 >= max(0, window.y0 - net.reach - net.multiple) and shown[-1].shape != shape


def crops(state: np.ndarray, classes: np.ndarray | None = None, **settings) -> Crops:
    return Crops(state, HudTrainingParams(**({"crop": 8, "batch": 6} | settings)), classes, 3)


def test_crops_avoid_gaps_and_are_turned_with_their_classes() -> None:
    state = np.arange(2 * 30 * 40, dtype=np.float32).reshape(2, 30, 40)
    classes = (state[0] % 4).astype(int) - 1
    state[:, 10:12, 20:22] = np.nan
    source, seen = crops(state, classes, batch=200), []
    for step in range(3):
        states, asked = source.batch(step, 7)
        assert states.isfinite().all() and states.shape == (200, 2, 8, 8) and asked.shape == (200, 3, 8, 8)
        for one, wish in zip(states.numpy(), asked.numpy(), strict=True):
            exact = (one[0] % 4 - 1)[None] == np.arange(3)[:, None, None]
            kinds = {"exact": exact, "mixed": np.broadcast_to(shares_of(exact), exact.shape), "free": 0 * exact}
            seen += [next(name for name, value in kinds.items() if np.allclose(value, wish))]
        again = source.batch(step, 7)[0]
        assert torch.equal(states, again) and not torch.equal(states, source.batch(step, 8)[0])
    shares = {name: seen.count(name) / len(seen) for name in set(seen)}
    assert shares == {"exact": pytest.approx(0.5, abs=0.07), "mixed": pytest.approx(0.3, abs=0.07)} | {
        "free": pytest.approx(0.2, abs=0.07)
    }
    with pytest.raises(DataError, match="without gaps"):
        crops(np.where(np.arange(40) % 6 == 0, np.nan, state))
    with pytest.raises(DataError, match="hold no crop of 8"):
        crops(state[:, :5])


#: of a short training
TRAINED = {"crop": 16, "batch": 12, "widths": (16, 24), "steps": 250, "learning_rate": 3e-3, "averaging": 0.98}


def test_a_training_that_diverges_ends() -> None:
    state = np.random.default_rng(0).standard_normal((2, 32, 32)).astype(np.float32)
    source = crops(state, turned=False, **TRAINED | {"learning_rate": 1e6})
    with pytest.raises(ParameterError, match="take a lower learning_rate"):
        trained(AbundanceUNet(2, 0, (16, 24), 1), source, seed=3)


def test_training_finds_what_two_channels_share() -> None:
    """Stripes, the second channel the first one's opposite: the clean state is found far better than by its two values.

    Of one pixel alone, signal and noise of equal power, the best linear estimate has an error of 1 / (1 + 2).
    """
    x = np.mgrid[:64, :64][1]
    wave = np.sign(np.sin(2 * np.pi * x / 8)).astype(np.float32)
    state = np.stack([wave, -wave])
    source = crops(state, turned=False, **TRAINED)
    torch.manual_seed(1)
    net, losses = trained(AbundanceUNet(2, 0, (16, 24), 1), source, seed=3)
    assert losses[0] == pytest.approx(1, abs=0.1)
    gamma, clean = 0.5, torch.from_numpy(state)[None]
    z = gamma**0.5 * clean + (1 - gamma) ** 0.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        estimate = clean_of(net(z, torch.tensor([gamma])), z, gamma, "velocity")
    error = float((estimate - clean).square().mean())
    found = sampled(Sampler(net, source.settings.schedule(), 2, 30), (32, 32), range(4)).numpy()
    assert error < 0.1
    assert np.corrcoef(found[:, 0].ravel(), found[:, 1].ravel())[0, 1] < -0.8
