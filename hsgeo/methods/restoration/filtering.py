"""One pass of a filter of similar patches over a part of a scene, the same whatever the part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hsgeo.methods.restoration.groups import Lattice, filtered, similar
from hsgeo.scene.window import Window


@dataclass(frozen=True)
class Search:
    """How groups are made.

    Attributes
    ----------
    side : int
        Of a patch, pixels.
    stride : int
        Between reference patches, which begin at its multiples in the scene.
    radius : int
        Of the search around each.
    count : int
        Patches of a group.
    """

    side: int
    stride: int
    radius: int
    count: int

    @property
    def reach(self) -> int:
        """Pixels around a window that its result depends on."""
        return 2 * self.radius + self.side


def passed(
    fields: Sequence[torch.Tensor],
    have: Window,
    wanted: Window,
    scene: tuple[int, int],
    search: Search,
    work: Callable[[list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Filter the groups that reach a window.

    Parameters
    ----------
    fields : sequence of tensors (p, h, w)
        Over `have`; groups are found in the last one. Beyond the scene they are mirrored.
    have, wanted : Window
        Inside the scene; `have` holds `wanted` and, as far as the scene has it, `search.reach` around.
    scene : (height, width)
    search : Search
    work : callable
        See `hsgeo.methods.restoration.groups.filtered`.

    Returns
    -------
    tensor (p, h, w)
        Over `wanted`.
    """
    touched = wanted.grow(search.radius).clip(*scene)
    first, shape = zip(
        *(_multiples(low - search.side + 1, high, search.stride) for low, high in _ranges(touched)), strict=True
    )
    lattice = Lattice(search.radius, search.radius, shape, search.stride, search.side)
    y, x = (start - search.radius for start in first)
    rows, columns = (n + 2 * search.radius for n in lattice.extent)
    frame = Window(y, y + rows, x, x + columns)
    framed = [mirrored(f, have, frame, scene) for f in fields]
    groups = similar(framed[-1], lattice, search.radius, search.count)
    inside = wanted.within(frame).slices
    return filtered(framed, groups, search.side, work)[(slice(None), *inside)]


def mirrored(values: torch.Tensor, have: Window, frame: Window, scene: tuple[int, int]) -> torch.Tensor:
    """Values (p, h, w) over a window of the scene, over a frame that reaches beyond: the edge pixel is repeated."""
    rows, columns = (
        torch.as_tensor(_mirror(np.arange(low, high), size) - start, device=values.device)
        for (low, high), size, start in zip(_ranges(frame), scene, (have.y0, have.x0), strict=True)
    )
    return values[:, rows][:, :, columns]


def _mirror(position: np.ndarray, size: int) -> np.ndarray:
    turned = position % (2 * size)
    return np.where(turned < size, turned, 2 * size - 1 - turned)


def _multiples(low: int, high: int, step: int) -> tuple[int, int]:
    """The first multiple of a step in low..high-1, and how many there are."""
    first = -(-low // step) * step
    return first, max(0, (high - 1 - first) // step + 1)


def _ranges(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.y0, window.y1), (window.x0, window.x1)
