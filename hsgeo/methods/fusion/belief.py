"""How far a network can be believed: measured on the pair itself, one scale down. No truth is needed.

Both images are degraded by their ratio and fused as the originals were (the protocol of Wald, Ranchin & Mangolini
1997); the HSI, whose noise is known, tells what the network gets right there, and how wrong it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from hsgeo.methods.fusion.calibration import FEW, one_scale_down, reduced
from hsgeo.methods.fusion.data_consistency import DataConsistency
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.sampling import OVERLAP, PATCH, context, sample
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

#: factor of the samples' standard deviation where nothing can be measured: by eye, near those of real scenes
USUAL = 2.0

#: windows of the sampler in which the samples' spread is looked at, each of which costs many passes of the network
BLOCKS = 4


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
    agreement: DataConsistency | None = None

    def predicted(self, weights: Weights, steps: int, seed: int, ensemble: bool = False) -> torch.Tensor:
        """A sample of the error (p, H, W), in the units of the space."""
        z = sample(
            weights,
            self.own,
            self.guide,
            self.outer,
            self.window,
            steps,
            seed,
            ensemble=ensemble,
            agreement=self.agreement,
        )
        return self.space.residual(z.flatten(0, 1), self.result)


def low_patches(
    model: SubspaceModel, weights: Weights, patches: Sequence[Any], steps: int, seed: int, consistent: bool = False
) -> Iterator[Low]:
    """The patches of a pair one scale down, with the context that samples of these steps need."""
    pairs = reduced(model, patches, np.random.default_rng(seed))
    if sum(int(known.sum()) for _, _, known in pairs) < FEW:
        return
    low = one_scale_down(model, [patch for patch, _, _ in pairs])
    space = space_of(weights.settings, low, [patch for patch, _, _ in pairs])
    for patch, truth, known in pairs:
        case = PatchCase(low, patch)
        interpolated, detail, _ = case.solution(low)
        result = interpolated + detail
        msi = (repeated(x, r) for x, r in zip(patch.msi, low.ratios, strict=True))
        margin = context(weights, steps)
        own, guide = padded(*space.inputs(interpolated, detail, msi), margin)
        true = space.residual(space.target(torch.as_tensor(truth).to(result), result), result)
        window = Window(0, known.shape[0], 0, known.shape[1])
        outer = window.grow(margin)
        agreement = DataConsistency.of_patch(low, space, case, outer) if consistent else None
        yield Low(space, own, guide, outer, window, result, true, torch.as_tensor(known), agreement)


def fitted_gain(
    model: SubspaceModel,
    weights: Weights,
    patches: Sequence[Any],
    seed: int = 0,
    *,
    steps: int = 1,
    ensemble: bool = False,
    consistent: bool = False,
) -> tuple[np.ndarray, str]:
    """How much of the prediction to believe: what would have been best one scale down, coefficient by coefficient.

    The prediction is a sample of `steps`: one of many steps, which holds what the images leave open, too, is believed
    less than regression.

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
    for low in low_patches(model, weights, patches, steps, seed, consistent and steps > 1):
        found = low.predicted(weights, steps, seed, ensemble)
        both += (found * low.error)[:, low.known].double().sum(1).numpy()
        power += (found * found)[:, low.known].double().sum(1).numpy()
        count += int(low.known.sum())
        weight = low.space.weight(model.basis / model.noise[:, None])
    if not count:
        said = f"{UNMEASURED:.0%} of its correction taken (too few pixels to measure one scale down)"
        return np.full(p, UNMEASURED), said
    overall = float((weight * both).sum() / max((weight * power).sum(), 1e-12))
    share = count / (count + SHRINK)
    each = share * both / np.maximum(power, 1e-12) + (1 - share) * overall
    gain = np.clip(CAUTION * each, 0.0, 1.0)
    believed = np.average(gain, weights=np.broadcast_to(weight, gain.shape))
    return gain, f"{believed:.0%} of its correction taken, as measured on {count} HSI pixels one scale down"


