"""Samples of any size: the network sees windows with as much around as it can see, so the whole is never cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hsgeo.diffusion import Schedule, ddim, noise_field
from hsgeo.methods.generation.prediction import Target, clean_of
from hsgeo.scene.window import Window

#: pixels that the network sees at a time
AT_ONCE = 1 << 18

#: what is asked for of a window, shares of the classes (classes, h, w)
Wanted = Callable[[Window], np.ndarray]


def sampled(
    network: Any,
    schedule: Schedule,
    channels: int,
    shape: tuple[int, int],
    seeds: Sequence[int],
    steps: int,
    eta: float = 1.0,
    wanted: Sequence[Wanted] | None = None,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    target: Target = "velocity",
    device: str = "cpu",
) -> torch.Tensor:
    """States drawn from noise, one for each seed; what a seed gives does not depend on the others, nor on windows.

    Parameters
    ----------
    network : AbundanceUNet
    schedule : Schedule
        That it was trained on.
    channels : int
    shape : (height, width)
        Pixels.
    seeds : sequence of int
        Each has a noise field of its own.
    steps : int
        Of the sampler, 1 to the schedule's.
    eta : float
        1 draws noise at every step (ancestral), 0 at the start alone (DDIM).
    wanted : sequence of callables, optional
        One for each seed.
    bounds : (array (channels,), array (channels,)), optional
        Least and largest value of the clean state, within which its estimate is kept at every step.
    target : {"velocity", "epsilon"}
        What the network finds.

    Returns
    -------
    float32 tensor (n, channels, height, width)
    """
    whole = Window(0, shape[0], 0, shape[1])
    network = network.to(device).eval()

    def noise(step: int) -> torch.Tensor:
        fields = [noise_field(seed, step, channels, 0, shape[0], 0, shape[1]) for seed in seeds]
        return torch.from_numpy(np.stack(fields))

    def predict(z: torch.Tensor, gamma: float) -> torch.Tensor:
        found = torch.empty_like(z)
        for core, have, batch in _windows(whole, network, len(seeds)):
            asked = None
            if wanted is not None:
                asked = torch.from_numpy(np.stack([wanted[i](have) for i in range(batch.start, batch.stop)])).to(device)
            part = z[(batch, slice(None), *have.slices)].to(device)
            with torch.inference_mode():
                output = network(part, torch.full((len(part),), gamma, device=device), asked).to(z.device)
            clean = clean_of(output, part.to(z.device), gamma, target)
            if bounds is not None:
                low, high = (torch.as_tensor(b, dtype=clean.dtype).view(1, -1, 1, 1) for b in bounds)
                clean = torch.clamp(clean, low, high)
            found[(batch, slice(None), *core.slices)] = clean[(slice(None), slice(None), *core.within(have).slices)]
        return found

    return ddim(predict, noise, schedule.levels(steps).tolist(), eta)


def _windows(whole: Window, network: Any, count: int) -> list[tuple[Window, Window, slice]]:
    """Parts of the canvas, what the network is shown for each, and the samples that go together."""
    height, width = whole.shape
    side = max(int(AT_ONCE**0.5) - 2 * network.reach, 2 * network.reach) // network.multiple * network.multiple
    out = []
    for block in whole.blocks(side):
        core = block.clip(height, width)
        have = core.grow(network.reach).clip(height, width)
        size = max(1, AT_ONCE // (have.shape[0] * have.shape[1]))
        out += [(core, have, slice(i, min(i + size, count))) for i in range(0, count, size)]
    return out
