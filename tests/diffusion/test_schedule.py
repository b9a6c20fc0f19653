"""Noise schedules, against diffusers' and by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import DDIMScheduler, DDPMScheduler

from hsgeo.diffusion import Schedule
from hsgeo.errors import ParameterError


def test_linear_agrees_with_diffusers() -> None:
    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear").alphas_cumprod
    ours = Schedule.linear(1000, 1e-4, 0.02)
    assert ours.gamma[0] == 1
    np.testing.assert_allclose(ours.gamma[1:], theirs.double().numpy(), rtol=2e-5)


def test_draws_are_uniform_between_neighbours() -> None:
    schedule = Schedule.linear(4, 0.1, 0.6)
    drawn = schedule.draw(40000, np.random.default_rng(0))
    counts, _ = np.histogram(drawn, schedule.gamma[::-1])
    assert counts.sum() == 40000
    np.testing.assert_allclose(counts, 10000, atol=350)
    low, high = schedule.gamma[2], schedule.gamma[1]
    inside = drawn[(drawn > low) & (drawn < high)]
    np.testing.assert_allclose(
        np.quantile(inside, [0.25, 0.5, 0.75]), low + (high - low) * np.array([0.25, 0.5, 0.75]), atol=0.01
    )


@pytest.mark.parametrize("steps", [1, 3, 10, 2000])
def test_levels_rise_to_clean(steps: int) -> None:
    schedule = Schedule.linear()
    levels = schedule.levels(steps)
    assert len(levels) == steps + 1 and levels[-1] == 1
    assert (np.diff(levels) > 0).all()
    assert levels[0] == schedule.gamma[-1]


def test_levels_agree_with_diffusers() -> None:
    schedule = Schedule.linear(1000, 1e-4, 0.02)
    theirs = DDIMScheduler(1000, timestep_spacing="trailing")
    theirs.set_timesteps(10)
    np.testing.assert_allclose(schedule.levels(10)[:-1], schedule.gamma[theirs.timesteps.numpy() + 1])


@pytest.mark.parametrize("gamma", [[1.0], [0.9, 0.5], [1.0, 0.5, 0.6], [1.0, 0.5, 0.0]])
def test_refuses_what_is_no_schedule(gamma: list[float]) -> None:
    with pytest.raises(ParameterError, match="starts at 1"):
        Schedule(np.array(gamma))


@pytest.mark.parametrize("steps", [0, 11])
def test_refuses_more_steps_than_there_are(steps: int) -> None:
    with pytest.raises(ParameterError, match="1 to 10"):
        Schedule.linear(10, 0.01, 0.1).levels(steps)
