"""Diffusion: noise schedules, the closed forms of the Gaussian process, samplers. No network, no file, no sensor."""

from hsgeo.diffusion.ddrm import Evidence, SpectralOperator, ddrm, sigmas
from hsgeo.diffusion.fields import noise_field
from hsgeo.diffusion.process import forward, posterior
from hsgeo.diffusion.samplers import ancestral, ddim, ddim_step
from hsgeo.diffusion.schedule import Schedule

__all__ = [
    "Evidence",
    "Schedule",
    "SpectralOperator",
    "ancestral",
    "ddim",
    "ddim_step",
    "ddrm",
    "forward",
    "noise_field",
    "posterior",
    "sigmas",
]
