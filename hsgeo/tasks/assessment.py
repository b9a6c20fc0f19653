"""Quality of a result: against a reference, or against the two images it was made from."""

from __future__ import annotations

import json
import os
from math import ceil, sqrt
from typing import Any

import xarray as xr

from hsgeo.errors import ParameterError
from hsgeo.scene import open_scene
from hsgeo.scene.open import locate, require_scene
from hsgeo.tasks.generated import GeneratedOptions, assess_generated, is_generated, refuse_options
from hsgeo.tasks.inputs import Scene
from hsgeo.tasks.options import refuse_inputs
from hsgeo.tasks.report import settled


def assess(
    result: Scene,
    *,
    hsi: Scene | None = None,
    msi: Scene | None = None,
    reference: Scene | None = None,
    report: str | os.PathLike[str] | None = None,
    hsi_sensor: str | None = None,
    msi_sensor: str | None = None,
    overwrite: bool = False,
    job: Any = None,
    tiles: GeneratedOptions | None = None,
) -> dict[str, Any]:
    """Measure a result.

    Parameters
    ----------
    result : path or scene (band, y, x)
    hsi, msi : path or scene, optional
        The inputs; together they give the indices that need no reference.
    reference : path or scene, optional
        The truth, on a grid whose pixel edges coincide with the result's.
    report : path, optional
        Where to write an HTML page with pictures and charts.
    job : FusionJob, optional
        The fusion that made the result from `hsi` and `msi`: its alignment and observation then serve, instead of
        being found again.
    tiles : GeneratedOptions, optional
        How generated tiles are measured: a folder of them, or a raster that says it is one. They are compared with the
        scene that they were generated from, `reference`, by other measures (`hsgeo.tasks.generated`).

    Returns
    -------
    dict
        ``psnr`` (dB), ``ssim``, ``sam`` (degrees), ``ergas``, ``uiqi``, ``rmse`` against a reference; ``d_lambda``,
        ``d_s``, ``qnr`` and ``consistency`` (hsi_sam, hsi_rmse, msi_rmse) against the inputs; ``notes``.
        Of generated tiles ``point_fidelity``, ``block_diversity`` and more.

    Raises
    ------
    InputError
        Nothing to compare with, or scenes that cannot be compared.
    """
    from hsgeo.quality.consistency import check_consistency
    from hsgeo.quality.reference import compare

    for what, given in (("result", result), ("hsi", hsi), ("msi", msi), ("reference", reference)):
        if given is not None or what == "result":
            require_scene(given, what)
    if (hsi is None) != (msi is None):
        raise ParameterError("assess needs both --hsi and --msi, or neither with a --reference.")
    if hsi is None and reference is None:
        raise ParameterError("assess needs something to compare with: --reference, or --hsi and --msi.")
    for given in (result, hsi, msi, reference):
        if not (given is None or isinstance(given, xr.DataArray)):
            locate(given)
    options = tiles or GeneratedOptions()
    if options.generated or (hsi is None and is_generated(result, options)):
        if hsi is not None or reference is None:
            raise ParameterError(
                "generated tiles are compared with their scene alone: give --reference, no --hsi, --msi."
            )
        if report is not None:
            raise ParameterError("--report is not for generated tiles; --pairs FILE.png shows them beside real blocks.")
        return assess_generated(result, reference, options, overwrite)
    refuse_options(options)
    if report is not None:
        refuse_inputs([report], [s for s in (result, hsi, msi, reference) if not isinstance(s, xr.DataArray)])
    notes: list[str] = []
    scene = _open(result, None, notes)
    out: dict[str, Any] = {"result": str(result) if not isinstance(result, xr.DataArray) else str(scene.name)}
    pair = None
    if hsi is not None and msi is not None:
        if job is not None:
            pair, observed = job.pair, _observed(job)
        else:
            pair, observed = _align(scene, _open(hsi, hsi_sensor, notes), _open(msi, msi_sensor, notes))
        notes = settled(notes, pair)
        out.update(check_consistency(scene, pair, *observed).summary())
        if out["qnr"] is None:
            notes.append(_no_indices(scene, pair, observed[0].psf))
    bands = None
    if reference is not None:
        ratio = pair.ratio if pair is not None else _recorded_ratio(scene)
        if ratio is None:
            notes.append("ERGAS needs the ratio of the GSDs: give --hsi and --msi too.")
        compared = compare(scene, _open(reference, None, notes), ratio)
        out.update(compared.values)
        bands = compared
    out["notes"] = notes
    if report is not None:
        from hsgeo.quality.report import write_report

        others = {"hsi": hsi, "msi": msi, "reference": reference}
        scenes = {name: _open(s, None, []) for name, s in others.items() if s is not None}
        out["report"] = str(write_report(report, {"result": scene, **scenes}, out, bands, overwrite=overwrite))
    return out


def _open(scene: Scene, sensor: str | None, notes: list[str]) -> xr.DataArray:
    return scene if isinstance(scene, xr.DataArray) else open_scene(scene, sensor=sensor, chunks=None, notes=notes)


def _recorded_ratio(scene: xr.DataArray) -> float | None:
    """The ratio that a result of ours carries in its provenance."""
    try:
        record = json.loads(scene.attrs.get("tags", {}).get("HSGEO_PROVENANCE", "{}"))
        return float(record["estimates"]["ratio"])
    except (KeyError, TypeError, ValueError):
        return None


def _align(scene: xr.DataArray, hsi: xr.DataArray, msi: xr.DataArray) -> tuple[Any, tuple[Any, Any]]:
    """The pair that a result was made from, and what `observe` says of it."""
    from hsgeo.methods.base import observe
    from hsgeo.methods.inputs import fusion_inputs
    from hsgeo.scene.align import align

    pair = align(hsi, msi, gsd=abs(scene.odc.geobox.resolution.x))
    return pair, observe(fusion_inputs(pair, msi))


def _no_indices(scene: xr.DataArray, pair: Any, psf: Any) -> str:
    """Why D_lambda, D_s and QNR could not be had."""
    from hsgeo.observation.psf import margin
    from hsgeo.quality.metrics import UIQI_BLOCK

    missing, s = "D_lambda, D_s and QNR are left out:", pair.ratio
    if all(group.ratio > 1 for group in pair.groups):
        return f"{missing} no MSI band has pixels as fine as the result's."
    # wherever it lies, a square of this side holds half of a block, once its edge is lost to the PSF
    side = 2 * ceil(UIQI_BLOCK / sqrt(2)) + 2 * margin(psf, s)
    return (
        f"{missing} they need a block of {UIQI_BLOCK} x {UIQI_BLOCK} HSI pixels with data in half of it; the result "
        f"covers {scene.sizes['y'] // s} x {scene.sizes['x'] // s}, {side} x {side} with data are enough "
        f"({side * s} x {side * s} of its own pixels)."
    )


def _observed(job: Any) -> tuple[Any, Any]:
    """The observation of a job's pair and the bands that it covers, from its model where that holds one."""
    from hsgeo.methods.base import observe
    from hsgeo.methods.inputs import fusion_inputs

    found = getattr(job.model, "observation", None)
    return (found, job.model.good) if found is not None else observe(fusion_inputs(job.pair, job.msi))
