"""The fast restoration: in the noise-whitened subspace of the scene, by groups of similar patches.

Whitened by the noise of each band, spectra lie in few dimensions (Zhuang & Bioucas-Dias 2018, FastHyDe,
doi:10.1109/JSTARS.2018.2796570), here those in which neighbouring pixels agree. Their images share their structure, so
patches are grouped once for all of them. A first pass shrinks the singular values of each group, as is best for a
matrix in white noise; a second one takes its result as pilot of a Wiener filter of the same coefficients (the two steps
of BM3D, Dabov et al. 2007, doi:10.1109/TIP.2007.901238), and a third one the second's. How they are mixed is what has
the least risk by Stein's estimate, on samples of the scene. Nothing is trained, and nothing but the scene is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from hsgeo.methods.base import Params
from hsgeo.methods.fusion.missing import bridge
from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod, RestoredTile, Restorer
from hsgeo.methods.restoration.detail import is_plain, most_detailed
from hsgeo.methods.restoration.filtering import Search
from hsgeo.methods.restoration.gaps import coefficients, usable
from hsgeo.methods.restoration.inpainting import fitted_inpainter
from hsgeo.methods.restoration.mixing import coarse_risk, mixture_on
from hsgeo.methods.restoration.passes import COARSE, FIRST, LATER, PASSES, estimates
from hsgeo.methods.restoration.survey import learned_from, surveyed
from hsgeo.methods.streaming import dead_bands, model_bands
from hsgeo.observation.noise import SpectralStatistics
from hsgeo.scene.window import Window
from hsgeo.unmixing.subspace import Subspace

#: pixels on which the risk of the passes is measured, and windows that they are taken from
MEASURED, WINDOWS = 5000, 4


class SpaceParams(Params):
    """Parameters of a scene's subspace."""

    dimension: int | Literal["auto"] = Field(
        default="auto", description="of the subspace; auto counts what rises above the noise"
    )


class SubspaceRestorationParams(SpaceParams):
    """Parameters of `SubspaceRestoration`."""

    patches: Literal["auto", "fine"] = Field(
        default="auto", description="auto takes larger ones, in one pass, where a scene has little detail"
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
        mix_passes(model, inputs.source, samples, params)
        return model

    def survey(self, inputs: RestorationInputs, params: SpaceParams) -> tuple[SubspaceRestorer, list[np.ndarray]]:
        """The subspace and the noise, as a restorer of the first pass alone, and the samples they were found on."""
        samples = learned_from(inputs.source, params.seed)
        dead = dead_bands(samples)
        bands = model_bands(np.asarray(inputs.good, bool), dead)
        noise = None if inputs.noise is None else np.asarray(inputs.noise)[bands]
        space, statistics = surveyed(inputs.source, bands, samples, noise, params.dimension)
        model = SubspaceRestorer.of(space, statistics, inputs.source.shape, bands)
        model.bad_reason = inputs.reasons(dead)
        return model, samples


def mix_passes(
    model: SubspaceRestorer, source: Any, samples: Sequence[np.ndarray], params: SubspaceRestorationParams
) -> None:
    """Give the passes of a surveyed scene their shares: one coarse pass where it is plain, else as its samples tell."""

    def told(spectra: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(model.coefficients(spectra[model.bands]))

    if params.patches == "auto" and is_plain(told(sample) for sample in samples):
        cells = most_detailed(lambda window: told(source.read(window)), model.scene, source.bands)
        risk = coarse_risk([told(source.read(cell)) for cell in cells], params.seed)
        if risk is not None:
            model.first, model.shares = COARSE, np.ones(1)
            model.estimates["passes"] = (
                f"one, of larger patches, for little detail: by Stein's risk {_left(risk)} there"
            )
            return
    mixture = mixture_on([told(middle) for middle in _middles(samples)], FIRST, PASSES, params.seed)
    model.first, model.shares = FIRST, mixture.shares
    each = ", ".join(f"{share:.0%} of pass {i}" for i, share in enumerate(mixture.shares, 1) if share > 0)
    model.estimates["passes"] = f"{each}: by Stein's risk {_left(mixture.risk)} in the subspace"


def _left(risk: float) -> str:
    return f"{risk:.2g} of the noise is left" if risk > 0 else "too little of the noise to be measured is left"


def _middles(samples: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Middles (B, h, w) of some samples."""
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(len(samples), WINDOWS)).astype(int)]
    side = round((MEASURED / len(chosen)) ** 0.5)
    for values in chosen:
        cut = (slice((n - min(n, side)) // 2, (n - min(n, side)) // 2 + side) for n in values.shape[1:])
        yield values[(slice(None), *cut)]
