"""Data consistency while sampling: every prediction of the clean signal is drawn to what both images say of it.

At signal power gamma the prediction is taken as the mean of a prior whose variance is the fast fusion's times
1 - gamma, what a signal of variance 1 leaves open there (Song et al. 2023, Pseudoinverse-guided diffusion models,
ICLR, section 3.3), and the posterior mean replaces it: exactly, by the solver of the fast fusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.frame import Frame, round_up
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.spaces import Space
from hsgeo.scene.window import Window

#: pixels that a window is mirrored over before it is solved for
MIRRORED = 16


@dataclass(frozen=True)
class DataConsistency:
    """What two images say of predictions over windows of a tile.

    Each window is solved for by itself, its surroundings mirrored, so that nothing depends on the tile. A sensor's gap
    counts as if it had seen there what is predicted.

    Attributes
    ----------
    model : SubspaceModel
    space : Space
    left : sequence of tensors (n_j, h_j, w_j)
        What each sensor sees beyond the fast fusion, in units of its noise, over `outer`; NaN where it sees nothing.
    outer : Window
        Whole pixels of all sensors. Beyond it nothing is seen.
    result : tensor (p, H, W)
        The fast fusion's coefficients over `seen`.
    seen : Window
        Holds every window.
    """

    model: SubspaceModel
    space: Space
    left: Sequence[torch.Tensor]
    outer: Window
    result: torch.Tensor
    seen: Window

    @classmethod
    def of_patch(cls, model: SubspaceModel, space: Space, case: PatchCase, seen: Window) -> DataConsistency:
        """For a patch that is a scene of its own; `seen` is counted from its first pixel."""
        own = model.operators(case.frame.shape)
        detail, outer = own.detail(case.data, model.energy)[0], case.frame.outer
        left = [
            (d - own.observe(detail, j))[(slice(None), *case.frame.cut(outer, sensor.ratio))]
            for j, (d, sensor) in enumerate(zip(case.data, model.sensors, strict=True))
        ]
        result = case.interpolated(model) + detail[case.inside]
        rims = (-seen.x0, seen.x1 - outer.x1, -seen.y0, seen.y1 - outer.y1)
        return cls(model, space, left, outer, pad(result[None], rims, "replicate")[0], seen)

    def __call__(self, window: Window, predicted: torch.Tensor, gamma: float) -> torch.Tensor:
        """The prediction (M, k, H, W) over a window, drawn to the images."""
        result = self.result[(slice(None), *window.within(self.seen).slices)]
        added = self.space.correction(self.space.residual(predicted.flatten(0, 1), result))
        whole = self._whole(window)
        frame = Frame.alone(whole.shape, MIRRORED, self.model.multiple)
        inside = window.within(whole)
        rims = (inside.x0, whole.x1 - window.x1, inside.y0, whole.y1 - window.y1)
        field = _mirrored(pad(added[None], rims, "replicate")[0], frame, 1)
        own = self.model.operators(frame.shape, str(added.device))
        left = [
            torch.nan_to_num(_mirrored(self._left(j, whole), frame, sensor.ratio) - own.observe(field, j), 0, 0, 0)
            for j, sensor in enumerate(self.model.sensors)
        ]
        beyond = own.about(left, 1 - gamma)[(slice(None), *frame.cut(inside))]
        return self.space.target(result + added + beyond, result).view_as(predicted)

    def _whole(self, window: Window) -> Window:
        """The window grown to whole pixels of all sensors: of one shape wherever it lies, to be solved for alike."""
        step = self.model.multiple
        y, x = window.y0 // step * step, window.x0 // step * step
        height, width = (round_up(n + step - 1, step) for n in window.shape)
        return Window(y, y + height, x, x + width)

    def _left(self, j: int, window: Window) -> torch.Tensor:
        """`left` of a sensor over a window, NaN beyond `outer`."""
        ratio = self.model.sensors[j].ratio
        source, target = self.outer.coarsen(ratio), window.coarsen(ratio)
        both = target.clip_to(source)
        out = self.left[j].new_full((len(self.left[j]), *target.shape), torch.nan)
        out[(slice(None), *both.within(target).slices)] = self.left[j][(slice(None), *both.within(source).slices)]
        return out


def _mirrored(values: torch.Tensor, frame: Frame, ratio: int) -> torch.Tensor:
    """The values (n, h, w) of a frame's window over the whole frame; see `Frame.take`."""
    rows, columns = (
        torch.as_tensor(frame.index(axis, ratio, values.shape[axis + 1]), device=values.device) for axis in (0, 1)
    )
    return values[:, rows][:, :, columns]
