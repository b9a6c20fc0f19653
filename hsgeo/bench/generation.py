"""`hsgeo bench generation`: tiles of one scene beside real blocks of it, and beside what fools single measures.

Point fidelity and block diversity are those of HUD (Shen et al. 2025), on tiles of 32 x 32 pixels. Blocks are compared
as one vector, exhaustively, with real blocks at offsets in steps of 2, unturned. Copies of real crops and abundances
drawn at random show what each measure does not see.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.bench.protocols import cases, none_there
from hsgeo.engine.devices import pick_device
from hsgeo.methods.generation.encoding import Encoding
from hsgeo.methods.generation.hud import Hud, HudMethod, fitted_hud
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.quality.generated.measure import Settings, measure
from hsgeo.quality.generated.tiles import Tile
from hsgeo.scene import open_scene
from hsgeo.scene.source import SceneSource
from hsgeo.tasks.options import validated

#: side of the tiles, and how many are measured
SIDE, TILES = 32, 64

#: row -> steps of the sampler and its eta
SAMPLERS = {
    "hud, 50 steps": (50, 0.0),
    "ancestral": (50, 1.0),
    "hud, 20 steps": (20, 0.0),
    "hud, 10 steps": (10, 0.0),
}
ALL_STEPS = {"hud, 1000 steps": (1000, 0.0), "ancestral, 1000": (1000, 1.0)}

#: of the published averages over five scenes, Shen et al. 2025, table 2
PUBLISHED = {"point_fidelity": 0.999, "block_diversity": 0.958}

#: files that are scenes as they lie
RASTERS = {"berlin": "berlin/EnMAP_BerlinUrbanGradient.bsq", "potsdam": "potsdam/enmap_potsdam_nw.tif"}

#: of the fusion's protocol
PROTOCOL = ("jasper", "abu-airport-1", "abu-urban-1")

SHOWN = (
    "point_fidelity",
    "own_point_fidelity",
    "block_diversity",
    "own_block_diversity",
    "memorised_most",
    "told_apart",
    "told_apart_error",
    "fid",
    "variogram_distance",
    "layout_distance",
    "spectral_angle_distance",
)


def scenes(folder: Path, only: str | None = None, quick: bool = False) -> Iterator[tuple[str, xr.DataArray]]:
    """The scenes of the table, in memory.

    Raises
    ------
    InputError
        None lies under the folder.
    """
    found = False
    for name in PROTOCOL[:1] if quick else PROTOCOL:
        if only is None or only in name:
            for case in cases(folder, name):
                found = True
                yield name, case.reference
    for name, place in RASTERS.items():
        if not quick and (folder / place).exists() and (only is None or only in name):
            found = True
            yield name, open_scene(folder / place, chunks=None)
    if not found:
        raise none_there(folder, "jasper/, abu/, berlin/, potsdam/")


def bench_generation(
    folder: str | Path,
    models: str | Path | None = None,
    scene: str | None = None,
    quick: bool = False,
    whole: bool = False,
    params: Mapping[str, Any] | None = None,
    device: str = "auto",
    networks: bool = True,
) -> Iterator[dict[str, Any]]:
    """Train on each scene, or take the model that was trained before, and measure its tiles beside other tiles.

    Parameters
    ----------
    folder : path
    models : path, optional
        Folder that models are kept in, by the scene's name.
    scene : str, optional
        Only scenes whose name contains this.
    quick : bool
        The first scene alone.
    whole : bool
        With all steps of the process as well.
    params : mapping, optional
        Of `HudTrainingParams`, for trainings.
    networks : bool
        With the measures that train networks.

    Yields
    ------
    dict
        scene, row, seconds of sampling, and the measures.
    """
    trainings = validated(HudMethod, params or {}, 0)
    settings = Settings(block=SIDE, stride=2, networks=networks, device=pick_device(device))
    for name, image in scenes(Path(folder), scene, quick):
        model = model_of(name, image, models, trainings, settings.device)
        samplers = SAMPLERS | (ALL_STEPS if whole else {})
        for row, tiles, seconds in _rows(image, model, samplers, settings.device):
            notes: list[str] = []
            wrapped = [Tile(f"tile_{i}", _scene(image, model.bands, tile)) for i, tile in enumerate(tiles)]
            values = measure(_used(image, model.bands), wrapped, settings, None, notes).values
            yield {
                "scene": name,
                "row": row,
                "seconds": seconds,
                "endmembers": len(model.encoding.endmembers),
                "directions": len(model.encoding.directions),
                **{key: values.get(key) for key in SHOWN},
                "real_blocks": values["real_blocks"],
                "notes": notes,
            }


def model_of(
    name: str, image: xr.DataArray, models: str | Path | None, params: HudTrainingParams, device: str = "cpu"
) -> Hud:
    """The model of a scene: that in the folder, or a new one, which is kept there."""
    path = None if models is None else Path(models) / f"{name}.safetensors"
    if path is not None and path.exists():
        return Hud.load(path)
    good, reasons = (image[key].values for key in ("good", "bad_reason"))
    made = fitted_hud(
        SceneSource(image), np.asarray(good, bool), reasons.tolist(), params, image["wavelength"].values, device=device
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path)
    return made


def _rows(
    image: xr.DataArray, model: Hud, samplers: dict[str, tuple[int, float]], device: str
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, tiles (n, B_used, side, side) and seconds of each row."""
    rng = np.random.default_rng(0)
    real = image.values[model.bands]
    encoding = model.encoding
    crops = _crops(real, rng)
    yield "copies of real crops", crops, 0.0
    states = [encoding.encoded(crop) for crop in crops]
    yield "their mixtures E X", np.stack([encoding.decoded(state, False)[1] for state in states]), 0.0
    yield "with directions", np.stack([encoding.decoded(state)[1] for state in states]), 0.0
    yield "with noise as well", _noisy(encoding, states), 0.0
    random = rng.dirichlet(np.ones(len(encoding.endmembers)), (len(crops), SIDE, SIDE)).transpose(0, 3, 1, 2)
    yield "random abundances", np.stack([np.tensordot(encoding.endmembers.T, a, 1) for a in random]), 0.0
    for row, (steps, eta) in samplers.items():
        start = time.perf_counter()
        drawn = model.states((SIDE, SIDE), range(TILES), steps, eta, device=device)
        seconds = time.perf_counter() - start
        yield row, _noisy(encoding, drawn), seconds


