"""What `hsgeo train hud` may be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hsgeo.diffusion import Schedule
from hsgeo.methods.generation.prediction import Target
from hsgeo.methods.unmixing.base import UnmixingParams


class HudTrainingParams(UnmixingParams):
    """Parameters of a training of HUD; ``configs/generation/hud-paper.yaml`` has the published ones."""

    most: int = Field(default=8, ge=2, description="more than that auto does not take")
    rounds: int = Field(default=2, ge=0, description="times that endmembers are fitted to all pixels")
    directions: int = Field(
        default=24, ge=0, description="about the mixtures, in which neighbours share what these miss; at most"
    )
    floor: Annotated[float, Field(gt=0, le=100)] | Literal["published"] = Field(
        default=0.2,
        description="added to abundances for their logarithm, of their mean, and taken off; published: exp(-8), stays",
    )
    brightness: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="power of the endmembers' norms that weights abundances in it; as published 0",
    )
    widths: tuple[int, ...] = Field(default=(64, 96, 128), min_length=1, description="channels of the network's scales")
    blocks: int = Field(default=1, ge=1, description="residual blocks at each scale, down and up")
    crop: int = Field(default=32, ge=4, description="side of the crops that it is trained on, pixels")
    batch: int = Field(default=16, ge=1, description="crops in a step")
    steps: int = Field(default=4000, ge=1, description="of the optimiser")
    learning_rate: float = Field(default=2e-3, gt=0, description="at its highest")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="what the averaged weights keep at a step")
    turned: bool = Field(default=True, description="crops turned and mirrored")
    target: Target = Field(default="velocity", description="what the network finds; as published: epsilon, the noise")
    correction: int = Field(
        default=32,
        ge=0,
        le=1000,
        description="crops whose moments samples are held to at every step; as published none",
    )
    length: int = Field(default=1000, ge=2, description="steps T of the forward process")
    first: float = Field(default=1e-4, gt=0, description="its first beta")
    last: float = Field(default=0.02, gt=0, lt=1, description="its last beta")

    def schedule(self) -> Schedule:
        """Of the forward process."""
        return Schedule.linear(self.length, self.first, self.last)
