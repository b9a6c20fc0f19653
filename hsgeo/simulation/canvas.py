"""The drawing board of the simulated land: what covers each cell, which object it belongs to, how it is lit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from .materials import material_names


def value_noise(rng: np.random.Generator, shape: tuple[int, int], wavelength: float) -> np.ndarray:
    """Smooth random field of mean 0 and variance about 1, float32.

    Independent numbers on a lattice of spacing `wavelength` / 2 (in cells), interpolated by cubic B-splines.
    """
    spacing = max(wavelength / 2, 1.0)
    counts = [int(np.ceil(n / spacing)) + 4 for n in shape]
    lattice = rng.standard_normal(counts, dtype=np.float32)
    rows, columns = (_spline(n, spacing, m, rng.random()) for n, m in zip(shape, counts, strict=True))
    # a cubic B-spline leaves 151/315 of the variance on average, per axis
    return (columns @ (rows @ lattice).T).T * np.float32(315 / 151)


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], wavelength: float, octaves: int = 3, gain: float = 0.55
) -> np.ndarray:
    """Sum of `octaves` of `value_noise`, each half as long and `gain` times as strong; variance about 1."""
    weights = gain ** np.arange(octaves)
    total = sum(w * value_noise(rng, shape, wavelength / 2**k) for k, w in enumerate(weights))
    return np.asarray(total / np.sqrt((weights**2).sum()), dtype=np.float32)


def _spline(n: int, spacing: float, count: int, phase: float) -> csr_matrix:
    position = (np.arange(n) + 0.5) / spacing + phase
    cell, t = np.divmod(position, 1.0)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    columns = np.minimum(cell[None].astype(int) + np.arange(4)[:, None], count - 1)
    rows = np.broadcast_to(np.arange(n), columns.shape)
    return csr_matrix((weights.ravel().astype(np.float32), (rows.ravel(), columns.ravel())), shape=(n, count))


@dataclass
class Canvas:
    """Land cover on a grid of square cells: up to two materials per cell.

    Parameters
    ----------
    shape : (height, width)
        Cells.
    cell : float
        Size of a cell in metres.
    scale : float
        1 for a landscape of natural size; smaller landscapes hold smaller things so that all still fit.
    rng : numpy Generator

    Attributes
    ----------
    x, y : float32 arrays (1, width), (height, 1)
        Metres east and south of the middle.
    first, second : uint8 (height, width)
        Positions in `material_library`.
    share : float32 (height, width)
        Fraction of the cell that `second` covers.
    owner : int32 (height, width)
        Object that the cell belongs to (parcel, roof, stand): its material has one character throughout.
    light : float32 (height, width)
        Illumination relative to open flat ground.
    """

    shape: tuple[int, int]
    cell: float
    scale: float
    rng: np.random.Generator
    x: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)
    first: np.ndarray = field(init=False)
    second: np.ndarray = field(init=False)
    share: np.ndarray = field(init=False)
    owner: np.ndarray = field(init=False)
    light: np.ndarray = field(init=False)
    owners: int = 1

    def __post_init__(self) -> None:
        height, width = self.shape
        self.x = ((np.arange(width) + 0.5 - width / 2) * self.cell).astype(np.float32)[None, :]
        self.y = ((np.arange(height) + 0.5 - height / 2) * self.cell).astype(np.float32)[:, None]
        self.first, self.second = np.zeros(self.shape, np.uint8), np.zeros(self.shape, np.uint8)
        self.share, self.owner = np.zeros(self.shape, np.float32), np.zeros(self.shape, np.int32)
        self.light = np.ones(self.shape, np.float32)
        self._index = {name: k for k, name in enumerate(material_names())}

    def code(self, name: str) -> int:
        """Label of a material."""
        return self._index[name]

    def codes(self, names: Sequence[str]) -> np.ndarray:
        """Labels of several materials."""
        return np.array([self._index[name] for name in names], np.uint8)

    def noise(self, metres: float, octaves: int = 1) -> np.ndarray:
        """Smooth noise of a given wavelength, unit variance."""
        return fractal_noise(self.rng, self.shape, metres / self.cell, octaves)

    def turned(self, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (along, across) in metres, turned by `angle` (radians)."""
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return cos * self.x + sin * self.y, cos * self.y - sin * self.x

    def new_owners(self, count: int = 1) -> int:
        """First of `count` fresh object numbers."""
        self.owners += count
        return self.owners - count

    def paint(
        self,
        where: np.ndarray,
        first: str | np.ndarray,
        second: str | np.ndarray | None = None,
        share: float | np.ndarray = 0.0,
        owner: int | np.ndarray | None = None,
        light: float | np.ndarray = 1.0,
    ) -> None:
        """Cover the cells `where` (bool); arrays are of the canvas' shape, or one value per cell painted."""

        def here(value: float | np.ndarray) -> float | np.ndarray:
            return value[where] if isinstance(value, np.ndarray) and value.shape == self.shape else value

        self.first[where] = self.code(first) if isinstance(first, str) else here(first)
        second = first if second is None else second
        self.second[where] = self.code(second) if isinstance(second, str) else here(second)
        self.share[where] = np.clip(here(share), 0, 1)
        self.owner[where] = self.new_owners() if owner is None else here(owner)
        self.light[where] = here(light)

    def shade(self, caster: np.ndarray, metres: float, dark: float) -> None:
        """Shadow of the cells `caster`, thrown to the north-west (a morning sun in the south-east)."""
        steps = max(1, round(metres / self.cell))
        shadow = np.zeros_like(caster)
        for k in range(1, steps + 1):
            shadow[:-k, :-k] |= caster[k:, k:]
        self.light[shadow & ~caster] *= dark
