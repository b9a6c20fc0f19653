"""Training of HUD's network on random crops of one scene's state."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from hsgeo.diffusion import forward
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.generation.prediction import sought
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.precision import bfloat16_pays
from hsgeo.networks import AbundanceUNet

#: steps over which the learning rate rises
RISE = 100

#: times the first loss from which one ends the training
DIVERGED = 1e3

#: rounds by which the places of crops are weighted; more leave ever fewer places
ROUNDS = 10

#: shares of the crops that are trained with nothing asked for, and with the shares of their classes alone
FREE, MIXED = 0.2, 0.3

#: crops that typical ones are chosen from, times as many, and a seed apart from those of the training's first steps
CANDIDATES, TYPICAL = 16, 2**31


class Crops:
    """Crops without gaps of a scene's state, the same for the same step and seed.

    Where they lie is drawn so that pixels at the border are in them nearly as often as any others.

    Parameters
    ----------
    state : float32 array (c, H, W)
        NaN where the scene has nothing.
    classes : int array (H, W), optional
        0 to K - 1, below 0 where not known.
    count : int
        K.
    settings : HudTrainingParams

    Raises
    ------
    DataError
        No crop is without gaps.
    """

    def __init__(
        self, state: np.ndarray, settings: HudTrainingParams, classes: np.ndarray | None = None, count: int = 0
    ) -> None:
        self.state, self.classes, self.count, self.settings = state, classes, count, settings
        side = settings.crop
        if min(state.shape[1:]) < side:
            height, width = state.shape[1:]
            raise DataError(f"{height} x {width} pixels hold no crop of {side}; take smaller ones (--set crop=16).")
        whole = _boxes(~np.isfinite(state).all(0), side) == 0
        if not whole.any():
            raise DataError(f"no {side} x {side} pixels without gaps; fill them (restore --task inpaint) or set crop.")
        self.places = np.argwhere(whole)
        self.up_to = _evened(whole, side)[whole].cumsum()

    def batch(self, step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """States (n, c, side, side), and what is asked for (n, K, side, side)."""
        s, rng = self.settings, np.random.default_rng([seed, step])
        states, asked = [], []
        drawn = np.searchsorted(self.up_to, rng.random(s.batch) * self.up_to[-1], side="right")
        for y, x in self.places[drawn]:
            part = (..., slice(y, y + s.crop), slice(x, x + s.crop))
            images = [self.state[part]]
            if self.classes is not None:
                images.append(self._asked(self.classes[part], rng.random()))
            if s.turned:
                turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
                images = [np.rot90(i, turns, (1, 2))[..., :: -1 if mirror else 1] for i in images]
            states.append(images[0])
            asked += images[1:]
        return torch.from_numpy(np.stack(states)), torch.from_numpy(np.stack(asked)) if asked else None

    def typical(self, count: int) -> torch.Tensor:
        """States (count, c, side, side) that together have the mean and variance of the scene's, which are 0 and 1.

        Of `CANDIDATES` times as many, each is the one that brings those before nearest to them (herding, Welling 2009).
        """
        size, parts = self.settings.batch, []
        for i in range(-(-CANDIDATES * count // size)):
            states, _ = self.batch(i, TYPICAL)
            parts.append(torch.cat([states.mean((2, 3)), states.square().mean((2, 3))], 1).double())
        has = torch.cat(parts)
        wanted = torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(has.shape[1] // 2)
        chosen, missing = np.empty(count, int), wanted.clone()
        for k in range(count):
            chosen[k] = best = int((has - missing).square().sum(1).argmin())
            missing += wanted - has[best]
            has[best] = torch.inf
        found = torch.empty(count, *states.shape[1:])
        for i in np.unique(chosen // size):
            here = chosen // size == i
            found[here] = self.batch(int(i), TYPICAL)[0][chosen[here] % size]
        return found

    def _asked(self, classes: np.ndarray, draw: float) -> np.ndarray:
        """Of each pixel its class, the crop's shares of the classes, or nothing."""
        exact = (classes == np.arange(self.count)[:, None, None]).astype(np.float32)
        if draw < FREE:
            return np.zeros_like(exact)
        if draw < FREE + MIXED:
            return np.broadcast_to(shares_of(exact), exact.shape).astype(np.float32)
        return exact


def _boxes(image: np.ndarray, side: int) -> np.ndarray:
    """Sums over all boxes of `side` x `side` pixels that lie in an image."""
    sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return sums[side:, side:] - sums[side:, :-side] - sums[:-side, side:] + sums[:-side, :-side]


def _evened(allowed: np.ndarray, side: int) -> np.ndarray:
    """Weights of the places of crops, by which pixels lie in them more evenly than with equal ones.

    Each round multiplies a place's weight by the mean of 1 / coverage of its pixels: expectation and maximisation of a
    mixture of boxes for pixels drawn evenly (Dempster et al. 1977).
    """
    weights = allowed / allowed.sum()
    for _ in range(ROUNDS):
        covered = _boxes(np.pad(weights, side - 1), side)
        weights = weights * _boxes(np.divide(1, covered, out=np.zeros_like(covered), where=covered > 1e-12), side)
        weights /= weights.sum()
    return weights


def shares_of(exact: np.ndarray) -> np.ndarray:
    """Shares (K, 1, 1) of the classes in a map (K, h, w) of zeros and ones; zeros where none is known."""
    return exact.sum((1, 2), keepdims=True) / max(float(exact.sum()), 1.0)


def trained(
    network: AbundanceUNet, crops: Crops, seed: int = 0, device: str = "cpu", progress: Any = None
) -> tuple[AbundanceUNet, list[float]]:
    """Train a network to find what is `sought` at a level drawn evenly (Ho et al. 2020, eq. 14; HUD, eq. 15).

    Returns
    -------
    AbundanceUNet
        The running average of its weights.
    losses : list of float
        Of every step.

    Raises
    ------
    ParameterError
        The training diverged.
    """
    s, gamma = crops.settings, torch.as_tensor(crops.settings.schedule().gamma, dtype=torch.float32)
    network = network.to(device).train()
    average = deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), s.learning_rate, weight_decay=1e-4)
    rng, losses = torch.Generator().manual_seed(seed), []
    for step in range(s.steps):
        clean, asked = crops.batch(step, seed)
        t = torch.randint(1, s.length + 1, (len(clean),), generator=rng)
        noise = torch.randn(clean.shape, generator=rng)
        level = gamma[t]
        power = level.view(-1, 1, 1, 1)
        z, wanted = forward(clean, power, noise), sought(clean, noise, power, s.target).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16_pays(torch.device(device))):
            found = network(z.to(device), level.to(device), None if asked is None else asked.to(device))
        loss = (found.float() - wanted).square().mean()
        rate = s.learning_rate * min(1.0, (step + 1) / RISE) * 0.5 * (1 + math.cos(math.pi * step / s.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        memory = min(s.averaging, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - memory)
        losses.append(float(loss.detach()))
        if not losses[-1] < DIVERGED * losses[0]:
            raise ParameterError(
                f"the training diverged: at step {step + 1} its loss is {losses[-1]:.3g}, {losses[0]:.3g} at first; "
                "take a lower learning_rate."
            )
        if progress is not None:
            progress.advance()
    return average.cpu().eval(), losses
