"""`hsgeo bench restoration --self-supervised`: `dds2m` beside the fast method, on crops that it has time for.

The middle of each reference, degraded where either method might have the better of it: white noise of standard
deviation 0.2 and 0.4 in all bands and 0.2 in four of them, and a square without data. Iterates are compared with the
truth here alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.bench.protocols import on_grid, references
from hsgeo.bench.restoration import PIXEL, Degradation, white

#: rows of the method's own configurations
OURS, PAPER = "dds2m", "dds2m (paper)"


def few(z: np.ndarray, count: int = 4) -> np.ndarray:
    """As many bands (B, H, W), evenly spaced."""
    return z[np.linspace(0, len(z) - 1, count).round().astype(int)]


def holed(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square without data, a quarter of the image wide."""
    side = z.shape[1] // 4
    out = z.copy()
    out[:, side + side // 2 : 2 * side + side // 2, side + side // 2 : 2 * side + side // 2] = np.nan
    return out


#: case -> which bands, what is done to them, and the task that undoes it
CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Degradation, str]] = {
    "white 0.2": (np.asarray, white(0.2), "denoise"),
    "white 0.4": (np.asarray, white(0.4), "denoise"),
    "4 bands, white 0.2": (few, white(0.2), "denoise"),
    "hole": (np.asarray, holed, "inpaint"),
}


@dataclass
class Course:
    """PSNR of every iterate, in dB, as a run goes on."""

    truth: np.ndarray
    psnr: dict[int, float]

    def __call__(self, step: int, image: np.ndarray) -> None:
        """See `Dds2mRestorer.watch`."""
        self.psnr[step] = psnr(image, self.truth)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean over bands, peak = maximum of the truth."""
    return float(np.mean(10 * np.log10(truth.max() ** 2 / np.square(image - truth).mean((1, 2)))))


def bench_self_supervised(
    folder: str | Path, side: int = 64, scene: str | None = None, quick: bool = False, paper: bool = False
) -> Iterator[dict[str, Any]]:
    """Run `dds2m` on the middle of every scene found under a folder.

    Parameters
    ----------
    side : int
        Of the crops, pixels: one window of the method where it is 64 or less.
    paper : bool
        The published networks and steps too, on the first case; 1000 steps take 20 times as long as ours or more.

    Yields
    ------
    dict
        case, scene, method, psnr, sam, ssim, seconds; of `dds2m` also `iterates`, the step and the PSNR of the
        chosen, the best and the last one of the networks alone. In a hole, psnr is that of the hole.

    Raises
    ------
    InputError
        No scene of the protocol lies under the folder.
    """
    for case in references(folder, scene, quick):
        whole = case.reference.values.astype(float)
        top, left = ((n - side) // 2 for n in whole.shape[1:])
        whole = whole[:, top : top + side, left : left + side]
        for name, (bands, degraded, task) in CASES.items():
            truth = bands(whole)
            spoilt = degraded(truth, np.random.default_rng(0))
            rows: dict[str, tuple[str, dict[str, Any]]] = {"subspace": ("subspace", {}), OURS: ("dds2m", {})}
            if paper and name == next(iter(CASES)):
                rows[PAPER] = ("dds2m", {"configuration": "paper"})
            for row, (method, params) in rows.items():
                yield {
                    "case": name,
                    "scene": case.name,
                    "method": row,
                    **_measured(truth, spoilt, task, method, params),
                }


def _measured(truth: np.ndarray, spoilt: np.ndarray, task: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    from hsgeo.quality.reference import compare
    from hsgeo.tasks import RestorationJob, RestorationOptions

    start = time.perf_counter()
    job = RestorationJob(on_grid(spoilt, PIXEL), RestorationOptions(task, method), params=params)
    inner = job.model.inner
    course = Course(truth[inner.bands], {})
    if method == "dds2m":
        inner.watch = course
    x = job.scene().compute(scheduler="synchronous")
    found: dict[str, Any] = {"seconds": time.perf_counter() - start}
    values = compare(x, on_grid(truth, PIXEL), 1).values
    found |= {key: values[key] for key in ("psnr", "ssim", "sam")}
    gone = np.isnan(spoilt).all(0)
    if gone.any():
        found["psnr"] = psnr(x.values[:, gone][..., None], truth[:, gone][..., None])
    if course.psnr:
        step = inner.chosen[-1]
        best = max(course.psnr, key=course.psnr.__getitem__)
        iterates = {"chosen": step, "best": best, "last": max(course.psnr)}
        found["iterates"] = {name: {"step": at, "psnr": course.psnr[at]} for name, at in iterates.items()}
    return found
