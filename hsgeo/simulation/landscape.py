"""The simulated land as a whole: farmland, woods, a river with sandbanks, a lake, a quarry, a town, roads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, fractal_noise, value_noise
from .farmland import districts, draw_farmland
from .materials import MODE_LIMIT, MODES
from .town import draw_greenhouses, draw_solar_field, draw_town


@dataclass(frozen=True)
class Land:
    """The land on a fine grid of cells.

    Attributes
    ----------
    first, second : uint8 (height, width)
        Materials (positions in `material_library`).
    share : float32 (height, width)
        Fraction of the cell under `second`.
    light : float32 (height, width)
        Illumination, 1 on open flat ground, at most 1.25.
    character : float32 (MODES, height, width)
        Multiples of the materials' modes of variation, within +-MODE_LIMIT.
    """

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    light: np.ndarray
    character: np.ndarray


def draw_land(shape: tuple[int, int], cell: float, extent: float, seed: int) -> Land:
    """Draw a landscape.

    Parameters
    ----------
    shape : (height, width)
        Cells to draw, margins included.
    cell : float
        Size of a cell in metres.
    extent : float
        Shorter side of the part that will be seen, in metres: it decides how large things are drawn.
    seed : int
    """
    scale = float(np.clip((extent / 2400) ** 0.6, 0.3, 1.0))
    canvas = Canvas(shape, cell, scale, np.random.default_rng([seed, 77]))
    reach = extent / 2
    draw_farmland(canvas)
    _woods(canvas, reach)
    river = _River(canvas)
    _lake(canvas, (-0.52 * reach, 0.5 * reach))
    _quarry(canvas, (0.62 * reach, -0.66 * reach))
    draw_solar_field(canvas, (-0.7 * reach, -0.42 * reach), 0.35)
    draw_greenhouses(canvas, (0.68 * reach, 0.66 * reach), -0.25)
    angle = river.angle + 0.12
    centre = river.beside(-0.05 * reach, 0.3 * reach)
    town = draw_town(canvas, centre, angle)
    river.draw(canvas)
    _roads(canvas, centre, river, town, reach)
    return _finish(canvas)


class _River:
    """A meandering river: a centre line n(t) across the canvas, its width and banks."""

    def __init__(self, canvas: Canvas) -> None:
        rng, g = canvas.rng, canvas.scale
        self.angle = -0.32 + rng.uniform(-0.1, 0.1)
        self.t, self.n = canvas.turned(self.angle)
        self.waves = [
            (120 * g, 1500 * g, rng.uniform(0, 2 * np.pi)),
            (42 * g, 620 * g, rng.uniform(0, 2 * np.pi)),
            (9 * g, 230 * g, rng.uniform(0, 2 * np.pi)),
        ]
        self.width = 88 * g

    def _line(self, t: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, slope and curvature of the centre line."""
        phases = [
            (a, 2 * np.pi / length, 2 * np.pi * np.asarray(t) / length + phase) for a, length, phase in self.waves
        ]
        position = sum(a * np.sin(p) for a, k, p in phases)
        slope = sum(a * k * np.cos(p) for a, k, p in phases)
        bend = sum(-a * k**2 * np.sin(p) for a, k, p in phases[:2])
        return np.asarray(position), np.asarray(slope), np.asarray(bend)

    def beside(self, t: float, distance: float) -> tuple[float, float]:
        """The point (x, y) at `distance` south of the centre line."""
        n = float(self._line(t)[0]) + distance
        return float(np.cos(self.angle) * t - np.sin(self.angle) * n), float(
            np.sin(self.angle) * t + np.cos(self.angle) * n
        )

    def draw(self, canvas: Canvas) -> None:
        g = canvas.scale
        position, slope, bend = self._line(self.t)
        offset = (self.n - position) / np.sqrt(1 + slope**2)
        half = self.width / 2 * (1 + 0.1 * canvas.noise(700 * g)) + 1.5 * canvas.noise(40)
        shore = np.abs(offset) - half
        meadow = shore < 60 * g + 28 * g * canvas.noise(300 * g, 2)
        canvas.paint(meadow, "meadow", "dry grass", np.clip(0.15 + 0.2 * canvas.noise(80, 2), 0, 0.7))
        trees = meadow & (shore < (22 + 20 * canvas.noise(210 * g, 2)) * g)
        crowns = canvas.noise(10)
        canvas.paint(
            trees, "riparian trees", "meadow", np.clip(0.12 - 0.2 * crowns, 0, 0.6), light=0.92 + 0.13 * crowns
        )
        canvas.shade(trees, 7, 0.72)
        water = shore < 0
        deep = np.clip(-shore / (0.35 * self.width), 0, 1)
        canvas.paint(
            water,
            "turbid river water",
            "lake water",
            0.22 * deep * (1 + 0.3 * canvas.noise(200 * g)),
            light=1 + 0.02 * crowns,
        )
        # sand settles on the inner side of bends: where the line curves towards
        inner = np.sign(bend) * offset
        strength = np.clip(np.abs(bend) / np.abs(bend).max() * 1.25 - 0.3 + 0.14 * canvas.noise(240 * g), 0, 0.62)
        depth = inner - (half - strength * self.width)
        bank = water & (depth > 0)
        damp = np.clip(1 - depth / (9 * g + 3), 0, 1)
        stones = canvas.noise(45, 2) > 0.6
        canvas.paint(bank, "sand", "turbid river water", 0.75 * damp, light=1 - 0.12 * damp)
        canvas.paint(bank & stones, "limestone gravel", "turbid river water", 0.75 * damp)
        scrub = bank & (depth > 0.3 * self.width) & (canvas.noise(35, 2) > 0.2)
        canvas.paint(scrub, "riparian trees", "sand", 0.45)


