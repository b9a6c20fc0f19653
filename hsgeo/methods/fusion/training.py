"""Training of HSR-Diff's network on examples; nothing here knows where they come from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from hsgeo.diffusion import forward
from hsgeo.errors import DataError, ModelError
from hsgeo.methods.fusion.coordinates import GUIDES, flipped
from hsgeo.methods.fusion.examples import LEAST, ExampleStore
from hsgeo.methods.fusion.losses import SeenBatch, SeenPatch, loss_of, observed_loss
from hsgeo.methods.fusion.sampling import denoised
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.weights import Weights
from hsgeo.methods.precision import bfloat16_pays

#: steps over which the learning rate rises
RISE = 200


class Patches(Dataset[tuple[Any, ...]]):
    """Step -> a batch of random patches, the same for the same step and seed."""

    def __init__(self, store: ExampleStore, settings: TrainingParams, seed: int) -> None:
        self.store, self.settings, self.seed = store, settings, seed

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        """Own (M, c, n, n), guide (N, g, n, n), target (M, k, n, n), weight, item, gamma (M,), noise, what is seen."""
        s = self.settings
        rng = np.random.default_rng([self.seed, step])
        stage = min(step * len(s.patches) // s.steps, len(s.patches) - 1)
        numbers = [int(n) for n in rng.integers(len(self.store), size=s.batch)]
        shapes = [self._trained(number) for number in numbers]
        side = min(s.patches[stage], *(n for shape in shapes for n in shape)) // s.network.fold * s.network.fold
        own, guide, target, weight, seen = zip(
            *(self._patch(n, shape, side, rng) for n, shape in zip(numbers, shapes, strict=True)), strict=True
        )
        items = [item for item, o in enumerate(own) for _ in o]
        clean = torch.cat(target)
        noisy = s.plain or rng.random(len(clean)) < s.seen_noise
        gamma = np.where(noisy, s.process.schedule().draw(len(clean), rng), 0.0)
        noise = rng.standard_normal(tuple(clean.shape), np.float32)
        return (
            torch.cat(own),
            torch.stack(guide),
            clean,
            torch.cat(weight),
            torch.as_tensor(items),
            torch.as_tensor(gamma, dtype=torch.float32),
            torch.as_tensor(noise),
            SeenBatch(seen),
        )

    def _trained(self, number: int) -> tuple[int, int]:
        """Rows and columns of an example that are not held back."""
        height, width = self.store.shape(number)
        return height - held_back(height, self.settings.held_back), width

    def _patch(
        self, number: int, shape: tuple[int, int], side: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, tuple[SeenPatch, ...]]:
        images = self.store.seen(number) if self.settings.loss == "observed" else ()
        step = math.lcm(*(one.ratio for one in images))
        y, x = (step * int(rng.integers((n - side) // step + 1)) for n in shape)
        e = self.store.read(number, slice(y, y + side), slice(x, x + side))
        kept = rng.permutation(len(e.own))[: self.settings.items]
        own, guide, target = (torch.as_tensor(v) for v in (e.own[kept], e.guide, e.target[kept]))
        if own.shape[1]:
            signs = torch.as_tensor(rng.choice([-1.0, 1.0], len(kept)), dtype=torch.float32)
            others = torch.as_tensor(rng.choice([-1.0, 1.0], GUIDES), dtype=torch.float32)
            own, guide, target = flipped(own, guide, target, signs, others)
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        own, guide, target = (torch.rot90(v, turns, (-2, -1)) for v in (own, guide, target))
        seen = tuple(one.patch(y, x, side).turned(turns, mirror) for one in images)
        if mirror:
            own, guide, target = (v.flip(-1) for v in (own, guide, target))
        weight = torch.as_tensor(e.weight[kept] * len(e.weight) / len(kept), dtype=torch.float32)
        return own, guide, target, weight, seen


def held_back(height: int, share: float) -> int:
    """Last rows of an example that are kept for validation; 0 where it is too small to be cut."""
    rows = max(math.ceil(share * height), LEAST // 2)
    return rows if height - rows >= LEAST else 0


class Training:
    """One training, which can be stopped at any step and taken up again.

    Parameters
    ----------
    store : ExampleStore
    settings : TrainingParams
    folder : path
        Where the state and the log are kept: ``state.pt``, ``log.json``.
    start : Weights, optional
        Trained further; a new network without.
    seed : int
    device : str
    said : callable, optional
        Told each validation's entry of the log.
    """

    def __init__(
        self,
        store: ExampleStore,
        settings: TrainingParams,
        folder: str | Path,
        *,
        start: Weights | None = None,
        seed: int = 0,
        device: str = "cpu",
        said: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        if not len(store):
            raise DataError(f"there is nothing to train on: no image is {LEAST} fine pixels wide one scale down.")
        self.store, self.settings, self.seed, self.device = store, settings, seed, torch.device(device)
        self.folder, self.said, self.most = Path(folder), said, settings.steps
        first = store.read(0, slice(0, 1), slice(0, 1))
        channels = (first.own.shape[1] + first.target.shape[1], first.guide.shape[0], first.target.shape[1])
        if start is not None and start.channels != channels:
            raise ModelError(f"{start.name}: made for other numbers of bands; train a new network (--start none).")
        begun = start if start is not None else Weights.untrained(settings, channels, seed)
        self.weights = replace(begun, network=deepcopy(begun.network).to(self.device), settings=settings)
        self.network = self.weights.network
        self.average = deepcopy(self.network).eval()
        self.best = deepcopy(self.average)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), settings.learning_rate, weight_decay=1e-4)
        self.step, self.seconds = 0, 0.0
        self.log: list[dict[str, Any]] = []
        self._recent: list[float] = []

    def run(self, left: Callable[[], float] = lambda: math.inf, progress: Any = None) -> Weights:
        """Train to the end, to the early stop, or until no time is left; the best weights by the held-back strip.

        `left` says how many seconds there are: at every validation the schedule is planned anew for them, so that the
        learning rate always falls to its end.
        """
        s, begun, first = self.settings, time.perf_counter(), self.step
        began, every = begun - self.seconds, max(1, s.steps // s.checks)
        if self.step == 0:
            self._check(began)
        while self.step < self.settings.steps and self._since_best() < s.patience:
            for batch in self._loader(every):
                self._learn([part.to(self.device) for part in batch])
                self.step += 1
                if progress is not None:
                    progress.advance()
                if left() <= 0:
                    break
            self._check(began)
            seconds = left()
            if math.isfinite(seconds):
                pace = (time.perf_counter() - begun) / (self.step - first)
                self.plan(self.step + max(0, int(seconds / pace)))
                if progress is not None:
                    progress.total = self.settings.steps
            self.keep()
        return self.result()

    def _loader(self, every: int) -> DataLoader[tuple[Any, ...]]:
        """The batches from here to the next validation."""
        end = min(self.step - self.step % every + every, self.settings.steps)
        return DataLoader(
            Patches(self.store, self.settings, self.seed),
            batch_size=None,
            sampler=range(self.step, end),
            num_workers=0,
        )

    def result(self) -> Weights:
        """The best weights so far."""
        return replace(self.weights, network=deepcopy(self.best).cpu().eval())

    @property
    def holds_back(self) -> bool:
        """Whether any example is large enough for rows that are kept for validation."""
        return any(held_back(self.store.shape(n)[0], self.settings.held_back) for n in range(len(self.store)))

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(p.numel() for p in self.network.parameters())

    def pace(self) -> float:
        """Seconds that a step takes, its part of the validations included; measured, changes nothing."""
        source, s = Patches(self.store, self.settings, self.seed), self.settings
        seconds = []
        for stage in range(len(s.patches)):
            step = min(-(-stage * s.steps // len(s.patches)), s.steps - 1)
            for _ in range(2):  # the first one prepares the machine
                start = time.perf_counter()
                self._loss([part.to(self.device) for part in source[step]]).backward()
                took = time.perf_counter() - start
            seconds.append(took)
        self.optimiser.zero_grad()
        start = time.perf_counter()
        validated(self.average, self.store, s, self.device)
        return float(np.mean(seconds)) + (time.perf_counter() - start) * s.checks / s.steps

    def plan(self, steps: int) -> None:
        """Make the whole schedule, rate and sizes of patches, one of so many steps, at most those asked for."""
        self.settings = self.settings.model_copy(update={"steps": max(1, min(steps, self.most))})
        self.weights = replace(self.weights, settings=self.settings)

    def _loss(self, batch: list[Any]) -> torch.Tensor:
        own, guide, clean, weight, item, gamma, noise, seen = batch
        power = gamma.view(-1, 1, 1, 1)
        z = torch.where(power > 0, forward(clean.nan_to_num(), power, noise), 0.0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16_pays(self.device)):
            predicted = denoised(self.network, own, z, gamma, guide, item, plain=self.settings.plain)
        if self.settings.loss == "observed":
            return observed_loss(predicted.float(), clean, seen)
        if not self.settings.plain:  # a prediction at level gamma can be wrong by what the noise hides only
            hidden = (1 - gamma).clamp(min=1e-3)
            weight = weight / (hidden.sqrt() if self.settings.loss == "l1" else hidden)
        return loss_of(predicted.float(), clean, weight, self.settings.loss) / self.settings.batch

    def _learn(self, batch: list[torch.Tensor]) -> None:
        s = self.settings
        rate = s.learning_rate * min(1.0, (self.step + 1) / RISE) * 0.5 * (1 + math.cos(math.pi * self.step / s.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        memory = min(s.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - memory)
        self._recent.append(float(loss.detach()))

    def _check(self, began: float) -> None:
        """Validate the averaged weights, write the log, and keep the best."""
        self.seconds = time.perf_counter() - began
        gain = validated(self.average, self.store, self.settings, self.device)
        entry = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": float(np.mean(self._recent)) if self._recent else None,
            "validation_gain_db": gain,
        }
        if not self.log or gain > max(e["validation_gain_db"] for e in self.log):
            self.best = deepcopy(self.average)
        self.log.append(entry)
        self._recent = []
        (self.folder / "log.json").write_text(json.dumps({"entries": self.log}, indent=1))
        if self.said is not None:
            self.said(entry)

    def _since_best(self) -> int:
        gains = [e["validation_gain_db"] for e in self.log]
        return len(gains) - 1 - int(np.argmax(gains))

    def keep(self) -> None:
        """Write the state from which `take_up` goes on."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "steps": self.settings.steps,
            "seconds": self.seconds,
            "log": self.log,
        }
        beside = self.folder / "state.part"
        torch.save(state, beside)
        beside.replace(self.folder / "state.pt")

    def take_up(self) -> bool:
        """Go on from a state that was kept in the folder; False where there is none."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        for name in ("network", "average", "best", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.plan(state["steps"])
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]
        return True


@torch.inference_mode()
def validated(
    network: Any, store: ExampleStore, settings: TrainingParams, device: torch.device, most: int = 16
) -> float:
    """By how much regression lowers the squared error on the held-back strips: mean over examples, in dB."""
    gains = []
    for number in np.unique(np.linspace(0, len(store) - 1, min(most, len(store))).astype(int)):
        height, _ = store.shape(number)
        strip = held_back(height, settings.held_back) or height
        e = store.read(int(number), slice(height - strip, None))
        own, guide, target = (torch.as_tensor(v).to(device) for v in (e.own, e.guide[None], e.target))
        base = torch.zeros_like(target) if e.base is None else torch.as_tensor(e.base).to(device)
        z, gamma = torch.zeros_like(target), 0.0
        if settings.plain:  # such a network never sees a signal of no power: one step of the sampler
            drawn = torch.Generator().manual_seed(int(number))
            z = torch.randn(target.shape, generator=drawn).to(device)
            gamma = float(settings.process.schedule().gamma[-1])
        level, item = target.new_full((len(own),), gamma), torch.zeros(len(own), dtype=torch.long, device=device)
        found = denoised(network, own, z, level, guide, item, plain=settings.plain)
        weight = torch.as_tensor(e.weight, device=device)
        before, after = (weight @ (v - target).square().nanmean((1, 2, 3)).double() for v in (base, found))
        if before > 0:
            gains.append(float(10 * torch.log10(before / after.clamp(min=1e-12))))
    return float(np.mean(gains)) if gains else 0.0
