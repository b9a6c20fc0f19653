"""Block diversity: how much generated blocks are like blocks of the scene, each compared as one vector.

The mean over generated blocks of the largest cosine similarity to a real block of the same size [1]_; lower is more
diverse. Its yardstick is what the scene's own blocks reach (`own.py`): above it, tiles resemble the scene more than the
scene resembles itself.

A real block turned or mirrored beside a generated one is the real block beside the generated one turned back, so the
scene is gone through once, whatever the number of orientations.

References
----------
.. [1] HUD, hyperspectral unmixing diffusion, sec. III-C, eq. 17. Its published code takes all offsets and the four
   rotations of a real block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hsgeo.quality.generated.pieces import Real
from hsgeo.scene.window import Window

#: bytes of float32 that a strip of the scene, the real blocks of one step, and the generated ones may take
STRIP, STEP, OURS = 64 << 20, 64 << 20, 512 << 20


@dataclass(frozen=True)
class Nearest:
    """The real block most like each of n blocks, for each of m orientations.

    Attributes
    ----------
    similarity : float64 array (n, m)
        Cosine; NaN where there is no real block to compare with.
    row, column : int array (n, m)
        First pixel of the real block.
    offsets : int
        Real blocks with data.
    """

    similarity: np.ndarray
    row: np.ndarray
    column: np.ndarray
    offsets: int

    def best(self, orientations: int) -> np.ndarray:
        """The largest similarity (n,) over the first so many orientations."""
        return self.similarity[:, :orientations].max(1)


def oriented(block: np.ndarray, orientation: int) -> np.ndarray:
    """A block (..., b, b), from orientation 4 on mirrored left to right, then turned anticlockwise by quarters."""
    mirrored = block[..., ::-1] if orientation >= 4 else block
    return np.rot90(mirrored, orientation % 4, axes=(-2, -1))


def restored(block: np.ndarray, orientation: int) -> np.ndarray:
    """What `oriented` turned, as it was."""
    turned = np.rot90(block, -(orientation % 4), axes=(-2, -1))
    return turned[..., ::-1] if orientation >= 4 else turned


def nearest_blocks(
    blocks: np.ndarray,
    real: Real,
    stride: int = 1,
    orientations: int = 1,
    places: np.ndarray | None = None,
    device: str = "cpu",
) -> Nearest:
    """Search all offsets of a scene at a stride.

    Parameters
    ----------
    blocks : float32 array (n, B, b, b)
        Finite.
    real : Real
        The scene; blocks that lack a pixel are left out.
    stride : int
        Pixels between offsets, from the scene's first pixel on.
    orientations : int
        1 as they are, 4 turned by quarters, 8 mirrored as well.
    places : int array (n, 2), optional
        First row and column of blocks that are the scene's own: real blocks that overlap with them are left out.
    device : str
        A torch device.

    Returns
    -------
    Nearest
    """
    import torch

    count, _, block, _ = blocks.shape
    similarity = np.full((count, orientations), -np.inf)
    row, column = np.zeros((2, count, orientations), int)
    offsets = 0
    group = max(1, OURS // max(1, 4 * orientations * blocks[0].size)) if count else 1
    for first in range(0, count, group):
        ours = blocks[first : first + group]
        turned = np.concatenate([restored(ours, k).reshape(len(ours), -1) for k in range(orientations)])
        length = np.linalg.norm(turned.astype(np.float32), axis=1, keepdims=True)
        query = torch.from_numpy((turned / np.where(length > 0, length, 1)).astype(np.float32)).to(device)
        cut, offsets = slice(first, first + len(ours)), 0
        for y, xs, vectors in _real_blocks(real, block, stride):
            theirs = torch.from_numpy(vectors).to(device)
            norms = torch.linalg.vector_norm(theirs, dim=1)
            known = torch.isfinite(norms) & (norms > 0)
            offsets += int(known.sum())
            products = (query @ theirs.T / norms).masked_fill(~known, -torch.inf)
            found = products.reshape(orientations, len(ours), len(xs)).cpu().numpy()
            if places is not None:
                dy, dx = np.abs(places[cut, 0] - y), np.abs(places[cut, 1, None] - xs[None])
                found[:, (dy < block)[:, None] & (dx < block)] = -np.inf
            at, top = found.argmax(2).T, found.max(2).T
            better = top > similarity[cut]
            similarity[cut][better] = top[better]
            row[cut][better], column[cut][better] = y, xs[at][better]
    similarity = np.where(np.isfinite(similarity), np.clip(similarity, -1, 1), np.nan)
    return Nearest(similarity, row, column, offsets)


def _real_blocks(real: Real, block: int, stride: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (row, columns (k,), vectors (k, B * block * block)) of all offsets."""
    bands, width = len(real.bands), real.width
    rows, columns = np.arange(0, real.height - block + 1, stride), np.arange(0, width - block + 1, stride)
    line = 4 * bands * width
    many = max(1, (STRIP // line - block) // stride + 1)
    step = max(1, STEP // (4 * bands * block * block))
    for start in range(0, len(rows), many):
        part = rows[start : start + many]
        strip = real.read(Window(int(part[0]), int(part[-1]) + block, 0, width))
        for y in part:
            lines = strip[:, y - part[0] : y - part[0] + block]
            views = np.lib.stride_tricks.sliding_window_view(lines, block, axis=2)[:, :, ::stride]
            for x in range(0, len(columns), step):
                cut = views[:, :, x : x + step].transpose(2, 0, 1, 3)
                yield int(y), columns[x : x + step], np.ascontiguousarray(cut).reshape(cut.shape[0], -1)
