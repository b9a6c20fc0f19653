"""The linear observation: spectral response, blur and decimation, mask; and their estimation from images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "LinearOperator": "operators",
    "SpectralResponse": "operators",
    "BlurDecimate": "operators",
    "Mask": "operators",
    "Psf": "psf",
    "psf_from_mtf": "psf",
    "response_matrix": "srf",
    "coverage": "srf",
    "SpectralStatistics": "noise",
    "Observation": "estimate",
    "estimate_observation": "estimate",
}

__all__ = [
    "BlurDecimate",
    "LinearOperator",
    "Mask",
    "Observation",
    "Psf",
    "SpectralResponse",
    "SpectralStatistics",
    "coverage",
    "estimate_observation",
    "psf_from_mtf",
    "response_matrix",
]

if TYPE_CHECKING:
    from .estimate import Observation, estimate_observation
    from .noise import SpectralStatistics
    from .operators import BlurDecimate, LinearOperator, Mask, SpectralResponse
    from .psf import Psf, psf_from_mtf
    from .srf import coverage, response_matrix


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
