"""`hsgeo bench fusion`: the methods on the protocol's scenes, beside published figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from hsgeo.bench.protocols import Case, cases
from hsgeo.errors import InputError

METHODS = ("bicubic", "gsa", "subspace")


def published() -> dict[str, dict[str, list[float]]]:
    """Figures of other methods: scene -> method -> [PSNR dB, SAM degrees]."""
    return yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))


def bench_fusion(
    folder: str | Path, *, methods: Sequence[str] = METHODS, scene: str | None = None, quick: bool = False
) -> Iterator[dict[str, Any]]:
    """Run methods on every scene found under a folder, blind and, where they are known, with SRF and PSF given.

    Yields
    ------
    dict
        scene, method, known ("SRF and PSF" or "nothing"), psnr, sam, ergas, ssim, seconds.

    Raises
    ------
    InputError
        No scene of the protocol lies under the folder.
    """
    root, found = Path(folder), False
    for case in cases(root, scene, quick):
        found = True
        for method in methods:
            if case.response is not None and method == "subspace":
                yield measure(case, method, known=True)
            yield measure(case, method, known=False)
        for name, (psnr, sam) in published().get(case.name, {}).items():
            yield {"scene": case.name, "method": name, "known": "published", "psnr": psnr, "sam": sam}
    if not found:
        raise InputError(
            f"{root}: none of the protocol's scenes is there (jasper/, urban/, cave/, paris/, abu/); "
            "give the folder that holds them with --data."
        )


def measure(case: Case, method: str, known: bool, **params: Any) -> dict[str, Any]:
    """Fuse one case from the scenes alone, or with SRF and PSF given, and compare with the reference."""
    from hsgeo.quality.reference import compare
    from hsgeo.tasks import FusionJob, FusionOptions

    start = time.perf_counter()
    given = {"response": case.response, "psf": case.psf} if known else {}
    job = FusionJob(case.hsi, case.msi, FusionOptions(method, register=not known), given=given, params=params)
    result = job.scene().compute(scheduler="synchronous")
    seconds = time.perf_counter() - start
    values = compare(result, case.reference, case.ratio).values
    row = {"scene": case.name, "method": method, "known": "SRF and PSF" if known else "nothing"}
    return {**row, **{k: values[k] for k in ("psnr", "sam", "ergas", "ssim")}, "seconds": seconds}
