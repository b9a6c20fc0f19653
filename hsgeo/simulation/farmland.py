"""Parcels: districts of turned strips, each parcel one crop with rows, tramlines and a gradient of its own."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas

#: crop, share of the parcels, cover by the crop (mean, spread between parcels), spacing of its rows in metres
CROPS: tuple[tuple[str, float, float, float, float], ...] = (
    ("winter wheat", 0.20, 0.90, 0.07, 0.0),
    ("maize", 0.13, 0.55, 0.18, 7.5),
    ("rapeseed in flower", 0.08, 0.93, 0.04, 0.0),
    ("sugar beet", 0.09, 0.72, 0.15, 7.0),
    ("ripe cereal", 0.15, 0.88, 0.06, 0.0),
    ("dry grass", 0.06, 0.60, 0.12, 0.0),
    ("meadow", 0.10, 0.92, 0.06, 0.0),
    ("vine", 0.05, 0.55, 0.08, 9.0),
    ("", 0.14, 0.0, 0.0, 0.0),  # bare soil
)
SOILS = ("humus soil", "loess soil", "ferric soil")


def districts(canvas: Canvas, spacing: float) -> tuple[np.ndarray, int]:
    """Voronoi cells of jittered seeds with wavering borders: number per cell, and how many there are."""
    height, width = canvas.shape[0] * canvas.cell, canvas.shape[1] * canvas.cell
    rows, columns = (max(2, round(extent / spacing)) for extent in (height, width))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) + 0.5
    grid = grid + canvas.rng.uniform(-0.38, 0.38, grid.shape)
    seeds = (grid / (rows, columns) * (height, width)).astype(np.float32)
    wave = np.float32(0.05 * spacing) * canvas.noise(spacing / 3)[::2, ::2]  # every second cell will do
    y = canvas.y[::2] + np.float32(height / 2) + wave
    x = np.broadcast_to(canvas.x[:, ::2] + np.float32(width / 2), y.shape)
    row = np.clip(y / (height / rows), 0, rows - 1).astype(np.int32)
    column = np.clip(x / (width / columns), 0, columns - 1).astype(np.int32)
    nearest, number = np.full(y.shape, np.inf, np.float32), np.zeros(y.shape, np.int32)
    for dr, dc in np.ndindex(3, 3):  # a seed strays less than half a step from its place
        index = np.clip(row + dr - 1, 0, rows - 1) * columns + np.clip(column + dc - 1, 0, columns - 1)
        distance = (y - seeds[:, 0].take(index)) ** 2 + (x - seeds[:, 1].take(index)) ** 2
        np.copyto(number, index, where=distance < nearest)
        np.minimum(nearest, distance, out=nearest)
    number = number.repeat(2, 0).repeat(2, 1)
    return number[: canvas.shape[0], : canvas.shape[1]], rows * columns


def _cuts(rng: np.random.Generator, low: float, high: float, least: float, most: float) -> np.ndarray:
    """Increasing cut positions that cover low..high with random gaps."""
    return low + np.concatenate([[-1.0], np.cumsum(rng.uniform(least, most, int((high - low) / least) + 2))])


def draw_farmland(canvas: Canvas) -> None:
    """Cover the whole canvas with parcels, tracks between them and some hedges."""
    rng, g = canvas.rng, canvas.scale
    number, count = districts(canvas, 780 * g)
    angles = rng.uniform(-0.6, 0.6, count) + rng.choice([0, np.pi / 2], count)
    parcel = np.zeros(canvas.shape, np.int32)
    along, across = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, np.float32)
    track, hedge = np.zeros(canvas.shape, bool), np.zeros(canvas.shape, bool)
    total = 0
    for k in range(count):
        here = number == k
        if not here.any():
            continue
        u, v = (axis[here] for axis in canvas.turned(angles[k]))
        cuts = _cuts(rng, u.min(), u.max(), 150 * g, 330 * g)
        column = np.searchsorted(cuts, u) - 1
        mine = np.zeros(u.size, np.int32)
        edge = np.zeros(u.size, np.float32)
        for c in np.unique(column):
            inside = column == c
            rows = _cuts(rng, v.min(), v.max(), 45 * g, 150 * g)
            row = np.searchsorted(rows, v[inside]) - 1
            mine[inside] = total + row
            edge[inside] = v[inside] - rows[row]
            total += rows.size
        parcel[here], along[here], across[here] = mine, u, v
        nearest = np.abs(u - cuts[np.clip(column, 0, None)])
        track[here] = nearest < 2.4
        bushy = mine.astype(np.int64) * 7919 % 97 < 9
        hedge[here] = bushy & (edge < 7)
    _sow(canvas, parcel, total, along, across)
    canvas.paint(track, "loess soil", "dry grass", 0.45)
    canvas.paint(hedge & ~track, "riparian trees", "meadow", 0.3, light=0.9 + 0.12 * canvas.noise(9))
    canvas.shade(hedge & ~track, 4, 0.75)


def _sow(canvas: Canvas, parcel: np.ndarray, total: int, along: np.ndarray, across: np.ndarray) -> None:
    """Give each parcel its crop, cover, rows and soil."""
    rng, base = canvas.rng, canvas.new_owners(total)
    chance = np.array([c[1] for c in CROPS])
    crop = rng.choice(len(CROPS), total, p=chance / chance.sum())
    mean, spread, spacing = (np.array([c[k] for c in CROPS]) for k in (2, 3, 4))
    cover = (mean[crop] + spread[crop] * np.clip(rng.standard_normal(total), -2, 2)).astype(np.float32)
    slope = rng.normal(0, 0.12, (2, total)).astype(np.float32) / (150 * canvas.scale)
    patchiness = rng.uniform(0.02, 0.09, total).astype(np.float32)
    rows = np.where(spacing[crop] > 0, spacing[crop] * rng.uniform(0.9, 1.15, total), 1e9).astype(np.float32)

    share = cover[parcel] + patchiness[parcel] * canvas.noise(120 * canvas.scale, 3)
    middle = np.stack([np.bincount(parcel.ravel(), a.ravel(), total) for a in (along, across)])
    size = np.maximum(np.bincount(parcel.ravel(), minlength=total), 1)
    middle = (middle / size).astype(np.float32)
    share += slope[0][parcel] * (along - middle[0][parcel]) + slope[1][parcel] * (across - middle[1][parcel])
    share += np.where(rows[parcel] < 1e8, 0.22, 0.0) * np.cos(2 * np.pi * across / rows[parcel])
    tramline = (np.mod(across + 7.0, 27.0) < 3.4) & (spacing[crop] == 0)[parcel]
    share -= np.where(tramline, 0.28, 0.0)
    share = np.where(cover[parcel] > 0, np.clip(share, 0.04, 0.98), 0.0)

    # soils follow the ground more than the parcel, yet a parcel is one soil: read the map at its middle cell
    soil_map = canvas.noise(900 * canvas.scale, 2)
    kind = np.bincount(parcel.ravel(), soil_map.ravel(), total) / size
    soil = canvas.codes(SOILS)[np.digitize(kind + rng.normal(0, 0.25, total), [-0.25, 0.85])]
    plant = np.where(crop == len(CROPS) - 1, soil, canvas.codes([c[0] or SOILS[0] for c in CROPS])[crop]).astype(
        np.uint8
    )
    fallow = (crop == len(CROPS) - 1)[parcel]
    # ploughed land: furrows are light and shade, and stubble remains in places
    light = np.where(fallow, 1 + 0.05 * np.cos(2 * np.pi * across / 8.0), 1.0)
    weeds = np.clip(0.05 + 0.09 * canvas.noise(60, 2), 0, 0.5)
    everywhere = np.ones(canvas.shape, bool)
    canvas.paint(
        everywhere,
        np.where(fallow, soil[parcel], plant[parcel]),
        np.where(fallow, canvas.code("dry grass"), soil[parcel]),
        np.where(fallow, weeds, 1 - share),
        base + parcel,
        light.astype(np.float32),
    )
