"""A reduced-resolution pair with its reference, from one scene (Wald's protocol)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hsgeo.errors import OutputExistsError, OutputWriteError, ParameterError
from hsgeo.scene import write_scene
from hsgeo.scene.open import require_scene
from hsgeo.tasks.inputs import Scene, open_input, path_of
from hsgeo.tasks.options import WriteOptions, check_format, check_seed, refuse_inputs

NAMES = ("hsi", "msi", "reference")


def simulate(
    scene: Scene,
    output: str | os.PathLike[str],
    *,
    ratio: int,
    msi_sensor: str | None = None,
    snr_hsi: float = 35.0,
    snr_msi: float = 40.0,
    sensor: str | None = None,
    bands: str | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    seed: int = 0,
    write: WriteOptions | None = None,
    extension: str = ".tif",
    progress: Any = None,
) -> dict[str, Any]:
    """Degrade a scene into ``hsi``, ``msi`` and ``reference`` rasters in the folder `output`.

    Parameters
    ----------
    scene : path or scene (band, y, x)
        Hyperspectral scene; becomes the reference, cropped to whole blocks.
    output : path
        Folder; made when it is missing.
    ratio : int
        GSD of the degraded HSI over that of the scene.
    msi_sensor : str, optional
        Whose response makes the MSI; without it ten Gaussian bands from 490 to 2190 nm.
    snr_hsi, snr_msi : float
        Signal to noise in dB, 10 log10(mean(y^2) / variance).

    Returns
    -------
    dict
        Paths and shapes of the three rasters, and notes.
    """
    from hsgeo.scene.provenance import provenance_record
    from hsgeo.simulation.reduced import simulate_pair

    require_scene(scene, "scene")
    check_seed(seed)
    if ratio < 2:
        raise ParameterError(f"--ratio {ratio}: a whole number of at least 2.")
    given, write = str(path_of(scene)), write or WriteOptions()
    folder = Path(output)
    targets = {name: folder / f"{name}{extension}" for name in NAMES}
    refuse_inputs(targets.values(), [given])
    for path in targets.values():
        check_format(path, write)
        if path.exists() and not write.overwrite:
            raise OutputExistsError(f"{path} exists; give --overwrite or another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(f"{folder}: the folder cannot be made ({error.strerror}); choose another -o.") from error
    notes: list[str] = []
    source = open_input(scene, sensor, notes, None, bands=bands, bbox=bbox)
    parts = simulate_pair(source, ratio, msi_sensor=msi_sensor, snr_hsi=snr_hsi, snr_msi=snr_msi, seed=seed)
    record = provenance_record(
        [given],
        {
            "command": "simulate", "ratio": ratio, "msi_sensor": msi_sensor, "snr_hsi": snr_hsi, "snr_msi": snr_msi,
            "bands": bands, "bbox": bbox, "seed": seed,
        },
        scenes=[source],
    )  # fmt: skip
    record["estimates"] = {"ratio": ratio}
    report: dict[str, Any] = {"ratio": ratio, "notes": notes}
    for (name, path), part in zip(targets.items(), parts, strict=True):
        done = write_scene(
            part,
            path,
            cog=write.cog,
            creation=dict(write.creation),
            overwrite=write.overwrite,
            provenance=record,
            progress=progress,
        )
        report[name] = {
            "path": str(done.path),
            "shape": [part.sizes[d] for d in ("band", "y", "x")],
            "bytes": done.bytes,
        }
    return report
