"""The materials of the simulated land: what each reflects, and how it varies.

A material is a parametric spectrum whose parameters (pigments, water, iron, level, ...) scatter about a mean. Its
draws are summarised by their mean, the endmember, and by three principal modes of variation, so that a pixel's spectrum
is linear in (1, c1, c2, c3): brightness and shape vary together as they do in nature, and the scene stays an exact
linear mixture. Sources of the features are in `hsgeo.simulation.spectra`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import spectra as sp

#: modes of variation kept per material
MODES = 3
#: largest multiple of a mode that a pixel may take
MODE_LIMIT = 2.0


@dataclass(frozen=True)
class Material:
    """One material.

    Attributes
    ----------
    name : str
    kind : str
        "vegetation", "soil", "water" or "built".
    spectrum : (n,) array
        Mean reflectance on `hsgeo.simulation.spectra.GRID`.
    modes : (MODES, n) array
        Modes of variation, each worth one standard deviation. ``spectrum + sum(c * modes)`` stays inside (0, 0.95]
        for every ``|c| <= MODE_LIMIT``.
    """

    name: str
    kind: str
    spectrum: np.ndarray
    modes: np.ndarray


def _scattered(reflectance: Callable[..., np.ndarray], means: Sequence[float], spreads: Sequence[float]) -> Callable:
    """Draws of `reflectance` whose parameters scatter log-normally about `means`."""

    def draw(v: np.ndarray) -> np.ndarray:
        return reflectance(*(m * np.exp(s * v[k]) for k, (m, s) in enumerate(zip(means, spreads, strict=True))))

    return draw


def _leaf(chl: float, car: float, water: float, dry: float, bright: float, brown: float = 0.0) -> Callable:
    return _scattered(sp.leaf_canopy, (chl, car, water, dry, bright, brown), (0.22, 0.2, 0.16, 0.15, 0.09, 0.25))


def _soil(level: float, organic: float, iron: float, clays: float, lime: float = 0.0, moist: float = 0.004) -> Callable:
    return _scattered(sp.soil, (level, organic, iron, clays, lime, moist), (0.1, 0.2, 0.2, 0.2, 0.2, 0.5))


def _water(sediment: float, algae: float, cdom: float, glint: float) -> Callable:
    return _scattered(sp.water_body, (sediment, algae, cdom, glint), (0.2, 0.3, 0.2, 0.2))


def _built(nodes: tuple[tuple[float, float], ...], depth: np.ndarray | float = 0.0, spread: float = 0.12) -> Callable:
    """A smooth curve with absorption `depth` (optical depth on GRID), varying in level, slope and depth."""

    def draw(v: np.ndarray) -> np.ndarray:
        tilt = 1 + 0.08 * v[1] * (sp.GRID - 1100) / 1100 + 0.04 * v[3] * np.cos((sp.GRID - 400) / 330)
        return sp.curve(*nodes) * np.exp(spread * v[0] - depth * np.exp(0.25 * v[2])) * tilt

    return draw


def _flowering(v: np.ndarray) -> np.ndarray:
    """Rapeseed in flower: yellow petals (carotenoids, hardly any chlorophyll) over a green canopy."""
    petals = 0.95 * sp.kubelka_munk(
        2.6 * sp.carotenoids() + 0.5 * sp.bell(400, 45) + 0.045 + 0.06 * sp.water_absorption()
    )
    share = np.clip(0.42 + 0.09 * v[0], 0.1, 0.8)
    return (1 - share) * _leaf(3.2, 0.6, 0.085, 0.14, 0.82)(v) + share * petals * np.exp(0.05 * v[4])


def _turf(v: np.ndarray) -> np.ndarray:
    """Artificial turf: green pigment on polyethylene; no red edge at 700 nm and no leaf water."""
    nodes = (
        (350, 0.04),
        (460, 0.045),
        (535, 0.115),
        (640, 0.05),
        (720, 0.07),
        (800, 0.26),
        (1000, 0.33),
        (1600, 0.36),
        (2500, 0.18),
    )
    return _built(nodes, 0.28 * sp.hydrocarbons())(v)


def _recipes() -> dict[str, tuple[str, Callable]]:
    """name -> (kind, function of six standard normal numbers that returns one spectrum)."""
    oil = sp.hydrocarbons()
    return {
        "deciduous forest": ("vegetation", _leaf(5.5, 0.9, 0.075, 0.16, 0.72)),
        "conifer forest": ("vegetation", _leaf(6.5, 1.0, 0.085, 0.26, 0.42)),
        "riparian trees": ("vegetation", _leaf(4.2, 0.8, 0.085, 0.15, 0.78)),
        "meadow": ("vegetation", _leaf(3.2, 0.6, 0.07, 0.2, 0.74, 0.12)),
        "dry grass": ("vegetation", _leaf(0.5, 0.4, 0.03, 0.5, 0.62, 1.7)),
        "winter wheat": ("vegetation", _leaf(6.0, 0.8, 0.095, 0.13, 0.86)),
        "maize": ("vegetation", _leaf(4.2, 0.75, 0.105, 0.14, 0.7)),
        "rapeseed in flower": ("vegetation", _flowering),
        "sugar beet": ("vegetation", _leaf(4.4, 0.6, 0.12, 0.1, 0.92)),
        "ripe cereal": ("vegetation", _leaf(0.12, 0.5, 0.012, 0.42, 0.66, 2.2)),
        "vine": ("vegetation", _leaf(3.6, 0.7, 0.07, 0.17, 0.66)),
        "reed": ("vegetation", _leaf(1.6, 0.5, 0.09, 0.3, 0.6, 0.35)),
        "humus soil": ("soil", _soil(0.27, 0.75, 0.16, 0.12, 0.0, 0.006)),
        "loess soil": ("soil", _soil(0.40, 0.3, 0.34, 0.16, 0.08)),
        "ferric soil": ("soil", _soil(0.36, 0.2, 1.1, 0.26)),
        "sand": ("soil", _soil(0.55, 0.12, 0.3, 0.05, 0.02, 0.002)),
        "limestone gravel": (
            "soil",
            _built(
                ((350, 0.24), (500, 0.34), (700, 0.4), (1300, 0.46), (2500, 0.4)),
                0.3 * sp.carbonate() + 0.1 * sp.clay(),
            ),
        ),
        "turbid river water": ("water", _water(0.34, 0.12, 1.5, 0.006)),
        "lake water": ("water", _water(0.03, 0.2, 0.5, 0.004)),
        "asphalt": ("built", _built(((350, 0.055), (500, 0.075), (800, 0.1), (1600, 0.14), (2500, 0.135)), 0.04 * oil)),
        "concrete": (
            "built",
            _built(
                ((350, 0.15), (500, 0.24), (800, 0.3), (1600, 0.36), (2500, 0.28)),
                0.12 * sp.carbonate() + 0.16 * sp.clay(),
            ),
        ),
        "clay tile roof": (
            "built",
            _built(
                ((350, 0.14), (700, 0.32), (1100, 0.4), (1700, 0.48), (2500, 0.43)),
                1.05 * sp.iron_oxide() + 0.05 * sp.clay(),
            ),
        ),
        "slate roof": (
            "built",
            _built(
                ((350, 0.075), (600, 0.09), (1200, 0.105), (2500, 0.12)), 0.1 * sp.clay() + 0.08 * sp.bell(1000, 140)
            ),
        ),
        "bitumen roof": ("built", _built(((350, 0.042), (800, 0.055), (1600, 0.08), (2500, 0.085)), 0.08 * oil)),
        "metal roof": (
            "built",
            _built(((350, 0.3), (600, 0.4), (1000, 0.37), (1400, 0.46), (2500, 0.52)), 0.12 * sp.bell(1020, 110)),
        ),
        "white membrane roof": (
            "built",
            _built(((350, 0.12), (400, 0.45), (450, 0.74), (900, 0.76), (1600, 0.66), (2500, 0.36)), 0.22 * oil, 0.06),
        ),
        "blue sheet roof": (
            "built",
            _built(
                ((350, 0.12), (460, 0.3), (520, 0.2), (600, 0.08), (750, 0.1), (900, 0.34), (1600, 0.42), (2500, 0.25)),
                0.12 * oil,
            ),
        ),
        "plastic film": (
            "built",
            _built(((350, 0.28), (500, 0.42), (900, 0.5), (1600, 0.46), (2500, 0.3)), 0.5 * oil, 0.1),
        ),
        "artificial turf": ("built", _turf),
        "solar panel": (
            "built",
            _built(
                ((350, 0.05), (450, 0.055), (700, 0.035), (1000, 0.05), (1150, 0.16), (1700, 0.2), (2500, 0.12)),
                0.08 * oil,
            ),
        ),
    }


def _summarise(name: str, kind: str, draw: Callable, count: int = 48) -> Material:
    """Mean and leading modes of `count` fixed draws, held inside (0, 0.95] for every multiple up to MODE_LIMIT."""
    rng = np.random.default_rng([1990, *name.encode()])
    samples = np.stack([draw(v) for v in np.clip(rng.standard_normal((count, 6)), -2.2, 2.2)])
    mean = np.clip(samples.mean(0), 0.002, 0.85)
    spread = samples - samples.mean(0)
    modes = np.linalg.eigh(spread @ spread.T)[1][:, : -1 - MODES : -1].T @ spread / np.sqrt(count)
    modes *= np.where(modes.sum(1) < 0, -1, 1)[:, None]
    reach = MODE_LIMIT * np.abs(modes).sum(0)
    room = np.minimum(0.9 * mean, 0.95 - mean)
    return Material(name, kind, mean, modes * np.minimum(1, room / np.maximum(reach, 1e-12)))


@lru_cache(maxsize=1)
def material_library() -> tuple[Material, ...]:
    """All materials, in a fixed order: their position is their label."""
    return tuple(_summarise(name, kind, draw) for name, (kind, draw) in _recipes().items())


def material_names() -> tuple[str, ...]:
    """Names in the order of `material_library`."""
    return tuple(_recipes())
