"""Method ``dds2m``: self-supervised diffusion (Miao et al. 2023, doi:10.1109/ICCV51070.2023.01107), window by window.

Ours runs in the scene's noise-whitened subspace, with small networks and few steps, and returns what best tells samples
that were held back; ``configuration: paper`` runs on the bands themselves with the published networks and steps.
Networks are fitted to windows that belong to the scene, not to tiles, and neighbouring windows are blended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from hsgeo.diffusion import Evidence
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod, RestoredTile
from hsgeo.methods.restoration.gaps import coefficients, usable
from hsgeo.methods.restoration.subspace import SubspaceRestoration, SubspaceRestorationParams, SubspaceRestorer
from hsgeo.methods.restoration.variational import reverse
from hsgeo.methods.restoration.variational_settings import OURS, PAPER, VariationalSettings
from hsgeo.observation.spectral import SpectralMask
from hsgeo.scene.window import Window

#: windows begin at multiples of this, and reach so far into their neighbours
BLOCK, MARGIN = 64, 16

#: share of the sampled pixels that must have half of their bands
ENOUGH = 0.2


class Dds2mParams(SubspaceRestorationParams):
    """Parameters of `Dds2m`."""

    configuration: Literal["ours", "paper"] = Field(
        default="ours", description="of networks and process; paper: as published, in the bands themselves"
    )
    steps: int | None = Field(default=None, description="of the sampler; as the configuration has them without", ge=1)
    samples: int = Field(default=1, description="runs, each of its own noise and networks, whose mean is taken", ge=1)


@dataclass(kw_only=True)
class Dds2mRestorer:
    """A fitted restoration; see `hsgeo.methods.restoration.base.Restorer`.

    Attributes
    ----------
    space : SubspaceRestorer
        Bands, noise and subspace.
    settings : VariationalSettings
    whitened : bool
        Whether it runs in the subspace.
    samples, seed : int
    """

    space: SubspaceRestorer
    settings: VariationalSettings
    whitened: bool
    samples: int
    seed: int
    bands: np.ndarray = field(init=False)
    noise: np.ndarray = field(init=False)
    bad_reason: list[str] = field(init=False)
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)
    multiple: int = BLOCK
    halo: int = BLOCK + MARGIN

    def __post_init__(self) -> None:
        self.bands, self.noise, self.bad_reason = self.space.bands, self.space.noise, self.space.bad_reason

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile, gaps by what the networks show; see `hsgeo.methods.restoration.base.Restorer`."""
        out = np.full((len(values), *core.shape), np.nan, np.float32)
        wanted = core.clip(*self.space.scene)
        total = np.zeros((len(self.bands), *wanted.shape), np.float64)
        weights = np.zeros(wanted.shape)
        for block in wanted.grow(MARGIN).clip(*self.space.scene).blocks(BLOCK):
            window = block.grow(MARGIN).clip(*self.space.scene)
            found = self.window(values[self.bands][(slice(None), *window.within(outer).slices)], device)
            starts = zip((block.y0, block.x0), self.space.scene, strict=True)
            weight = np.outer(*(_ramp(start, size) for start, size in starts))
            inside = window.clip_to(wanted)
            here, there = inside.within(window).slices, inside.within(wanted).slices
            total[(slice(None), *there)] += (found * weight)[(slice(None), *here)]
            weights[there] += weight[here]
        part = out[(slice(None), *wanted.within(core).slices)]
        part[self.bands] = total / weights
        return RestoredTile(out)

    def window(self, spectra: np.ndarray, device: str) -> np.ndarray:
        """Spectra (B_model, h, w), some NaN, restored."""
        if self.whitened:
            s = self.space
            z = coefficients(spectra, s.basis, s.noise, s.mean, s.covariance)
            known, data, noise = usable(spectra)[None], z, torch.ones(1, 1, 1)
        else:
            known, data, noise = np.isfinite(spectra), spectra, torch.as_tensor(self.noise)[:, None, None]
        if not known.any():
            return np.full(spectra.shape, np.nan, np.float32)
        y = torch.as_tensor(np.where(known, data, 0.0).astype(np.float32), device=device)
        evidence = Evidence.of(SpectralMask(np.broadcast_to(known, y.shape)), y, noise.to(y))
        runs = [reverse(evidence, self.settings, seed=self.seed + i).image for i in range(self.samples)]
        mean = torch.stack(runs).mean(0).cpu().numpy()
        return np.tensordot(self.space.basis, mean, 1).astype(np.float32) if self.whitened else mean


def _ramp(start: int, size: int) -> np.ndarray:
    """Weights of a window of an axis: those of neighbours add up to 1."""
    at = np.arange(max(0, start - MARGIN), min(size, start + BLOCK + MARGIN)) + 0.5
    up = np.ones(len(at)) if start == 0 else np.clip((at - start + MARGIN) / (2 * MARGIN), 0, 1)
    end = start + BLOCK
    down = np.ones(len(at)) if end >= size else np.clip((end + MARGIN - at) / (2 * MARGIN), 0, 1)
    return np.minimum(up, down)


class Dds2m(RestorationMethod):
    """Method ``dds2m``."""

    name = "dds2m"
    Params = Dds2mParams

    def fit(self, inputs: RestorationInputs, params: Dds2mParams | None = None, progress: Any = None) -> Dds2mRestorer:
        """Noise and subspace of the scene; networks are fitted tile by tile. See `RestorationMethod.fit`.

        Raises
        ------
        DataError
            The scene has no data, or few pixels have half of their bands.
        BandError
            Fewer than three bands can enter the model.
        """
        params = params or Dds2mParams()
        space, samples = SubspaceRestoration().survey(inputs, params)
        ours = params.configuration == "ours"
        have = np.mean([usable(s[space.bands]).mean() for s in samples])
        if ours and have < ENOUGH:
            raise DataError(
                f"dds2m needs pixels that have half of their bands, and {have:.0%} do here: take --method subspace."
            )
        settings = (OURS if ours else PAPER)["complete" if inputs.task == "inpaint" else "denoise"]
        if ours:  # fewer endmembers than dimensions cannot show the scene
            endmembers = max(settings.shape.endmembers, space.basis.shape[1])
            settings = replace(settings, shape=replace(settings.shape, endmembers=endmembers))
        if params.steps is not None:
            if params.steps > settings.start:
                raise ParameterError(f"--steps {params.steps}: this process has {settings.start} at most.")
            settings = replace(settings, steps=params.steps)
        taken = settings.steps or settings.start
        return Dds2mRestorer(
            space=space,
            settings=settings,
            whitened=ours,
            samples=params.samples,
            seed=params.seed,
            estimates={**space.estimates, "configuration": params.configuration, "steps": taken},
        )
