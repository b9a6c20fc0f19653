"""Spectral forms against the dense matrices of the operators they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hsgeo.errors import ParameterError
from hsgeo.observation.operators import BlurDecimate, Mask
from hsgeo.observation.psf import Psf
from hsgeo.observation.spectral import SpectralBlur, SpectralMask, bicubic_matrix

BANDS = 2
BLURS = [
    (Psf(2.0, 2.4), 2, (8, 6), "reflect"),
    (Psf(4.0, 3.0, box_y=4, box_x=4), 4, (8, 8), "reflect"),
    (Psf(3.0, 3.0), 3, (9, 6), "circular"),
    (Psf(0.0, 0.0, box_y=2, box_x=2), 2, (4, 6), "reflect"),
    (Psf(2.0, 2.0), 1.5, (6, 9), "reflect"),
]


def operators():
    """(name, spectral form, the map itself, shape of the image)."""
    rng = np.random.default_rng(3)
    yield "identity", SpectralMask(True), lambda x: x, (BANDS, 3, 4)
    mask = rng.random((BANDS, 4, 5)) < 0.6
    yield "mask", SpectralMask(mask), Mask(mask).forward, mask.shape
    hole = np.ones((5, 4), bool)
    hole[1:3, 1:3] = False
    yield "hole", SpectralMask(hole), Mask(hole).forward, (BANDS, 5, 4)
    for psf, ratio, shape, boundary in BLURS:
        form = SpectralBlur.of_psf(psf, ratio, shape, boundary)
        yield f"blur {ratio}", form, BlurDecimate(psf, ratio, shape, boundary).forward, (BANDS, *shape)
    matrices = [torch.from_numpy(bicubic_matrix(n, 3)) for n in (9, 12)]
    yield "bicubic", SpectralBlur.bicubic(3, (9, 12)), lambda x: matrices[0] @ x @ matrices[1].T, (BANDS, 9, 12)


def dense(apply, shape) -> torch.Tensor:
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([apply(unit).flatten() for unit in units], 1)


@pytest.mark.parametrize("case", list(operators()), ids=lambda c: c[0])
def test_spectral_form_is_the_svd_of_the_dense_matrix(case) -> None:
    _, form, apply, shape = case
    h = dense(apply, shape)
    v, back = dense(form.from_spectral, shape), dense(form.to_spectral, shape)
    np.testing.assert_allclose(back, v.T, atol=1e-12)
    np.testing.assert_allclose(v.T @ v, np.eye(len(v)), atol=1e-12)
    s = form.singular.expand(shape).flatten()
    left = h @ v  # U S: columns at right angles, of length s
    np.testing.assert_allclose(left.T @ left, np.diag(s.numpy() ** 2), atol=1e-12)
    exact = np.zeros(len(s))
    exact[: min(h.shape)] = np.linalg.svd(h.numpy(), compute_uv=False)
    np.testing.assert_allclose(np.sort(s)[::-1], exact, atol=1e-12)
    y = torch.randn(apply(torch.zeros(shape, dtype=torch.float64)).shape, dtype=torch.float64)
    seen = s > 0
    expected = torch.zeros(len(s), dtype=torch.float64)
    expected[seen] = (left.T @ y.flatten())[seen] / s[seen] ** 2
    np.testing.assert_allclose(form.observed(y).flatten(), expected, atol=1e-9 * max(1, expected.abs().max()))


@pytest.mark.parametrize("case", list(operators()), ids=lambda c: c[0])
def test_type_of_the_argument_is_kept(case) -> None:
    _, form, apply, shape = case
    x = torch.randn(shape)
    y = apply(x.double()).float()
    assert form.to_spectral(x).dtype == form.from_spectral(x).dtype == form.observed(y).dtype == torch.float32


def test_samples_that_are_not_there_may_be_nan() -> None:
    y = torch.tensor([[[1.0, torch.nan]]])
    np.testing.assert_array_equal(SpectralMask(~y.isnan()).observed(y), [[[1.0, 0.0]]])


def test_a_box_of_the_ratio_is_the_mean_of_each_block() -> None:
    np.testing.assert_allclose(Psf(0, 0, 3, 3).matrix(6, 3), np.kron(np.eye(2), np.full((1, 3), 1 / 3)), atol=1e-12)


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_bicubic_agrees_with_torch_away_from_the_edge(ratio: int) -> None:
    n = 12 * ratio
    matrix = bicubic_matrix(n, ratio)
    line = torch.randn(1, 1, n, n, dtype=torch.float64)
    theirs = F.interpolate(line, scale_factor=1 / ratio, mode="bicubic", antialias=True)
    ours = matrix @ line[0, 0].numpy() @ matrix.T
    inside = slice(2, -2)
    np.testing.assert_allclose(ours[inside, inside], theirs[0, 0, inside, inside], atol=1e-12)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)


def test_refuses_what_is_no_decimation() -> None:
    with pytest.raises(ParameterError, match="fewer pixels"):
        SpectralBlur(np.ones((4, 3)), np.ones((2, 3)))
    with pytest.raises(ParameterError, match="2 x 3 pixels"):
        SpectralBlur.bicubic(2, (4, 6)).observed(torch.zeros(1, 4, 6))
