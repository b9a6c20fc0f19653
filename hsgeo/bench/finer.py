"""A scene on a finer grid, in `hsgeo bench restoration`: references that are blurred, decimated and noisy, taken back.

Gaussian PSF of FWHM s pixels of the reference, reflecting edge, every s-th pixel, white noise at 40 dB of its power.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hsgeo.bench.protocols import on_grid
from hsgeo.observation.psf import Psf

SCALE = 2
NAME = f"superres {SCALE}"
SNR = 40.0
PIXEL = 30.0


def bench_finer(reference: Any, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of `hsgeo.bench.restoration.bench_restoration` for one reference, beside cubic splines."""
    from hsgeo.methods.fusion.frame import interpolation
    from hsgeo.quality.reference import compare
    from hsgeo.tasks import RestorationJob, RestorationOptions

    z = cropped(reference.values.astype(float))
    truth, y = on_grid(z, PIXEL / SCALE), coarser(z, np.random.default_rng(0))[0]

    def row(method: str, values: np.ndarray, **more: float) -> dict[str, Any]:
        found = compare(on_grid(values, PIXEL / SCALE), truth, 1).values
        return {"case": NAME, "method": method, **{key: found[key] for key in ("psnr", "ssim", "sam")}, **more}

    for method in methods:
        start = time.perf_counter()
        job = RestorationJob(on_grid(y, PIXEL), RestorationOptions("superres", method, scale=SCALE))
        finer = job.scene().compute(scheduler="synchronous").values
        yield row(method, finer, seconds=time.perf_counter() - start)
    rows, columns = (interpolation(n, SCALE, mirrored=True) for n in y.shape[1:])
    yield row("cubic spline", rows @ y @ columns.T)


def cropped(z: np.ndarray) -> np.ndarray:
    """A reference (B, H, W) whose sides are multiples of the scale."""
    height, width = (n // SCALE * SCALE for n in z.shape[1:])
    return z[:, :height, :width]


def coarser(z: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """What a sensor with pixels twice as large sees of z (B, H, W), and the standard deviation of its noise."""
    psf = Psf(float(SCALE), float(SCALE))
    y = psf.matrix(z.shape[1], SCALE, "reflect", 0) @ z @ psf.matrix(z.shape[2], SCALE, "reflect", 1).T
    sigma = float(np.sqrt(np.square(y).mean() / 10 ** (SNR / 10)))
    return y + sigma * rng.standard_normal(y.shape), sigma