def _woods(canvas: Canvas, reach: float) -> None:
    """Woods in the north-east and in patches: stands of conifers and broad-leaved trees, a few clearings."""
    g = canvas.scale
    hill = (canvas.x - canvas.y) / (1.35 * reach) - 0.92
    wood = 1.25 * hill + 0.45 * canvas.noise(620 * g, 3) > 0.0
    wood |= canvas.noise(420 * g, 3) > 1.75
    stand, count = districts(canvas, 210 * g)
    kind = canvas.rng.choice(4, count, p=[0.46, 0.36, 0.08, 0.10])[stand]
    crowns = 0.75 * canvas.noise(9) + 0.65 * canvas.noise(21)
    base = canvas.new_owners(count)
    gaps = np.clip(0.05 - 0.14 * crowns, 0, 0.5)
    lit = np.clip(0.93 + 0.15 * crowns, 0.5, 1.2)
    edge = wood & ~(kind == 2)
    canvas.shade(edge, 10, 0.6)
    for number, (tree, ground) in enumerate((("deciduous forest", "meadow"), ("conifer forest", "dry grass"))):
        canvas.paint(wood & (kind == number), tree, ground, gaps, base + stand, lit)
    mixed = np.clip(0.5 + 0.7 * canvas.noise(40, 2), 0, 1)
    canvas.paint(wood & (kind == 3), "deciduous forest", "conifer forest", mixed, base + stand, lit)
    canvas.paint(
        wood & (kind == 2), "dry grass", "humus soil", np.clip(0.35 + 0.25 * canvas.noise(40, 2), 0, 1), base + stand
    )


def _lake(canvas: Canvas, centre: tuple[float, float]) -> None:
    g = canvas.scale
    dx, dy = canvas.x - centre[0], canvas.y - centre[1]
    radius = np.hypot((0.9 * dx - 0.45 * dy) / 1.5, 0.9 * dy + 0.45 * dx) + 26 * g * canvas.noise(240 * g, 3)
    size = 125 * g
    canvas.paint(radius < size + 42 * g, "meadow", "riparian trees", (canvas.noise(60 * g, 2) > 0.5).astype(np.float32))
    canvas.paint(radius < size + 13 * g, "reed", "meadow", 0.2)
    shallow = np.clip(1 - (size - radius) / (45 * g), 0, 1)
    canvas.paint(radius < size, "lake water", "turbid river water", 0.45 * shallow)
    beach = (radius < size + 9) & (radius > size - 9) & (dx > 60 * g)
    canvas.paint(beach, "sand", "lake water", 0.1)


def _quarry(canvas: Canvas, centre: tuple[float, float]) -> None:
    g = canvas.scale
    dx, dy = canvas.x - centre[0], canvas.y - centre[1]
    radius = np.hypot(dx / 1.3, dy) + 18 * g * canvas.noise(170 * g, 3)
    terrace = 1 + 0.16 * np.sign(np.sin(radius / (11 * g) + 0.004 * dx)) * (dx + dy > 0) - 0.1 * (dx + dy < 0)
    canvas.paint(
        radius < 115 * g, "limestone gravel", "sand", np.clip(0.25 + 0.3 * canvas.noise(70, 2), 0, 1), light=terrace
    )
    canvas.paint(
        np.hypot(dx + 25 * g, dy - 12 * g) + 8 * g * canvas.noise(60 * g) < 34 * g,
        "lake water",
        "turbid river water",
        0.5,
    )


