"""The passes of the fast restoration over a window of a scene's coefficients."""

from __future__ import annotations

from itertools import pairwise

import torch

from hsgeo.methods.restoration.filtering import Search, passed
from hsgeo.methods.restoration.shrinkage import low_rank, wiener
from hsgeo.scene.window import Window

#: groups of the first pass and of those after it
FIRST = Search(side=5, stride=5, radius=10, count=64)
LATER = Search(side=5, stride=4, radius=10, count=32)

#: groups of a first pass that is the only one, over scenes without detail to speak of
COARSE = Search(side=8, stride=8, radius=7, count=64)

#: passes that are tried
PASSES = 3


def estimates(
    z: torch.Tensor,
    have: Window,
    wanted: Window,
    scene: tuple[int, int],
    passes: int = PASSES,
    first: Search = FIRST,
) -> list[torch.Tensor]:
    """What each pass finds over a window.

    Parameters
    ----------
    z : tensor (p, h, w)
        Coefficients with white noise of variance 1, over `have`.
    have, wanted : Window
        Inside the scene; see `hsgeo.methods.restoration.filtering.passed`.
    scene : (height, width)
    passes : int
    first : Search
        Groups of the first pass.

    Returns
    -------
    list of tensors (p, H, W)
        Over `wanted`.
    """
    around = [wanted.grow(n * LATER.reach).clip(*scene) for n in reversed(range(passes))]
    found = [passed([z], have, around[0], scene, first, lambda g: low_rank(g[0]))]
    for before, after in pairwise(around):
        inside = (slice(None), *before.within(have).slices)
        found.append(passed([z[inside], found[-1]], before, after, scene, LATER, lambda g: wiener(*g)))
    return [f[(slice(None), *wanted.within(w).slices)] for f, w in zip(found, around, strict=True)]