def fitted_spread(
    model: SubspaceModel,
    space: Space,
    weights: Weights,
    patches: Sequence[Any],
    steps: int,
    samples: int,
    seed: int,
    consistent: bool = False,
) -> tuple[np.ndarray, str]:
    """Factor of the samples' standard deviation, band by band, that makes their mean variance the fast fusion's.

    The samples tell where errors are larger and where smaller; how large they are is measured for the fast fusion, one
    scale down (`hsgeo.methods.fusion.calibration`), by more pixels than could be sampled there, and at another scale
    samples differ by another amount.

    Returns
    -------
    array (B,)
        Of the model's bands.
    str
        How it was found.
    """
    assert model.table is not None
    found = [piece for patch in patches for piece in pieces(model, patch)]
    chosen = np.random.default_rng(seed).permutation(len(found))[:BLOCKS]
    bands, margin, count = len(model.basis), context(weights, steps), 0
    between, expected = np.zeros(bands), np.zeros(bands)
    for piece in (found[k] for k in chosen):
        case = PatchCase(model, piece)
        interpolated, detail, levels = case.solution(model)
        msi = [repeated(x, r) for x, r in zip(piece.msi, model.ratios, strict=True)]
        images = (*msi, repeated(piece.hsi[model.model_bands], model.scale))
        own, guide = padded(*space.inputs(interpolated, detail, msi), margin)
        outer = Window(0, detail.shape[1], 0, detail.shape[2]).grow(margin)
        # what a single window of the sampler covers alone, or all of what is smaller
        block = Window(*(v for n in detail.shape[1:] for v in ((OVERLAP, PATCH - OVERLAP) if n >= PATCH else (0, n))))
        cut = (slice(None), *block.slices)
        inside = np.logical_and.reduce([np.isfinite(x[cut]).all(0) for x in images])
        agreement = DataConsistency.of_patch(model, space, case, outer) if consistent else None
        signals = (
            sample(weights, own, guide, outer, block, steps, seed + n, agreement=agreement) for n in range(samples)
        )
        drawn = torch.stack(
            [space.correction(space.residual(z.flatten(0, 1), (interpolated + detail)[cut])) for z in signals]
        )
        apart = torch.tensordot(drawn, torch.as_tensor(model.basis).to(drawn), ([1], [1])).var(0).movedim(-1, 0)
        variance = model.table.over(levels[cut], (block.y0, block.x0), np.zeros(block.shape, np.uint8))
        between += apart.numpy()[:, inside].sum(1, dtype=float)
        expected += (variance - model.lost[:, None, None])[:, inside].sum(1, dtype=float)
        count += int(inside.sum())
    if count < FEW:
        return np.full(bands, USUAL), f"{USUAL:g} taken (too few pixels to measure it on)"
    factor = np.sqrt(np.maximum(expected, 0) / np.maximum(between, 1e-12))
    told = model.estimates.get("uncertainty", "the model's posterior standard deviation, not calibrated")
    return factor, f"{np.median(factor):.2f} (median), which makes their mean the fast fusion's: {told}"


def pieces(model: SubspaceModel, patch: Any) -> list[Any]:
    """Parts of a patch, of whole pixels of all images: as wide as a window of the sampler, or the patch itself."""
    step = model.multiple // model.scale
    side = -(-PATCH // model.multiple) * step
    ends = (max(n - side, 0) // step * step for n in patch.hsi.shape[1:])
    starts = (sorted({*range(0, end + 1, side), end}) for end in ends)

    def cut(values: np.ndarray, y: int, x: int, ratio: int) -> np.ndarray:
        rows, columns = (slice(v * model.scale // ratio, (v + side) * model.scale // ratio) for v in (y, x))
        return values[:, rows, columns]

    return [
        SimpleNamespace(
            hsi=cut(patch.hsi, y, x, model.scale),
            msi=[cut(one, y, x, ratio) for one, ratio in zip(patch.msi, model.ratios, strict=True)],
        )
        for y, x in product(*starts)
    ]


def padded(own: torch.Tensor, guide: torch.Tensor, margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both grown on all sides by repeating the edge."""
    known = own.shape[0] * own.shape[1]  # may be none
    wide = pad(torch.cat([own.flatten(0, 1), guide])[None], (margin,) * 4, "replicate")[0]
    return wide[:known].reshape(*own.shape[:2], *wide.shape[1:]), wide[known:]
