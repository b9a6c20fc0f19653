"""What the fast fusion learns from a pair: subspace, noise and observation, then the prior of the detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch

from hsgeo.methods.base import FusionInputs
from hsgeo.methods.fusion.frame import Frame, round_up
from hsgeo.methods.fusion.missing import regress
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.prior import coarser_detail, local_energy, positive
from hsgeo.methods.fusion.solver import mix
from hsgeo.methods.fusion.variance import mean_covariance
from hsgeo.methods.streaming import dead_bands, model_bands, spectral_statistics
from hsgeo.observation.estimate import estimate_observation
from hsgeo.observation.fine_noise import noise_levels
from hsgeo.unmixing.subspace import Subspace, subspace

#: smallest variance of a coefficient's detail, in units of its noise's variance
FLOOR = 0.05

#: EM steps for the detail's covariance
STEPS = 4

#: coarse pixels by which a sample patch is mirrored
MARGIN = 4

#: how many pixels of the coarser scale the scene's own covariance counts for
SHRINK = 1.0


@dataclass(frozen=True)
class Survey:
    """What is known of a pair before the prior.

    `bands` are those of the model; `dead` tells why others carry nothing; `mean` and `covariance` are the spectra's.
    """

    patches: Sequence[Any]
    bands: np.ndarray
    dead: dict[int, str]
    space: Subspace
    observation: Any
    mean: np.ndarray
    covariance: np.ndarray


def survey(inputs: FusionInputs, dimension: int | Literal["auto"], seed: int) -> Survey:
    """One streaming pass for the subspace and the noise, sample patches for the observation."""
    pair = inputs.pair
    patches = pair.sample(seed=seed)
    dead = dead_bands([p.hsi for p in patches])
    bands = model_bands(np.asarray(inputs.good, bool), dead)
    statistics = spectral_statistics(pair.read_hsi, pair.coarse.shape, int(pair.hsi.sizes["band"]), bands)
    given = inputs.noise_hsi
    own = [p.hsi[bands] for p in patches]
    noise = noise_levels(statistics, own) if given is None else np.asarray(given, float)[bands]
    space = subspace(statistics, noise, dimension=dimension)

    def of_bands(values: Any) -> np.ndarray | None:
        return None if values is None else np.asarray(values, float)[..., bands]

    response = of_bands(inputs.response)
    if response is not None:
        response = response / np.maximum(response.sum(1, keepdims=True), 1e-12)
    observation = estimate_observation(
        [SimpleNamespace(window=p.window, hsi=p.hsi[bands], msi=p.msi) for p in patches],
        pair.ratio,
        tuple(g.ratio for g in pair.groups),
        wavelengths=of_bands(inputs.wavelengths),
        fwhm=of_bands(inputs.fwhm),
        msi_bands=inputs.msi_bands,
        hsi_mtf=inputs.hsi_mtf,
        given_response=response,
        given_psf=inputs.psf,
        basis=space.basis,
        group_bands=[list(g.bands) for g in pair.groups],
        group_offsets=[getattr(g, "offset", (0.0, 0.0)) for g in pair.groups],
    )
    return Survey(patches, bands, dead, space, observation, statistics.mean, statistics.covariance)


def fit_prior(model: SubspaceModel, patches: Sequence[Any]) -> None:
    """Covariance of the detail from the next coarser scale, `STEPS` EM steps, then the mean local energy.

    An EM step adds the posterior covariance to the second moment of the posterior mean (Dempster, Laird & Rubin 1977,
    doi:10.1111/j.2517-6161.1977.tb01600.x): without it what the MSI hardly sees would be lost step by step.
    """
    p = model.basis.shape[1]
    cases = [PatchCase(model, patch) for patch in patches]
    moment, count = np.zeros((p, p)), 0
    for case in cases:
        detail = coarser_detail(case.coarse, model.sensors[-1].psf, model.scale)
        if detail is not None:
            moment += np.einsum("phw,qhw->pq", detail, detail)
            count += detail[0].size
    model.covariance = positive(_shrunk(moment, count, model), FLOOR)
    model.forget()
    for _ in range(STEPS):
        moment, count = np.zeros((p, p)), 0
        for case in cases:
            solver = model.operators(case.frame.shape).solver
            detail = mix(solver.basis, case.base(model)[case.inside]).double().numpy()
            moment += np.einsum("phw,qhw->pq", detail, detail, optimize=True)
            count += detail[0].size
        left = mean_covariance(model.sensors, model.covariance, model.spectrum)
        model.covariance = positive(moment / count + left, FLOOR)
        model.forget()
    energies = [local_energy(case.base(model)).double()[case.inside[1:]] for case in cases]
    model.energy = float(sum(e.sum() for e in energies) / sum(e.numel() for e in energies))


def _shrunk(moment: np.ndarray, count: int, model: SubspaceModel) -> np.ndarray:
    """Covariance of the detail without its noise, drawn to the shape of the scene's own where pixels are few."""
    if count == 0:
        return 0.3 * model.spread
    covariance = moment / count - np.eye(len(moment))
    alike = model.spread * max(np.trace(covariance), 0.0) / np.trace(model.spread)
    share = SHRINK / (SHRINK + count / model.scale**2)
    return (1 - share) * covariance + share * alike


class PatchCase:
    """A sample patch as a scene of its own: mirrored on all sides, gaps of the HSI filled from the MSI."""

    def __init__(self, model: SubspaceModel, patch: Any) -> None:
        coarse = model.coefficients(patch.hsi[model.model_bands].astype(float))
        height, width = (n * model.scale for n in coarse.shape[1:])
        margin = round_up(MARGIN * model.scale, model.multiple)
        self.frame = Frame.alone((height, width), margin, model.multiple)
        own = model.operators(self.frame.shape)
        msi = model.scaled(patch.msi, self.frame)
        coarse = regress(self.frame.take(coarse, model.scale), msi, model.sensors, model.mean, model.spread)
        self.coarse = coarse[(slice(None), *self.frame.cut(self.frame.outer, model.scale))]
        prior = own.tensor(model.calm(coarse))
        seen = [own.tensor(x) for x in (*msi, coarse)]
        self.data = [torch.nan_to_num(d, 0, 0, 0) for d in own.innovations(seen, prior, own.upsample(prior))]

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the patch lies in a field (p, H, W) over the frame."""
        return slice(None), *self.frame.cut(self.frame.outer)

    def base(self, model: SubspaceModel) -> torch.Tensor:
        """Posterior mean of the detail (p, H, W) at the prior's own level, in the solver's coordinates."""
        solver = model.operators(self.frame.shape).solver
        return solver.field(solver.solve(solver.take(self.data)))

    def solution(self, model: SubspaceModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Interpolated HSI and detail (p, H, W), and weights of the levels (levels, H, W), over the patch."""
        own = model.operators(self.frame.shape)
        detail, weights = own.detail(self.data, model.energy)
        return self.interpolated(model), detail[self.inside], weights[self.inside]

    def interpolated(self, model: SubspaceModel) -> torch.Tensor:
        """The interpolated HSI (p, H, W) over the patch."""
        own = model.operators(self.frame.shape)
        return own.upsample(own.tensor(model.calm(self.frame.take(self.coarse, model.scale))))[self.inside]
