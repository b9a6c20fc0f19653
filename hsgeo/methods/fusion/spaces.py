"""The two signals that HSR-Diff can diffuse: each coefficient's residual alone, or the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from hsgeo.methods.fusion.coordinates import Coordinates
from hsgeo.methods.fusion.losses import Seen
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.pixels import Pixels
from hsgeo.methods.fusion.settings import TrainingParams


class Space(Protocol):
    """What a network sees of a fused window, what it predicts, and what that means for the coefficients."""

    @property
    def outputs(self) -> int:
        """k, channels of a signal."""
        ...

    def inputs(
        self, interpolated: torch.Tensor, detail: torch.Tensor, msi: Iterable[np.ndarray]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is known of each signal (M, c, H, W), and the guide (g, H, W)."""
        ...

    def target(self, coefficients: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """All signals (M * k, H, W) of the true coefficients (p, H, W); `result` is the fast fusion's."""
        ...

    def residual(self, predicted: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """The fast fusion's error (p, H, W) that predicted signals (M * k, H, W) mean, in units of this space."""
        ...

    def correction(self, residual: torch.Tensor) -> torch.Tensor:
        """What such an error adds to the coefficients (p, H, W)."""
        ...

    def weight(self, basis: np.ndarray) -> np.ndarray:
        """What a unit of each residual's square means for the image of `basis` (B, p): (p,), or (1,) for all alike."""
        ...

    def seen(self, patch: Any) -> tuple[Seen, ...]:
        """Both images of a patch as observations of the signal; nothing where they are none."""
        ...


def space_of(settings: TrainingParams, model: SubspaceModel, patches: Sequence[Any]) -> Space:
    """The space that a network of these settings works in, of a model and the patches that it was fitted on."""
    kind = Pixels if settings.space == "pixels" else Coordinates
    return kind.of(model, patches)


def repeated(values: np.ndarray, ratio: int) -> np.ndarray:
    """Pixels (..., h, w) on a grid `ratio` times finer."""
    return values.repeat(ratio, -2).repeat(ratio, -1)
