"""Method ``dds2m``: self-supervised diffusion (Miao et al. 2023, doi:10.1109/ICCV51070.2023.01107), window by window.

Ours runs in the scene's noise-whitened subspace, whose spectra all windows share, with small networks and few steps.
Beside noise it is mixed with the fast restoration, by shares that noise decides which it has not seen
(`hsgeo.methods.restoration.fission`); of gaps, it returns what best tells samples that were held back.
``configuration: paper`` runs on the bands themselves with the published networks and steps. Networks are fitted to
windows that belong to the scene, not to tiles, and neighbouring windows are blended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from hsgeo.diffusion import Evidence, noise_field
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.restoration.base import RestorationInputs, RestorationMethod, RestoredTile
from hsgeo.methods.restoration.fission import Mixing, split
from hsgeo.methods.restoration.gaps import coefficients, usable
from hsgeo.methods.restoration.subspace import (
    SubspaceRestoration,
    SubspaceRestorationParams,
    SubspaceRestorer,
    mix_passes,
)
from hsgeo.methods.restoration.variational import reverse
from hsgeo.methods.restoration.variational_settings import OURS, PAPER, VariationalSettings
from hsgeo.observation.spectral import SpectralMask
from hsgeo.scene.window import Window

#: windows begin at multiples of this, and reach so far into their neighbours
BLOCK, MARGIN = 64, 16

#: iterates without a gain after which a window is done
PATIENCE = 150

#: number, in place of a step's, of the noise that is added
EXTRA = 1 << 31

#: share of the sampled pixels that must have half of their bands
ENOUGH = 0.2


class Dds2mParams(SubspaceRestorationParams):
    """Parameters of `Dds2m`."""

    configuration: Literal["ours", "paper"] = Field(
        default="ours", description="of networks and process; paper: as published, in the bands themselves"
    )
    steps: int | None = Field(default=None, description="of the sampler; as the configuration has them without", ge=1)
    samples: int = Field(default=1, description="runs, each of its own noise and networks, whose mean is taken", ge=1)
    compile: bool = Field(
        default=False,
        description="have torch compile the networks: two minutes for each shape of window, then half the time",
    )


@dataclass(kw_only=True)
class Dds2mRestorer(ABC):
    """A fitted restoration; see `hsgeo.methods.restoration.base.Restorer`.

    Attributes
    ----------
    space : SubspaceRestorer
        Bands, noise and subspace.
    settings : VariationalSettings
    samples, seed : int
    watch : callable (step, iterate in the units of the bands), optional
        Looks on; it has no influence.
    chosen : list of int
        The steps whose iterates were taken, one for each run so far.
    """

    space: SubspaceRestorer
    settings: VariationalSettings
    samples: int
    seed: int
    watch: Callable[[int, np.ndarray], None] | None = None
    chosen: list[int] = field(default_factory=list)
    bands: np.ndarray = field(init=False)
    noise: np.ndarray = field(init=False)
    bad_reason: list[str] = field(init=False)
    notes: list[str] = field(default_factory=list)
    estimates: dict[str, Any] = field(default_factory=dict)
    multiple: int = BLOCK

    def __post_init__(self) -> None:
        self.bands, self.noise, self.bad_reason = self.space.bands, self.space.noise, self.space.bad_reason

    @property
    def halo(self) -> int:
        """Context of a tile, pixels."""
        return BLOCK + MARGIN

    def report(self) -> dict[str, Any]:
        """What was estimated."""
        return self.estimates

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile; see `hsgeo.methods.restoration.base.Restorer`."""
        out = np.full((len(values), *core.shape), np.nan, np.float32)
        wanted = core.clip(*self.space.scene)
        out[(self.bands, *wanted.within(core).slices)] = self.blended(values, outer, wanted, device)[0]
        return RestoredTile(out)

    def blended(self, values: np.ndarray, outer: Window, wanted: Window, device: str) -> tuple[np.ndarray, np.ndarray]:
        """`window` of all windows that meet one inside the scene: spectra (B_model, H, W) and shares (H, W)."""
        total, shares = np.zeros((len(self.bands), *wanted.shape)), np.zeros(wanted.shape)
        for block in wanted.grow(MARGIN).clip(*self.space.scene).blocks(BLOCK):
            window = block.grow(MARGIN).clip(*self.space.scene)
            spectra = values[self.bands][(slice(None), *window.within(outer).slices)]
            with _one_thread():
                found, share = self.window(spectra, window, device)
            starts = zip((block.y0, block.x0), self.space.scene, strict=True)
            weight = np.outer(*(_ramp(start, size) for start, size in starts))
            inside = window.clip_to(wanted)
            here, there = inside.within(window).slices, inside.within(wanted).slices
            total[(slice(None), *there)] += (found * weight)[(slice(None), *here)]
            shares[there] += (share * weight)[here]
        return total, shares

    @abstractmethod
    def window(self, spectra: np.ndarray, window: Window, device: str) -> tuple[np.ndarray, float]:
        """What the networks make of a window's spectra (B_model, h, w), some NaN, times their share, and that share."""

    def _shown(self, step: int, iterate: torch.Tensor) -> None:
        if self.watch is not None:
            self.watch(step, self._spectra(iterate))

    def _spectra(self, image: torch.Tensor) -> np.ndarray:
        """Coefficients as spectra (B_model, h, w)."""
        return np.tensordot(self.space.basis, image.cpu().numpy(), 1).astype(np.float32)


