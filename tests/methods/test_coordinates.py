"""The coordinates of HSR-Diff: against dense float64 sums, and that they do not depend on how a scene is written."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, spline_filter1d

from hsgeo.methods.fusion.coordinates import GUIDE, GUIDES, OWN, SIGNED, SOFT, Coordinates, flipped
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams

from .pairs import Case, MemoryPair, degrade, make_case


@lru_cache(maxsize=1)
def case() -> Case:
    return make_case()


def seen(c: Case, dimension: int | str = 8):
    """The model, its coordinates, and the fast fusion of the whole pair: interpolated and detail (p, H, W)."""
    model = SubspaceFusion().fit(c.inputs(), SubspaceParams(dimension=dimension))
    patches = c.pair.sample()
    interpolated, detail, _ = PatchCase(model, patches[0]).solution(model)
    return model, Coordinates.of(model, patches), interpolated, detail


@pytest.mark.parametrize("dimension", [3, 8])
def test_the_coordinates_make_prior_and_msi_diagonal(dimension: int) -> None:
    """Of eight coefficients four MSI bands see four; the others are told apart by the HSI."""
    model, c, _, _ = seen(case(), dimension)
    v = c.vectors
    np.testing.assert_allclose(v.T @ np.linalg.inv(model.covariance) @ v, np.eye(dimension), atol=1e-8)
    gram = sum(s.matrix.T @ s.matrix / s.ratio**2 for s in model.sensors[:-1])
    np.testing.assert_allclose(v.T @ gram @ v, np.diag(c.information), atol=1e-8 * c.information[0])
    np.testing.assert_allclose(v @ c.inverse, np.eye(dimension), atol=1e-10)
    assert (np.diff(c.information) <= 1e-9).all() and (c.information[:4] > 1).all()
    blind = v[:, 4:]
    assert not (c.information[4:] > 1e-6).any()
    hsi = blind.T @ blind
    np.testing.assert_allclose(hsi, np.diag(np.diag(hsi)), atol=1e-8 * np.abs(hsi).max(initial=1))
    assert (np.diff(np.diag(hsi)) <= 0).all()


def test_bands_of_a_coarser_group_count_by_their_area() -> None:
    pair = make_case(
        shape=(12, 12), ratio=4, windows=(((0.1, 0.2), (0.5, 0.2)), ((0.85, 0.2),)), ratios=(1, 2), bands=20
    )
    model, c, _, _ = seen(pair, 3)
    fine, coarse = (s.matrix for s in model.sensors[:-1])
    dense = np.linalg.eigvals(model.covariance @ (fine.T @ fine + coarse.T @ coarse / 4))
    np.testing.assert_allclose(c.information, np.sort(dense.real)[::-1], rtol=1e-8)


def splined(values: np.ndarray, ratio: int) -> np.ndarray:
    """Cubic splines through block centres, by scipy."""
    for axis in (1, 2):
        values = spline_filter1d(values, 3, axis, mode="reflect", output=np.float64)
    place = [(np.arange(n * ratio) - (ratio - 1) / 2) / ratio for n in values.shape[1:]]
    grid = np.meshgrid(*place, indexing="ij")
    return np.stack([map_coordinates(v, grid, order=3, mode="reflect", prefilter=False) for v in values])


def test_scales_are_those_of_the_pair_one_scale_down() -> None:
    c = case()
    model, found, _, _ = seen(c)
    hsi = c.pair.hsi_values.astype(np.float32).astype(float)
    whitened = (model.basis / model.noise[:, None] ** 2).T @ hsi.reshape(30, -1)
    b = np.linalg.solve(found.vectors, whitened).reshape(8, *hsi.shape[1:])
    detail = b - splined(degrade(b, c.psf, 4), 4)
    noise = (np.linalg.inv(found.vectors) ** 2).sum(1)
    expected = np.maximum((detail**2).mean((1, 2)) - noise, 0.1 * noise + 1e-6)
    assert (expected > 0.2 * noise).sum() >= 3
    np.testing.assert_allclose(found.detail**2, expected, rtol=1e-6)
    # posterior of a scalar of variance delta^2 that is seen with information m, from the dense 2 x 2 joint covariance
    for m, delta, error in zip(found.information, found.detail, found.error, strict=True):
        if m > 1e-6:
            joint = np.array([[delta**2, delta**2], [delta**2, delta**2 + 1 / m]])
            assert error**2 == pytest.approx(joint[0, 0] - joint[0, 1] ** 2 / joint[1, 1], rel=1e-6)
        else:
            assert error == pytest.approx(delta, rel=1e-6)
    np.testing.assert_allclose(found.mean, np.linalg.solve(found.vectors, model.mean), rtol=1e-8, atol=1e-8)
    turned = np.linalg.solve(found.vectors, np.linalg.solve(found.vectors, model.spread).T)
    np.testing.assert_allclose(found.spread, np.sqrt(np.diag(turned)), rtol=1e-8)


def test_an_image_too_small_to_be_degraded_has_unit_detail() -> None:
    model, _, _, _ = seen(case(), 4)
    hsi, msi = case().pair.hsi_values[:, :3, :3], [x[:, :12, :12] for x in case().pair.msi_values]
    found = Coordinates.of(model, MemoryPair(hsi, msi, 4).sample())
    np.testing.assert_array_equal(found.detail, np.ones(4))


@pytest.mark.parametrize("dimension", [3, 8])
def test_inputs_are_what_they_are_said_to_be(dimension: int) -> None:
    """Each channel from its definition, dense, in float64."""
    _, c, interpolated, detail = seen(case(), dimension)
    own, guide = (x.numpy() for x in c.inputs(interpolated, detail))
    assert own.shape == (dimension, OWN, 96, 80) and guide.shape == (GUIDE, 96, 80)
    known = np.zeros((4, GUIDES, 96, 80))
    for q in range(dimension):
        row = np.linalg.inv(c.vectors)[q]
        base, added = (np.tensordot(row, f.numpy().astype(float), 1) for f in (interpolated, detail))
        error = (c.information[q] + c.detail[q] ** -2) ** -0.5
        sharp, relative = np.arcsinh(added / error), added / c.detail[q]
        low, full = ((x - c.mean[q]) / c.spread[q] for x in (base, base + added))
        doubt = np.log(error / c.detail[q])
        expected = [x / (1 + np.abs(x) / SOFT) for x in (sharp, low, full, relative)]
        expected += [np.full_like(base, doubt), np.full_like(base, 0.3 * np.log(error / c.spread[q]))]
        np.testing.assert_allclose(own[q], expected, rtol=2e-3, atol=2e-3)
        if q < GUIDES:
            known[:, q] = expected[2], expected[3], expected[0], np.full_like(base, 0.3 * doubt)
    np.testing.assert_allclose(guide[:-1], known.reshape(-1, 96, 80), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(guide[-1], np.log(4) - 1.2, rtol=1e-6)


def test_correction_of_the_target_is_the_truth() -> None:
    model, c, interpolated, detail = seen(case())
    result = (interpolated + detail).double()
    truth = torch.as_tensor(model.coefficients(case().truth))
    target = c.target(truth, result)
    torch.testing.assert_close(result + c.correction(target), truth, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(result, truth, atol=0.1)
    # a target of 1 is an error as large as expected: at those the MSI sees well, the mean square is near 1
    size = target.square().mean((1, 2)).sqrt()
    assert 0.3 < size.median() < 4


def test_weights_are_what_the_image_feels() -> None:
    model, c, interpolated, _ = seen(case())
    basis = model.basis / model.noise[:, None]
    for q, weight in enumerate(c.weight(basis)):
        one = torch.zeros_like(interpolated[:, :1, :1]).double()
        one[q] = 1.0
        spectrum = basis @ c.correction(one).numpy()[:, 0, 0]
        assert weight == pytest.approx((spectrum**2).sum(), rel=1e-9)


def rewritten(c: Case, how: str) -> Case:
    """The same scene in other units, or with its bands in another order."""
    order, unit = np.arange(30), 1.0
    if how == "units":
        unit = 7300.0
    else:
        order = np.random.default_rng(0).permutation(30)
    pair = MemoryPair(unit * c.pair.hsi_values[order], [unit * x for x in c.pair.msi_values], 4)
    return Case(c.truth, pair, c.response[:, order], c.psf, unit * c.noise_hsi[order], unit * c.noise_msi)


@pytest.mark.parametrize("how", ["units", "order"])
def test_inputs_do_not_depend_on_how_the_scene_is_written(how: str) -> None:
    """Up to signs, which nothing determines: also those of the coefficients that the MSI does not see."""
    _, c, *solution = seen(case())
    _, other, *again = seen(rewritten(case(), how))
    own, guide = c.inputs(*solution)
    new_own, new_guide = other.inputs(*again)
    signs = (own[:, 0] * new_own[:, 0]).sum((1, 2)).sign()
    turned, turned_guide, _ = flipped(new_own, new_guide, new_own[:, :1], signs, signs[:GUIDES])
    assert (turned - own).abs().max() < 2e-3
    assert (turned_guide - guide).abs().max() < 2e-3


@pytest.mark.parametrize("dimension", [4, 8])
def test_flipped_is_what_other_signs_of_the_basis_give(dimension: int) -> None:
    model, c, interpolated, detail = seen(case(), dimension)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0])[:dimension]
    s = signs.numpy().astype(float)
    turned = Coordinates(
        c.vectors * s, c.inverse * s[:, None], c.information, c.detail, c.mean * s, c.spread, c.ratio
    )  # fmt: skip
    truth = torch.as_tensor(model.coefficients(case().truth)).float()
    target = c.target(truth, interpolated + detail)[:, None]
    guiding = torch.cat([signs, torch.ones(GUIDES)])[:GUIDES]
    own, guide = c.inputs(interpolated, detail)
    found = flipped(own, guide, target, signs, guiding)
    expected = (*turned.inputs(interpolated, detail), turned.target(truth, interpolated + detail)[:, None])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (found[0][1, :SIGNED] == -own[1, :SIGNED]).all() and (found[0][:, SIGNED:] == own[:, SIGNED:]).all()
    torch.testing.assert_close(flipped(*found, signs, guiding)[0], own)  # the originals are left alone
