"""Operators against dense matrices, adjoints, pseudo-inverses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hsgeo.errors import ParameterError
from hsgeo.observation.operators import BlurDecimate, Mask, SpectralResponse
from hsgeo.observation.psf import Psf

DTYPES = [torch.float32, torch.float64]
BLURS = [
    (Psf(2.0, 2.4), 2, (8, 12), "reflect"),
    (Psf(3.0, 3.0), 3, (9, 6), "circular"),
    (Psf(4.0, 3.0, box_y=4, box_x=4), 4, (16, 8), "reflect"),
    (Psf(5.0, 5.0, shift_y=0.4), 5, (15, 10), "circular"),
    (Psf(2.0, 2.0), 1.5, (12, 9), "reflect"),
    (Psf(9.0, 9.0), 8, (8, 16), "reflect"),
]


NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])


def operators():
    rng = np.random.default_rng(7)
    response = rng.random((3, 6)) / 3
    yield SpectralResponse(response), (6, 8, 12), (3, 8, 12)
    yield Mask(rng.random((6, 8, 12)) < 0.6), (6, 8, 12), (6, 8, 12)
    for psf, ratio, shape, boundary in BLURS:
        op = BlurDecimate(psf, ratio, shape, boundary)
        yield op, (2, *shape), (2, *op.coarse_shape)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", list(operators()), ids=lambda c: type(c[0]).__name__)
def test_adjoint(case, dtype, device):
    op, domain, image = case
    torch.manual_seed(1)
    u, v = torch.randn(domain, dtype=dtype, device=device), torch.randn(image, dtype=dtype, device=device)
    left, right = (op.forward(u) * v).sum(), (u * op.adjoint(v)).sum()
    assert op.forward(u).dtype == dtype and op.adjoint(v).shape == u.shape
    scale = float(op.forward(u).norm() * v.norm())
    assert abs(float(left - right)) < (1e-5 if dtype == torch.float32 else 1e-13) * scale


def dense(op, domain):
    """The operator as a matrix, column by column."""
    n = int(np.prod(domain))
    columns = [op.forward(e.reshape(domain)).ravel() for e in torch.eye(n, dtype=torch.float64)]
    return torch.stack(columns, 1).numpy()


@pytest.mark.parametrize("psf, ratio, shape, boundary", BLURS)
def test_blur_is_the_kronecker_product_of_its_axes(psf, ratio, shape, boundary):
    op = BlurDecimate(psf, ratio, shape, boundary)
    got = dense(op, (1, *shape))
    want = np.kron(psf.matrix(shape[0], ratio, boundary, 0), psf.matrix(shape[1], ratio, boundary, 1))
    np.testing.assert_allclose(got, want, atol=1e-12)
    s = np.sort(op.singular_values.ravel().numpy())[::-1]
    np.testing.assert_allclose(s, np.linalg.svd(want, compute_uv=False), atol=1e-10)


@pytest.mark.parametrize("case", list(operators()), ids=lambda c: type(c[0]).__name__)
def test_pinv_is_moore_penrose(case):
    op, domain, image = case
    f = dense(op, domain)
    torch.manual_seed(2)
    y = torch.randn(image, dtype=torch.float64)
    want = np.linalg.pinv(f) @ y.ravel().numpy()
    np.testing.assert_allclose(op.pinv(y).ravel().numpy(), want, atol=1e-9 * max(1, abs(want).max()))


def test_pinv_reproduces_the_coarse_image_in_float32():
    op = BlurDecimate(Psf(4, 4), 4, (64, 48))
    y = torch.randn(3, 16, 12)
    assert float((op.forward(op.pinv(y)) - y).abs().max()) < 1e-4


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 8])
def test_ramp_image_lies_on_the_same_plane(ratio):
    n = 20 * ratio
    y, x = torch.meshgrid(torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64), indexing="ij")
    coarse = BlurDecimate(Psf(ratio, ratio), ratio, (n, n)).forward((2 * y - x + 5)[None])[0]
    c = ratio * torch.arange(20, dtype=torch.float64) + (ratio - 1) / 2
    want = 2 * c[:, None] - c[None] + 5
    assert torch.allclose(coarse[4:-4, 4:-4], want[4:-4, 4:-4], atol=1e-10)


def test_response_singular_values_and_batches():
    r = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.3, 0.7]])
    op = SpectralResponse(r)
    np.testing.assert_allclose(op.singular_values, np.linalg.svd(r, compute_uv=False))
    x = torch.rand(2, 4, 3, 5, dtype=torch.float64)
    np.testing.assert_allclose(op.forward(x).numpy(), np.einsum("bB,nBhw->nbhw", r, x.numpy()))


def test_mask_hides_nan():
    seen = Mask(np.array([[[True, False]]]))
    assert seen.forward(torch.tensor([[[1.0, float("nan")]]])).tolist() == [[[1.0, 0.0]]]
    assert seen.singular_values.tolist() == [[[1.0, 0.0]]]


def test_operators_pickle_and_carry_gradients():
    op = pickle.loads(pickle.dumps(BlurDecimate(Psf(2, 2), 2, (6, 6))))
    z = torch.zeros(1, 6, 6, requires_grad=True)
    op.forward(z).sum().backward()
    assert torch.allclose(z.grad, op.adjoint(torch.ones(1, 3, 3)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BlurDecimate(Psf(2, 2), 2, (6, 6)).forward(torch.zeros(1, 5, 6)),
        lambda: SpectralResponse(np.ones(3)),
        lambda: SpectralResponse(np.ones((2, 3))).forward(torch.zeros(4, 2, 2)),
        lambda: BlurDecimate(Psf(2, 2), 4, (6, 6)),
    ],
)
def test_wrong_shapes_are_named(wrong):
    with pytest.raises(ParameterError):
        wrong()
