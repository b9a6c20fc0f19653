"""How a network of HSR-Diff is built, trained and sampled: what `configs/fusion/hsr-diff*.yaml` says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from hsgeo.diffusion import Schedule
from hsgeo.networks import CDFormer, GuidedNet


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Dilation = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=8)]


class NetworkParams(_Frozen):
    """The network: convolutions (`hsgeo.networks.GuidedNet`) or the paper's transformer (`CDFormer`)."""

    kind: Literal["guided", "cdformer"] = Field(default="guided", description="convolutions, or the transformer")
    width: int = Field(default=32, ge=2, multiple_of=2, description="channels of the layers")
    sr_blocks: tuple[Dilation, ...] = Field(
        default=(1, 2, 1), description="guided: dilation of each block of the SR stream"
    )
    blocks: tuple[Dilation, ...] = Field(default=(1, 2, 1, 1), description="guided: the same of the denoising stream")
    depth: int = Field(default=4, ge=1, description="cdformer: layers of each stream")
    heads: int = Field(default=4, ge=1, description="cdformer: attention heads; they divide the width")
    window: int = Field(default=8, ge=2, description="cdformer: side of the attention windows")
    sr_stream: bool = Field(default=True, description="without it the guide is put beside the signal")
    fold: int = Field(default=2, ge=1, le=8, description="squares of this many pixels a side become channels")
    recompute: bool = Field(default=False, description="cdformer: much less memory in training, a third more time")

    @field_validator("heads")
    @classmethod
    def _divides(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("width", value)
        if info.data.get("kind") == "cdformer" and width % value:
            raise PydanticCustomError("heads", f"a divisor of the width {width}")
        return value

    def build(self, signal: int, guide: int, outputs: int) -> Any:
        """An untrained network of these channels."""
        if self.kind == "guided":
            return GuidedNet(
                signal,
                guide,
                outputs,
                width=self.width,
                sr_blocks=self.sr_blocks,
                blocks=self.blocks,
                sr_stream=self.sr_stream,
                fold=self.fold,
            )
        return CDFormer(
            signal,
            guide,
            outputs,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            window=self.window,
            sr_stream=self.sr_stream,
            fold=self.fold,
            recompute=self.recompute,
        )


class ProcessParams(_Frozen):
    """The diffusion process."""

    levels: int = Field(default=2000, ge=2, description="T, noise levels of the schedule (linear betas)")
    sampler: Literal["ddim", "ancestral"] = Field(default="ddim", description="implicit, or HSR-Diff's eq. 6")
    steps: int = Field(default=1, ge=1, description="steps of the sampler where a fusion asks for no number")

    @field_validator("steps")
    @classmethod
    def _levels(cls, value: int, info: ValidationInfo) -> int:
        if value > (levels := info.data.get("levels", value)):
            raise PydanticCustomError("steps", f"at most the {levels} levels")
        return value

    def schedule(self) -> Schedule:
        """The schedule of T levels: it ends in noise whatever T, since the sum of its betas is that of 2000 levels."""
        more = 2000 / self.levels
        return Schedule.linear(self.levels, 1e-6 * more, min(1e-2 * more, 0.999))


class TrainingParams(_Frozen):
    """Training; see `hsgeo.methods.fusion.training`."""

    space: Literal["coefficients", "pixels"] = Field(
        default="coefficients",
        description="what is diffused: each coefficient's residual alone, or the image",
    )
    network: NetworkParams = NetworkParams()
    process: ProcessParams = ProcessParams()
    loss: Literal["huber", "l1", "observed"] = Field(
        default="huber", description="of the prediction; observed: HSR-Diff's eq. 8, misfits to both images added"
    )
    seen_noise: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of signals that are shown noisy; the rest train regression (pixels: all are)",
    )
    steps: int = Field(default=4000, ge=1, description="steps of the optimiser")
    batch: int = Field(default=3, ge=1, description="patches a step")
    items: int = Field(default=8, ge=1, description="coefficients of each patch that a step looks at")
    patches: tuple[Side, ...] = Field(default=(32, 48, 64), min_length=1, description="side of the patches, in turn")
    learning_rate: float = Field(default=1e-3, gt=0, description="highest; rises, then falls as a cosine")
    average: float = Field(default=0.998, ge=0, lt=1, description="memory of the average of the weights that is kept")
    held_back: float = Field(default=0.15, gt=0, lt=0.5, description="share of each image kept for validation")
    checks: int = Field(default=20, ge=1, description="validations over the whole training")
    patience: int = Field(default=8, ge=1, description="validations without a better one after which it stops")
    variants: int = Field(default=24, ge=1, description="degraded versions of each reference")

    @field_validator("loss")
    @classmethod
    def _of_an_image(cls, value: str, info: ValidationInfo) -> str:
        if value == "observed" and info.data.get("space") != "pixels":
            raise PydanticCustomError("needs_pixels", "huber or l1; observed needs space=pixels")
        return value

    @property
    def plain(self) -> bool:
        """The network sees the noisy signal itself and predicts the clean one, as HSR-Diff has it."""
        return self.space == "pixels"
