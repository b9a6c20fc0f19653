"""Groups of similar patches: found around each reference patch, taken out of a field, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch.nn.functional import avg_pool2d

#: bytes of patches that are held at a time: of a processor's cache, and elsewhere
AT_ONCE, AT_ONCE_ELSEWHERE = 8 << 20, 32 << 20

#: values of patches that are compared at a time, few enough for a processor's cache
IN_CACHE = 1 << 17


@dataclass(frozen=True)
class Lattice:
    """First pixels of reference patches: `shape` of them, `stride` apart, from (y, x) on, of `side` pixels a side."""

    y: int
    x: int
    shape: tuple[int, int]
    stride: int
    side: int

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels from the first patch's first to the last one's last."""
        rows, columns = ((n - 1) * self.stride + self.side for n in self.shape)
        return rows, columns

    def split(self, rows: int) -> Iterator[Lattice]:
        """Lattices of so many rows of patches or fewer, from the first to the last."""
        for done in range(0, self.shape[0], rows):
            shape = min(rows, self.shape[0] - done), self.shape[1]
            yield replace(self, y=self.y + done * self.stride, shape=shape)


def similar(guide: torch.Tensor, lattice: Lattice, radius: int, count: int) -> torch.Tensor:
    """The patches most like each reference patch, by the squared difference over all channels.

    Parameters
    ----------
    guide : tensor (p, H, W)
        Holds `radius` pixels around the lattice.
    lattice : Lattice
    radius : int
        Of the square of first pixels that is searched.
    count : int
        K, at most (2 radius + 1)^2.

    Returns
    -------
    int64 tensor (N, K)
        First pixels, counted row by row through the guide; the reference patch comes first.
    """
    rows = lattice.extent[1] * lattice.stride * len(guide)  # values of a row of patches
    at_once = max(1, (IN_CACHE if guide.device.type == "cpu" else AT_ONCE_ELSEWHERE // 4) // rows)
    return torch.cat([_nearest(guide, part, radius, count) for part in lattice.split(at_once)])


def _nearest(guide: torch.Tensor, lattice: Lattice, radius: int, count: int) -> torch.Tensor:
    """`similar` of few rows of patches."""
    width, (rows, columns) = guide.shape[2], lattice.extent
    y, x = (
        start + lattice.stride * torch.arange(n, device=guide.device)
        for start, n in zip((lattice.y, lattice.x), lattice.shape, strict=True)
    )
    first = (y[:, None] * width + x).flatten()
    own = guide[:, None, lattice.y : lattice.y + rows, lattice.x : lattice.x + columns].contiguous()
    side = 2 * radius + 1
    across = min(side, max(1, IN_CACHE // own.numel()))  # displacements along a row that are looked at together
    shifted = guide[:, :, lattice.x - radius :].unfold(2, columns, 1).movedim(2, 1)  # (p, displacements, H, columns)
    difference, far = own.new_empty(len(own), across, rows, columns), own.new_empty(side**2, len(first))
    for dy, dx in product(range(side), range(0, side, across)):
        i, top, n = dy * side + dx, lattice.y + dy - radius, min(across, side - dx)
        part = torch.sub(own, shifted[:, dx : dx + n, top : top + rows], out=difference[:, :n])
        squares = part.square_().sum(0, keepdim=True)
        far[i : i + n] = avg_pool2d(squares, lattice.side, lattice.stride).view(n, -1)
    far[len(far) // 2] = -1.0  # itself, before any that is equal
    order = torch.topk(far.T.contiguous(), count, 1, largest=False).indices
    step = torch.arange(-radius, radius + 1, device=guide.device)
    return first[:, None] + (step[:, None] * width + step).flatten()[order]


def filtered(
    fields: list[torch.Tensor],
    groups: torch.Tensor,
    side: int,
    work: Callable[[list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Filter all groups and take the weighted mean where patches overlap.

    Parameters
    ----------
    fields : list of tensors (p, H, W)
        What `work` is shown.
    groups : int tensor (N, K)
        As `similar` finds them.
    side : int
        Of a patch.
    work : callable
        Of some groups of each field, tensors (n, K, side^2, p), to the filtered first one, alike, and the weights of
        its coefficients (n, p).

    Returns
    -------
    tensor (p, H, W)
        NaN where no patch lies.
    """
    channels, height, width = fields[0].shape
    flat = [f.flatten(1).T.contiguous() for f in fields]  # a pixel's channels lie side by side
    steps = torch.arange(side, device=groups.device)
    inside = (steps[:, None] * width + steps).flatten()
    total, weight = (torch.zeros_like(flat[0]) for _ in range(2))
    for part in _parts(groups, channels * side**2):
        places = (part[:, :, None] + inside).flatten()
        values, weights = work([f.index_select(0, places).view(*part.shape, -1, channels) for f in flat])
        total.index_add_(0, places, values.mul_(weights[:, None, None]).reshape(-1, channels))
        each = weights[:, None].expand(*part.shape, channels)
        weight.index_add_(0, part.flatten(), each.reshape(-1, channels))
    found, first = (f.T.reshape(channels, height, width) for f in (total, weight))
    return found / _spread(first, side)


def _spread(first: torch.Tensor, side: int) -> torch.Tensor:
    """Sums of weights (p, H, W) at patches' first pixels over all patches that a pixel lies in."""
    for axis in (1, 2):
        length, out = first.shape[axis], first.clone()
        for step in range(1, min(side, length)):
            out.narrow(axis, step, length - step).add_(first.narrow(axis, 0, length - step))
        first = out
    return first


def _parts(groups: torch.Tensor, values: int) -> Iterator[torch.Tensor]:
    held = AT_ONCE if groups.device.type == "cpu" else AT_ONCE_ELSEWHERE
    count = max(1, held // (4 * groups.shape[1] * values))
    return iter(groups.split(count))
