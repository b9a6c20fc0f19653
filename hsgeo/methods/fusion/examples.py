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
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.losses import Seen
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.spaces import Space, repeated, space_of

#: side of the chunks in the store, pixels
CHUNK = 64

#: of an example, by pixel; the first may have no channels, the last may be missing
ARRAYS = ("own", "guide", "target", "base")

#: what is larger, many thousand expected errors, is stored as this; float16 would make an infinity of it
LARGEST = 60000.0

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
        Of each signal's squared error; that of the fast fusion is 1 for the whole image.
    ratio : int
    name : str
    base : float32 array (M, k, H, W), optional
        What the fast fusion says the signal is; 0 where there is none.
    seen : tuple of Seen
        Both images, where the signal is what they show.
    nm : tuple of float, optional
        Wavelengths of the HSI's bands in nm; not stored.
    """

    own: np.ndarray
    guide: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    ratio: int
    name: str = ""
    base: np.ndarray | None = None
    seen: tuple[Seen, ...] = ()
    nm: tuple[float, ...] | None = None


def examples_of(
    model: SubspaceModel, space: Space, cases: Sequence[tuple[Any, np.ndarray, np.ndarray]], name: str = ""
) -> Iterator[Example]:
    """Examples from fused patches whose truth is known.

    Parameters
    ----------
    model : SubspaceModel
    space : Space
    cases : sequence of (patch, truth, known)
        A patch of both images, the true coefficients (p, H, W) on the fine grid, and where they are true (H, W).
    """
    found: list[dict[str, Any]] = []
    squares, count = np.zeros(1), 0
    for patch, truth, known in cases:
        if min(known.shape) < LEAST or not known.any():
            continue
        interpolated, detail, _ = PatchCase(model, patch).solution(model)
        msi = (repeated(x, r) for x, r in zip(patch.msi, model.ratios, strict=True))
        own, guide = space.inputs(interpolated, detail, msi)
        result = interpolated + detail
        target, base = (
            space.target(c, result).unflatten(0, (-1, space.outputs))
            for c in (torch.as_tensor(truth).to(result), result)
        )
        target[..., torch.as_tensor(~known)] = torch.nan
        squares = squares + torch.nan_to_num(target - base).double().square().mean(1).sum((1, 2)).numpy()
        count += int(known.sum())
        arrays = {"own": own.numpy(), "guide": guide.numpy(), "target": target.numpy()}
        found.append({**arrays, "base": base.numpy() if base.any() else None, "seen": space.seen(patch)})
    weight = space.weight(model.basis / model.noise[:, None])
    weight = weight / max(weight @ squares / max(count, 1), 1e-12)
    for parts in found:
        yield Example(**parts, weight=weight, ratio=model.scale, name=name)


def examples_from_pair(
    model: SubspaceModel,
    patches: Sequence[Any],
    seed: int,
    name: str = "",
    settings: TrainingParams | None = None,
    own: SubspaceModel | None = None,
) -> Iterator[Example]:
    """Examples from the pair itself, one scale down (Wald, Ranchin & Mangolini 1997): the HSI is the truth.

    `own` is the pair's model where `model` is that of other sensors (`hsgeo.methods.fusion.jitter`).
    """
    cases = reduced(model, patches, np.random.default_rng(seed), own)
    cases = [case for case in cases if min(case[2].shape) >= LEAST]
    if cases:
        low = one_scale_down(model, [patch for patch, _, _ in cases])
        space = space_of(settings or TrainingParams(), low, [patch for patch, _, _ in cases])
        yield from examples_of(low, space, cases, name)


class ExampleStore:
    """Examples in a zarr group, in the order in which they were added.

    Parameters
    ----------
    path : path
        Folder; made when it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._group: Any = zarr.open_group(str(path), mode="a")
        self._opened: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def __len__(self) -> int:
        return int(self._group.attrs.get("count", 0))

    def add(self, example: Example) -> None:
        """Append one; it counts only once it is whole."""
        number = len(self)
        place = self._group.create_group(str(number), overwrite=True)
        for name in ARRAYS:
            values = getattr(example, name)
            if values is None or not values.size:
                continue
            chunks = (*values.shape[:-2], *(min(CHUNK, n) for n in values.shape[-2:]))
            place.create_array(name, data=np.clip(values, -LARGEST, LARGEST).astype(np.float16), chunks=chunks)
        for j, one in enumerate(example.seen):
            place.create_array(f"seen{j}", data=one.image.astype(np.float32))
        place.attrs.update(ratio=example.ratio, name=example.name, weight=list(map(float, example.weight)))
        place.attrs["seen"] = [one.about() for one in example.seen]
        self._group.attrs["count"] = number + 1

    def shape(self, number: int) -> tuple[int, int]:
        """(H, W) of an example."""
        height, width = self._open(number)[0]["target"].shape[-2:]
        return height, width

    def read(self, number: int, rows: slice = slice(None), columns: slice = slice(None)) -> Example:
        """A window of an example, without what both images show."""
        stored, about = self._open(number)
        arrays: dict[str, Any] = {n: np.asarray(a[..., rows, columns], np.float32) for n, a in stored.items()}
        arrays.setdefault("own", np.empty_like(arrays["target"][:, :0]))
        return Example(**arrays, weight=np.asarray(about["weight"]), ratio=about["ratio"], name=about["name"])

    def seen(self, number: int) -> tuple[Seen, ...]:
        """Both images of an example, whole."""
        place = self._group[str(number)]
        return tuple(Seen.of(np.asarray(place[f"seen{j}"]), about) for j, about in enumerate(place.attrs["seen"]))

    def _open(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and attributes of an example that is whole, looked up once: that takes longer than to read a patch."""
        if number not in self._opened:
            place = self._group[str(number)]
            self._opened[number] = {n: place[n] for n in ARRAYS if n in place}, dict(place.attrs)
        return self._opened[number]
