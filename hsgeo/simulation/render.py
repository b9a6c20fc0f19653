"""From the drawn land to images: every pixel integrates the fine cells under its point spread function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import csr_matrix
from scipy.special import ndtr

from hsgeo.observation.psf import CUT, FWHM_PER_SIGMA

from .landscape import Land
from .materials import MODES, Material


def sampling(cells: int, start: float, cell: float, centres: np.ndarray, fwhm: float) -> csr_matrix:
    """Weights (pixels, cells) of a Gaussian PSF integrated exactly over cells of constant value; rows sum to 1.

    Parameters
    ----------
    cells : int
        Number of cells; the first begins at `start` and each is `cell` long (m).
    centres : array (pixels,)
        Where the pixels look (m).
    fwhm : float
        Of the PSF, in m.
    """
    sigma = fwhm / FWHM_PER_SIGMA
    first = np.floor((centres - CUT * sigma - start) / cell).astype(int)
    index = first[:, None] + np.arange(int(np.ceil(2 * CUT * sigma / cell)) + 2)
    left = start + index * cell - centres[:, None]
    weight = ndtr((left + cell) / sigma) - ndtr(left / sigma)
    weight *= (index >= 0) & (index < cells)
    weight /= weight.sum(1, keepdims=True)
    rows = np.broadcast_to(np.arange(len(centres))[:, None], index.shape)
    entries = (weight.ravel().astype(np.float32), (rows.ravel(), np.clip(index, 0, cells - 1).ravel()))
    return csr_matrix(entries, shape=(len(centres), cells))


def sample(field: np.ndarray, rows: csr_matrix, columns: csr_matrix) -> np.ndarray:
    """Separable sampling of a field (height, width)."""
    return (columns @ (rows @ field).T).T


class Part(NamedTuple):
    """Where a material lies.

    Attributes
    ----------
    material : int
    cells : int (n,)
        Flat indices of the cells that hold it.
    fraction : float32 (n,)
        How much of each cell it covers.
    weights : float32 (1 + MODES, n)
        What its spectrum and its modes are multiplied by: fraction * light * (1, character).
    """

    material: int
    cells: np.ndarray
    fraction: np.ndarray
    weights: np.ndarray


def parts(land: Land, count: int) -> list[Part]:
    """The materials, of `count` known, that the land holds."""
    first, second, share = land.first.ravel(), land.second.ravel(), land.share.ravel()
    out = []
    for material in range(count):
        cells = np.flatnonzero((first == material) | ((second == material) & (share > 0)))
        if not cells.size:
            continue
        own = share[cells]
        fraction = np.where(first[cells] == material, 1 - own, 0) + np.where(second[cells] == material, own, 0)
        lit = fraction * land.light.ravel()[cells]
        weights = np.concatenate([lit[None], lit * land.character.reshape(MODES, -1)[:, cells]])
        out.append(Part(material, cells, fraction.astype(np.float32), weights.astype(np.float32)))
    return out


def _table(material: Material, response: np.ndarray) -> np.ndarray:
    """A material's spectrum and modes in the bands of `response`, (1 + MODES, bands)."""
    return (np.concatenate([material.spectrum[None], material.modes]) @ response.T).astype(np.float32)


def render(
    found: Sequence[Part],
    shape: tuple[int, int],
    materials: Sequence[Material],
    response: np.ndarray,
    grids: Sequence[tuple[csr_matrix, csr_matrix]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Band images on several grids.

    Parameters
    ----------
    found : sequence of Part
        What lies on the cells, an image of `shape`.
    response : array (bands, n)
        Rows over `hsgeo.simulation.spectra.GRID` that sum to 1.
    grids : sequence of (rows, columns)
        Sampling matrices per grid.

    Returns
    -------
    list of (image (bands, h, w) float32, abundances (materials, h, w) float32), one per grid
    """
    coefficients: list[list[np.ndarray]] = [[] for _ in grids]
    abundances = [np.zeros((len(materials), r.shape[0], c.shape[0]), np.float32) for r, c in grids]
    for part in found:
        fields = np.zeros((2 + MODES, shape[0] * shape[1]), np.float32)
        fields[0, part.cells], fields[1:, part.cells] = part.fraction, part.weights
        for k, (rows, columns) in enumerate(grids):
            seen = [sample(field, rows, columns) for field in fields.reshape(2 + MODES, *shape)]
            abundances[k][part.material] = seen[0]
            coefficients[k].append(np.stack(seen[1:]))
    table = np.concatenate([_table(materials[part.material], response) for part in found])
    return [
        (np.tensordot(table, np.concatenate(c), axes=(0, 0)), a) for c, a in zip(coefficients, abundances, strict=True)
    ]


def cell_image(
    found: Sequence[Part], shape: tuple[int, int], materials: Sequence[Material], response: np.ndarray
) -> np.ndarray:
    """Band images on the cells themselves, (bands, height, width) float32; for few bands."""
    out = np.zeros((len(response), shape[0] * shape[1]), np.float32)
    for part in found:
        out[:, part.cells] += _table(materials[part.material], response).T @ part.weights
    return out.reshape(len(response), *shape)


def look_up(
    image: np.ndarray, start: float, cell: float, fwhm: float, places: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Sample a cell image (bands, height, width) at any points: for grids that are turned against the cells.

    Parameters
    ----------
    start : float
        Where the first cell begins, in m, along both axes.
    fwhm : float
        Of the PSF, in m.
    places : (y, x)
        Where to look, in m, arrays (h, w).

    Returns
    -------
    array (bands, h, w), float32
        NaN where a point lies outside the image.
    """
    position = np.stack([(p - start) / cell - 0.5 for p in places])
    # a cell holds one value throughout: its box adds 1/12 of its area to the variance
    sigma = np.sqrt((fwhm / FWHM_PER_SIGMA / cell) ** 2 + 1 / 12)
    out = [
        map_coordinates(gaussian_filter(band, sigma, truncate=CUT), position, order=3, mode="nearest") for band in image
    ]
    inside = np.all([(p > -0.5) & (p < n - 0.5) for p, n in zip(position, image.shape[1:], strict=True)], axis=0)
    return np.where(inside, np.stack(out), np.nan).astype(np.float32)
