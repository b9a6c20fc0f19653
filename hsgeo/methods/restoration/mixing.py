"""Which passes of the fast restoration a scene needs, by Stein's risk on parts of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hsgeo.methods.restoration.filtering import Search
from hsgeo.methods.restoration.passes import COARSE, FIRST, estimates
from hsgeo.methods.restoration.risk import Mixture, best_mixture
from hsgeo.scene.window import Window

#: what one coarse pass may leave more than two fine ones where a scene has detail, in noise variances: the root mean
#: square of it over parts
MORE = 0.015


def coarse_risk(detailed: Sequence[torch.Tensor], seed: int = 0) -> float | None:
    """What one coarse pass leaves of the noise's variance where a scene has detail, None where fine ones leave less.

    Parameters
    ----------
    detailed : sequence of tensors (p, h, w)
        Coefficients with white noise of variance 1; each part counts alike.
    seed : int
        Of the probe.
    """
    coarse, fine = (
        np.array([mixture_on([part], first, passes, seed).risk for part in detailed])
        for first, passes in ((COARSE, 1), (FIRST, 2))
    )
    more = np.maximum(coarse - fine, 0)
    return float(coarse.mean()) if np.sqrt(np.square(more).mean()) < MORE else None


def mixture_on(parts: Sequence[torch.Tensor], first: Search, passes: int, seed: int = 0) -> Mixture:
    """The shares of the passes that have the least risk on parts of a scene, all together.

    Parameters
    ----------
    parts : sequence of tensors (p, h, w)
        Coefficients with white noise of variance 1.
    first : Search
        Groups of the first pass.
    passes : int
        How many are tried.
    seed : int
        Of the probe.
    """
    sizes = [part.numel() for part in parts]

    def every(flat: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for part, piece in zip(flat.split(sizes), parts, strict=True):
            whole = Window(0, piece.shape[1], 0, piece.shape[2])
            found.append(estimates(part.view_as(piece), whole, whole, whole.shape, passes, first))
        return [torch.cat([f[i].flatten() for f in found]) for i in range(passes)]

    return best_mixture(torch.cat([part.flatten() for part in parts]), every, seed)
