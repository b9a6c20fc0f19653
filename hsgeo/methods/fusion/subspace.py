"""The fast fusion: a Gaussian model in the HSI's own subspace, solved in closed form. No training; the default."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hsgeo.errors import GridError
from hsgeo.methods.base import FusionInputs, Method, Params
from hsgeo.methods.fusion.calibration import calibrate
from hsgeo.methods.fusion.fit import Survey, fit_prior, survey
from hsgeo.methods.fusion.frame import round_up
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.prior import FallingSpectrum, positive
from hsgeo.methods.fusion.solver import Sensor


class SubspaceParams(Params):
    """Parameters of `SubspaceFusion`.

    With `uncertainty` the variance is the model's posterior variance (raw, exact under the model, too small for real
    scenes) times a factor per band that is measured on the pair one scale down, unless `calibrate` is false.
    """

    dimension: int | Literal["auto"] = Field(default="auto", description="dimension of the spectral subspace")
    halo: int = Field(default=16, ge=0, description="context of a tile in HSI pixels")
    uncertainty: bool = Field(default=False, description="also the posterior variance")
    calibrate: bool = Field(
        default=True, description="scale the variance to the errors measured one scale down; false: the model's own"
    )


class SubspaceFusion(Method):
    """Method ``subspace``."""

    name = "subspace"
    Params = SubspaceParams

    def fit(self, inputs: FusionInputs, params: SubspaceParams | None = None, progress: Any = None) -> SubspaceModel:
        """Fix all global statistics: subspace, noise, observation, prior of the detail; see `Method.fit`.

        Raises
        ------
        GridError
            The MSI is not finer than the HSI.
        BandError
            Fewer than three HSI bands can enter the model.
        DataError
            The HSI has no data, or the same value everywhere.
        """
        params = params or SubspaceParams()
        check_ratio(inputs)
        return fit_model(inputs, survey(inputs, params.dimension, params.seed), params)


def check_ratio(inputs: FusionInputs) -> None:
    """Refuse an MSI that is not finer."""
    if inputs.pair.ratio < 2:
        raise GridError("the MSI's pixels are no smaller than the HSI's: there is nothing to sharpen.")


def fit_model(inputs: FusionInputs, found: Survey, params: SubspaceParams) -> SubspaceModel:
    """The fitted model of a pair that has been surveyed."""
    model = _model(inputs, found, params)
    fit_prior(model, found.patches)
    if params.uncertainty:
        if params.calibrate:
            calibrate(model, found.patches, params.seed)
        model.tabulate_variance()
    return model


def _model(inputs: FusionInputs, found: Survey, params: SubspaceParams) -> SubspaceModel:
    pair, space, seen = inputs.pair, found.space, found.observation
    noise_msi = np.asarray(seen.noise_msi if inputs.noise_msi is None else inputs.noise_msi, float)
    sensors, responses, offsets, gauges = [], [], [], []
    for k, group in enumerate(pair.groups):
        rows = list(group.bands)
        response = np.asarray(seen.response)[rows]
        matrix = response @ space.basis / noise_msi[rows, None]
        sensors.append(Sensor(group.ratio, matrix, seen.group_psfs[k]))
        responses.append(response)
        offsets.append(np.asarray(seen.offset, float)[rows])
        gauges.append(noise_msi[rows])
    sensors.append(Sensor(pair.ratio, np.eye(space.p), seen.psf))
    used = {*found.dead, *found.bands.tolist()}
    return SubspaceModel.of(
        inputs,
        found.dead,
        model_bands=found.bands,
        plain_bands=np.array([i for i in range(len(inputs.good)) if i not in used], int),
        basis=space.basis,
        noise=space.noise,
        sensors=sensors,
        responses=responses,
        offsets=offsets,
        gauges=gauges,
        covariance=np.eye(space.p),
        spectrum=FallingSpectrum(0.75 / pair.ratio),
        energy=1.0,
        mean=space.projection @ found.mean,
        spread=positive(space.projection @ found.covariance @ space.projection.T - np.eye(space.p), 1.0),
        lost=_lost(found),
        observation=seen,
        halo=round_up(params.halo * pair.ratio, math.lcm(*(s.ratio for s in sensors))),
        has_variance=params.uncertainty,
        estimates={
            "subspace": space.criterion,
            "dimension": space.p,
            "psf_fwhm": list(seen.psf.fwhm),
            "noise_hsi_std": dict(zip(inputs.band_numbers()[found.bands].tolist(), space.noise.tolist(), strict=True)),
            "noise_msi_std": [float(v) for gauge in gauges for v in gauge],
            **dict(seen.sources),
        },
    )


def _lost(found: Survey) -> np.ndarray:
    """Variance (B,) of what the subspace leaves out, beyond the noise."""
    space = found.space
    beyond = np.eye(len(space.noise)) - space.basis @ space.projection
    left = np.einsum("ij,jk,ik->i", beyond, found.covariance, beyond, optimize=True)
    return np.maximum(left - np.diag(beyond) * space.noise**2, 0.0)
