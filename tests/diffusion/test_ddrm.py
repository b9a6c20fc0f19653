"""DDRM against the dense law of its own process, which is Gaussian where the prior is.

The sampler is affine in the noise that it draws and in what the predictor draws. So the mean and the covariance of its
result follow exactly from the value at no noise and the slopes, both taken from the sampler itself.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from hsgeo.diffusion import Schedule, ancestral
from hsgeo.diffusion.ddrm import Evidence, ddrm, sigmas
from hsgeo.errors import ParameterError
from hsgeo.observation.operators import BlurDecimate, Mask
from hsgeo.observation.psf import Psf
from hsgeo.observation.spectral import SpectralBlur, SpectralMask

SHAPE = (2, 2, 4)
N = int(np.prod(SHAPE))

LEVELS = (1e9, 1e4, 40.0, 5.0, 1.5, 0.65, 0.2, 0.05, 0.0)

PSF = Psf(2.0, 2.4)
KEPT = np.random.default_rng(2).random(SHAPE) < 0.6

#: name -> (spectral form, the map itself)
OPERATORS = {
    "identity": (SpectralMask(True), lambda x: x),
    "mask": (SpectralMask(KEPT), Mask(KEPT).forward),
    "blur": (SpectralBlur.of_psf(PSF, 2, SHAPE[1:]), BlurDecimate(PSF, 2, SHAPE[1:]).forward),
}

NOISES = {"per band": (0.3, 0.9), "none": (0.0, 0.0), "one band": (0.0, 0.5)}

ETAS = [(1.0, 1.0), (0.0, 1.0), (0.7, 0.4), ("ancestral", 1.0), ("ancestral", 0.0)]


def prior() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of x_0, bands and pixels correlated."""
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(N, N, generator=rng, dtype=torch.float64) / N**0.5
    return torch.randn(N, generator=rng, dtype=torch.float64), root @ root.T + 0.05 * torch.eye(N, dtype=torch.float64)


