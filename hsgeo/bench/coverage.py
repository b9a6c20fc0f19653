"""`hsgeo bench fusion --coverage`: the share of the truth that lies inside the interval that a method names."""

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
    folder: str | Path, methods: Mapping[str, Mapping[str, Any]], scene: str | None = None
) -> Iterator[dict[str, Any]]:
    """Measure each method on each scene with a known SRF and PSF.

    Parameters
    ----------
    folder : path
    methods : mapping
        Name of a row -> ``method`` and its parameters.

    Yields
    ------
    dict
        scene, row, inside (share of values, 0.90 is right), ratio (rms error over rms standard deviation).

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
            yield {"scene": case.name, "row": row, **covered(case, **params)}
    if not found:
        raise InputError(f"{root}: no scene with a known truth is there; give their folder with --data.")


def covered(case: Case, method: str, **params: Any) -> dict[str, float]:
    """Share of the truth inside the 90 % interval over the bands that are fused."""
    from hsgeo.methods.fusion.work import Encoding, FusionWork
    from hsgeo.tasks import FusionJob, FusionOptions

    given = {"response": case.response, "psf": case.psf}
    options = FusionOptions(method, register=False)
    job = FusionJob(case.hsi, case.msi, options, given=given, params={**params, "uncertainty": True})
    work = FusionWork(job.pair, job.model, Encoding("float32", np.ones(1), np.zeros(1), None))
    inside = count = 0
    errors = spread = 0.0
    for block in job.tile_plan(job.model):
        result = work.values(block.core, block.outer, job.device())
        rows, columns = block.core.slices
        error = (result.values - case.reference.values[:, rows, columns])[job.model.good]
        assert result.variance is not None
        variance = result.variance[job.model.good]
        known = np.isfinite(error) & np.isfinite(variance)
        inside += int((np.abs(error) <= NINETY * np.sqrt(variance))[known].sum())
        count += int(known.sum())
        errors += float(np.square(error[known], dtype=float).sum())
        spread += float(variance[known].sum(dtype=float))
    return {"inside": inside / count, "ratio": float(np.sqrt(errors / spread))}
