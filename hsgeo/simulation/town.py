"""A town: a warped street grid, houses in gardens, a dense core, halls, a sports ground, a solar field, greenhouses."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas

ROOFS = ("clay tile roof", "slate roof", "metal roof", "bitumen roof", "concrete")
HALLS = ("white membrane roof", "metal roof", "bitumen roof", "blue sheet roof", "concrete", "solar panel")


def draw_town(canvas: Canvas, centre: tuple[float, float], angle: float) -> np.ndarray:
    """Build a town around `centre` (x, y in metres), its streets turned by `angle`; returns where it stands (bool)."""
    g, rng = canvas.scale, canvas.rng
    u, v = _local(canvas, centre, angle)
    u, v = u + 9 * canvas.noise(900 * g), v + 14 * canvas.noise(1100 * g)
    radius = np.hypot(u / 1.25, v) / (380 * g) + 0.16 * canvas.noise(260 * g, 2)
    works = (u > 330 * g) & (u < 760 * g) & (np.abs(v + 40 * g) < 190 * g)
    homes = (radius < 1) & ~works
    _homes(canvas, homes, radius, u, v)
    _works(canvas, works, u, v)
    _sports(canvas, u + 250 * g, v - 330 * g, rng.uniform(0, 0.3))
    return homes | works


def _lots(
    u: np.ndarray, v: np.ndarray, block: tuple[float, float], street: float, lot: float
) -> tuple[np.ndarray, ...]:
    """Street mask, depth behind the street, position inside the lot, and a number per block and per lot."""
    bu, pu = np.divmod(u, block[0])
    bv, pv = np.divmod(v, block[1])
    road = (pu < street) | (pv < street)
    depth = np.minimum(pv - street, block[1] - pv)
    front = (pv - street > block[1] - pv).astype(np.int64)
    place, inside = np.divmod(pu - street, lot)
    number = ((bu.astype(np.int64) * 7919 + bv.astype(np.int64)) * 2 + front) * 64 + place.astype(np.int64)
    return road, depth, inside, number


def _draw_from(number: np.ndarray, seed: int, count: int = 1 << 14) -> np.ndarray:
    """Uniform numbers in 0..1 that belong to `number`."""
    table = np.random.default_rng(seed).random(count, dtype=np.float32)
    return table[(number * 2654435761 + (number >> 7) * 40503) % count]


def _homes(canvas: Canvas, homes: np.ndarray, radius: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    rng = canvas.rng
    road, depth, inside, number = _lots(u, v, (142.0, 74.0), 8.5, 19.0)
    seeds = rng.integers(1 << 31, size=4).tolist()
    kind, deep, tone = (_draw_from(number, s) for s in seeds[:3])
    base = canvas.new_owners(1 << 14)
    owner = (base + number % (1 << 14)).astype(np.int32)
    # gardens: lawn, with trees where a fine noise says so
    trees = np.clip(0.35 + 0.55 * canvas.noise(16, 2), 0, 1)
    canvas.paint(homes, "meadow", "deciduous forest", trees, owner, 1 - 0.18 * trees)
    core = radius < 0.42
    yard = homes & core & ~road
    canvas.paint(yard, "concrete", "meadow", np.clip(0.3 + 0.3 * canvas.noise(30), 0, 1), owner)
    setback, length = 4.0 + 5 * deep, 9.5 + 3 * tone
    house = (
        homes & ~road & (depth > setback) & (depth < setback + length) & (inside > 2.5) & (inside < 16.0) & (kind < 0.9)
    )
    house |= yard & (depth > 0) & (depth < 15) & (kind < 0.95)
    choice = np.searchsorted(np.cumsum([0.58, 0.16, 0.09, 0.11]), _draw_from(number, seeds[3]))
    # a gable faces the sun on one side and away from it on the other
    side = np.where(depth - setback < length / 2, 1.12, 0.84)
    gable = np.where(choice < 3, side, 1.0).astype(np.float32)
    canvas.paint(house, canvas.codes(ROOFS)[choice], None, 0.0, owner, gable)
    canvas.shade(house, 6, 0.62)
    canvas.paint(homes & road, "asphalt", "concrete", 0.12 + 0.08 * canvas.noise(50))
    park = homes & (np.hypot(u - 90, v + 60) < 58 * canvas.scale)
    canvas.paint(park, "meadow", "deciduous forest", (canvas.noise(34, 2) > 0.3).astype(np.float32))


def _works(canvas: Canvas, works: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    road, depth, inside, number = _lots(u, v, (212.0, 128.0), 10.0, 101.0)
    seeds = canvas.rng.integers(1 << 31, size=2).tolist()
    base = canvas.new_owners(1 << 12)
    owner = (base + number % (1 << 12)).astype(np.int32)
    canvas.paint(works, "asphalt", "concrete", np.clip(0.5 + 0.5 * canvas.noise(120), 0, 1))
    tall = 30 + 18 * _draw_from(number, seeds[0])
    hall = works & ~road & (depth > 7) & (depth < tall) & (inside > 9) & (inside < 92)
    choice = np.minimum((_draw_from(number, seeds[1]) * len(HALLS)).astype(int), len(HALLS) - 1)
    skylight = np.where(np.mod(inside, 14.0) < 2.5, 0.35, 0.0)
    canvas.paint(hall, canvas.codes(HALLS)[choice], "plastic film", skylight, owner)
    canvas.shade(hall, 8, 0.6)
    canvas.paint(works & road, "asphalt")
    green = works & ~road & ~hall & (canvas.noise(45, 2) > 1.1)
    canvas.paint(green, "meadow", "deciduous forest", 0.4)


def _sports(canvas: Canvas, u: np.ndarray, v: np.ndarray, turn: float) -> None:
    g = max(canvas.scale, 0.6)
    u, v = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
    # distance to the straight of a running track
    ring = np.hypot(np.maximum(np.abs(u) - 42 * g, 0), v)
    canvas.paint(ring < 60 * g, "meadow", "dry grass", 0.15)
    canvas.paint((ring < 47 * g) & (ring > 36 * g), "ferric soil")
    canvas.paint((np.abs(u) < 50 * g) & (np.abs(v) < 32 * g), "artificial turf")
    stand = (np.abs(u) < 40 * g) & (v > 50 * g) & (v < 60 * g)
    canvas.paint(stand, "concrete")
    canvas.shade(stand, 6, 0.65)


def draw_solar_field(canvas: Canvas, centre: tuple[float, float], angle: float) -> None:
    """Rows of panels over grass."""
    u, v = _local(canvas, centre, angle)
    g = canvas.scale
    here = (np.abs(u) < 130 * g) & (np.abs(v) < 80 * g)
    rows = np.where(np.mod(v, 10.5) < 6.5, 0.9, 0.05)
    canvas.paint(here, "meadow", "solar panel", rows)


def draw_greenhouses(canvas: Canvas, centre: tuple[float, float], angle: float) -> None:
    """Film tunnels with crops beneath and soil between."""
    u, v = _local(canvas, centre, angle)
    g = canvas.scale
    here = (np.abs(u) < 90 * g) & (np.abs(v) < 62 * g)
    bay = np.mod(u, 60 * g) < 6
    canvas.paint(here, "plastic film", "sugar beet", 0.22 + 0.1 * canvas.noise(60))
    canvas.paint(here & (bay | (np.mod(v, 20.0) < 2.5)), "loess soil", "dry grass", 0.2)


def _local(canvas: Canvas, centre: tuple[float, float], angle: float) -> tuple[np.ndarray, np.ndarray]:
    u, v = canvas.turned(angle)
    cos, sin = np.cos(angle), np.sin(angle)
    return u - (cos * centre[0] + sin * centre[1]), v - (cos * centre[1] - sin * centre[0])
