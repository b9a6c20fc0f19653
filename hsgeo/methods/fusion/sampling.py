"""The network over a window of the scene: the result expected, or one of those that the images leave possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from hsgeo.diffusion import ancestral, ddim, noise_field
from hsgeo.methods.fusion.weights import Weights
from hsgeo.scene.window import Window

#: (window, prediction (M, k, H, W) of the clean signals over it, signal power) -> the prediction, made to agree with
#: what is known
Agreement = Callable[[Window, torch.Tensor, float], torch.Tensor]

#: side and overlap of the patches that are shown to a network where the whole is not, pixels
PATCH, OVERLAP = 64, 16

#: pixels of all signals that are shown to the network at once
AT_ONCE = 2**19


class Turn(NamedTuple):
    """An image turned by quarters, then mirrored; its sides are first grown to multiples of `fold`, as networks do."""

    quarters: int = 0
    mirror: bool = False
    fold: int = 1

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same, turned."""
        for axis in (-2, -1):
            missing = -x.shape[axis] % self.fold
            if missing:
                x = torch.cat([x, x.narrow(axis, -1, 1).repeat_interleave(missing, axis)], axis)
        x = torch.rot90(x, self.quarters, (-2, -1))
        return x.flip(-1) if self.mirror else x

    def back(self, x: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Undo it: (N, C, h, w) turned -> (N, C, *shape)."""
        x = torch.rot90(x.flip(-1) if self.mirror else x, -self.quarters, (-2, -1))
        return x[..., : shape[0], : shape[1]]


def denoised(
    network: Any,
    own: torch.Tensor,
    z: torch.Tensor,
    gamma: torch.Tensor,
    guide: torch.Tensor,
    item: torch.Tensor,
    *,
    plain: bool = False,
    features: Any = None,
) -> torch.Tensor:
    """The clean signal expected, given a noisy one.

    The network adds to the noisy signal by as much as its level leaves open (Karras et al. 2022, arXiv:2206.00364,
    section 5, for data of variance 1): z_0 = sqrt(gamma) z + sqrt(1 - gamma) F. At gamma = 0 it is plain regression.
    Where it is `plain`, it sees z itself and adds to the first k channels of the guide, the interpolated image
    (HSR-Diff, section 3.3 and figure 3, has an addition at the end, and leaves open to what).

    Parameters
    ----------
    own : tensor (M, c, H, W)
        What else is known of each signal.
    z : tensor (M, k, H, W)
    gamma : tensor (M,)
        Signal power.
    guide : tensor (N, g, H, W)
    item : int tensor (M,)
        Which guide belongs to each signal.
    plain : bool
    features : optional
        The network's of the guide, where they are at hand.

    Returns
    -------
    tensor (M, k, H, W)
    """
    given = guide if features is None else features
    if plain:
        return guide[item, : z.shape[1]] + network(torch.cat([own, z], 1), gamma, given, item)
    power = gamma.to(z).view(-1, 1, 1, 1)
    scaled = power.sqrt() * z
    return torch.addcmul(scaled, (1 - power).sqrt(), network(torch.cat([own, scaled], 1), gamma, given, item))


def context(weights: Weights, steps: int) -> int:
    """Pixels around a window that the network is to be shown for a sample of these steps."""
    fold, reach = weights.settings.network.fold, getattr(weights.network, "reach", 0)
    return -(-(reach if _whole(weights, steps) else max(reach, PATCH)) // fold) * fold


def _whole(weights: Weights, steps: int) -> bool:
    """Whether what a pixel depends on ends soon enough: every further step would add the network's reach."""
    return steps == 1 and hasattr(weights.network, "reach")


@torch.inference_mode()
def sample(
    weights: Weights,
    own: torch.Tensor,
    guide: torch.Tensor,
    outer: Window,
    core: Window,
    steps: int,
    seed: int,
    *,
    ensemble: bool = False,
    agreement: Agreement | None = None,
) -> torch.Tensor:
    """One sample of the clean signals.

    Parameters
    ----------
    weights : Weights
    own, guide : tensors (M, c, H, W) and (g, H, W)
        Over `outer`.
    outer, core : Window
        In pixels of the scene; `outer` is `core` grown by `context`, at least, and begins at a multiple of the
        network's fold.
    steps : int
        Of the sampler. One step is regression: the mean of all samples.
    seed : int
        Of the noise, which belongs to the pixels of the scene.
    ensemble : bool
        The mean of what the network says of the image turned and mirrored in all eight ways (Lim et al. 2017, EDSR,
        arXiv:1707.02921, section 3.3); for one step.
    agreement : callable, optional
        What is done to the prediction of every step.

    Returns
    -------
    tensor (M, k, h, w)
        Over `core`.
    """
    outputs, fold = weights.channels[2], weights.settings.network.fold
    total = own.new_zeros(len(own), outputs, *core.shape)
    turns = [Turn(n // 2, bool(n % 2), fold) for n in range(8)] if ensemble else [Turn()]
    for window, weight in patches(weights, outer, core, steps):
        rows, columns = window.within(outer).slices
        both = window.clip_to(core)
        target, source = both.within(core).slices, both.within(window).slices
        share = torch.as_tensor(weight[source]).to(total) / len(turns)
        count = max(1, AT_ONCE // (window.shape[0] * window.shape[1])) if agreement is None else len(own)
        for turn in turns:
            known = turn(guide[None, :, rows, columns])
            seen = weights.network.features(known)
            for first in range(0, len(own), count):
                part = slice(first, first + count)
                given = own[part, :, rows, columns], known, seen
                z = _sampled(weights, *given, turn, window, part.start, steps, seed, agreement)
                total[(part, slice(None), *target)] += share * z[(slice(None), slice(None), *source)]
    return total


def _sampled(
    weights: Weights,
    own: torch.Tensor,
    guide: torch.Tensor,
    features: Any,
    turn: Turn,
    window: Window,
    first: int,
    steps: int,
    seed: int,
    agreement: Agreement | None,
) -> torch.Tensor:
    """Over a window: by the guide and its features, turned, and what is known of each signal, as it lies."""
    process, plain, outputs = weights.settings.process, weights.settings.plain, weights.channels[2]
    item = torch.zeros(len(own), dtype=torch.long, device=own.device)
    shape, turned = (len(own), outputs, *window.shape), turn(own)

    def noise(step: int) -> torch.Tensor:
        drawn = noise_field(seed, step, (first + len(own)) * outputs, window.y0, window.y1, window.x0, window.x1)
        return torch.as_tensor(drawn[first * outputs :].reshape(shape)).to(own)

    def predict(z: torch.Tensor, gamma: float) -> torch.Tensor:
        level = own.new_full((len(own),), gamma)
        found = denoised(weights.network, turned, turn(z), level, guide, item, plain=plain, features=features)
        found = turn.back(found, window.shape)
        return found if agreement is None else agreement(window, found, gamma)

    levels = process.schedule().levels(steps).tolist()
    return ddim(predict, noise, levels) if process.sampler == "ddim" else ancestral(predict, noise, levels, "upper")


def patches(weights: Weights, outer: Window, core: Window, steps: int) -> Iterator[tuple[Window, np.ndarray]]:
    """Windows that the network is shown, with their share in each pixel: the shares of one pixel add up to 1.

    For one step a network of finite reach is shown the whole at once. Any other, whose result depends on where its
    window begins, is shown patches of one lattice, the same whatever the tile, which pass into each other.
    """
    if _whole(weights, steps):
        yield outer, np.ones(outer.shape, np.float32)
        return
    stride = PATCH - OVERLAP
    ramp = np.minimum((np.arange(PATCH) + 0.5) / OVERLAP, 1.0)
    ramp = np.minimum(ramp, ramp[::-1]).astype(np.float32)
    for y in range((core.y0 - PATCH) // stride * stride + stride, core.y1, stride):
        for x in range((core.x0 - PATCH) // stride * stride + stride, core.x1, stride):
            yield Window(y, y + PATCH, x, x + PATCH), np.outer(ramp, ramp)
