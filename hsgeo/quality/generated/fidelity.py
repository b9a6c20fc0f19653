"""Point fidelity: how near the spectra of generated pixels are to spectra that the scene has.

The mean over generated pixels of the largest cosine similarity to a real one [1]_; 1 is best. It is bounded by the
mixing model rather than by the generator, and mixtures drawn at random score well: alone it proves nothing.

References
----------
.. [1] HUD, hyperspectral unmixing diffusion, sec. III-C, eq. 16.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: pixels of each kind that are compared at a time: products of 64 MiB
PART = 4096


def point_similarity(pixels: np.ndarray, real: Iterable[np.ndarray], device: str = "cpu") -> np.ndarray:
    """The largest cosine similarity of each generated pixel to any real one, by exhaustive search in float32.

    Parameters
    ----------
    pixels : array (n, B)
        Generated spectra, finite.
    real : iterable of array (B, ...)
        The scene in parts; pixels with NaN are left out, and those that are 0 in all bands.
    device : str
        A torch device.

    Returns
    -------
    float64 array (n,)
        0 for a pixel that is 0 in all bands; NaN where no real pixel has data.
    """
    import torch

    ours = torch.from_numpy(_directions(pixels)).to(device)
    best = torch.full((len(ours),), -torch.inf, device=device)
    for part in real:
        rows = part.reshape(len(part), -1).T
        rows = rows[np.isfinite(rows).all(1)]
        rows = rows[(rows != 0).any(1)]
        for start in range(0, len(rows), PART):
            theirs = torch.from_numpy(_directions(rows[start : start + PART])).to(device).T
            for first in range(0, len(ours), PART):
                cut = slice(first, first + PART)
                best[cut] = torch.maximum(best[cut], (ours[cut] @ theirs).max(1).values)
    found = best.cpu().numpy().astype(np.float64)
    return np.where(np.isfinite(found), np.clip(found, -1, 1), np.nan)


def _directions(rows: np.ndarray) -> np.ndarray:
    """Spectra (n, B) of length 1, float32; those of length 0 stay so."""
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(length > 0, length, 1)).astype(np.float32)
