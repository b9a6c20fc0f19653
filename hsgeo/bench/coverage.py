"""`hsgeo bench fusion --coverage`: the share of the truth that lies inside the interval that a method names.

The truth of the protocols is an image of a sensor, whose noise no other image tells of: the interval is one of the
scene. So it is asked twice, the second time with that noise, as it is estimated from the truth itself, on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.bench.protocols import Case, cases
from hsgeo.errors import InputError

#: standard deviations either side that hold 90 % of a normal distribution
NINETY = 1.6449


def coverage(
    folder: str | Path, methods: Mapping[str, Mapping[str, Any]], scene: str | None = None, said: Any = None
) -> Iterator[dict[str, Any]]:
    """Measure each method on each scene with a known SRF and PSF.

    Parameters
    ----------
    folder : path
    methods : mapping
        Name of a row -> ``method`` and its parameters.
    scene : str, optional
        Only this one.
    said : callable, optional
        Told what is measured next.

    Yields
    ------
    dict
        scene, row, inside and ratio (share of values, 0.90 is right; rms error over rms standard deviation), and
        noisy_inside and noisy_ratio, the same with the noise of the truth on top.

    Raises
    ------
    InputError
        No such scene lies under the folder.
    """
    root, found = Path(folder), False
    for case in cases(root, scene):
        if case.response is None:
            continue
        found = True
        for row, params in methods.items():
            if said is not None:
                said(f"{case.name}, {row}: {case.reference.sizes['y']} x {case.reference.sizes['x']} pixels")
            yield {"scene": case.name, "row": row, **covered(case, **params)}
    if not found:
        raise InputError(f"{root}: no scene with a known truth is there; give their folder with --data.")


def covered(case: Case, method: str, **params: Any) -> dict[str, float]:
    """Shares of the truth inside the 90 % interval over the bands that are fused; see `coverage`."""
    from hsgeo.methods.fusion.work import FusionWork
    from hsgeo.observation.fine_noise import noise_levels
    from hsgeo.observation.noise import SpectralStatistics
    from hsgeo.scene.encode import Encoding
    from hsgeo.tasks import FusionJob, FusionOptions

    given = {"response": case.response, "psf": case.psf}
    options = FusionOptions(method, register=False)
    job = FusionJob(case.hsi, case.msi, options, given=given, params={**params, "uncertainty": True})
    good = job.model.good
    work = FusionWork(job.pair, job.model, Encoding("float32", np.ones(1), np.zeros(1), None))
    truth = case.reference.values[good]
    noise = noise_levels(SpectralStatistics(len(truth)).update(truth.reshape(len(truth), -1).T), [truth]) ** 2
    inside, spread = np.zeros(2), np.zeros(2)
    errors, count = 0.0, 0
    for block in job.tile_plan(job.model):
        result = work.values(block.core, block.outer, job.device())
        rows, columns = block.core.slices
        error = result.values[good] - truth[:, rows, columns]
        assert result.variance is not None
        variance = result.variance[good]
        known = np.isfinite(error) & np.isfinite(variance)
        for i, more in enumerate((0.0, noise[:, None, None])):
            both = variance + more
            inside[i] += (np.abs(error) <= NINETY * np.sqrt(both))[known].sum()
            spread[i] += both[known].sum(dtype=float)
        count += int(known.sum())
        errors += float(np.square(error[known], dtype=float).sum())
    shares, ratios = inside / count, np.sqrt(errors / spread)
    return {
        "inside": float(shares[0]),
        "ratio": float(ratios[0]),
        "noisy_inside": float(shares[1]),
        "noisy_ratio": float(ratios[1]),
    }
