"""Point fidelity and block diversity of the scene itself: its blocks beside all that does not overlap with them.

As they are, without turns, blocks a given step apart share the products of their pixels: for each step the product of
the scene with itself, shifted, is summed over all blocks at once. For 32 x 32 blocks that is some 60 times
less work than a product for each pair.
"""

from __future__ import annotations

import numpy as np

from hsgeo.quality.generated.diversity import nearest_blocks
from hsgeo.quality.generated.fidelity import point_similarity
from hsgeo.quality.generated.pieces import Real
from hsgeo.quality.metrics import windows
from hsgeo.scene.window import Window

#: blocks up to which all are compared with all, and how many are picked where there are more
ALL, PICKED = 2048, 256
#: blocks whose pixels are compared with the rest of the scene at most
LEFT_OUT = 64


def own_fidelity(real: Real, block: int, pixels: int, seed: int = 0, device: str = "cpu") -> float | None:
    """The mean over real pixels of the largest cosine similarity to one outside of their block.

    It is what spectra reach that belong to the scene and are new to it.

    Parameters
    ----------
    real : Real
    block : int
        Side of the blocks, which lie side by side, in pixels.
    pixels : int
        How many are compared at most, in up to `LEFT_OUT` blocks.
    seed : int
        Of the choice among them.
    device : str
        A torch device.

    Returns
    -------
    float or None
        None where there is no pixel outside.
    """
    rng = np.random.default_rng(seed)
    corners = [
        (y, x) for y in range(0, real.height - block + 1, block) for x in range(0, real.width - block + 1, block)
    ]
    chosen = [corners[i] for i in rng.permutation(len(corners))[:LEFT_OUT]]
    left_out = [Window(y, y + block, x, x + block) for y, x in chosen]
    each = [_known(real.read(window), max(1, pixels // len(chosen)), rng) for window in left_out]
    if not sum(map(len, each)):
        return None
    ours, owner = np.concatenate(each), np.repeat(np.arange(len(each)), [len(rows) for rows in each])
    best = np.full(len(ours), np.nan)
    for window in windows(real.height, real.width):
        values, outside = real.read(window), np.ones(len(ours), bool)
        for i, apart in enumerate(left_out):
            both = apart.clip_to(window)
            if 0 not in both.shape:
                theirs, here = values.copy(), owner == i
                theirs[(slice(None), *both.within(window).slices)] = np.nan
                best[here] = np.fmax(best[here], point_similarity(ours[here], [theirs], device))
                outside &= ~here
        best[outside] = np.fmax(best[outside], point_similarity(ours[outside], [values], device))
    found = best[np.isfinite(best)]
    return float(found.mean()) if len(found) else None


def _known(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Pixels (n, B) with data of an array (B, h, w), at most so many."""
    rows = values.reshape(len(values), -1).T
    rows = rows[np.isfinite(rows).all(1)]
    return rows[rng.permutation(len(rows))[:most]]


def own_diversity(
    real: Real, block: int, stride: int, orientations: int = 1, seed: int = 0, device: str = "cpu"
) -> tuple[float | None, int]:
    """The mean over real blocks of the largest cosine similarity to another that does not overlap.

    Parameters
    ----------
    real : Real
        Blocks that lack a pixel are left out.
    block, stride, orientations, device
        As for `nearest_blocks`.
    seed : int
        Of the choice among more than `ALL` blocks, or among more than `PICKED` where they are turned.

    Returns
    -------
    float or None
        None where no two blocks of the scene lie apart.
    int
        Blocks that had another one to be compared with.
    """
    rows, columns = (np.arange(0, n - block + 1, stride) for n in (real.height, real.width))
    if orientations == 1 and len(rows) * len(columns) <= ALL:
        best = all_pairs(real.read(Window(0, real.height, 0, real.width)), block, stride).ravel()
    else:
        best = _picked(real, block, stride, orientations, rows, columns, seed, device)
    best = best[np.isfinite(best)]
    return (float(best.mean()), len(best)) if len(best) else (None, 0)


def _picked(
    real: Real,
    block: int,
    stride: int,
    orientations: int,
    rows: np.ndarray,
    columns: np.ndarray,
    seed: int,
    device: str,
) -> np.ndarray:
    """The largest similarities of `PICKED` blocks."""
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    cuts, kept = [], []
    for y, x in np.random.default_rng(seed).permutation(places):
        values = real.read(Window(int(y), int(y) + block, int(x), int(x) + block))
        if np.isfinite(values[0]).all():
            cuts.append(values)
            kept.append((y, x))
        if len(cuts) == PICKED:
            break
    if not cuts:
        return np.empty(0)
    return nearest_blocks(np.stack(cuts), real, stride, orientations, np.array(kept), device).best(orientations)


def all_pairs(values: np.ndarray, block: int, stride: int) -> np.ndarray:
    """The largest similarity of each block of an array to any other that does not overlap.

    Parameters
    ----------
    values : array (B, H, W)
        NaN where there is no data.
    block, stride : int
        In pixels.

    Returns
    -------
    float64 array (rows, columns)
        For each offset; NaN where the block lacks a pixel or no other one lies apart.
    """
    missing = ~np.isfinite(values).all(0)
    filled = np.where(missing, 0, values).astype(np.float32)
    squares = np.einsum("byx,byx->yx", filled, filled, dtype=np.float64)
    power = _sums(squares, block)[::stride, ::stride]
    unseen = _sums(missing.astype(float), block)[::stride, ::stride] > 0.5
    norms = np.sqrt(np.where(unseen | (power <= 1e-12 * squares.max()), np.nan, power))
    rows, columns = norms.shape
    best = np.full(norms.shape, -np.inf)
    for i in range(rows):
        for j in range(1 - columns, columns):
            dy, dx = i * stride, j * stride
            if (i == 0 and j <= 0) or (dy < block and abs(dx) < block):
                continue
            left, right = max(0, -dx), max(0, dx)
            one = filled[:, : filled.shape[1] - dy, left : filled.shape[2] - right]
            two = filled[:, dy:, right : filled.shape[2] - left]
            product = np.einsum("byx,byx->yx", one, two).astype(np.float64)
            sums = _sums(product, block)[::stride, ::stride]
            here = np.s_[: rows - i, max(0, -j) : columns - max(0, j)]
            there = np.s_[i:, max(0, j) : columns - max(0, -j)]
            cosine = np.nan_to_num(sums / norms[here] / norms[there], nan=-np.inf)
            best[here] = np.maximum(best[here], cosine)
            best[there] = np.maximum(best[there], cosine)
    return np.where(np.isfinite(best), np.clip(best, -1, 1), np.nan)


def _sums(image: np.ndarray, block: int) -> np.ndarray:
    """Sums of (H, W) over all blocks, (H - block + 1, W - block + 1)."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    total[1:, 1:] = image.cumsum(0).cumsum(1)
    return total[block:, block:] - total[:-block, block:] - total[block:, :-block] + total[:-block, :-block]
