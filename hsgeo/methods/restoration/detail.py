"""Where a scene holds detail: what rises above its noise at the scale of a few pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.nn.functional import avg_pool2d, pad

from hsgeo.methods.streaming import CHUNK
from hsgeo.scene.window import Window

#: side of the cells of a scene that are told apart, pixels
CELL = 32

#: sides of the means whose difference is looked at, pixels
FINE, WIDE = 3, 9

#: what the noise has in that difference, in variances: the sum of the squares of its weights
NOISE = 1 / FINE**2 - 1 / WIDE**2

#: what half of the cells of a plain scene hold less than, in noise variances
PLAIN = 0.03


def excess(z: torch.Tensor) -> torch.Tensor:
    """What the cells of an image hold above the noise, about 0 where there is nothing but noise.

    Parameters
    ----------
    z : tensor (p, h, w)
        Coefficients with white noise of variance 1.

    Returns
    -------
    tensor (rows, columns)
        Mean over the coefficients, in noise variances; the last cells may be smaller.
    """
    return _cells(_power(z))


def is_plain(images: Iterable[torch.Tensor]) -> bool:
    """Whether most cells of some images (p, h, w) with white noise of variance 1 hold hardly anything else."""
    return float(torch.cat([excess(image).flatten() for image in images]).median()) < PLAIN


def most_detailed(read: Callable[[Window], torch.Tensor], scene: tuple[int, int], bands: int) -> list[Window]:
    """Cells of a scene: the most detailed one, and others down to a quarter of all, each at four times the rank.

    What is rare is so among them as well as what is common.

    Parameters
    ----------
    read : callable
        Of a window, its coefficients (p, h, w).
    scene : (height, width)
    bands : int
        That are read for the coefficients; the memory is theirs.

    Returns
    -------
    list of Window
        Of `CELL` pixels a side, or the scene's where it has fewer.
    """
    height, width = scene
    rows = max(1, CHUNK // (bands * width * CELL)) * CELL
    held = []
    for start in range(0, height, rows):
        core = Window(start, min(height, start + rows), 0, width)
        outer = core.grow(WIDE // 2).clip(*scene)
        held.append(_cells(_power(read(outer))[core.within(outer).slices]))
    cells = torch.cat(held)
    ranked = cells.flatten().argsort(descending=True).tolist()
    return [_window(divmod(ranked[rank], cells.shape[1]), scene) for rank in _ranks(len(ranked))]


def _power(z: torch.Tensor) -> torch.Tensor:
    fine, wide = (avg_pool2d(pad(z[None], (side // 2,) * 4, mode="replicate"), side, 1)[0] for side in (FINE, WIDE))
    return (fine - wide).square_().mean(0)


def _cells(power: torch.Tensor) -> torch.Tensor:
    return avg_pool2d(power[None], CELL, ceil_mode=True)[0] - NOISE


def _ranks(count: int) -> list[int]:
    """0, and count / 4, count / 16 and so on, rising."""
    ranks = {0}
    while count >= 8:
        count //= 4
        ranks.add(count)
    return sorted(ranks)


def _window(cell: tuple[int, int], scene: tuple[int, int]) -> Window:
    """A cell, moved back into the scene where it reaches beyond."""
    y, x = (max(0, min(i * CELL, size - CELL)) for i, size in zip(cell, scene, strict=True))
    return Window(y, y + CELL, x, x + CELL).clip(*scene)
