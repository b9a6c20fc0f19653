"""The embedded example, from nothing to a report: simulate -> write -> fuse -> assess -> pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hsgeo.engine.progress import NullProgress
from hsgeo.errors import OutputExistsError, OutputWriteError
from hsgeo.scene import open_scene, write_scene
from hsgeo.tasks.assessment import assess
from hsgeo.tasks.fusion import FusionJob
from hsgeo.tasks.inputs import FusionOptions
from hsgeo.tasks.options import RunOptions, WriteOptions, check_seed

FILES = {
    "hsi": "hyperion_like.tif",
    "msi": "sentinel2_like.tif",
    "truth": "truth.tif",
    "fused": "hyperion_like_fused.tif",
    "report": "report.html",
    "before": "before_30m.png",
    "after": "after_10m.png",
    "true": "truth_10m.png",
    "error": "error.png",
}


def demo(
    output: str | os.PathLike[str] = "hsgeo_demo",
    *,
    size: int = 84,
    seed: int = 0,
    method: str = "subspace",
    run: RunOptions | None = None,
    overwrite: bool = False,
    progress: Any = None,
) -> dict[str, Any]:
    """Make a pair of scenes from code, fuse it, and compare the result with the truth.

    Parameters
    ----------
    output : path
        Folder for everything; made when it is missing.
    size : int
        HSI pixels on a side; the result has three times as many.

    Returns
    -------
    dict
        ``files``, ``fusion`` (as `FusionJob.write` reports), ``quality`` and ``before`` (metrics of the result, and of
        plain interpolation of the HSI, against the truth).
    """
    from hsgeo.quality.reference import compare
    from hsgeo.scene.provenance import provenance_record
    from hsgeo.simulation.generator import make_pair

    (run or RunOptions()).check()
    check_seed(seed)
    progress = progress if progress is not None else NullProgress()
    folder = Path(output)
    paths = {name: folder / file for name, file in FILES.items()}
    there = [p for p in paths.values() if p.exists()]
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} exists; give --overwrite or another folder (-o).")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(f"{folder}: the folder cannot be made ({error.strerror}); choose another -o.") from error
    record = provenance_record([], {"command": "demo", "size": size, "seed": seed})
    with progress.stage("simulate"):
        pair = make_pair((size, size), seed)
        for name, scene in (("hsi", pair.hsi), ("msi", pair.msi), ("truth", pair.truth)):
            write_scene(scene, paths[name], overwrite=overwrite, provenance=record)
    job = FusionJob(paths["hsi"], paths["msi"], FusionOptions(method), run=run, progress=progress)
    fusion = job.write(paths["fused"], WriteOptions(overwrite=overwrite))
    with progress.stage("assess"):
        truth = open_scene(paths["truth"], chunks=None)
        before = compare(job.by("bicubic").scene(), truth, job.pair.ratio).values
        quality = assess(
            paths["fused"],
            hsi=paths["hsi"],
            msi=paths["msi"],
            reference=truth,
            report=paths["report"],
            overwrite=overwrite,
            job=job,
        )
        _pictures(paths, truth)
    return {
        "files": {name: str(path) for name, path in paths.items()},
        "fusion": fusion,
        "quality": quality,
        "before": before,
    }


def _pictures(paths: dict[str, Path], truth: Any) -> None:
    from hsgeo.quality import quicklook as q
    from hsgeo.quality.reference import common_window

    fused, hsi = open_scene(paths["fused"], chunks=None), open_scene(paths["hsi"], chunks=None)
    _, same = common_window(fused, truth)
    truth = truth.isel(y=same.slices[0], x=same.slices[1])
    west, east, south, north = fused.x.min(), fused.x.max(), fused.y.min(), fused.y.max()
    hsi = hsi.sel(x=(hsi.x >= west) & (hsi.x <= east), y=(hsi.y >= south) & (hsi.y <= north))
    bands = q.rgb_bands(fused)
    after, before, true = (q.decimated(scene, bands) for scene in (fused, hsi, truth))
    limits = q.stretch_limits(true)
    zoom = -(-500 // max(true.shape[1:]))
    shape = (true.shape[1] * zoom, true.shape[2] * zoom)
    for name, values in (("before", before), ("after", after), ("true", true)):
        q.write_png(paths[name], q.enlarge(q.to_bytes(values, limits), shape))
    error = np.sqrt(np.nanmean((after - true) ** 2, axis=0))
    q.write_png(paths["error"], q.enlarge(q.heat(error, float(np.nanpercentile(error, 99))), shape))
