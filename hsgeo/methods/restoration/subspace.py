"""The fast restoration: in the noise-whitened subspace of the scene, by groups of similar patches.

Whitened by the noise of each band, spectra lie in few dimensions (Zhuang & Bioucas-Dias 2018, FastHyDe,
doi:10.1109/JSTARS.2018.2796570), here those in which neighbouring pixels agree. Their images share their structure, so
patches are grouped once for all of them. A first pass shrinks the singular values of each group, as is best for a
matrix in white noise; a second one takes its result as pilot of a Wiener filter of the same coefficients (the two steps
of BM3D, Dabov et al. 2007, doi:10.1109/TIP.2007.901238), and a third one the second's. How they are mixed is what has
the least risk by Stein's estimate, on samples of the scene. Nothing is trained, and nothing but the scene is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from hsgeo.methods.base import Params
from hsgeo.methods.fusion.missing import bridge
from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod, RestoredTile, Restorer
from hsgeo.methods.restoration.filtering import Search, passed
from hsgeo.methods.restoration.gaps import coefficients, usable
from hsgeo.methods.restoration.inpainting import fitted_inpainter
from hsgeo.methods.restoration.risk import Mixture, best_mixture
from hsgeo.methods.restoration.shrinkage import low_rank, wiener
from hsgeo.methods.restoration.survey import learned_from, surveyed
from hsgeo.methods.streaming import dead_bands, model_bands
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.scene.window import Window
from hsgeo.unmixing.subspace import Subspace

#: groups of the first pass and of those after it
FIRST = Search(side=5, stride=5, radius=10, count=64)
LATER = Search(side=5, stride=4, radius=10, count=32)

#: passes that are tried
PASSES = 3

#: pixels on which the risk of the passes is measured, and windows that they are taken from
MEASURED, WINDOWS = 5000, 4


class SubspaceRestorationParams(Params):
    """Parameters of `SubspaceRestoration`."""

    dimension: int | Literal["auto"] = Field(
        default="auto", description="of the subspace; auto counts what rises above the noise"
    )


@dataclass(kw_only=True)
class SubspaceRestorer:
    """A fitted restoration; see `hsgeo.methods.restoration.base.Restorer`.

    Attributes
    ----------
    scene : (height, width)
    bands : int array
        Those of the model; the others are left as they are.
    basis : array (B_model, p)
        Its columns are orthonormal after division by the noise.
    noise : array (B_model,)
        Standard deviation.
    mean, covariance : arrays (p,), (p, p)
        Of the scene's coefficients.
    shares : array
        Of each pass in the result.
    first : Search
        Groups of the first pass.
    """

    scene: tuple[int, int]
    bad_reason: list[str]
    bands: np.ndarray
    basis: np.ndarray
    noise: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    shares: np.ndarray
    first: Search = FIRST
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)
    multiple: int = 1

    @classmethod
    def of(
        cls,
        space: Subspace,
        statistics: SpectralStatistics,
        scene: tuple[int, int],
        bands: np.ndarray,
        first: Search = FIRST,
    ) -> SubspaceRestorer:
        """The first pass alone, in a subspace."""
        return cls(
            scene=scene,
            bad_reason=[],
            bands=bands,
            basis=space.basis,
            noise=space.noise,
            mean=space.projection @ statistics.mean,
            covariance=space.projection @ statistics.covariance @ space.projection.T,
            shares=np.ones(1),
            first=first,
            estimates={"subspace": space.criterion, "dimension": space.p},
        )

    @property
    def passes(self) -> int:
        """Those that are needed for the mixture."""
        return int(np.flatnonzero(self.shares)[-1]) + 1

    @property
    def halo(self) -> int:
        """Context of a tile, pixels."""
        return self.first.reach + (self.passes - 1) * LATER.reach

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile; see `hsgeo.methods.restoration.base.Restorer`.

        What a pixel lacks is told by its other bands; pixels that lack more than half of them have no result.
        """
        have, wanted = outer.clip(*self.scene), core.clip(*self.scene)
        spectra = values[self.bands][(slice(None), *have.within(outer).slices)]
        z = torch.as_tensor(self.coefficients(spectra), device=device)
        mixed = self.mixed(z, have, wanted, self.scene)
        out = np.full((len(values), *core.shape), np.nan, np.float32)
        part = out[(slice(None), *wanted.within(core).slices)]
        seen = spectra[(slice(None), *wanted.within(have).slices)]
        enough, some = usable(seen), np.isfinite(seen).any(0)
        restored = torch.tensordot(torch.as_tensor(self.basis).to(mixed), mixed, 1).cpu().numpy()
        part[self.bands] = np.where(enough, restored, np.nan)
        return RestoredTile(out, {"left": int((some & ~enough).sum()), "pixels": int(some.sum())})

    def mixed(self, z: torch.Tensor, have: Window, wanted: Window, scene: tuple[int, int]) -> torch.Tensor:
        """The passes, each by its share; see `estimates`."""
        found = estimates(z, have, wanted, scene, self.passes, self.first)
        return torch.tensordot(torch.as_tensor(self.shares[: self.passes]).to(z), torch.stack(found), 1)

    def coefficients(self, spectra: np.ndarray) -> np.ndarray:
        """Coefficients (p, h, w), float32, of spectra (B_model, h, w); gaps are bridged."""
        z = coefficients(spectra, self.basis, self.noise, self.mean, self.covariance)
        return bridge(z, self.mean.astype(np.float32))


