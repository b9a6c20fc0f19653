"""Inpainting: samples that are missing anywhere in a scene, a gap of clouds as well as single ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hsgeo.methods.restoration.base import RestorationInputs, RestoredTile
from hsgeo.methods.restoration.completion import Completion, learned
from hsgeo.methods.restoration.survey import learned_from
from hsgeo.methods.streaming import dead_bands, model_bands
from hsgeo.scene.window import Window

#: a scene is filled in blocks that begin at multiples of this, each with so much around it
BLOCK, CONTEXT = 128, 32

#: pixels that the rounds are learned from; half of CAVE's balloons, 33,000, loses 2 dB at 80 % missing
PIXELS = 100000


@dataclass(kw_only=True)
class Inpainter:
    """A fitted inpainting; see `hsgeo.methods.restoration.base.Restorer`.

    Blocks are those of the scene, whatever the tiles, so that tiles agree.

    Attributes
    ----------
    scene : (height, width)
    bands : int array
        Those that are filled.
    noise : array (B_model,)
        Standard deviation of what measured samples are off the spectra that they were filled from.
    completion : Completion
    whole : array (B_model, H, W), optional
        The scene as the rounds filled it where they were learned from all of it.
    """

    scene: tuple[int, int]
    bands: np.ndarray
    noise: np.ndarray
    bad_reason: list[str]
    completion: Completion
    whole: np.ndarray | None = None
    misfit: ClassVar[bool] = True
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this many pixels."""
        return BLOCK if self.whole is None else 1

    @property
    def halo(self) -> int:
        """Context of a tile, pixels."""
        return CONTEXT if self.whole is None else 0

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Estimate all samples of one tile; see `hsgeo.methods.restoration.base.Restorer`."""
        out = np.full((len(values), *core.shape), np.nan, np.float32)
        wanted = core.clip(*self.scene)
        part = out[(slice(None), *wanted.within(core).slices)]
        part[self.bands] = self.filled(values[self.bands], outer, wanted)
        return RestoredTile(out)

    def filled(self, values: np.ndarray, have: Window, wanted: Window) -> np.ndarray:
        """All samples (B_model, H, W) of a window inside the scene, of values (B_model, h, w) over `have`.

        `have` holds the blocks that `wanted` meets, and `CONTEXT` around them as far as the scene goes.
        """
        if self.whole is not None:
            return self.whole[(slice(None), *wanted.slices)]
        out = np.empty((len(values), *wanted.shape), np.float32)
        for block in wanted.blocks(BLOCK):
            around = block.grow(CONTEXT).clip(*self.scene)
            seen = values[(slice(None), *around.within(have).slices)]
            inside = block.clip_to(wanted)
            done = self.completion(seen) if np.isnan(seen).any() else seen
            out[(slice(None), *inside.within(wanted).slices)] = done[(slice(None), *inside.within(around).slices)]
        return out


def fitted_inpainter(inputs: RestorationInputs, seed: int = 0) -> Inpainter:
    """Learn how a scene's missing samples are filled.

    Parameters
    ----------
    inputs : RestorationInputs
    seed : int
        See `SceneSource.sample`.

    Raises
    ------
    DataError
        The scene has no data.
    BandError
        Fewer than three bands can be worked with.
    """
    source = inputs.source
    samples = learned_from(source, seed, PIXELS)
    dead = dead_bands(samples)
    bands = model_bands(np.asarray(inputs.good, bool), dead)
    completion, done = learned([s[bands] for s in samples])
    alone = len(samples) == 1 and samples[0].shape[1:] == source.shape
    last = completion.rounds[-1].space
    return Inpainter(
        scene=source.shape,
        bands=bands,
        noise=np.sqrt(last.error) * completion.scale,
        bad_reason=inputs.reasons(dead),
        completion=completion,
        whole=done[0] if alone else None,
        estimates={"subspace": f"{last.basis.shape[1]} principal spectra", "dimension": last.basis.shape[1]},
    )
