"""`hsgeo bench fusion`: the methods on the protocol's scenes, beside runs of other methods' code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hsgeo.bench.protocols import Case, cases, none_there

METHODS = ("bicubic", "gsa", "subspace")


def reference_runs() -> dict[str, dict[str, list[float]]]:
    """Runs of other methods' code, without registration: scene -> method -> [PSNR dB, SAM degrees]."""
    return yaml.safe_load((Path(__file__).parent / "reference_runs.yaml").read_text(encoding="utf-8"))


def bench_fusion(
    folder: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    scene: str | None = None,
    quick: bool = False,
    model: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Run methods on every scene found under a folder, blind and, where they are known, with SRF and PSF given.

    A real pair, whose images may not lie on each other, is run with and without registration: the reference runs had
    none.

    Yields
    ------
    dict
        scene, method, known ("SRF and PSF", "nothing", or "reference run" with psnr and sam alone), shift, psnr, sam,
        ergas, ssim, seconds; see `measure`.

    Raises
    ------
    InputError
        No scene of the protocol lies under the folder.
    """
    root, found = Path(folder), False
    for case in cases(root, scene, quick):
        found = True
        for method in methods:
            params = {"model": model} if method == "hsr-diff" and model is not None else None
            if case.response is not None and method in ("subspace", "hsr-diff"):
                yield measure(case, method, known=True, params=params)
            yield measure(case, method, known=False, params=params)
            if case.response is None and method != "bicubic":  # which does not look at the MSI
                yield measure(case, method, known=False, register=False, params=params)
        for name, (psnr, sam) in reference_runs().get(case.name, {}).items():
            yield {"scene": case.name, "method": name, "known": "reference run", "psnr": psnr, "sam": sam}
    if not found:
        raise none_there(root, "jasper/, urban/, cave/, paris/, abu/")


def measure(
    case: Case, method: str, known: bool, *, register: bool | None = None, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Fuse one case from the scenes alone, or with SRF and PSF given, and compare with the reference.

    Parameters
    ----------
    case : Case
    method : str
    known : bool
        Give the method the case's SRF and PSF.
    register : bool, optional
        Look for a shift between the images; by default where nothing is known.
    params : mapping, optional
        The method's own parameters.

    Returns
    -------
    dict
        scene, method, known, shift (dy, dx in fine pixels and applied; None where it was not looked for), psnr (dB),
        sam (degrees), ergas, ssim, seconds.
    """
    from hsgeo.quality.reference import compare
    from hsgeo.tasks import FusionJob, FusionOptions

    start = time.perf_counter()
    given = {"response": case.response, "psf": case.psf} if known else {}
    register = not known if register is None else register
    job = FusionJob(case.hsi, case.msi, FusionOptions(method, register=register), given=given, params=params)
    result = job.scene().compute(scheduler="synchronous")
    seconds = time.perf_counter() - start
    values = compare(result, case.reference, case.ratio).values
    row: dict[str, Any] = {
        "scene": case.name,
        "method": method,
        "known": "SRF and PSF" if known else "nothing",
        "shift": None,
    }
    if register:
        found = job.pair.shift
        row["shift"] = {"dy": found.dy, "dx": found.dx, "applied": found.applied}
    return {**row, **{k: values[k] for k in ("psnr", "sam", "ergas", "ssim")}, "seconds": seconds}
