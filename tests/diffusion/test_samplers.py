"""The diffusion's closed forms by Monte Carlo, its samplers against diffusers and against a Gaussian's exact answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from hsgeo.diffusion import Schedule, ancestral, ddim, forward, noise_field, posterior

#: float32, as trained betas are given to diffusers
BETAS = np.linspace(1e-3, 0.05, 50).astype(np.float32).astype(float)


def normals(seed: int, shape: tuple[int, ...]):
    def noise(step: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(1000 * seed + step), dtype=torch.float64)

    return noise


def test_marginal_of_the_chain_by_monte_carlo() -> None:
    """Fifty steps of q(z_t | z_t-1) end with the mean and variance that `forward` draws at once."""
    rng = torch.Generator().manual_seed(0)
    schedule = Schedule.of_betas(BETAS)
    start = torch.full((200_000,), 1.7, dtype=torch.float64)
    z = start.clone()
    for beta in BETAS:
        z = (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn(len(z), generator=rng, dtype=torch.float64)
    once = forward(start, schedule.gamma[-1], torch.randn(len(z), generator=rng, dtype=torch.float64))
    expected = schedule.gamma[-1] ** 0.5 * 1.7, 1 - schedule.gamma[-1]
    for drawn in (z, once):
        assert drawn.mean() == pytest.approx(expected[0], abs=0.01)
        assert drawn.var() == pytest.approx(expected[1], rel=0.015)


def test_posterior_by_monte_carlo() -> None:
    """Of pairs (z_s, z_t) drawn forward, those whose z_t is near a value have the posterior's mean and spread."""
    rng = torch.Generator().manual_seed(1)
    gamma, cleaner, z0, at = 0.4, 0.7, 0.8, 1.1
    noise = torch.randn(2, 2_000_000, generator=rng, dtype=torch.float64)
    z_s = cleaner**0.5 * z0 + (1 - cleaner) ** 0.5 * noise[0]
    alpha = gamma / cleaner
    z_t = alpha**0.5 * z_s + (1 - alpha) ** 0.5 * noise[1]
    near = z_s[(z_t - at).abs() < 0.02]
    clean, noisy, std = posterior(gamma, cleaner)
    assert near.mean() == pytest.approx(clean * z0 + noisy * at, abs=0.01)
    assert near.std() == pytest.approx(std, rel=0.02)
    assert posterior(gamma, cleaner, "upper")[2] == pytest.approx((1 - alpha) ** 0.5)
    assert posterior(gamma, 1.0) == (1.0, 0.0, 0.0) == posterior(gamma, 1.0, "upper")


def crooked(z: torch.Tensor, gamma: float) -> torch.Tensor:
    """Some predictor that is not linear."""
    return torch.tanh(1.3 * z - 0.2) * (0.5 + gamma)


def test_ancestral_agrees_with_diffusers() -> None:
    theirs = DDPMScheduler(
        50, trained_betas=BETAS, prediction_type="sample", clip_sample=False, variance_type="fixed_small"
    )
    schedule = Schedule.of_betas(BETAS)
    noise = normals(3, (4, 5))
    ours = ancestral(crooked, noise, schedule.levels(50))
    z = noise(0)
    for step, t in enumerate(range(49, -1, -1), 1):
        out = theirs.step(crooked(z, schedule.gamma[t + 1]), t, z, generator=torch.Generator().manual_seed(3000 + step))
        z = out.prev_sample
    np.testing.assert_allclose(ours.numpy(), z.numpy(), atol=2e-5)


@pytest.mark.parametrize("steps", [50, 10, 5])
def test_ddim_agrees_with_diffusers(steps: int) -> None:
    theirs = DDIMScheduler(
        50, trained_betas=BETAS, prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    schedule = Schedule.of_betas(BETAS)
    noise = normals(4, (3, 7))
    ours = ddim(crooked, noise, schedule.levels(steps))
    z = noise(0)
    for t in theirs.timesteps:
        z = theirs.step(crooked(z, schedule.gamma[int(t) + 1]), t, z).prev_sample
    np.testing.assert_allclose(ours.numpy(), z.numpy(), atol=2e-5)


def test_ddim_with_full_noise_is_ancestral() -> None:
    noise, levels = normals(5, (6, 2)), Schedule.of_betas(BETAS).levels(20)
    torch.testing.assert_close(ddim(crooked, noise, levels, eta=1.0), ancestral(crooked, noise, levels))


@pytest.mark.parametrize("sampler", ["ancestral", "upper", "ddim"])
def test_gaussian_is_sampled_to_its_mean_and_covariance(sampler: str) -> None:
    """z_0 ~ N(mu, S): the exact denoiser is known, and many short steps must give the distribution back."""
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    covariance = torch.tensor([[0.8, 0.5], [0.5, 0.6]], dtype=torch.float64)

    def denoise(z: torch.Tensor, gamma: float) -> torch.Tensor:
        total = gamma * covariance + (1 - gamma) * torch.eye(2, dtype=torch.float64)
        gain = gamma**0.5 * covariance @ torch.linalg.inv(total)
        return mean + (z - gamma**0.5 * mean) @ gain.T

    levels = Schedule.linear(1000, 1e-4, 0.02).levels(1000 if sampler != "ddim" else 250)
    noise = normals(6, (20_000, 2))
    if sampler == "ddim":
        drawn = ddim(denoise, noise, levels)
    else:
        drawn = ancestral(denoise, noise, levels, "upper" if sampler == "upper" else "posterior")
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(torch.cov(drawn.T), covariance, atol=0.03)


def test_noise_does_not_depend_on_the_window() -> None:
    whole = noise_field(7, 2, 3, -80, 150, -10, 140)
    assert whole.shape == (3, 230, 150) and whole.dtype == np.float32
    part = noise_field(7, 2, 3, 17, 90, 63, 66)
    np.testing.assert_array_equal(part, whole[:, 97:170, 73:76])
    np.testing.assert_array_equal(noise_field(7, 2, 2, 17, 90, 63, 66), part[:2])


def test_noise_is_white_and_every_field_another() -> None:
    field = noise_field(0, 0, 2, 0, 300, 0, 300).astype(float)
    assert field.mean() == pytest.approx(0, abs=0.01) and field.std() == pytest.approx(1, abs=0.01)
    for other in (noise_field(0, 1, 2, 0, 300, 0, 300), noise_field(1, 0, 2, 0, 300, 0, 300), np.roll(field, 1, 2)):
        assert abs((field * other).mean()) < 0.01
    # the blocks before the scene are not those after it
    assert abs((noise_field(0, 0, 1, -64, 0, 0, 64) * noise_field(0, 0, 1, 0, 64, 0, 64)).mean()) < 0.06