@dataclass(kw_only=True)
class Alone(Dds2mRestorer):
    """By networks alone, which fill gaps as well; on the bands themselves, or on coefficients (`whitened`)."""

    whitened: bool

    def window(self, spectra: np.ndarray, window: Window, device: str) -> tuple[np.ndarray, float]:
        """The mean of all samples; see `Dds2mRestorer.window`."""
        if self.whitened:
            s = self.space
            z = coefficients(spectra, s.basis, s.noise, s.mean, s.covariance)
            known, data, noise = usable(spectra)[None], z, torch.ones(1, 1, 1)
        else:
            known, data, noise = np.isfinite(spectra), spectra, torch.as_tensor(self.noise)[:, None, None]
        if not known.any():
            return np.full(spectra.shape, np.nan, np.float32), 1.0
        y = torch.as_tensor(np.where(known, data, 0.0).astype(np.float32), device=device)
        evidence = Evidence.of(SpectralMask(np.broadcast_to(known, y.shape)), y, noise.to(y))
        mean = torch.zeros_like(y)
        for seed in range(self.seed, self.seed + self.samples):
            found = reverse(evidence, self.settings, seed=seed, callback=self._shown)
            mean += found.image / self.samples
            self.chosen.append(found.step)
        return self._spectra(mean), 1.0

    def _spectra(self, image: torch.Tensor) -> np.ndarray:
        """An image that networks show, in the units of the bands."""
        return super()._spectra(image) if self.whitened else image.cpu().numpy()


