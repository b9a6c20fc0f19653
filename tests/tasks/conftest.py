"""A small labelled scene, a model of three quarters of it, and tiles of that model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.scene import write_scene
from hsgeo.tasks import HoldOut, RunOptions, WriteOptions, generate, train_hud
from tests.methods.restoration.test_subspace import noisy, truth

#: of a training and of the tiles
TINY = {"endmembers": 4, "steps": 3, "widths": (8, 12), "blocks": 1, "batch": 2, "crop": 12}
COUNT, SIZE, STEPS, SEED = 5, 20, 3, 7


def labels_of(shape: tuple[int, int]) -> np.ndarray:
    """Classes 3 and 7 side by side; three rows are not known."""
    numbers = np.where(np.arange(shape[1]) < shape[1] // 2, 3.0, 7.0) * np.ones((shape[0], 1))
    numbers[:3] = np.nan
    return numbers[None]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder of ``s.tif``, ``labels.tif``, ``m.safetensors``, ``m_held_out.tif``, and tiles of one model.

    They are in ``tiles`` as rasters, in ``stored`` as a store of small chunks, and in ``alone.zarr``.
    """
    folder = tmp_path_factory.mktemp("made")
    scene = on_grid(noisy(truth((48, 52)), 0.005), 30, np.linspace(400, 900, 24), 10.0)
    good = np.arange(24) != 5
    scene = scene.assign_coords(good=("band", good), bad_reason=("band", np.where(good, "", "bbl")))
    scene.attrs["tags"] = {"acquisition time": "2024-05-06T10:11:12+02:00"}
    write_scene(scene, folder / "s.tif")
    write_scene(on_grid(labels_of((48, 52)), 30), folder / "labels.tif", dtype="uint8", nodata=0)
    train_hud(
        folder / "s.tif",
        folder / "m.safetensors",
        labels=folder / "labels.tif",
        hold_out=HoldOut.of("0.25", 12, 2),
        params=TINY,
    )
    for name, kind, creation in (("tiles", "tif", {}), ("stored", "zarr", {"CHUNK": "8"}), ("alone.zarr", "zarr", {})):
        generate(
            folder / "s.tif",
            folder / name,
            model=folder / "m.safetensors",
            count=COUNT,
            size=SIZE,
            steps=STEPS,
            format=kind,
            run=RunOptions(seed=SEED),
            write=WriteOptions(creation=creation),
        )
    return folder
