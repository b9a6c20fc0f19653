"""`hsgeo bench generation --use`: a classifier of pixels that learns from tiles, tested on real ground nobody has seen.

The scene is that of the IEEE GRSS data fusion contest 2018 (48 bands, classes on a grid four times finer). A quarter of
its ground, in squares of 32 pixels with a guard, is held out of everything: the training of the generator, the labels
of the tiles, and the classifiers. The generator sees no label; of its tiles a discriminant analysis of few labelled
real pixels tells the classes, and so it stands beside the others: what tiles add is what the last rows have over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.bench.generation import model_of
from hsgeo.bench.protocols import none_there, on_grid
from hsgeo.diffusion import noise_field
from hsgeo.engine.devices import pick_device
from hsgeo.methods.generation.classifier import Classifier, features_of
from hsgeo.methods.generation.hud import Hud, HudMethod
from hsgeo.tasks.hold_out import HELD, SEEN, HoldOut
from hsgeo.tasks.options import validated

PLACE = "houston/houston_dataset.mat"

#: labels of each class, and choices of them
LABELS, REPEATS = (5, 20, 100), 5

#: tiles, their side, steps of the sampler, and synthetic pixels for each real one in the rows of many
TILES, SIDE, STEPS, MANY = 64, 32, 50, 20

#: what is held out: a share of squares of so many pixels
SHARE, CELL = 0.25, 32

#: least share of the finer pixels that a class must have
PURE = 0.5

#: units of the hidden layers, steps, and weight decay of the pixel classifier
HIDDEN, LEARNED, DECAY = 64, 300, 1e-3


def houston(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (48, H, W) and classes (H, W), 0 where not known.

    Raises
    ------
    InputError
        The scene is not there.
    """
    from scipy.io import loadmat

    if not (folder / PLACE).exists():
        raise none_there(folder, "houston/")
    data = loadmat(folder / PLACE)
    spectra = data["hyprImg"].transpose(2, 0, 1).astype(float) / 1e4
    return spectra, coarse_classes(data["clasLabs"], spectra.shape[1])


def coarse_classes(fine: np.ndarray, side: int) -> np.ndarray:
    """The class that most finer pixels of each pixel have, 0 where it has less than `PURE` of them."""
    ratio = fine.shape[0] // side
    cells = fine.reshape(side, ratio, side, ratio).transpose(0, 2, 1, 3).reshape(side, side, -1)
    counts = np.stack([(cells == k).sum(-1) for k in range(1, int(fine.max()) + 1)])
    return np.where(counts.max(0) >= PURE * ratio**2, counts.argmax(0) + 1, 0)


