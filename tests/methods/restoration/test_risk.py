"""Stein's unbiased risk, and the mixture that it chooses, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsgeo.methods.restoration.risk import Mixture, _least, best_mixture


def noisy(n: int = 40000, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    truth = torch.as_tensor(spread * rng.standard_normal(n))
    return truth, truth + torch.as_tensor(rng.standard_normal(n))


def test_the_risk_is_that_against_the_truth() -> None:
    """Of linear and of thresholding estimates, without being told the truth."""
    truth, data = noisy()
    kinds = [lambda z: 0.8 * z, lambda z: torch.sign(z) * (z.abs() - 0.5).clamp(min=0), lambda z: z, lambda z: 0 * z]
    found = best_mixture(data, lambda z: [f(z) for f in kinds])
    real = [float((f(data) - truth).square().mean()) for f in kinds]
    np.testing.assert_allclose(found.risks, real, atol=0.03)


def test_the_mixture_has_the_least_risk_of_all() -> None:
    """Between nothing and the data the best share is the Wiener gain."""
    truth, data = noisy()
    found = best_mixture(data, lambda z: [z, 0 * z])
    assert found.shares[0] == pytest.approx(4 / 5, abs=0.02) and found.shares.sum() == pytest.approx(1)
    mixed = found.shares[0] * data
    assert found.risk == pytest.approx(float((mixed - truth).square().mean()), abs=0.02)
    assert found.risk < found.risks.min() - 0.1


def test_what_does_not_help_is_left_out() -> None:
    _, data = noisy()
    found = best_mixture(data, lambda z: [0.8 * z, -3 * z, 0.79 * z])
    assert found.shares[1] == 0 and isinstance(found, Mixture)
    assert _least(np.diag([1.0, 50.0, 1.0]), np.zeros(3)) == pytest.approx([0.5, 0, 0.5], abs=1e-6)  # 1 % is too little


def test_estimates_that_hardly_help_are_not_made() -> None:
    """Of those that come later, and need more work, only what takes a hundredth of the risk off."""
    _, data = noisy()
    best = best_mixture(data, lambda z: [0.8 * z]).risk
    close = best_mixture(data, lambda z: [0.83 * z, 0.8 * z])
    assert close.shares.tolist() == [1, 0] and 0 < close.risk / best - 1 < 0.01
    far = best_mixture(data, lambda z: [0.6 * z, 0.8 * z])
    assert far.shares[1] > 0.9 and far.risk == pytest.approx(best, rel=0.01)
