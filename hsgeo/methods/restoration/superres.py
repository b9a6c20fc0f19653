"""One scene on a finer grid, without a companion image: its coefficients by Wiener's filter, then by similar patches.

The scene is taken for a finer one that was blurred by the sensor's PSF, of which every s-th pixel was kept, with noise.
In the noise-whitened subspace the noise is white, and each principal component of the coefficients a field of its own,
whose power over frequency is measured on the scene and continued beyond what it resolves: the posterior mean is a
convolution (`kernels`). What that leaves open, self-similarity narrows: groups of similar patches are filtered as in
the denoising, at falling noise, and after each time what the sensor really saw is put back (plug-and-play:
Venkatakrishnan, Bouman & Wohlberg 2013, doi:10.1109/GlobalSIP.2013.6737048). Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod
from hsgeo.methods.restoration.chain import stuck_of
from hsgeo.methods.restoration.kernels import Gaussian, frequencies
from hsgeo.methods.restoration.power import measured_power
from hsgeo.methods.restoration.subspace import SpaceParams, SubspaceRestoration
from hsgeo.methods.restoration.superresolver import Components, SubspaceSuperresolver
from hsgeo.observation.psf import Psf, psf_from_mtf
from hsgeo.scene.footprint import Footprint

#: share of the variance that Wiener's filter is expected to miss that patches leave open; half or a quarter of it gain
#: 0.1 dB over all and over a tenth on Jasper Ridge and ABU
SHARE = 0.5

#: standard deviation that the first filter takes the error for, in units of what it leaves open; the last filter takes
#: 1, and those between fall by equal factors
START = 3.0

#: reach in pixels of the scene: of Wiener's kernel, and of the one that puts back what was seen
FIRST, LATER = 10, 4

#: share of a band's pixels, as the subspace holds them, below which nothing is put: deconvolution undershoots beside
#: what is bright
DARKEST = 1e-3


class SubspaceSuperresParams(SpaceParams):
    """Parameters of `SubspaceSuperres`."""

    fwhm: Annotated[float, Field(gt=0, le=3)] | Literal["auto"] = Field(
        default="auto",
        description="of the sensor's PSF, in pixels of the scene; auto takes the sensor table's MTF, else 1",
    )
    passes: int = Field(default=4, description="of the filter of similar patches; 0 for none", ge=0, le=8)


class SubspaceSuperres(RestorationMethod):
    """Method ``subspace`` of the task ``superres``."""

    name = "subspace"
    Params = SubspaceSuperresParams

    def fit(
        self, inputs: RestorationInputs, params: SubspaceSuperresParams | None = None, progress: Any = None
    ) -> SubspaceSuperresolver:
        """Noise, subspace and spectra of the scene, in one pass over it; see `RestorationMethod.fit`.

        Raises
        ------
        DataError
            The scene has no data, or the same value everywhere.
        BandError
            Fewer than three bands can enter the model.
        """
        params, scale = params or SubspaceSuperresParams(), inputs.scale
        space, samples = SubspaceRestoration().survey(inputs, params)
        psf, why = _psf(params.fwhm, inputs.mtf, scale)
        components, bands = Components.of(space), space.bands
        seen = [components.analysed(s[bands]) for s in samples]
        power = measured_power([images.astype(float) for images in seen], psf, scale)
        squared = frequencies(scale)
        expected = Gaussian(power(squared), psf, scale)
        error = SHARE * expected.error()
        white = np.broadcast_to(error[:, None, None], (len(error), *squared.shape))
        dropped = sorted({why for why in space.bad_reason if why})
        every = len(space.bad_reason)
        left = every - len(bands)
        notes = [f"not good and interpolated alone: {left} of {every} bands ({', '.join(dropped)})."] if left else []
        source = inputs.source
        outline = Footprint.of(source.read, source.shape, source.bands)
        if stuck := sum(int(found[bands].any(0).sum()) for _, found in stuck_of(source, outline)):
            lines = "line is" if stuck == 1 else "lines are"
            notes.append(f"{stuck} detector {lines} stuck at one value; --task inpaint before fills them.")
        return SubspaceSuperresolver(
            components=components,
            scale=scale,
            psf=psf,
            first=expected.kernels(FIRST),
            later=Gaussian(white, psf, scale).kernels(LATER),
            error=error,
            levels=np.geomspace(START, 1, params.passes).tolist(),
            floor=_floor([components.spectra(torch.as_tensor(images)) for images in seen]),
            notes=notes,
            estimates={
                **space.estimates,
                "scale": scale,
                "psf": f"FWHM {psf.fwhm_y / scale:.2f} pixels of the scene, {why}",
            },
        )


def _floor(samples: Sequence[np.ndarray]) -> np.ndarray:
    """The `DARKEST` quantile of each band of samples (B, h, w)."""
    return np.quantile(np.concatenate([s.reshape(len(s), -1) for s in samples], 1), DARKEST, axis=1)


def _psf(fwhm: float | Literal["auto"], mtf: float | None, scale: int) -> tuple[Psf, str]:
    """The PSF in fine pixels, and where it is from.

    Spectrometers are built so that the response of a pixel is about as wide as the distance between pixels; a Gaussian
    of that FWHM transfers 0.41 at the Nyquist frequency, between a detector's own box (0.64) and the 0.2 to 0.35 of
    instruments in orbit. One too narrow sharpens less than it could, one too wide rings.
    """
    if fwhm != "auto":
        return Psf(fwhm * scale, fwhm * scale), "as given"
    if mtf is not None:
        return psf_from_mtf(mtf, scale), f"by the MTF of {mtf:.2f} in the sensor's table"
    return Psf(float(scale), float(scale)), "assumed; give --set fwhm=..., if it is known"
