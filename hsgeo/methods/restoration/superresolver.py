"""The fitted super-resolution: a purely local operator, applied tile by tile.

Windows of the scene's own grid and of the fine one, `scale` times finer, share their pixel edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hsgeo.methods.fusion.fitted import REACH as SPLINE
from hsgeo.methods.fusion.fitted import interpolate
from hsgeo.methods.fusion.frame import Frame, round_up
from hsgeo.methods.restoration.base import RestoredTile
from hsgeo.methods.restoration.filtering import Search, mirrored, passed
from hsgeo.methods.restoration.gaps import usable
from hsgeo.methods.restoration.kernels import Kernels
from hsgeo.methods.restoration.shrinkage import low_rank
from hsgeo.methods.restoration.subspace import SubspaceRestorer
from hsgeo.observation.psf import Psf, margin
from hsgeo.scene.window import Window

#: groups on the fine grid; small patches, since what is sought is finer than what was seen
GROUPS = Search(side=4, stride=4, radius=6, count=32)

#: pixels of the scene that a bridge over a gap looks at
BRIDGE = 8


@dataclass(frozen=True)
class Components:
    """The principal components of a scene's coefficients, about their mean.

    Attributes
    ----------
    space : SubspaceRestorer
        Bands, noise and subspace of the scene.
    turn : array (p, p)
        Orthonormal; its columns are the components.
    """

    space: SubspaceRestorer
    turn: np.ndarray

    @classmethod
    def of(cls, space: SubspaceRestorer) -> Components:
        """From the largest to the smallest."""
        turn = np.linalg.eigh(space.covariance)[1][:, ::-1]
        return cls(space, turn * np.where(turn.sum(0) < 0, -1.0, 1.0))  # a sign of its own is nobody's choice

    def analysed(self, spectra: np.ndarray) -> np.ndarray:
        """Components (p, h, w), float32, of spectra (B_model, h, w), their noise white of variance 1; gaps bridged."""
        found = self.space.coefficients(spectra) - self.space.mean.astype(np.float32)[:, None, None]
        return (self.turn.T.astype(np.float32) @ found.reshape(len(found), -1)).reshape(found.shape)

    def spectra(self, components: torch.Tensor) -> np.ndarray:
        """Spectra (B_model, h, w), float32, of components (p, h, w)."""
        mixed = torch.tensordot(torch.as_tensor(self.space.basis @ self.turn).to(components), components, 1)
        return (mixed.cpu().numpy() + (self.space.basis @ self.space.mean)[:, None, None]).astype(np.float32)


@dataclass(kw_only=True)
class SubspaceSuperresolver:
    """A fitted super-resolution; see `hsgeo.methods.restoration.base.Restorer`.

    Attributes
    ----------
    components : Components
    scale : int
        Fine pixels per pixel of the scene.
    psf : Psf
        In fine pixels.
    first : Kernels
        The posterior mean under the measured power.
    later : Kernels
        The same for what an estimate misses, white and of variance `error`.
    error : array (p,)
        Expected where patches have been filtered.
    levels : sequence of float
        Standard deviation that each filter takes the error for, in units of the expected one's.
    floor : array (B_model,)
        Least value of each band.
    """

    components: Components
    scale: int
    psf: Psf
    first: Kernels
    later: Kernels
    error: np.ndarray
    levels: Sequence[float]
    floor: np.ndarray
    bands: np.ndarray = field(init=False)
    noise: np.ndarray = field(init=False)
    bad_reason: list[str] = field(init=False)
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bands, self.noise, self.bad_reason = self.space.bands, self.space.noise, self.space.bad_reason

    @property
    def space(self) -> SubspaceRestorer:
        """Bands, noise and subspace of the scene."""
        return self.components.space

    @property
    def multiple(self) -> int:
        """Cores start on multiples of this."""
        return self.scale

    @property
    def fine(self) -> tuple[int, int]:
        """(height, width) of the result."""
        height, width = self.space.scene
        return height * self.scale, width * self.scale

    @property
    def halo(self) -> int:
        """Context of a tile, fine pixels."""
        seen = margin(self.psf, self.scale)
        each = round_up(GROUPS.reach, self.scale) + (self.later.radius + seen) * self.scale
        context = seen * self.scale + len(self.levels) * each + (self.first.radius + BRIDGE) * self.scale
        return max(context, SPLINE * self.scale)

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Make one tile of the finer scene; see `hsgeo.methods.restoration.base.Restorer`.

        `values` lie over ``outer.coarsen(scale)``; `outer` and `core` count fine pixels. Samples that are missing stay
        missing. Bands that are not of the model, and pixels that lack more than half of their bands, are interpolated.
        What the scene has beyond the result is told of it before the darkest values are raised.
        """
        given = outer.coarsen(self.scale)
        have, wanted = given.clip(*self.space.scene), core.clip(*self.fine)
        spectra = values[self.bands][(slice(None), *have.within(given).slices)]
        seen = torch.as_tensor(self.components.analysed(spectra), device=device)
        around = wanted.grow(margin(self.psf, self.scale) * self.scale).clip(*self.fine)
        found = self.estimate(seen, have, around)
        again = self.components.spectra(self.observed(found, around, wanted.coarsen(self.scale)))
        inside = found[(slice(None), *wanted.within(around).slices)]
        restored = np.maximum(self.components.spectra(inside), self.floor[:, None, None].astype(np.float32))
        place = (slice(None), *wanted.coarsen(self.scale).within(given).slices)
        known = np.isfinite(values[place])
        enough = usable(values[place][self.bands])
        out, left = self._plain(values, outer, wanted, known, enough)
        out[self.bands] = np.where(repeated(enough, self.scale), restored, out[self.bands])
        out[~repeated(known, self.scale)] = np.nan
        missed = np.full(known.shape, np.nan, np.float32)
        missed[self.bands] = np.where(enough, values[place][self.bands] - again, np.nan)
        return RestoredTile(out, {"left": left, "pixels": int(known[self.bands].any(0).sum())}, missed)

    def estimate(self, seen: torch.Tensor, have: Window, wanted: Window) -> torch.Tensor:
        """The components on the fine grid.

        Parameters
        ----------
        seen : tensor (p, h, w)
            With white noise of variance 1, over `have`.
        have : Window
            Of the scene's grid.
        wanted : Window
            Of the fine grid, on multiples of the scale. Both lie inside the scene.

        Returns
        -------
        tensor (p, H, W)
            Over `wanted`.
        """
        context = (self.later.radius + margin(self.psf, self.scale)) * self.scale
        filters = [wanted]
        for _ in self.levels:
            reach = context + round_up(GROUPS.reach, self.scale)
            filters.append(filters[-1].grow(reach).clip(*self.fine))
        now = filters.pop()
        x = self._onto(self.first, seen, have, now)
        deviation = torch.as_tensor(np.sqrt(self.error), device=x.device).to(x)[:, None, None]
        for level in self.levels:
            after = filters.pop()
            around = after.grow(context).clip(*self.fine)
            unit = level * deviation
            v = passed([x / unit], now, around, self.fine, GROUPS, lambda g: low_rank(g[0])) * unit
            x = self._corrected(v, around, seen, have, after)
            now = after
        return x

    def observed(self, x: torch.Tensor, have: Window, wanted: Window) -> torch.Tensor:
        """What the sensor would see of components (p, H, W) over `have`, fine pixels: (p, h, w) over `wanted`."""
        seen = margin(self.psf, self.scale)
        frame = mirrored(x, have, wanted.grow(seen).scale(self.scale), self.fine)
        rows, columns = (self._blur(n, axis, seen) for axis, n in enumerate(frame.shape[1:]))
        return torch.as_tensor(rows).to(x) @ frame @ torch.as_tensor(columns).to(x).T

    def _blur(self, n: int, axis: int, seen: int) -> np.ndarray:
        matrix = self.psf.matrix(n, self.scale, "reflect", axis)
        return matrix[seen : len(matrix) - seen]

    def _corrected(
        self, v: torch.Tensor, around: Window, seen: torch.Tensor, have: Window, wanted: Window
    ) -> torch.Tensor:
        """An estimate v over `around` and what the sensor saw beyond it, over `wanted`."""
        context = wanted.coarsen(self.scale).grow(self.later.radius).clip(*self.space.scene)
        beyond = seen[(slice(None), *context.within(have).slices)] - self.observed(v, around, context)
        return v[(slice(None), *wanted.within(around).slices)] + self._onto(self.later, beyond, context, wanted)

    def _onto(self, kernels: Kernels, images: torch.Tensor, have: Window, wanted: Window) -> torch.Tensor:
        """Images (p, h, w) over `have` by their kernels, over `wanted` of the fine grid."""
        frame = wanted.coarsen(self.scale).grow(kernels.radius)
        return kernels(mirrored(images, have, frame, self.space.scene))

    def _plain(
        self, values: np.ndarray, outer: Window, core: Window, known: np.ndarray, enough: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """All that is interpolated alone (B, H, W), and how many pixels lack too many bands of the model."""
        lacking = known[self.bands].any(0) & ~enough
        plain = np.ones(len(values), bool)
        plain[self.bands] = lacking.any()
        out = np.full((len(values), *core.shape), np.nan, np.float32)
        if plain.any():
            frame = Frame.around(outer, self.fine, self.scale)
            out[plain] = interpolate(frame, values[plain], self.scale, core)
        return out, int(lacking.sum())


def repeated(mask: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel of a mask (..., h, w) for all its fine ones."""
    return mask.repeat(scale, -2).repeat(scale, -1)