@dataclass(kw_only=True)
class Mixed(Dds2mRestorer):
    """By networks and the fast restoration, whose gaps stay."""

    @property
    def halo(self) -> int:
        """Context of a tile, pixels."""
        return max(BLOCK + MARGIN, self.space.halo)

    def apply(self, values: np.ndarray, outer: Window, core: Window, device: str = "cpu") -> RestoredTile:
        """Restore one tile; see `hsgeo.methods.restoration.base.Restorer`."""
        done, wanted = self.space.apply(values, outer, core, device), core.clip(*self.space.scene)
        total, shares = self.blended(values, outer, wanted, device)
        part = done.values[(slice(None), *wanted.within(core).slices)]
        part[self.bands] = (1 - shares) * part[self.bands] + total
        done.stats["networks"] = float(shares.sum())
        return done

    def window(self, spectra: np.ndarray, window: Window, device: str) -> tuple[np.ndarray, float]:
        """The mean of all samples, each by its share; see `Dds2mRestorer.window`."""
        seen = usable(spectra)
        if not seen.any():
            return np.zeros(spectra.shape, np.float32), 0.0
        z = torch.as_tensor(self.space.coefficients(spectra), device=device)
        known, whole = torch.as_tensor(seen, device=device), Window(0, window.shape[0], 0, window.shape[1])
        total, share = torch.zeros_like(z), 0.0
        for seed in range(self.seed, self.seed + self.samples):
            extra = noise_field(seed, EXTRA, len(z), window.y0, window.y1, window.x0, window.x1)
            halves = split(z, torch.from_numpy(extra).to(z))
            fast = halves.level * self.space.mixed(halves.first / halves.level, whole, whole, whole.shape)
            mixing = Mixing(fast, halves.second, known, PATIENCE)
            mask = SpectralMask(np.broadcast_to(seen, z.shape))
            evidence = Evidence.of(mask, halves.first * known, torch.full((1, 1, 1), halves.level).to(z))
            reverse(evidence, self.settings, fast, seed=seed, callback=partial(self._judged, mixing))
            assert mixing.image is not None  # a process has at least one step
            self.chosen.append(mixing.step)
            total += mixing.share / self.samples * mixing.image
            share += mixing.share / self.samples
        return self._spectra(total), share

    def _judged(self, mixing: Mixing, step: int, iterate: torch.Tensor) -> bool:
        self._shown(step, iterate)
        return mixing(step, iterate)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Fitted networks make much of how sums are rounded, and that is by the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ramp(start: int, size: int) -> np.ndarray:
    """Weights of a window of an axis: those of neighbours add up to 1."""
    at = np.arange(max(0, start - MARGIN), min(size, start + BLOCK + MARGIN)) + 0.5
    up = np.ones(len(at)) if start == 0 else np.clip((at - start + MARGIN) / (2 * MARGIN), 0, 1)
    end = start + BLOCK
    down = np.ones(len(at)) if end >= size else np.clip((end + MARGIN - at) / (2 * MARGIN), 0, 1)
    return np.minimum(up, down)


class Dds2m(RestorationMethod):
    """Method ``dds2m``."""

    name = "dds2m"
    Params = Dds2mParams

    def fit(self, inputs: RestorationInputs, params: Dds2mParams | None = None, progress: Any = None) -> Dds2mRestorer:
        """Noise and subspace of the scene; networks are fitted tile by tile. See `RestorationMethod.fit`.

        Raises
        ------
        DataError
            The scene has no data, or few pixels have half of their bands.
        BandError
            Fewer than three bands can enter the model.
        """
        params = params or Dds2mParams()
        space, samples = SubspaceRestoration().survey(inputs, params)
        ours = params.configuration == "ours"
        mixed = ours and inputs.task != "inpaint"
        have = np.mean([usable(s[space.bands]).mean() for s in samples])
        if ours and have < ENOUGH:
            raise DataError(
                f"dds2m needs pixels that have half of their bands, and {have:.0%} do here: take --method subspace."
            )
        settings = (OURS if ours else PAPER)["complete" if inputs.task == "inpaint" else "denoise"]
        notes = list[str]()
        if mixed:
            mix_passes(space, inputs.source, samples, params)
        if params.steps is not None:
            if params.steps > settings.start:
                raise ParameterError(f"--steps {params.steps}: this process has {settings.start} at most.")
            usual = settings.steps or settings.start
            if inputs.task == "inpaint" and params.steps < usual:
                notes.append(f"{params.steps} steps: it takes about {usual} until networks tell what is missing.")
            settings = replace(settings, steps=params.steps)
        settings = replace(settings, compile=params.compile)
        kind = Mixed if mixed else partial(Alone, whitened=ours)
        return kind(
            space=space,
            settings=settings,
            samples=params.samples,
            seed=params.seed,
            notes=notes,
            estimates={
                **space.estimates,
                "configuration": params.configuration,
                "steps": settings.steps or settings.start,
                "samples": params.samples,
            },
        )