def estimates(
    z: torch.Tensor,
    have: Window,
    wanted: Window,
    scene: tuple[int, int],
    passes: int = PASSES,
    first: Search = FIRST,
) -> list[torch.Tensor]:
    """What each pass finds over a window.

    Parameters
    ----------
    z : tensor (p, h, w)
        Coefficients with white noise of variance 1, over `have`.
    have, wanted : Window
        Inside the scene; see `hsgeo.methods.restoration.filtering.passed`.
    scene : (height, width)
    passes : int
    first : Search
        Groups of the first pass.

    Returns
    -------
    list of tensors (p, H, W)
        Over `wanted`.
    """
    around = [wanted.grow(n * LATER.reach).clip(*scene) for n in reversed(range(passes))]
    found = [passed([z], have, around[0], scene, first, lambda g: low_rank(g[0]))]
    for before, after in pairwise(around):
        inside = (slice(None), *before.within(have).slices)
        found.append(passed([z[inside], found[-1]], before, after, scene, LATER, lambda g: wiener(*g)))
    return [f[(slice(None), *wanted.within(w).slices)] for f, w in zip(found, around, strict=True)]


class SubspaceRestoration(RestorationMethod):
    """Method ``subspace``."""

    name = "subspace"
    Params = SubspaceRestorationParams

    def fit(
        self, inputs: RestorationInputs, params: SubspaceRestorationParams | None = None, progress: Any = None
    ) -> Restorer:
        """Noise of each band, and the subspace, in one pass over the scene; see `RestorationMethod.fit`.

        Of the task ``inpaint`` an `Inpainter`, else a `SubspaceRestorer`.

        Raises
        ------
        DataError
            The scene has no data, or the same value everywhere.
        BandError
            Fewer than three bands can enter the model.
        """
        params = params or SubspaceRestorationParams()
        if inputs.task == "inpaint":
            return fitted_inpainter(inputs, params.seed)
        model, samples = self.survey(inputs, params)
        mix_passes(model, samples, params.seed)
        return model

    def survey(
        self, inputs: RestorationInputs, params: SubspaceRestorationParams
    ) -> tuple[SubspaceRestorer, list[np.ndarray]]:
        """The subspace and the noise, as a restorer of the first pass alone, and the samples they were found on."""
        samples = learned_from(inputs.source, params.seed)
        dead = dead_bands(samples)
        bands = model_bands(np.asarray(inputs.good, bool), dead)
        noise = None if inputs.noise is None else np.asarray(inputs.noise)[bands]
        space, statistics = surveyed(inputs.source, bands, samples, noise, params.dimension)
        model = SubspaceRestorer.of(space, statistics, inputs.source.shape, bands)
        model.bad_reason = inputs.reasons(dead)
        return model, samples


def mix_passes(model: SubspaceRestorer, samples: Sequence[np.ndarray], seed: int) -> None:
    """Give the passes of a surveyed scene their shares; they are measured on its samples."""
    mixture = _mixture(model, samples, seed)
    model.shares = mixture.shares
    each = ", ".join(f"{share:.0%} of pass {i}" for i, share in enumerate(mixture.shares, 1) if share > 0)
    left = f"{mixture.risk:.2g} of the noise is" if mixture.risk > 0 else "too little of the noise to be measured is"
    model.estimates["passes"] = f"{each}: by Stein's risk {left} left in the subspace"


def _mixture(model: SubspaceRestorer, samples: Sequence[np.ndarray], seed: int) -> Mixture:
    """How the passes are best mixed, on the middles of some samples."""
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(len(samples), WINDOWS)).astype(int)]
    side = round((MEASURED / len(chosen)) ** 0.5)
    parts = []
    for values in chosen:
        cut = (slice((n - min(n, side)) // 2, (n - min(n, side)) // 2 + side) for n in values.shape[1:])
        parts.append(torch.as_tensor(model.coefficients(values[(model.bands, *cut)])))
    sizes = [part.numel() for part in parts]

    def every(flat: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for part, piece in zip(flat.split(sizes), parts, strict=True):
            whole = Window(0, piece.shape[1], 0, piece.shape[2])
            found.append(estimates(part.view_as(piece), whole, whole, whole.shape))
        return [torch.cat([f[i].flatten() for f in found]) for i in range(PASSES)]

    return best_mixture(torch.cat([part.flatten() for part in parts]), every, seed)