def bench_use(
    folder: str | Path,
    models: str | Path | None = None,
    params: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Iterator[dict[str, Any]]:
    """Accuracy on held-out real pixels by what was learned from.

    Yields
    ------
    dict
        labels (of each class), row, pixels (that were learned from), accuracy and its standard deviation over choices
        of labels, mean of the classes' accuracies.
    """
    spectra, labels = houston(Path(folder))
    scene = on_grid(spectra, 1.0)
    settings, device = validated(HudMethod, params or {}, 0), pick_device(device)
    hidden, _, _ = HoldOut.of(SHARE, CELL).applied(scene, None, settings.crop)
    held = HoldOut.of(SHARE, CELL).map(scene, settings.crop)
    model = model_of("houston", hidden, models, settings, device)
    states = model.states((SIDE, SIDE), range(TILES), STEPS, device=device)
    tiles = _features(model, states)
    noise = np.stack([noise_field(seed, STEPS + 1, len(model.bands), 0, SIDE, 0, SIDE) for seed in range(TILES)])
    drawn = np.stack([model.encoding.decoded(s, True, n)[1] for s, n in zip(states, noise, strict=True)], 1)
    drawn = drawn.reshape(len(model.bands), -1)
    real = spectra[model.bands]
    own = features_of(model.encoding, model.encoding.encoded(real))
    count, numbers = int(labels.max()), labels - 1
    test = (held == HELD) & (numbers >= 0)
    mean, spread = (f(real[:, held == SEEN], 1)[:, None] for f in (np.mean, np.std))

    def white(values: np.ndarray) -> np.ndarray:
        return ((values - mean) / spread).T.astype(np.float32)

    for each in LABELS:
        found: dict[str, list[tuple[float, float]]] = {}
        sizes: dict[str, int] = {}
        for repeat in range(REPEATS):
            rng = np.random.default_rng(repeat)
            chosen = _chosen(np.where(held == SEEN, numbers, -1), each, count, rng)
            known = np.full(numbers.shape, -1)
            known.flat[chosen] = numbers.flat[chosen]
            judge = Classifier.of(own, known, count)
            told = judge.classes(tiles).ravel()
            few, many = (_alike(told, numbers.flat[chosen], times, count, rng) for times in (1, MANY))
            x, y = white(real.reshape(len(real), -1)[:, chosen]), numbers.flat[chosen]
            sets = {
                "real": (x, y),
                "synthetic, as many": (white(drawn[:, few]), told[few]),
                "real and synthetic, as many": (
                    np.concatenate([x, white(drawn[:, few])]),
                    np.concatenate([y, told[few]]),
                ),
                f"synthetic, {MANY} times": (white(drawn[:, many]), told[many]),
                f"real and synthetic, {MANY} times": (
                    np.concatenate([np.repeat(x, MANY, 0), white(drawn[:, many])]),
                    np.concatenate([np.repeat(y, MANY), told[many]]),
                ),
            }
            guesses = {row: learned(*pair, white(real[:, test]), count, repeat) for row, pair in sets.items()}
            guesses["what told the tiles' classes"] = judge.classes(own[:, test])
            for row, guess in guesses.items():
                right = guess == numbers[test]
                classes = [right[numbers[test] == k].mean() for k in np.unique(numbers[test])]
                found.setdefault(row, []).append((float(right.mean()), float(np.mean(classes))))
                sizes[row] = len(sets[row][1]) if row in sets else len(chosen)
        for row, values in found.items():
            accuracy, balanced = np.array(values).T
            yield {
                "labels": each,
                "row": row,
                "pixels": sizes[row],
                "accuracy": float(accuracy.mean()),
                "spread": float(accuracy.std(ddof=1)),
                "class_accuracy": float(balanced.mean()),
                "tested": int(test.sum()),
            }


def learned(x: np.ndarray, y: np.ndarray, test: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Classes of test pixels (m, B) by a small network that learned from pixels x (n, B) of classes y (n,)."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, count)
        )
        optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=DECAY)
        inputs, targets = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
        for _ in range(LEARNED):
            pick = torch.randint(len(inputs), (min(512, len(inputs)),))
            loss = nn.functional.cross_entropy(net(inputs[pick]), targets[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.inference_mode():
            return net(torch.from_numpy(test)).argmax(1).numpy()


def _features(model: Hud, states: np.ndarray) -> np.ndarray:
    """What classes of tiles are told by, (f, n, h, w)."""
    return np.stack([features_of(model.encoding, state) for state in states], 1)


def _chosen(numbers: np.ndarray, each: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of so many pixels of each class, or of all where there are fewer."""
    found = [rng.permutation(np.flatnonzero(numbers == k))[:each] for k in range(count)]
    return np.concatenate(found)


def _alike(told: np.ndarray, wanted: np.ndarray, times: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of synthetic pixels, of each class `times` as many as are wanted, with repetition where tiles have few."""
    found = []
    for k in range(count):
        places, number = np.flatnonzero(told == k), times * int((wanted == k).sum())
        if len(places) and number:
            found.append(rng.choice(places, number, replace=len(places) < number))
    return np.concatenate(found)
