"""`hsgeo bench restoration`: the methods on degraded real scenes, beside runs of other methods' code.

The references are those of the fusion's protocol, in [0, 1] but for a few values: with white noise of standard
deviation 0.1 and 0.2 in all bands alike, with noise, stripes and dead columns mixed, and with four fifths of the
samples missing. `finer` adds the case of a finer grid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hsgeo.bench.finer import bench_finer
from hsgeo.bench.protocols import on_grid, references

#: name of a degradation -> what makes it of a reference (B, H, W)
Degradation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

PIXEL = 30.0


def white(sigma: float) -> Degradation:
    """White noise of one standard deviation in all bands."""
    return lambda z, rng: z + sigma * rng.standard_normal(z.shape)


def mixed(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another noise level in each band, stripes on some columns of a third of the bands, dead columns in all."""
    count, _, width = z.shape
    sigma = np.asarray(rng.uniform(0.02, 0.12, count))
    y = z + sigma[:, None, None] * rng.standard_normal(z.shape)
    for band in rng.choice(count, count // 3, replace=False):
        columns = rng.choice(width, max(1, int(0.15 * width)), replace=False)
        y[band][:, columns] += rng.uniform(0.05, 0.25, len(columns)) * rng.choice([-1, 1], len(columns))
    for band in y:
        band[:, rng.choice(width, max(1, int(0.02 * width)), replace=False)] = 0
    return y


def scattered(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four fifths of the samples missing, in each band others."""
    return np.where(rng.random(z.shape) > 0.8, z, np.nan)


#: case -> what is done to the reference, and the task that undoes it
CASES: dict[str, tuple[Degradation, str]] = {
    "white 0.1": (white(0.1), "denoise"),
    "white 0.2": (white(0.2), "denoise"),
    "mixed": (mixed, "all"),
    "80 % missing": (scattered, "inpaint"),
}


def reference_runs() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Runs of other methods' code: degradation -> scene -> method -> [PSNR dB, SAM degrees]."""
    return yaml.safe_load((Path(__file__).parent / "restoration_runs.yaml").read_text(encoding="utf-8"))


def bench_restoration(
    folder: str | Path, methods: Sequence[str] = ("subspace",), scene: str | None = None, quick: bool = False
) -> Iterator[dict[str, Any]]:
    """Run methods on every degraded scene found under a folder; nothing is given but the scene.

    Yields
    ------
    dict
        case, scene, method, psnr (mean over bands, peak = maximum of the reference), sam (degrees); of hsgeo's own
        methods also ssim, seconds and, of white noise, noise_error (largest relative error of a band's noise level).

    Raises
    ------
    InputError
        No scene of the protocol lies under the folder.
    """
    for case in references(folder, scene, quick):
        for name, (degraded, task) in CASES.items():
            noisy = degraded(case.reference.values.astype(float), np.random.default_rng(0))
            for method in methods:
                found_here = measure(case.reference, noisy, method, task=task)
                yield {"case": name, "scene": case.name, "method": method, **found_here}
            for method, (psnr, sam) in reference_runs().get(name, {}).get(case.name, {}).items():
                yield {
                    "case": name,
                    "scene": case.name,
                    "method": f"{method} (reference run)",
                    "psnr": psnr,
                    "sam": sam,
                }
        yield from ({"scene": case.name, **row} for row in bench_finer(case.reference, methods))


def measure(
    reference: Any, noisy: np.ndarray, method: str, params: Mapping[str, Any] | None = None, task: str = "denoise"
) -> dict[str, Any]:
    """Restore one scene and compare it with its reference; the noise that was added is known here alone."""
    from hsgeo.quality.reference import compare
    from hsgeo.tasks import RestorationJob, RestorationOptions

    start = time.perf_counter()
    job = RestorationJob(on_grid(noisy, PIXEL), RestorationOptions(task, method), params=params)
    restored = job.scene().compute(scheduler="synchronous")
    seconds = time.perf_counter() - start
    truth = on_grid(reference.values, PIXEL)
    values = compare(restored, truth, 1).values
    found = {**{key: values[key] for key in ("psnr", "ssim", "sam")}, "seconds": seconds}
    if task == "denoise":
        added = (noisy - reference.values)[job.model.bands].std((1, 2))
        found["noise_error"] = float(np.abs(job.model.noise / added - 1).max())
    return found
