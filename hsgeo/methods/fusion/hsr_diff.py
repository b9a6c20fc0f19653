"""HSR-Diff: a conditional diffusion model of what the fast fusion leaves open.

After Wu et al. 2023 (HSR-Diff, arXiv:2306.12085), which diffuses the image itself, as can be done here too
(`hsgeo.methods.fusion.pixels`); by default a network sees the fast fusion's coefficients
(`hsgeo.methods.fusion.coordinates`) and predicts their error. How much of that is believed is measured on the pair
itself, one scale down, so that a scene unlike those it was trained on is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import pad

from hsgeo.methods.base import FusionInputs, Method, TileResult
from hsgeo.methods.fusion.calibration import one_scale_down, reduced
from hsgeo.methods.fusion.fit import PatchCase, survey
from hsgeo.methods.fusion.model import Solved, SubspaceModel
from hsgeo.methods.fusion.sampling import context, sample
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.spaces import Space, repeated, space_of
from hsgeo.methods.fusion.subspace import SubspaceParams, check_ratio, fit_model
from hsgeo.methods.fusion.weights import Weights, load_weights
from hsgeo.scene.window import Window

#: pixels of the coarser scale that the gain of one coefficient is drawn to the gain of all with
SHRINK = 2000.0


class HsrDiffParams(SubspaceParams):
    """Parameters of `HsrDiffFusion`; those of the fast fusion, and its own."""

    model: str | None = Field(default=None, description="trained weights; the model that comes with hsgeo without")
    steps: int | None = Field(default=None, ge=1, description="steps of the sampler; 1 is regression")
    samples: int = Field(default=1, ge=1, description="samples whose mean is taken, and whose spread with uncertainty")
    gain: Literal["fitted", "full"] = Field(
        default="fitted", description="how much of the prediction is believed: measured one scale down, or all"
    )
    consistency: bool = Field(default=False, description="solve for both images once more about the prediction")
    training: TrainingParams = Field(default=TrainingParams(), description="how a model is trained, with --train")


@dataclass(kw_only=True)
class HsrDiffModel:
    """A fitted fast fusion, and the network that corrects it.

    Attributes
    ----------
    base : SubspaceModel
    space : Space
    weights : Weights
    gain : array (p,)
        Share of each predicted coefficient that is believed, 0 to 1.
    steps, samples, seed : int
    consistency : bool
    has_variance : bool
    """

    base: SubspaceModel
    space: Space
    weights: Weights
    gain: np.ndarray
    steps: int = 1
    samples: int = 1
    seed: int = 0
    consistency: bool = False
    has_variance: bool = False
    estimates: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale, self.notes, self.bad_reason = self.base.scale, self.base.notes, self.base.bad_reason

    @property
    def good(self) -> np.ndarray:
        """Bands that the fusion vouches for, bool (B,)."""
        return self.base.good

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many fine pixels."""
        return math.lcm(self.base.multiple, self.weights.settings.network.fold)

    @property
    def halo(self) -> int:
        """Context of a tile, fine pixels: the network's, and around that the fast fusion's."""
        step = self.multiple
        return -(-(self.base.halo + self._margin + context(self.weights)) // step) * step

    @property
    def _margin(self) -> int:
        """Pixels around a tile that its degraded copy depends on."""
        step = self.multiple
        radius = max(s.psf.radius(axis) for s in self.base.sensors if s.psf is not None for axis in (0, 1))
        return -(-math.ceil(radius + 1) // step) * step

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return {**self.base.report(), **self.estimates}

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`."""
        solved = self.base.solve(hsi, msi, outer, core, device)
        drawn = self._corrections(solved, msi, core.grow(self._margin), core)
        variance = self._variance(solved, drawn, core) if self.has_variance else None
        wide = solved.frame.cut(core.grow(self._margin))
        solved.detail[(slice(None), *wide)] += drawn.mean(0)
        if self.consistency:
            solved.detail = self._consistent(solved)
        return TileResult(
            self.base.spectra(solved, hsi, core),
            variance,
            solved.flags,
            self.base.misfits(solved, hsi, outer, core),
        )

    def _corrections(self, solved: Solved, msi: Sequence[np.ndarray], wanted: Window, core: Window) -> torch.Tensor:
        """Samples of what the network adds to the coefficients (N, p, h, w) over `wanted`.

        Nothing where one of the images is missing.
        """
        weights = self.weights
        weights.network.to(solved.detail.device)
        seen = wanted.grow(context(weights))
        rows, columns = solved.frame.cut(seen)
        bands = (
            repeated(solved.frame.take(x, r), r)[:, rows, columns] for x, r in zip(msi, self.base.ratios, strict=True)
        )
        own, guide = self.space.inputs(solved.interpolated[:, rows, columns], solved.detail[:, rows, columns], bands)
        rows, columns = solved.frame.cut(wanted)
        result = solved.interpolated[:, rows, columns] + solved.detail[:, rows, columns]
        gain = torch.as_tensor(self.gain).to(own)[:, None, None]
        known = torch.ones(wanted.shape, device=own.device)
        known[core.within(wanted).slices] = torch.as_tensor(solved.flags == 0).to(known)
        out = []
        for n in range(self.samples):
            z = sample(weights, own, guide, seen, wanted, self.steps, self.seed + n).flatten(0, 1)
            out.append(self.space.correction(self.space.residual(z, result) * gain) * known)
        return torch.stack(out)

    def _consistent(self, solved: Solved) -> torch.Tensor:
        """The detail that both images and the prediction, as the mean of a prior, make most probable."""
        own = solved.operators
        left = [torch.nan_to_num(d - own.observe(solved.detail, j), 0, 0, 0) for j, d in enumerate(solved.innovations)]
        return solved.detail + own.detail(left, self.base.energy)[0]

    def _variance(self, solved: Solved, drawn: torch.Tensor, core: Window) -> np.ndarray:
        """Variance (B, H, W): between the samples where there are some, else the fast fusion's."""
        rows, columns = solved.frame.cut(core)
        out = self.base.variance(solved.weights[:, rows, columns], core, solved.flags)
        if len(drawn) > 1:
            inside = core.within(core.grow(self._margin)).slices
            parts = drawn[(slice(None), slice(None), *inside)]
            both = solved.flags == 0
            for row, band in enumerate(self.base.model_bands):
                spread = torch.tensordot(torch.as_tensor(self.base.basis[row]).to(parts), parts, ([0], [1])).var(0)
                out[band, both] = spread.cpu().numpy()[both] + self.base.lost[row]
        return out


class HsrDiffFusion(Method):
    """Method ``hsr-diff``."""

    name = "hsr-diff"
    Params = HsrDiffParams

    def fit(self, inputs: FusionInputs, params: HsrDiffParams | None = None, progress: Any = None) -> HsrDiffModel:
        """Fit the fast fusion, load the network, and measure how far it is to be believed; see `Method.fit`.

        Raises
        ------
        ModelError
            The network cannot be read, or was made for other pairs.
        """
        params = params or HsrDiffParams()
        check_ratio(inputs)
        weights = load_weights(params.model)
        found = survey(inputs, params.dimension, params.seed)
        base = fit_model(inputs, found, params)
        weights.refuse(base.scale, (len(base.model_bands), sum(len(g) for g in base.gauges)))
        space = space_of(weights.settings, base, found.patches)
        gain, said = np.ones(len(base.mean)), "all of it"
        if params.gain == "fitted":
            gain, said = fitted_gain(base, weights, found.patches, params.seed)
        steps = params.steps or weights.settings.process.steps
        return HsrDiffModel(
            base=base,
            space=space,
            weights=weights,
            gain=gain,
            steps=steps,
            samples=params.samples,
            seed=params.seed,
            consistency=params.consistency,
            has_variance=params.uncertainty,
            estimates={"model": weights.name, "gain_of_model": said, "steps": steps, "samples": params.samples},
        )


def fitted_gain(
    model: SubspaceModel, weights: Weights, patches: Sequence[Any], seed: int = 0
) -> tuple[np.ndarray, str]:
    """How much of the prediction to believe: what would have been best one scale down, coefficient by coefficient.

    Both images are degraded by their ratio and fused as the originals were; the HSI is the truth. The least-squares
    factor of each coefficient's prediction is drawn to that of all together where pixels are few, and kept in 0 to 1.

    Returns
    -------
    array (p,)
    str
        How it was found.
    """
    pairs = reduced(model, patches, np.random.default_rng(seed))
    count = sum(int(known.sum()) for _, _, known in pairs)
    p = len(model.mean)
    if count < 100:
        return np.ones(p), "all of it (too few pixels to measure one scale down)"
    low = one_scale_down(model, [patch for patch, _, _ in pairs])
    space = space_of(weights.settings, low, [patch for patch, _, _ in pairs])
    weight = space.weight(low.basis / low.noise[:, None])
    both, power = np.zeros(p), np.zeros(p)
    for patch, truth, known in pairs:
        interpolated, detail, _ = PatchCase(low, patch).solution(low)
        result = interpolated + detail
        msi = (repeated(x, r) for x, r in zip(patch.msi, low.ratios, strict=True))
        own, guide = space.inputs(interpolated, detail, msi)
        whole = Window(0, known.shape[0], 0, known.shape[1])
        z = sample(weights, *padded(own, guide, context(weights)), whole.grow(context(weights)), whole, 1, seed)
        target = space.target(torch.as_tensor(truth).to(result), result)
        found, true = (space.residual(v, result) for v in (z.flatten(0, 1), target))
        inside = torch.as_tensor(known)
        both += (found * true)[:, inside].double().sum(1).numpy()
        power += (found * found)[:, inside].double().sum(1).numpy()
    overall = float((weight * both).sum() / max((weight * power).sum(), 1e-12))
    share = count / (count + SHRINK)
    each = share * both / np.maximum(power, 1e-12) + (1 - share) * overall
    gain = np.clip(each, 0.0, 1.0)
    believed = np.average(gain, weights=np.broadcast_to(weight, gain.shape))
    return gain, f"{believed:.2f} of it, measured on {count} HSI pixels one scale down"


def padded(own: torch.Tensor, guide: torch.Tensor, margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both grown on all sides by repeating the edge."""
    known = own.shape[0] * own.shape[1]  # may be none
    wide = pad(torch.cat([own.flatten(0, 1), guide])[None], (margin,) * 4, "replicate")[0]
    return wide[:known].reshape(*own.shape[:2], *wide.shape[1:]), wide[known:]
