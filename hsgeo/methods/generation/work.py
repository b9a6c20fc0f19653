"""What one task draws of tiles; the engine is handed this object as a plain callable, picklable.

Tiles that are whole in a block go through all steps there. Of tiles that are cut, a run of the engine takes one step
everywhere: it reads the states of the run before, with what the network sees around its block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hsgeo.methods.generation.canvas import Canvas
from hsgeo.methods.generation.hud import Hud
from hsgeo.methods.generation.sampling import Wanted
from hsgeo.methods.generation.tiles import shown
from hsgeo.scene.encode import Encoding, encode
from hsgeo.scene.window import Window

#: side of the windows in which spectra are made of states, a multiple of the blocks of the noise
DECODED = 128


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a model.

    Parameters
    ----------
    seed : int
        Of the first tile; each has the next one.
    steps : int
        Of the sampler.
    variability, sensor_noise : bool
        Spectra vary about the mixtures of the endmembers, and have the noise that is left of the scene's.
    wanted : callable, optional
        What is asked for of every tile.
    eta : float
        See `hsgeo.methods.generation.sampling.Sampler`.
    """

    seed: int
    steps: int
    variability: bool = True
    sensor_noise: bool = True
    wanted: Wanted | None = None
    eta: float = 0.0


def whole_tiles(
    model: Hud, drawing: Drawing, size: int, seeds: Sequence[int], wanted: Sequence[Wanted | None], device: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Abundances, spectra and classes of tiles of `size` pixels a side, as `shown` gives them.

    Parameters
    ----------
    model : Hud
    drawing : Drawing
        Whose seed and wish are not looked at.
    size : int
    seeds : sequence of int
        Of the tiles.
    wanted : sequence of callables or None
        What is asked for of each.
    device : str
    """
    states = model.states((size, size), seeds, drawing.steps, drawing.eta, model.asking(wanted), device)
    place = Window(0, size, 0, size)
    return [
        shown(model, state, seed, drawing.steps, place, drawing.variability, drawing.sensor_noise)
        for seed, state in zip(seeds, states, strict=True)
    ]


@dataclass(frozen=True)
class States:
    """A run up to some step of the sampler.

    Parameters
    ----------
    model : Hud
    canvas : Canvas
    drawing : Drawing
    step : int
        All steps up to this one where tiles are whole, else this one alone.
    before : str, optional
        Path of the zarr array with the states after the step before; where there is none, they are noise.
    """

    model: Hud
    canvas: Canvas
    drawing: Drawing
    step: int
    before: str | None = None

    def of(self, core: Window, device: str) -> np.ndarray:
        """States (n, c, h, w) of the tiles that a block holds, or of its part of one."""
        numbers, window = self.canvas.tiles(core)
        seeds = [self.drawing.seed + number for number in numbers]
        wanted = self.model.asking([self.drawing.wanted] * len(seeds))
        shape = self.canvas.size, self.canvas.size
        if self.canvas.whole:
            return self.model.states(shape, seeds, self.drawing.steps, self.drawing.eta, wanted, device)
        sampler = self.model.sampler(self.drawing.steps, self.drawing.eta, device)
        read = partial(sampler.noise, 0, seeds) if self.before is None else partial(self._read, numbers[0])
        return sampler.step(self.step, read, window, shape, seeds, wanted).numpy()

    def _read(self, number: int, window: Window) -> torch.Tensor:
        import zarr

        array: Any = zarr.open_array(str(self.before), mode="r")
        return torch.from_numpy(array[(slice(None), *self.canvas.place(number, window).slices)])[None]

    def __call__(self, block: Any, device: str) -> Mapping[str, Any]:
        """The states of one block; 0 beside the tile."""
        return {"states": filled(self.of(block.core, device), block.core.shape, 0)}


@dataclass(frozen=True)
class Tiles:
    """The last run: states, and what they show.

    Parameters
    ----------
    states : States
    code : Encoding
        How reflectance is stored.
    kinds : str
        Type in which classes are stored.
    """

    states: States
    code: Encoding
    kinds: str

    def __call__(self, block: Any, device: str) -> Mapping[str, Any]:
        """``reflectance`` as it is stored, ``abundances`` and ``classes`` of one block, and its statistics."""
        numbers, window = self.states.canvas.tiles(block.core)
        drawn = self.states.of(block.core, device)
        shown = [self._shown(state, number, window) for state, number in zip(drawn, numbers, strict=True)]
        reflectance, abundances, classes, clipped = zip(*shown, strict=True)
        shape, blank = block.core.shape, 0 if self.code.nodata is None else self.code.nodata
        return {
            "reflectance": filled(reflectance, shape, blank),
            "abundances": filled(abundances, shape, np.nan),
            "classes": filled(classes, shape, 0),
            "stats": {"saturated": sum(clipped)},
        }

    def _shown(self, state: np.ndarray, number: int, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Stored reflectance (B, h, w), abundances (p, h, w) and classes (1, h, w) of a state; values clipped."""
        model, drawing, code = self.states.model, self.states.drawing, self.code
        blank = 0 if code.nodata is None else code.nodata
        values = np.full((model.count, *window.shape), blank, code.dtype)
        shares = np.empty((len(model.encoding.endmembers), *window.shape), np.float32)
        kinds, clipped = np.empty((1, *window.shape), self.kinds), 0
        for block in window.blocks(DECODED):
            part = block.clip_to(window)
            at = part.within(window).slices
            abundances, spectra, classes = shown(
                model,
                state[(slice(None), *at)],
                drawing.seed + number,
                drawing.steps,
                part,
                drawing.variability,
                drawing.sensor_noise,
            )
            scale, offset = code.scale[model.bands], code.offset[model.bands]
            values[(model.bands, *at)], more = encode(spectra, code.dtype, scale, offset, code.nodata)
            shares[(slice(None), *at)], clipped = abundances, clipped + more
            kinds[(0, *at)] = classes
        return values, shares, kinds, clipped


def filled(tiles: Sequence[np.ndarray] | np.ndarray, shape: tuple[int, int], blank: float) -> np.ndarray:
    """Arrays (c, h, w) one below the other as (c, *shape), `blank` where they leave room."""
    first = tiles[0]
    height, width = first.shape[1:]
    if len(tiles) == 1 and (height, width) == shape:
        return first
    out = np.full((len(first), *shape), blank, first.dtype)
    for i, tile in enumerate(tiles):
        out[:, i * height : (i + 1) * height, :width] = tile
    return out
