"""Samples of any size: the network sees windows with as much around as it can see, so the whole is never cut.

`Sampler` takes one step over one window, so that a canvas that no memory holds can be worked on part by part;
`sampled` takes all of them over a canvas in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hsgeo.diffusion import Schedule, ddim_step, noise_field
from hsgeo.methods.generation.correction import Correction
from hsgeo.methods.generation.prediction import Target, clean_of
from hsgeo.methods.generation.wanted import Nothing
from hsgeo.scene.window import Window

#: pixels that the network sees at a time: windows of 512 with 64 around, of 14 us a pixel and step; 17 with 384 inside
AT_ONCE = 640**2

#: what is asked for of a window, shares of the classes (classes, h, w)
Wanted = Callable[[Window], np.ndarray]

#: the states (n, channels, h, w) of a window
Read = Callable[[Window], torch.Tensor]


@dataclass(frozen=True)
class Sampler:
    """The steps from noise to states, each of which can be taken over any window of the canvas.

    Parameters
    ----------
    network : AbundanceUNet
    schedule : Schedule
        That it was trained on.
    channels, steps : int
        Of the state; of the sampler, 1 to the schedule's.
    eta : float
        1 draws noise at every step (ancestral), 0 at the start alone (DDIM).
    bounds : (array (channels,), array (channels,)), optional
        Least and largest value of the clean state, within which its estimate is kept at every step.
    target : {"velocity", "epsilon"}
        What the network finds.
    device : str
        Where the network is.
    correction : Correction, optional
        Of clean estimates, where no noise is drawn in between (eta 0) and nothing is asked for.
    """

    network: Any
    schedule: Schedule
    channels: int
    steps: int
    eta: float = 0.0
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    target: Target = "velocity"
    device: str = "cpu"
    correction: Correction | None = None

    def noise(self, step: int, seeds: Sequence[int], window: Window) -> torch.Tensor:
        """Noise (n, channels, h, w) of a step, one field for each seed; that of step 0 is the state to begin from."""
        place = (window.y0, window.y1, window.x0, window.x1)
        return torch.from_numpy(np.stack([noise_field(seed, step, self.channels, *place) for seed in seeds]))

    def seen(self, window: Window, shape: tuple[int, int]) -> Window:
        """What of a canvas the network must see for a window: its reach around, from one of its multiples on."""
        reach, multiple = self.network.reach, self.network.multiple
        y0, x0 = ((n - reach) // multiple * multiple for n in (window.y0, window.x0))
        return Window(y0, window.y1 + reach, x0, window.x1 + reach).clip(*shape)

    def step(
        self,
        number: int,
        read: Read,
        window: Window,
        shape: tuple[int, int],
        seeds: Sequence[int],
        wanted: Sequence[Wanted] | None = None,
    ) -> torch.Tensor:
        """The states of a window after one more step.

        Parameters
        ----------
        number : int
            Of the step, from 1.
        read : callable
            Gives the states before, of any window that `seen` names.
        window : Window
            Of the canvas, inside it.
        shape : (height, width)
            Of the canvas.
        seeds : sequence of int
            Each has a noise field of its own.
        wanted : sequence of callables, optional
            One for each seed.

        Returns
        -------
        float32 tensor (n, channels, h, w)
        """
        gamma, cleaner = self.schedule.levels(self.steps)[number - 1 : number + 1].tolist()
        made_up = self._made_up(gamma, len(seeds), wanted)
        network = self.network.to(self.device).eval()
        out = torch.empty((len(seeds), self.channels, *window.shape))
        for core in self._parts(window):
            have = self.seen(core, shape)
            inside, z = core.within(have).slices, read(have)
            size = max(1, AT_ONCE // (have.shape[0] * have.shape[1]))
            for batch in (slice(i, i + size) for i in range(0, len(seeds), size)):
                asked = None
                if wanted is not None:
                    asked = torch.from_numpy(np.stack([one(have) for one in wanted[batch]])).to(self.device)
                part = z[batch].to(self.device)
                with torch.inference_mode():
                    found = network(part, torch.full((len(part),), gamma, device=self.device), asked)
                before = part[(..., *inside)].cpu()
                clean = self._bounded(clean_of(found[(..., *inside)].cpu(), before, gamma, self.target))
                if made_up is not None:
                    factor, shift = (each[batch] for each in made_up)
                    clean = self._bounded(factor * clean + shift)
                noise = partial(self.noise, number, seeds[batch], core)
                moved = ddim_step(before, clean, gamma, cleaner, self.eta, noise)
                out[(batch, slice(None), *core.within(window).slices)] = moved
        return out

    def _made_up(
        self, gamma: float, count: int, wanted: Sequence[Wanted] | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What clean estimates are multiplied with, and what is added, tensors (n, channels, 1, 1)."""
        if self.correction is None or self.eta > 0:
            return None
        free = torch.tensor([wanted is None or isinstance(wanted[i], Nothing) for i in range(count)]).view(-1, 1, 1, 1)
        factor, shift = map(_channels, self.correction.at(gamma, self.steps))
        return torch.where(free, factor, 1.0), torch.where(free, shift, 0.0)

    def _bounded(self, clean: torch.Tensor) -> torch.Tensor:
        return clean if self.bounds is None else torch.clamp(clean, *map(_channels, self.bounds))

    def _parts(self, window: Window) -> Iterator[Window]:
        """Parts of a window that the network is shown one after the other."""
        reach, multiple = self.network.reach, self.network.multiple
        side = max(int(AT_ONCE**0.5) - 2 * reach, 2 * reach) // multiple * multiple
        for block in Window(0, window.shape[0], 0, window.shape[1]).blocks(side):
            yield block.clip(*window.shape).shift(window.y0, window.x0)


def sampled(
    sampler: Sampler, shape: tuple[int, int], seeds: Sequence[int], wanted: Sequence[Wanted] | None = None
) -> torch.Tensor:
    """States drawn from noise, one for each seed; what a seed gives does not depend on the others, nor on windows.

    Parameters
    ----------
    sampler : Sampler
    shape : (height, width)
        Pixels.
    seeds : sequence of int
    wanted : sequence of callables, optional
        One for each seed.

    Returns
    -------
    float32 tensor (n, channels, height, width)
    """
    whole = Window(0, shape[0], 0, shape[1])
    z = sampler.noise(0, seeds, whole)
    for number in range(1, sampler.steps + 1):
        z = sampler.step(number, partial(_window, z), whole, shape, seeds, wanted)
    return z


def _channels(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def _window(states: torch.Tensor, window: Window) -> torch.Tensor:
    return states[(..., *window.slices)]
