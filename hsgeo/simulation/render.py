"""From the drawn land to images: every pixel integrates the fine cells under its point spread function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def parts(land: Land, material: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells (flat indices) that hold a material, the fraction of each it covers, and its lit modes.

    Returns
    -------
    cells : int (n,)
    fraction : float32 (n,)
    weights : float32 (1 + MODES, n)
        What the material's spectrum and its modes are multiplied by: fraction * light * (1, character).
    """
    in_first, in_second = land.first == material, (land.second == material) & (land.share > 0)
    cells = np.flatnonzero(in_first | in_second)
    share = land.share.ravel()[cells]
    fraction = np.where(in_first.ravel()[cells], 1 - share, 0) + np.where(in_second.ravel()[cells], share, 0)
    lit = fraction * land.light.ravel()[cells]
    modes = land.character.reshape(MODES, -1)[:, cells]
    return cells, fraction.astype(np.float32), np.concatenate([lit[None], lit * modes]).astype(np.float32)


def _fields(land: Land, materials: Sequence[Material]) -> Iterator[tuple[int, np.ndarray]]:
    """For each material present: its number, its fraction and its weights as images (2 + MODES, height, width)."""
    for number in range(len(materials)):
        cells, fraction, weights = parts(land, number)
        if cells.size:
            image = np.zeros((2 + MODES, land.first.size), np.float32)
            image[0, cells], image[1:, cells] = fraction, weights
            yield number, image.reshape(2 + MODES, *land.first.shape)


def render(
    land: Land,
    materials: Sequence[Material],
    response: np.ndarray,
    grids: Sequence[tuple[csr_matrix, csr_matrix]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Band images on several grids.

    Parameters
    ----------
    response : array (bands, n)
        Rows over `hsgeo.simulation.spectra.GRID` that sum to 1.
    grids : sequence of (rows, columns)
        Sampling matrices per grid.

    Returns
    -------
    list of (image (bands, h, w) float32, abundances (materials, h, w) float32), one per grid
    """
    coefficients: list[list[np.ndarray]] = [[] for _ in grids]
    spectra = []
    abundances = [np.zeros((len(materials), r.shape[0], c.shape[0]), np.float32) for r, c in grids]
    for number, image in _fields(land, materials):
        own = materials[number]
        spectra.append(np.concatenate([own.spectrum[None], own.modes]) @ response.T)
        for k, (rows, columns) in enumerate(grids):
            seen = [sample(field, rows, columns) for field in image]
            abundances[k][number] = seen[0]
            coefficients[k].append(np.stack(seen[1:]))
    table = np.concatenate(spectra).astype(np.float32)
    return [
        (np.tensordot(table, np.concatenate(c), axes=(0, 0)), a) for c, a in zip(coefficients, abundances, strict=True)
    ]


def cell_image(land: Land, materials: Sequence[Material], response: np.ndarray) -> np.ndarray:
    """Band images on the cells themselves, (bands, height, width) float32; for few bands."""
    out = np.zeros((len(response), land.first.size), np.float32)
    for number, own in enumerate(materials):
        cells, _, weights = parts(land, number)
        if cells.size:
            table = (np.concatenate([own.spectrum[None], own.modes]) @ response.T).astype(np.float32)
            out[:, cells] += table.T @ weights
    return out.reshape(len(response), *land.first.shape)


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
