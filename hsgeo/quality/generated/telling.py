"""Whether real blocks can be told from generated ones: the accuracy of a small network that learns to.

A quarter of the scene is held back at a time, with those tiles whose nearest real block lies there, so that neither
test blocks nor what may have been copied from them are among what the network learned from: 0.5 means that it cannot
tell. The idea is the classifier two-sample test [1]_.

References
----------
.. [1] Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, arXiv:1610.06545.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.quality.generated.cells import FOLDS, Crops, fold_map, fold_of
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.diversity import oriented
from hsgeo.quality.generated.pieces import Piece, cut_blocks

#: sides of the blocks that are told apart, the largest of which the scene holds at least `ENOUGH` side by side
SIDES, ENOUGH = (32, 16, 8), 100
#: blocks along the side of a cell of the scene that is held back or not as a whole
CELL = 4
#: steps of the training of each fold, and blocks of each kind in a step
STEPS, BATCH = 250, 32
#: generated blocks that are learned from at least, and the smallest side that the network takes
FEWEST, SMALLEST = 1, 5


@dataclass(frozen=True)
class Told:
    """How well real and generated blocks are told apart.

    Attributes
    ----------
    accuracy : float
        Mean of the shares of real and of generated blocks that are told right, while they are held back.
    error : float
        Its standard error, by the scatter between cells of the scene and between generated blocks.
    block : int
        Side of the blocks told apart.
    real, generated : int
        How many were tested.
    """

    accuracy: float
    error: float
    block: int
    real: int
    generated: int


def side_of(pieces: Sequence[Piece], block: int) -> int:
    """The side of the blocks that are told apart, `block` at most."""
    pixels = sum(int(np.isfinite(p.values[0]).sum()) for p in pieces)
    fitting = [side for side in SIDES if side <= block]
    return next((side for side in fitting if pixels // side**2 >= ENOUGH), min(fitting, default=block))


def folds_of(rows: np.ndarray, columns: np.ndarray, similarity: np.ndarray, block: int, cell: int) -> np.ndarray:
    """The fold in which the middle of each generated block's nearest real one lies; the most similar choose first.

    Parameters
    ----------
    rows, columns : int array (n,)
        First pixel of the nearest real block.
    similarity : float array (n,)
    block, cell : int
        Sides in pixels.

    Returns
    -------
    int array (n,)
        As many in each fold, or one less.
    """
    wanted = fold_of(0, rows + block // 2, columns + block // 2, cell)
    room = np.full(FOLDS, len(rows) // FOLDS)
    room[: len(rows) % FOLDS] += 1
    found = np.zeros(len(rows), int)
    for i in np.argsort(-similarity, kind="stable"):
        fold = wanted[i] if room[wanted[i]] else room.argmax()
        room[fold] -= 1
        found[i] = fold
    return found


def told_apart(
    real: Sequence[Piece],
    blocks: np.ndarray,
    places: tuple[np.ndarray, np.ndarray, np.ndarray],
    components: Components,
    seed: int = 0,
    device: str = "cpu",
) -> Told | None:
    """Train a network for each fold, and test it on what was held back.

    Parameters
    ----------
    real : sequence of Piece
    blocks : float32 array (n, B, b, b)
        Generated.
    places : (rows, columns, similarity) of arrays (n,)
        Of the real block nearest to each.
    components : Components
        Of the scene, by which its variance is made the same in all directions: noise that is missing shows as well.
    seed : int
    device : str
        A torch device.

    Returns
    -------
    Told or None
        None where the scene or the tiles are too small to hold a part back.
    """
    from hsgeo.quality.generated.network import normalised

    side = side_of(real, blocks.shape[-1])
    cell = CELL * side
    white = components.white()
    pieces = [Piece(normalised(p.values, components.mean, white), p.source, p.y0, p.x0) for p in real]
    ours = np.moveaxis(normalised(np.moveaxis(blocks, 1, 0), components.mean, white), 0, 1)
    tests, at = cut_blocks(pieces, side)
    tested = np.array([fold_of(*place, cell) for place in at], dtype=int)
    inside = np.array([(source, row // cell, column // cell) for source, row, column in at])
    folds = folds_of(*places, blocks.shape[-1], cell)
    maps = [fold_map(piece, cell) for piece in pieces]
    theirs_right, cells, ours_right, owner = [], [], [], []
    for fold in range(FOLDS):
        crops = Crops(pieces, [m != fold for m in maps], side)
        known = ours[folds != fold]
        if side < SMALLEST or not len(crops) or len(known) < FEWEST:
            continue
        net = _taught(crops, known, side, seed + fold, device)
        held = tested == fold
        if held.any():
            theirs_right.append(_logits(net, tests[held], device) <= 0)
            cells.append(inside[held])
        for i in np.flatnonzero(folds == fold):
            cut, _ = cut_blocks([Piece(ours[i])], side)
            ours_right.append(_logits(net, cut, device) > 0)
            owner.append(np.full(len(cut), i))
    if not theirs_right or not ours_right:
        return None
    first, second = np.concatenate(theirs_right), np.concatenate(ours_right)
    groups = np.unique(np.concatenate(cells), axis=0, return_inverse=True)[1].ravel()
    error = np.hypot(standard_error(first, groups), standard_error(second, np.concatenate(owner))) / 2
    return Told(float(first.mean() + second.mean()) / 2, float(error), side, len(first), len(second))


def _taught(crops: Crops, generated: np.ndarray, side: int, seed: int, device: str) -> Any:
    """A network that learned from real crops and from generated blocks (n, B, b, b), both turned at random."""
    import torch

    from hsgeo.quality.generated.network import BlockClassifier, trained

    targets = np.repeat(np.array([0, 1], np.float32), BATCH)

    def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        parts = [values for values, _ in crops.draw(BATCH, rng)]
        corners = rng.integers(0, generated.shape[-1] - side + 1, (BATCH, 2))
        for i, (y, x) in zip(rng.integers(0, len(generated), BATCH), corners, strict=True):
            parts.append(generated[i, :, y : y + side, x : x + side])
        turns = rng.integers(0, 8, len(parts))
        return np.stack([oriented(v, int(k)) for v, k in zip(parts, turns, strict=True)]), targets

    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return trained(lambda: BlockClassifier(generated.shape[1]), batch, loss, STEPS, seed, device)


def _logits(net: Any, blocks: np.ndarray, device: str) -> np.ndarray:
    """What a network says of blocks (n, B, b, b)."""
    import torch

    with torch.no_grad():
        parts = np.array_split(blocks, -(-len(blocks) // 64))
        found = [net(torch.from_numpy(np.ascontiguousarray(part)).to(device)) for part in parts]
    return torch.cat(found).cpu().numpy()


def standard_error(right: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a share, whose trials in one group are alike.

    Parameters
    ----------
    right : bool array (n,)
    groups : int array (n,)
        From 0.

    Returns
    -------
    float
        By the scatter of the groups' sums about the share; at least that of independent trials, two right and two
        wrong ones added to them [1]_.

    References
    ----------
    .. [1] Agresti & Coull 1998, doi:10.2307/2685469.
    """
    count = len(right)
    share = (right.sum() + 2) / (count + 4)
    alone = share * (1 - share) / (count + 4)
    sums = np.bincount(groups, weights=right - right.mean())
    several = max(len(sums), 2)
    together = (sums**2).sum() / count**2 * several / (several - 1)
    return float(np.sqrt(max(alone, together)))