def _noisy(encoding: Encoding, states: Iterable[np.ndarray]) -> np.ndarray:
    """Spectra (n, B_used, side, side) of states, with what neighbours do not share drawn anew."""
    rng = np.random.default_rng(1)
    shape = (encoding.endmembers.shape[1], SIDE, SIDE)
    return np.stack([encoding.decoded(state, True, rng.standard_normal(shape))[1] for state in states])


def _crops(real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blocks of a scene without gaps at random places."""
    height, width = real.shape[1:]
    known = np.isfinite(real).all(0)
    found: list[np.ndarray] = []
    while len(found) < TILES:
        y, x = int(rng.integers(height - SIDE + 1)), int(rng.integers(width - SIDE + 1))
        if known[y : y + SIDE, x : x + SIDE].all():
            found.append(real[:, y : y + SIDE, x : x + SIDE])
    return np.stack(found)


def _used(image: xr.DataArray, bands: np.ndarray) -> xr.DataArray:
    """The scene in the bands of a model."""
    return image.isel(band=bands)


def _scene(image: xr.DataArray, bands: np.ndarray, tile: np.ndarray) -> xr.DataArray:
    """A tile as a scene with those bands."""
    like = _used(image, bands).isel(y=slice(0, SIDE), x=slice(0, SIDE))
    return like.copy(data=tile.astype(np.float32))
