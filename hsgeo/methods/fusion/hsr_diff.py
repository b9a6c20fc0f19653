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

from hsgeo.errors import ParameterError
from hsgeo.methods.base import FusionInputs, Method, TileResult
from hsgeo.methods.fusion.belief import fitted_gain, fitted_spread
from hsgeo.methods.fusion.data_consistency import DataConsistency
from hsgeo.methods.fusion.fit import survey
from hsgeo.methods.fusion.frame import Frame
from hsgeo.methods.fusion.missing import flag_pixels
from hsgeo.methods.fusion.model import Solved, SubspaceModel
from hsgeo.methods.fusion.sampling import context, sample
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.spaces import Space, repeated, space_of
from hsgeo.methods.fusion.subspace import SubspaceParams, check_ratio, fit_model
from hsgeo.methods.fusion.weights import Weights, load_weights
from hsgeo.scene.window import Window

#: samples that the fast fusion's variance counts as, beside those that are drawn: few tell a variance badly
PRIOR = 4

#: steps of the sampler where several samples are asked for, but no number of steps
SAMPLER_STEPS = 10


class HsrDiffParams(SubspaceParams):
    """Parameters of `HsrDiffFusion`; those of the fast fusion, and its own."""

    model: str | None = Field(default=None, description="trained weights; the model that comes with hsgeo without")
    steps: int | None = Field(default=None, ge=1, description="steps of the sampler; 1 is regression")
    samples: int = Field(
        default=1, ge=1, description="from two on, their spread is the uncertainty, if that is asked for"
    )
    gain: Literal["fitted", "full"] = Field(
        default="fitted", description="how much of the prediction is believed: measured one scale down, or all"
    )
    ensemble: bool = Field(
        default=False,
        description="of one step: mean over the image turned and mirrored in eight ways; 4 to 7 times slower",
    )
    consistency: Literal["none", "end", "steps"] = Field(
        default="none",
        description="solve for both images about the prediction: once at the end, or at every step of many as well",
    )
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
    spread : array (B_model,)
        Factor of the samples' standard deviation.
    steps, samples, seed : int
    ensemble : bool
    consistency : {"none", "end", "steps"}
    has_variance : bool
    """

    base: SubspaceModel
    space: Space
    weights: Weights
    gain: np.ndarray
    spread: np.ndarray | None = None
    steps: int = 1
    samples: int = 1
    seed: int = 0
    ensemble: bool = False
    consistency: Literal["none", "end", "steps"] = "none"
    has_variance: bool = False
    estimates: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale, self.notes, self.bad_reason = self.base.scale, self.base.notes, self.base.bad_reason

    @property
    def fingerprint(self) -> str:
        """The network's; see `hsgeo.methods.base.Model`."""
        return self.weights.fingerprint

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
        seen = context(self.weights, self.steps) + (3 * step if self.consistency == "steps" else 0)
        return -(-(self.base.halo + self._margin + seen) // step) * step

    @property
    def _margin(self) -> int:
        """Pixels around a tile whose corrections it depends on: by its degraded copy, or by solving once more."""
        step = self.multiple
        radius = max(s.psf.radius(axis) for s in self.base.sensors if s.psf is not None for axis in (0, 1))
        return -(-(math.ceil(radius + 1) + (self.consistency != "none") * self.base.halo) // step) * step

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return {**self.base.report(), **self.estimates}

    def apply(
        self, hsi: np.ndarray, msi: Sequence[np.ndarray], outer: Window, core: Window, device: str = "cpu"
    ) -> TileResult:
        """Fuse one tile; see `hsgeo.methods.base.Model`. Nothing is added where one of the images is missing."""
        solved, wanted = self.base.solve(hsi, msi, outer, core, device), core.grow(self._margin)
        both = flag_pixels(hsi[self.base.model_bands], msi, outer, wanted, (*self.base.ratios, self.scale)) == 0
        added, drawn = self._corrections(solved, msi, wanted, core)
        variance = self._variance(solved, drawn, core) if self.has_variance else None
        solved.detail[(slice(None), *solved.frame.cut(wanted))] += self._mirrored(
            added * torch.as_tensor(both).to(added), solved.frame, wanted
        )
        if self.consistency != "none":
            solved.detail = self._consistent(solved)
        return TileResult(
            self.base.spectra(solved, hsi, core),
            variance,
            solved.flags,
            self.base.misfits(solved, hsi, outer, core),
        )

    def _corrections(
        self, solved: Solved, msi: Sequence[np.ndarray], wanted: Window, core: Window
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the network adds to the coefficients (p, h, w) over `wanted`, and samples of it over `core`.

        One sample is added as it is. Of several, the mean is asked for: regression, which is their mean, has it in one
        pass.
        """
        weights = self.weights = self.weights.on(solved.detail.device)
        seen = wanted.grow(context(weights, self.steps))
        rows, columns = solved.frame.cut(seen)
        bands = (
            repeated(solved.frame.take(x, r), r)[:, rows, columns] for x, r in zip(msi, self.base.ratios, strict=True)
        )
        own, guide = self.space.inputs(solved.interpolated[:, rows, columns], solved.detail[:, rows, columns], bands)
        rows, columns = solved.frame.cut(wanted)
        result = solved.interpolated[:, rows, columns] + solved.detail[:, rows, columns]
        gain = torch.as_tensor(self.gain).to(own)[:, None, None]

        agreement = self._agreement(solved, seen)

        def predicted(steps: int, seed: int, ensemble: bool = False) -> torch.Tensor:
            each = None if steps == 1 else agreement
            z = sample(weights, own, guide, seen, wanted, steps, seed, ensemble=ensemble, agreement=each)
            return self.space.residual(z.flatten(0, 1), result)

        several = self.samples > 1
        added = self.space.correction(predicted(1 if several else self.steps, self.seed, self.ensemble) * gain)
        if not several:
            return added, []
        inside = (slice(None), *core.within(wanted).slices)
        return added, [self.space.correction(predicted(self.steps, self.seed + n))[inside] for n in range(self.samples)]

    def _agreement(self, solved: Solved, seen: Window) -> DataConsistency | None:
        """What both images say of the predictions over a tile, where that is asked for at every step."""
        if self.consistency != "steps":
            return None
        step = self.base.multiple  # what is solved for is a little more than is seen
        own, outer = solved.operators, seen.grow(2 * step).coarsen(step).scale(step)
        left = [
            (d - own.observe(solved.detail, j))[(slice(None), *solved.frame.cut(outer, s.ratio))]
            for j, (d, s) in enumerate(zip(solved.innovations, self.base.sensors, strict=True))
        ]
        rows, columns = solved.frame.cut(seen)
        result = (solved.interpolated + solved.detail)[:, rows, columns]
        return DataConsistency(self.base, self.space, left, outer, result, seen)

    @staticmethod
    def _mirrored(values: torch.Tensor, frame: Frame, window: Window) -> torch.Tensor:
        """Values (p, h, w) over a window, beyond the scene's edges those inside: as all that is solved for has them."""
        rows, columns = (
            torch.as_tensor(frame.index(axis, 1, frame.outer.shape[axis])[cut] - cut.start, device=values.device)
            for axis, cut in enumerate(frame.cut(window))
        )
        return values[:, rows][:, :, columns]

    def _consistent(self, solved: Solved) -> torch.Tensor:
        """The detail that both images and the prediction, as the mean of a prior, make most probable."""
        own = solved.operators
        left = [torch.nan_to_num(d - own.observe(solved.detail, j), 0, 0, 0) for j, d in enumerate(solved.innovations)]
        return solved.detail + own.detail(left, self.base.energy)[0]

    def _variance(self, solved: Solved, drawn: Sequence[torch.Tensor], core: Window) -> np.ndarray:
        """Variance (B, H, W): the fast fusion's, and where there are samples, the mean of it and of theirs.

        A variance by few samples is drawn to one that is known, as if that were of `PRIOR` more (Gelman et al. 2013,
        Bayesian Data Analysis, section 2.6).
        """
        rows, columns = solved.frame.cut(core)
        out = self.base.variance(solved.weights[:, rows, columns], core, solved.flags)
        if drawn:
            assert self.spread is not None
            parts, both = torch.stack(list(drawn)), solved.flags == 0
            for row, band in enumerate(self.base.model_bands):
                between = torch.tensordot(torch.as_tensor(self.base.basis[row]).to(parts), parts, ([0], [1])).var(0)
                theirs = self.spread[row] ** 2 * between.cpu().numpy()[both] + self.base.lost[row]
                out[band, both] += (theirs - out[band, both]) * (self.samples - 1) / (self.samples - 1 + PRIOR)
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
        ParameterError
            More steps than the network's process has levels, or an ensemble of more than one step.
        """
        params = params or HsrDiffParams()
        check_ratio(inputs)
        weights = load_weights(params.model)
        several = params.samples > 1 and params.uncertainty
        steps = params.steps or max(weights.settings.process.steps, SAMPLER_STEPS if several else 1)
        if params.samples > 1 and not several:
            steps = 1  # their mean, and nothing else, is asked for
        weights.settings.process.schedule().levels(steps)  # refuses more than there are
        weights.refuse(inputs.pair.ratio)
        if params.ensemble and steps > 1 and not several:
            raise ParameterError(f"ensemble is for one step, and {steps} are asked for: leave one of them out.")
        found = survey(inputs, params.dimension, params.seed)
        nm = None if inputs.wavelengths is None else np.asarray(inputs.wavelengths)[found.bands]
        weights.refuse(inputs.pair.ratio, (len(found.bands), sum(len(g.bands) for g in inputs.pair.groups)), nm)
        base = fit_model(inputs, found, params)
        space = space_of(weights.settings, base, found.patches)
        gain, said = np.ones(len(base.mean)), "all of its correction taken"
        if params.gain == "fitted":
            gain, said = fitted_gain(
                base,
                weights,
                found.patches,
                params.seed,
                steps=1 if several else steps,
                ensemble=params.ensemble,
                consistent=params.consistency == "steps",
            )
        samples = params.samples if several else 1
        if params.consistency != "none":
            every = " at every step" if params.consistency == "steps" and steps > 1 else ""
            said += f"; solved for both images{every}{' and' if every else ''} at the end"
        estimates = {"model": weights.name, "gain_of_model": said, "steps": steps, "samples": samples}
        spread = None
        if several:
            consistent = params.consistency == "steps"
            spread, told = fitted_spread(base, space, weights, found.patches, steps, samples, params.seed, consistent)
            estimates["uncertainty"] = f"the standard deviation of {samples} samples times {told}"
        return HsrDiffModel(
            base=base,
            space=space,
            weights=weights,
            gain=gain,
            spread=spread,
            steps=steps,
            samples=samples,
            seed=params.seed,
            ensemble=params.ensemble,
            consistency=params.consistency,
            has_variance=params.uncertainty,
            estimates=estimates,
        )
