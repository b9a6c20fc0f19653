"""Examples to train on: what a network sees of a fused patch, and the truth that it is to predict.

Kept in a zarr group, so that many large scenes need no memory; a training reads patches from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from hsgeo.methods.fusion.calibration import one_scale_down, reduced
from hsgeo.methods.fusion.coordinates import Coordinates
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.model import SubspaceModel

#: side of the chunks in the store, pixels
CHUNK = 64

#: no example is smaller than this many pixels a side
LEAST = 16


@dataclass(frozen=True)
class Example:
    """One fused patch.

    Attributes
    ----------
    own : float32 array (M, c, H, W)
        What is known of each signal.
    guide : float32 array (g, H, W)
    target : float32 array (M, k, H, W)
        The clean signal; NaN where it is not known.
    weight : array (M,)
        Of each signal's squared error; ``weight @ mean(target ** 2)`` is 1 for the whole image.
    ratio : int
    name : str
    """

    own: np.ndarray
    guide: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    ratio: int
    name: str = ""


def examples_of(
    model: SubspaceModel, coordinates: Coordinates, cases: Sequence[tuple[Any, np.ndarray, np.ndarray]], name: str = ""
) -> Iterator[Example]:
    """Examples from fused patches whose truth is known.

    Parameters
    ----------
    model : SubspaceModel
    coordinates : Coordinates
    cases : sequence of (patch, truth, known)
        A patch of both images, the true coefficients (p, H, W) on the fine grid, and where they are true (H, W).
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    squares, count = np.zeros(len(model.mean)), 0
    for patch, truth, known in cases:
        if min(known.shape) < LEAST or not known.any():
            continue
        interpolated, detail, _ = PatchCase(model, patch).solution(model)
        own, guide = coordinates.inputs(interpolated, detail)
        target = coordinates.target(torch.as_tensor(truth).to(detail), interpolated + detail)
        target[:, torch.as_tensor(~known)] = torch.nan
        squares += torch.nan_to_num(target).double().square().sum((1, 2)).numpy()
        count += int(known.sum())
        found.append((own.numpy(), guide.numpy(), target[:, None].numpy()))
    weight = coordinates.weight(model.basis / model.noise[:, None])
    weight = weight / max(weight @ squares / max(count, 1), 1e-12)
    for arrays in found:
        yield Example(*arrays, weight, model.scale, name)


def examples_from_pair(model: SubspaceModel, patches: Sequence[Any], seed: int, name: str = "") -> Iterator[Example]:
    """Examples from the pair itself, one scale down (Wald, Ranchin & Mangolini 1997): the HSI is the truth."""
    cases = reduced(model, patches, np.random.default_rng(seed))
    cases = [case for case in cases if min(case[2].shape) >= LEAST]
    if cases:
        low = one_scale_down(model, [patch for patch, _, _ in cases])
        yield from examples_of(low, Coordinates.of(low, [patch for patch, _, _ in cases]), cases, name)


class ExampleStore:
    """Examples in a zarr group, in the order in which they were added.

    Parameters
    ----------
    path : path
        Folder; made when it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._group: Any = zarr.open_group(str(path), mode="a")

    def __len__(self) -> int:
        return int(self._group.attrs.get("count", 0))

    def add(self, example: Example) -> None:
        """Append one; it counts only once it is whole."""
        number = len(self)
        place = self._group.create_group(str(number), overwrite=True)
        for name in ("own", "guide", "target"):
            values = getattr(example, name)
            chunks = (*values.shape[:-2], *(min(CHUNK, n) for n in values.shape[-2:]))
            place.create_array(name, data=values.astype(np.float16), chunks=chunks)
        place.attrs.update(ratio=example.ratio, name=example.name, weight=list(map(float, example.weight)))
        self._group.attrs["count"] = number + 1

    def shape(self, number: int) -> tuple[int, int]:
        """(H, W) of an example."""
        height, width = self._group[f"{number}/target"].shape[-2:]
        return height, width

    def about(self, number: int) -> dict[str, Any]:
        """``ratio``, ``name`` and ``weight`` of an example."""
        return dict(self._group[str(number)].attrs)

    def read(self, number: int, rows: slice = slice(None), columns: slice = slice(None)) -> Example:
        """A window of an example."""
        place, about = self._group[str(number)], self.about(number)
        own, guide, target = (
            np.asarray(place[name][..., rows, columns], np.float32) for name in ("own", "guide", "target")
        )
        return Example(own, guide, target, np.asarray(about["weight"]), about["ratio"], about["name"])