def dense(apply: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    units = torch.eye(N, dtype=torch.float64).reshape(-1, *SHAPE)
    return torch.stack([apply(unit).flatten() for unit in units], 1)


def conditioned(prior_: tuple, maps: torch.Tensor, noise: torch.Tensor, seen: torch.Tensor) -> tuple:
    """Mean and covariance of x ~ N(m, C) given maps x + N(0, noise) = seen."""
    mean, covariance = prior_
    total = maps @ covariance @ maps.T + noise
    scale = total.diagonal().rsqrt()
    gain = torch.linalg.solve(scale[:, None] * total * scale, scale[:, None] * maps @ covariance).T * scale
    return mean + gain @ (seen - maps @ mean), covariance - gain @ maps @ covariance, gain


def root_of(covariance: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


class Setting:
    """One operator, noise per band, and data drawn under the prior."""

    def __init__(self, operator: str, noise: str) -> None:
        self.form, apply = OPERATORS[operator]
        self.prior = prior()
        self.level = torch.tensor(NOISES[noise], dtype=torch.float64)[:, None, None]
        h = dense(apply)
        rng = torch.Generator().manual_seed(5)
        truth = self.prior[0] + torch.linalg.cholesky(self.prior[1]) @ torch.randn(N, generator=rng).double()
        like = apply(truth.reshape(SHAPE))
        self.truth, self.clean = truth, like
        self.y = like + self.level * torch.randn(like.shape, generator=rng).double()
        self.evidence = Evidence.of(self.form, self.y, self.level)
        # of the mask's rows without data nothing is told
        rows = h.abs().sum(1) > 0
        noise_of_y = torch.diag((self.level.expand_as(like) ** 2).flatten()[rows])
        self.posterior = conditioned(self.prior, h[rows], noise_of_y, self.y.flatten()[rows])[:2]
        self.v = dense(self.form.from_spectral)

    def law(self, step: int, levels: tuple, eta: float, eta_b: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Shares of the data and the variance that is new in a coordinate of q(x_t | x_0, y); x_0 has the other share.

        `step` 0 is the start.
        """
        tau, sigma = self.evidence.spread.flatten(), torch.tensor(levels[step], dtype=torch.float64)
        if step == 0:
            share = torch.where(tau <= sigma, 1.0, 0.0)
        else:
            if eta == "ancestral":
                eta = (1 - (levels[step] / levels[step - 1]) ** 2) ** 0.5
            share = torch.where(tau <= sigma, eta_b, (1 - eta**2) ** 0.5 * sigma / tau)
        own = torch.where(share > 0, share * tau, 0.0)
        return share, sigma**2 - own**2

    def exact(self, step: int, levels: tuple, eta: float, eta_b: float) -> tuple:
        """(gain of x_t, mean at x_t = 0, covariance) of x_0 given x_t and y."""
        share, new = self.law(step, levels, eta, eta_b)
        tau, values = self.evidence.spread.flatten(), self.evidence.values.flatten()
        seen = tau.isfinite().nonzero().flatten()
        noise_of_y = torch.where(tau.isfinite(), tau, 0.0) ** 2
        maps = torch.cat([self.v.T, self.v.T[seen]])
        noise = torch.zeros(len(maps), len(maps), dtype=torch.float64)
        noise[:N, :N] = torch.diag(new + share**2 * noise_of_y)
        noise[N:, N:] = torch.diag(noise_of_y[seen])
        cross = torch.diag(share * noise_of_y)[:, seen]
        noise[:N, N:], noise[N:, :N] = cross, cross.T
        told = torch.cat([torch.zeros(N, dtype=torch.float64), values[seen]])
        mean, covariance, gain = conditioned(self.prior, maps, noise, told)
        return gain[:, :N] @ self.v.T, mean, covariance


def moments(run: Callable[[torch.Tensor], torch.Tensor], draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of an affine function of `draws` standard normal images."""
    nothing = torch.zeros(draws, *SHAPE, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda latent: run(latent).flatten(), nothing).flatten(1)
    return run(nothing).flatten(), slopes @ slopes.T


@pytest.mark.parametrize("eta, eta_b", ETAS)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_states_have_the_marginals_of_the_process(operator: str, noise: str, eta: float, eta_b: float) -> None:
    """With x_0 told, the state is x_0 + sigma_t noise over all data: coordinates of all three cases."""
    setting = Setting(operator, noise)
    x0, levels = setting.truth.reshape(SHAPE), (2.0, 1.2, 0.7, 0.45, 0.2, 0.0)
    coarse = setting.clean

    def run(latent: torch.Tensor) -> torch.Tensor:
        states = []

        def predict(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
            assert sigma == levels[step - 1]
            states.append(x)
            return x0

        error = latent[-1, :, : coarse.shape[-2], : coarse.shape[-1]]
        evidence = Evidence.of(setting.form, coarse + setting.level * error, setting.level)
        last = ddrm(predict, lambda step: latent[step], levels, evidence, eta, eta_b, start=x0)
        return torch.stack([*states, last])

    mean, covariance = moments(run, len(levels) + 1)
    np.testing.assert_allclose(mean.reshape(-1, N), setting.truth.expand(len(levels), N), atol=1e-12)
    for i, sigma in enumerate(levels):
        own = covariance[i * N : (i + 1) * N, i * N : (i + 1) * N]
        np.testing.assert_allclose(own, sigma**2 * np.eye(N), atol=1e-12)


@pytest.mark.parametrize("first", [0, 5], ids=["from far", "from near"])
@pytest.mark.parametrize("eta, eta_b", ETAS)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_result_has_the_posterior_of_a_gaussian(
    operator: str, noise: str, eta: float, eta_b: float, first: int
) -> None:
    """With a predictor that draws from p(x_0 | x_t, y), mean and covariance of the result are those of p(x_0 | y).

    From far nothing is known of the start; from near (0.65, below the noise of one band) it is a draw of p(x_0 | y).
    """
    setting, levels = Setting(operator, noise), LEVELS[first:]
    exact = [setting.exact(step, levels, eta, eta_b) for step in range(len(levels) - 1)]
    mean, spread = setting.posterior[0], root_of(setting.posterior[1])

    def run(latent: torch.Tensor) -> torch.Tensor:
        def predict(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
            gain, at_zero, covariance = exact[step - 1]
            drawn = root_of(covariance) @ latent[len(levels) + step].flatten()
            return (gain @ x.flatten() + at_zero + drawn).reshape(SHAPE)

        start = (mean + spread @ latent[len(levels)].flatten()).reshape(SHAPE) if first else None
        return ddrm(predict, lambda step: latent[step], levels, setting.evidence, eta, eta_b, start)

    found = moments(run, 2 * len(levels))
    np.testing.assert_allclose(found[0], mean, atol=1e-8)
    np.testing.assert_allclose(found[1], setting.posterior[1], atol=1e-8)
    if noise == "none" and eta_b == 1:
        seen = setting.evidence.seen
        back = setting.form.to_spectral(found[0].reshape(SHAPE))[seen]
        np.testing.assert_allclose(back, setting.evidence.values[seen], atol=1e-10)


def test_posterior_by_monte_carlo() -> None:
    """20000 results at once, each with draws of its own: mean and covariance within five standard errors."""
    setting, count, eta, eta_b = Setting("blur", "per band"), 20000, 0.7, 0.8
    exact = [setting.exact(step, LEVELS, eta, eta_b) for step in range(len(LEVELS) - 1)]
    rng = torch.Generator().manual_seed(11)

    def noise(step: int) -> torch.Tensor:
        return torch.randn(count, *SHAPE, generator=rng, dtype=torch.float64)

    def predict(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        gain, at_zero, covariance = exact[step - 1]
        return (x.flatten(1) @ gain.T + at_zero + noise(0).flatten(1) @ root_of(covariance).T).reshape(x.shape)

    drawn = ddrm(predict, noise, LEVELS, setting.evidence, eta, eta_b).flatten(1)
    mean, covariance = setting.posterior
    white = torch.linalg.solve(torch.linalg.cholesky(covariance), (drawn - mean).T)
    np.testing.assert_allclose(white.mean(1), 0, atol=5 / count**0.5)
    error = white @ white.T / count - torch.eye(N)
    assert error.abs().max() < 5 * (2 / count) ** 0.5
    assert (error - error.diagonal().diag()).abs().max() < 5 / count**0.5


def test_what_nobody_saw_follows_the_ancestral_sampler() -> None:
    gammas = Schedule.linear(100, 1e-3, 0.05).levels(12)
    levels = sigmas(gammas)
    rng = torch.Generator().manual_seed(3)
    drawn = torch.randn(13, *SHAPE, generator=rng, dtype=torch.float64)

    def crooked(z: torch.Tensor, gamma: float) -> torch.Tensor:
        return torch.tanh(1.3 * z - 0.2) * (0.5 + gamma)

    def predict(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        gamma = 1 / (1 + sigma**2)
        return crooked(gamma**0.5 * x, gamma)

    evidence = Evidence.of(SpectralMask(False), torch.zeros(SHAPE, dtype=torch.float64), 1.0)
    ours = ddrm(predict, lambda step: drawn[step], levels, evidence, "ancestral")
    scaled = ancestral(crooked, lambda s: drawn[s] * ((1 - gammas[0]) ** 0.5 if s == 0 else 1), gammas)
    torch.testing.assert_close(ours, scaled, rtol=1e-10, atol=1e-10)


def variance_by_the_mean(eta: float | str, count: int) -> float:
    """Variance of the result where nothing is seen, x_0 ~ N(0, 1), of the predictor E[x_0 | x_t]."""
    levels = [*np.geomspace(100, 0.01, count), 0.0]
    evidence = Evidence.of(SpectralMask(False), torch.zeros(SHAPE, dtype=torch.float64), 1.0)

    def run(latent: torch.Tensor) -> torch.Tensor:
        def predict(x: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
            return x / (1 + sigma**2)

        return ddrm(predict, lambda step: latent[step], levels, evidence, eta)

    covariance = moments(run, len(levels))[1]
    torch.testing.assert_close(covariance, covariance[0, 0] * torch.eye(N, dtype=torch.float64))
    return float(covariance[0, 0])


def test_spread_with_the_mean_as_predictor() -> None:
    """As published, x_0 is predicted by its mean: "ancestral" and 0 keep the variance, 1 loses half of it or more."""
    assert variance_by_the_mean("ancestral", 400) == pytest.approx(1, abs=0.03)
    assert variance_by_the_mean(0.0, 400) == pytest.approx(1, abs=0.03)
    assert variance_by_the_mean(1.0, 400) == pytest.approx(0.5, abs=0.03)
    assert variance_by_the_mean(1.0, 10) < 0.35


def test_evidence_less_some_and_in_other_units() -> None:
    setting = Setting("blur", "per band")
    held = torch.zeros(SHAPE, dtype=torch.bool)
    held[0, 0, 1] = True
    less = setting.evidence.without(held)
    assert setting.evidence.seen[0, 0, 1] and not less.seen[0, 0, 1] and less.values[0, 0, 1] == 0
    assert int(less.seen.sum()) == int(setting.evidence.seen.sum()) - 1
    offset = torch.tensor([0.3, -1.0], dtype=torch.float64)[:, None, None]
    scaled = (setting.truth.reshape(SHAPE) - offset) / 2.5
    direct = Evidence.of(setting.form, OPERATORS["blur"][1](scaled), setting.level / 2.5)
    moved = Evidence.of(setting.form, setting.clean, setting.level).rescaled(offset, 2.5)
    np.testing.assert_allclose(moved.values, direct.values, atol=1e-12)
    np.testing.assert_allclose(moved.spread, direct.spread, atol=1e-12)


@pytest.mark.parametrize("levels, eta, eta_b", [((1, 2, 0), 1, 1), ((2, 1), 1, 1), ((1, 0), 1.2, 1), ((1, 0), 1, -0.1)])
def test_refuses_what_is_no_process(levels: tuple, eta: float, eta_b: float) -> None:
    evidence = Evidence.of(SpectralMask(True), torch.zeros(SHAPE), 0.0)
    with pytest.raises(ParameterError, match=r"levels of a sampler|lie in"):
        ddrm(lambda x, sigma, step: x, lambda step: torch.zeros(SHAPE), levels, evidence, eta, eta_b)


def test_relative_noise_of_a_schedule() -> None:
    gammas = Schedule.linear(50, 1e-3, 0.05).levels(10)
    found = sigmas(gammas)
    assert found[-1] == 0
    for gamma, sigma in zip(gammas, found, strict=True):
        assert sigma**2 == pytest.approx((1 - gamma) / gamma)
    assert all(a > b for a, b in pairwise(found))