def _roads(canvas: Canvas, centre: tuple[float, float], river: _River, town: np.ndarray, reach: float) -> None:
    """A motorway with a bridge, country roads from the town, a railway along the river, rows of trees."""
    rng, far = canvas.rng, 2.4 * reach
    cx, cy = centre
    gate = river.beside(0.42 * reach, 0.0)
    across = river.angle + np.pi / 2 + 0.12
    direction = np.array([np.cos(across), np.sin(across)])
    motorway = _bezier(gate - far * direction, np.array(gate), gate + far * direction, 90 * canvas.scale)
    roads = []
    for heading in (np.pi * 0.62, -np.pi * 0.93, -np.pi * 0.38, 0.1):
        away = np.array([np.cos(heading), np.sin(heading)]) * far
        bow = rng.uniform(-1, 1) * 0.22 * reach
        roads.append(_bezier(np.array([cx, cy]), np.array([cx, cy]) + away / 2, np.array([cx, cy]) + away, bow))
    for line in roads:
        distance = _distance(canvas, line)
        lane = (
            (np.abs(distance - 8.5) < 3.0)
            & ~town
            & (canvas.noise(40) > -0.15)
            & (canvas.noise(800 * canvas.scale) > 0.1)
        )
        lane &= ~_wet(canvas)
        canvas.paint(lane, "deciduous forest", "meadow", 0.35, light=0.9)
        canvas.paint(distance < 3.6, "asphalt", "concrete", 0.1)
    rails = river.beside(0.0, 0.0)
    along = np.array([np.cos(river.angle + 0.05), np.sin(river.angle + 0.05)])
    track = np.array(rails) + np.array([-along[1], along[0]]) * 0.62 * reach
    distance = _distance(canvas, _bezier(track - far * along, track, track + far * along, 60 * canvas.scale))
    canvas.paint(distance < 5.5, "asphalt", "limestone gravel", 0.28, light=0.9)
    distance = _distance(canvas, motorway)
    canvas.paint(distance < 15, "meadow", "dry grass", 0.4)
    canvas.paint(distance < 11, "asphalt", "concrete", np.where(_wet(canvas), 0.6, 0.06))
    canvas.paint(distance < 1.7, "meadow", "concrete", 0.4)


def _wet(canvas: Canvas) -> np.ndarray:
    return (canvas.first == canvas.code("turbid river water")) | (canvas.first == canvas.code("lake water"))


def _bezier(start: np.ndarray, middle: np.ndarray, end: np.ndarray, bow: float, pieces: int = 14) -> np.ndarray:
    """Polyline (pieces + 1, 2) from start to end whose middle is pushed sideways by `bow` metres."""
    side = np.array([-(end - start)[1], (end - start)[0]]) / np.linalg.norm(end - start)
    control = middle + 2 * bow * side
    t = np.linspace(0, 1, pieces + 1)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _distance(canvas: Canvas, line: np.ndarray, reach: float = 30.0) -> np.ndarray:
    """Distance in metres of each cell from a polyline; infinite beyond `reach`."""
    best = np.full(canvas.shape, np.inf, np.float32)
    x, y = canvas.x[0], canvas.y[:, 0]
    for (ax, ay), (bx, by) in zip(line[:-1].astype(np.float32), line[1:].astype(np.float32), strict=True):
        columns = slice(*np.searchsorted(x, [min(ax, bx) - reach, max(ax, bx) + reach]))
        rows = slice(*np.searchsorted(y, [min(ay, by) - reach, max(ay, by) + reach]))
        u, v, dx, dy = x[None, columns] - ax, y[rows, None] - ay, bx - ax, by - ay
        t = np.clip((u * dx + v * dy) / (dx * dx + dy * dy), 0, 1)
        best[rows, columns] = np.minimum(best[rows, columns], np.hypot(u - t * dx, v - t * dy))
    best[best > reach] = np.inf
    return best


def _finish(canvas: Canvas) -> Land:
    """Add the lie of the land, fine texture, and the character of every object."""
    rng, shape, cell = canvas.rng, canvas.shape, canvas.cell
    height = fractal_noise(rng, shape, 900 * canvas.scale / cell, 4, 0.5)
    slope = (np.gradient(height, axis=0) + np.gradient(height, axis=1)) / cell
    wet = _wet(canvas)
    relief = np.where(wet, 0.0, np.clip(9.0 * slope, -0.12, 0.12))
    grain = np.where(wet, 0.012, 0.035) * rng.standard_normal(shape, dtype=np.float32)
    light = np.clip(canvas.light * (1 + relief + grain), 0.35, 1.25).astype(np.float32)
    each = rng.standard_normal((MODES, canvas.owners), dtype=np.float32)
    character = np.empty((MODES, *shape), np.float32)
    for k in range(MODES):
        broad = fractal_noise(rng, shape, 260 * canvas.scale / cell, 3)
        fine = value_noise(rng, shape, 14 / cell)
        field = 0.75 * each[k][canvas.owner] + 0.5 * broad + 0.3 * fine
        character[k] = MODE_LIMIT * np.tanh(field / MODE_LIMIT)
    return Land(canvas.first, canvas.second, canvas.share, light, character)
