"""How far a network can be believed: measured on the pair itself, one scale down. No truth is needed.

Both images are degraded by their ratio and fused as the originals were (the protocol of Wald, Ranchin & Mangolini
1997); the HSI, whose noise is known, tells what the network gets right there, and how wrong it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from hsgeo.methods.fusion.calibration import ENOUGH, FEW, LIMITS, one_scale_down, reduced
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.sampling import context, sample
from hsgeo.methods.fusion.spaces import Space, repeated, space_of
from hsgeo.methods.fusion.weights import Weights
from hsgeo.scene.window import Window

#: pixels of the coarser scale that the gain of one coefficient is drawn to the gain of all with
SHRINK = 2000.0

#: part of the best factor one scale down that is taken: there a network is a little more right than on the pair itself.
#: 0.8, 0.9 and 1 gain alike on nine real scenes (0.25, 0.25, 0.24 dB), but 1 loses 0.02 dB on one of them
CAUTION = 0.8

#: part of a prediction that is believed where nothing can be measured: three quarters of what a true one brings
UNMEASURED = 0.5

#: factor of the samples' spread where nothing can be measured: by eye, near that of one real scene (1.8)
USUAL = 1.6

#: HSI pixels that are enough for the spread of samples, each of which costs many passes of the network
SAMPLED = ENOUGH // 4


class Low(NamedTuple):
    """A patch one scale down: what the network is shown, the fast fusion's result and its true error."""

    space: Space
    own: torch.Tensor
    guide: torch.Tensor
    outer: Window
    window: Window
    result: torch.Tensor
    error: torch.Tensor
    known: torch.Tensor

    def predicted(self, weights: Weights, steps: int, seed: int, ensemble: bool = False) -> torch.Tensor:
        """A sample of the error (p, H, W), in the units of the space."""
        z = sample(weights, self.own, self.guide, self.outer, self.window, steps, seed, ensemble=ensemble)
        return self.space.residual(z.flatten(0, 1), self.result)


def low_patches(model: SubspaceModel, weights: Weights, patches: Sequence[Any], steps: int, seed: int) -> Iterator[Low]:
    """The patches of a pair one scale down, with the context that samples of these steps need."""
    pairs = reduced(model, patches, np.random.default_rng(seed))
    if sum(int(known.sum()) for _, _, known in pairs) < FEW:
        return
    low = one_scale_down(model, [patch for patch, _, _ in pairs])
    space = space_of(weights.settings, low, [patch for patch, _, _ in pairs])
    for patch, truth, known in pairs:
        interpolated, detail, _ = PatchCase(low, patch).solution(low)
        result = interpolated + detail
        msi = (repeated(x, r) for x, r in zip(patch.msi, low.ratios, strict=True))
        margin = context(weights, steps)
        own, guide = padded(*space.inputs(interpolated, detail, msi), margin)
        true = space.residual(space.target(torch.as_tensor(truth).to(result), result), result)
        window = Window(0, known.shape[0], 0, known.shape[1])
        yield Low(space, own, guide, window.grow(margin), window, result, true, torch.as_tensor(known))


def fitted_gain(
    model: SubspaceModel, weights: Weights, patches: Sequence[Any], seed: int = 0, ensemble: bool = False
) -> tuple[np.ndarray, str]:
    """How much of the prediction to believe: what would have been best one scale down, coefficient by coefficient.

    The least-squares factor of each coefficient's prediction is drawn to that of all together where pixels are few,
    taken with `CAUTION`, and kept in 0 to 1.

    Returns
    -------
    array (p,)
    str
        How it was found.
    """
    p = len(model.mean)
    both, power, count = np.zeros(p), np.zeros(p), 0
    weight = np.ones(1)
    for low in low_patches(model, weights, patches, 1, seed):
        found = low.predicted(weights, 1, seed, ensemble)
        both += (found * low.error)[:, low.known].double().sum(1).numpy()
        power += (found * found)[:, low.known].double().sum(1).numpy()
        count += int(low.known.sum())
        weight = low.space.weight(model.basis / model.noise[:, None])
    if not count:
        return np.full(p, UNMEASURED), f"{UNMEASURED:g} of it (too few pixels to measure one scale down)"
    overall = float((weight * both).sum() / max((weight * power).sum(), 1e-12))
    share = count / (count + SHRINK)
    each = share * both / np.maximum(power, 1e-12) + (1 - share) * overall
    gain = np.clip(CAUTION * each, 0.0, 1.0)
    believed = np.average(gain, weights=np.broadcast_to(weight, gain.shape))
    return gain, f"{believed:.2f} of it, measured on {count} HSI pixels one scale down"


def fitted_spread(
    model: SubspaceModel,
    weights: Weights,
    patches: Sequence[Any],
    gain: np.ndarray,
    steps: int,
    samples: int,
    seed: int = 0,
) -> tuple[float, str]:
    """Factor by which the samples' standard deviation becomes that of the errors one scale down.

    Drawn to the usual one where pixels are few.

    Returns
    -------
    float
    str
        How it was found.
    """
    errors = spread = 0.0
    count = 0
    for low in low_patches(model, weights, patches, steps, seed):
        if count >= SAMPLED:
            break
        believed = low.predicted(weights, 1, seed) * torch.as_tensor(gain).to(low.error)[:, None, None]
        drawn = [low.space.correction(low.predicted(weights, steps, seed + n)) for n in range(samples)]
        errors += float(low.space.correction(low.error - believed)[:, low.known].double().square().sum())
        spread += float(torch.stack(drawn).var(0)[:, low.known].double().sum())
        count += int(low.known.sum())
    if not count:
        return USUAL, f"{USUAL:g} taken (too few pixels to measure one scale down)"
    errors = max(errors - count * len(model.mean), 0.0)  # the HSI's own noise is white of variance 1
    share = count / (count + SHRINK)
    measured = float(np.clip(np.sqrt(errors / max(spread, 1e-12)), *LIMITS))
    factor = measured**share * USUAL ** (1 - share)
    return factor, f"{factor:.2f}, measured on {count} HSI pixels one scale down"


def padded(own: torch.Tensor, guide: torch.Tensor, margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both grown on all sides by repeating the edge."""
    known = own.shape[0] * own.shape[1]  # may be none
    wide = pad(torch.cat([own.flatten(0, 1), guide])[None], (margin,) * 4, "replicate")[0]
    return wide[:known].reshape(*own.shape[:2], *wide.shape[1:]), wide[known:]
