"""Groups of similar patches: found around each reference patch, taken out of a field, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d

#: bytes of patches that are held at a time
AT_ONCE = 32 << 20


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
    width, (rows, columns) = guide.shape[2], lattice.extent
    y, x = (
        start + lattice.stride * torch.arange(n, device=guide.device)
        for start, n in zip((lattice.y, lattice.x), lattice.shape, strict=True)
    )
    first = (y[:, None] * width + x).flatten()
    own = guide[:, lattice.y : lattice.y + rows, lattice.x : lattice.x + columns]
    nearest = own.new_empty(0, len(first))
    found = first.new_empty(0, len(first))
    for dy in range(-radius, radius + 1):
        band = guide[:, lattice.y + dy : lattice.y + dy + rows]
        rows_of = []
        for dx in range(-radius, radius + 1):
            difference = (own - band[:, :, lattice.x + dx : lattice.x + dx + columns]).square_().sum(0)
            if dy == dx == 0:
                difference -= 1.0  # before any that is equal
            rows_of.append(avg_pool2d(difference[None], lattice.side, lattice.stride)[0].flatten())
        shifts = dy * width + torch.arange(-radius, radius + 1, device=guide.device)
        nearest = torch.cat([nearest, torch.stack(rows_of)])
        found = torch.cat([found, first + shifts[:, None]])
        nearest, order = torch.topk(nearest, min(count, len(nearest)), 0, largest=False)
        found = torch.gather(found, 0, order)
    return found.T


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
        Of some groups of each field, tensors (n, K, p, side^2), to the filtered first one, alike, and the weights of
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
        places = part[:, :, None] + inside
        values, weights = work([f[places].transpose(2, 3) for f in flat])
        share = weights[:, None, None].expand(*places.shape, channels)
        total.index_add_(0, places.flatten(), (values.transpose(2, 3) * share).reshape(-1, channels))
        weight.index_add_(0, places.flatten(), share.reshape(-1, channels))
    return (total / weight).T.reshape(channels, height, width)


def _parts(groups: torch.Tensor, values: int) -> Iterator[torch.Tensor]:
    count = max(1, AT_ONCE // (4 * groups.shape[1] * values))
    return iter(groups.split(count))
