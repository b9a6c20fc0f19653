"""`hsgeo bench fusion --ablation`: what each part of HSR-Diff is worth, on scenes that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hsgeo.bench.fusion import measure
from hsgeo.bench.protocols import Case, cases, degraded
from hsgeo.errors import InputError

#: scenes of the protocol to train on, and to test on: never the same
TRAIN = ("abu-airport-1", "abu-urban-1", "abu-urban-3")
TEST = ("abu-airport-2", "abu-airport-3", "abu-urban-2", "jasper")
RATIO = 4

#: name of a row -> what is changed in the training
TRAINED: dict[str, dict[str, Any]] = {
    "default": {},
    "regression only": {"seen_noise": 0.0},
    "without the SR stream": {"network": {"sr_stream": False}},
    "patches of 48 only": {"patches": (48,)},
    "CDFormer": {"network": {"kind": "cdformer", "width": 32, "depth": 2}},
    "residual coefficients, common bands": {},
    "pixel space, common bands": {"space": "pixels", "loss": "l1"},
}

#: end of the names of rows whose scenes are cut to bands that all have, since a network of pixels is bound to them
COMMON = "common bands"

#: those bands, nm
COMMON_NM = np.r_[np.linspace(410, 1330, 60), np.linspace(1480, 1780, 20), np.linspace(2050, 2400, 20)]

#: name of a row -> what is changed in the fusion, with the default model
APPLIED: dict[str, dict[str, Any]] = {
    "5 steps": {"steps": 5},
    "10 steps": {"steps": 10},
    "25 steps": {"steps": 25},
    "100 steps": {"steps": 100},
    "all of the prediction believed": {"gain": "full"},
    "data consistency at the end": {"consistency": "end"},
    "10 steps, data consistency at the end": {"steps": 10, "consistency": "end"},
    "10 steps, data consistency at every step": {"steps": 10, "consistency": "steps"},
}


def ablation(
    folder: str | Path, *, steps: int = 2500, model: str | None = None, only: str | None = None, said: Any = None
) -> Iterator[dict[str, Any]]:
    """Train on three scenes, test on four others, with one part changed at a time.

    Parameters
    ----------
    folder : path
        Of the scenes.
    steps : int
        Of each training; every row has as many.
    model : path, optional
        A model that was trained on `TRAIN` alone, instead of training the default row here.
    only : str, optional
        Rows whose name contains this (the default one is always there).
    said : callable, optional
        Told how a training goes.

    Yields
    ------
    dict
        row, gain (dB over subspace), sam (change in degrees), worst (scene's gain in dB), seconds (of all tests beyond
        subspace's), trained (seconds), scenes (gain of each).

    Raises
    ------
    InputError
        A scene of the protocol is missing.
    """
    root = Path(folder)
    every = {case.name: case for name in ("abu", "jasper") for case in cases(root, name)}
    missing = [name for name in (*TRAIN, *TEST) if name not in every]
    if missing:
        raise InputError(f"{root}: {', '.join(missing)} missing; the ablation needs abu/ and jasper/ (--data).")
    rows = {n: changes for n, changes in TRAINED.items() if n == "default" or only is None or only in n}
    tables = {False: every}
    if any(name.endswith(COMMON) for name in rows):
        tables[True] = {name: on_common_bands(case) for name, case in every.items()}
    fast = {cut: {n: measure(table[n], "subspace", known=True) for n in TEST} for cut, table in tables.items()}
    with TemporaryDirectory() as place:
        for name, changes in rows.items():
            used, seconds, cut = model, None, name.endswith(COMMON)
            if name != "default" or model is None:
                used = str(Path(place) / f"{len(list(Path(place).iterdir()))}.safetensors")
                seconds = trained([tables[cut][n] for n in TRAIN], used, steps, changes, said)
            if name == "default":
                base = used
            yield {"trained": seconds, **tested(name, tables[cut], fast[cut], {"model": used})}
        for name, changes in APPLIED.items():
            if only is None or only in name:
                yield {"trained": None, **tested(name, every, fast[False], {"model": base, **changes})}


def on_common_bands(case: Case) -> Case:
    """The case of the bands nearest to `COMMON_NM`, as many for every scene."""
    nm = case.reference["wavelength"].values
    kept = np.abs(nm[None] - COMMON_NM[:, None]).argmin(1)
    return degraded(case.name, case.reference.values[kept].astype(float), nm[kept], case.ratio)


def trained(scenes: list[Case], output: str, steps: int, changes: Mapping[str, Any], said: Any = None) -> float:
    """Train a new network on the references of some cases; seconds."""
    from hsgeo.tasks import train

    pace = {"steps": steps, "variants": 16, "checks": 40, "patience": 40, "seen_noise": 0.3, "learning_rate": 8e-4}
    report = train(
        [case.reference.rename(case.name) for case in scenes],
        output,
        reference=True,
        ratio=RATIO,
        start=None,
        params={**pace, **changes},
        said=said,
    )
    return report["seconds"]


def tested(
    name: str, every: Mapping[str, Case], fast: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]
) -> dict[str, Any]:
    """One row: the scenes of `TEST` beside the fast fusion."""
    rows = {n: measure(every[n], "hsr-diff", known=True, params=params) for n in TEST}
    gains = {n: row["psnr"] - fast[n]["psnr"] for n, row in rows.items()}
    return {
        "row": name,
        "gain": float(np.mean(list(gains.values()))),
        "sam": float(np.mean([row["sam"] - fast[n]["sam"] for n, row in rows.items()])),
        "worst": min(gains.values()),
        "seconds": float(sum(row["seconds"] - fast[n]["seconds"] for n, row in rows.items())),
        "scenes": gains,
    }
