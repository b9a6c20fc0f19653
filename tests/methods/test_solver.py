"""The closed form against dense linear algebra in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsgeo.methods.fusion.cg import complete
from hsgeo.methods.fusion.prior import FallingSpectrum
from hsgeo.methods.fusion.solver import ClosedForm, Sensor, mix
from hsgeo.methods.fusion.variance import mean_covariance, posterior_covariance
from hsgeo.observation.psf import Psf

SPECTRUM = FallingSpectrum(0.1)

#: (ratios, psfs, shape)
CASES = {
    "HSI and MSI": ((1, 4), (None, Psf(4, 4.2)), (12, 16)),
    "odd ratio": ((1, 3), (None, Psf(3, 3)), (9, 15)),
    "blurred MSI": ((1, 3), (Psf(1, 1.2), Psf(3, 3)), (9, 12)),
    "MSI at 10 and 20 m": ((1, 2, 3), (None, Psf(2, 2), Psf(3, 3.5)), (12, 18)),
    "only coarser MSI": ((2, 3), (Psf(2, 2), Psf(3, 3)), (6, 12)),
    "shifted PSF": ((1, 2, 3), (None, Psf(2, 2), Psf(3, 3, shift_y=0.3)), (6, 12)),
}


def build(name: str, p: int = 3) -> tuple[ClosedForm, list[np.ndarray], np.ndarray, np.ndarray]:
    """(solver, data, dense observation, dense prior) of a case."""
    rng = np.random.default_rng(0)
    ratios, psfs, (height, width) = CASES[name]
    a = rng.standard_normal((p, p))
    covariance = a @ a.T + 0.1 * np.eye(p)
    last = len(ratios) - 1
    sensors = [
        Sensor(r, rng.standard_normal((p if j == last else 2, p)) * 3, psf)
        for j, (r, psf) in enumerate(zip(ratios, psfs, strict=True))
    ]
    solver = ClosedForm((height, width), sensors, covariance, SPECTRUM, dtype=torch.float64)
    data = [rng.standard_normal((len(s.matrix), height // s.ratio, width // s.ratio)) for s in sensors]
    dft = np.kron(np.fft.fft(np.eye(height)), np.fft.fft(np.eye(width)))
    power = SPECTRUM(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    prior = np.kron(covariance, np.real(np.linalg.inv(dft) @ (power.ravel()[:, None] * dft)))
    blocks = []
    for s in sensors:
        if s.psf is None:
            blur = np.eye(height * width)
        else:
            blur = np.kron(*(s.psf.matrix(n, s.ratio, "circular", axis) for axis, n in enumerate((height, width))))
        blocks.append(np.kron(s.matrix, blur))
    return solver, data, np.concatenate(blocks), prior


def mean_of(solver: ClosedForm, b: torch.Tensor) -> np.ndarray:
    return torch.einsum("pq,qhw->phw", solver.basis, solver.field(b)).numpy()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", [1.0, 0.3])
def test_posterior_mean_equals_the_dense_one(name: str, level: float) -> None:
    solver, data, observe, prior = build(name)
    y = np.concatenate([d.ravel() for d in data])
    want = np.linalg.solve(np.linalg.inv(level * prior) + observe.T @ observe, observe.T @ y)
    b = solver.solve(solver.take([torch.as_tensor(d) for d in data]), level)
    np.testing.assert_allclose(mean_of(solver, b).ravel(), want, atol=1e-11)
    seen = np.concatenate([solver.predict(b, j).numpy().ravel() for j in range(len(data))])
    np.testing.assert_allclose(seen, observe @ want, atol=1e-11)


def test_float32_agrees_with_float64() -> None:
    solver, data, _, _ = build("HSI and MSI")
    single = ClosedForm(solver.shape, solver.sensors, (solver.basis @ solver.basis.T).numpy(), SPECTRUM)
    want = mean_of(solver, solver.solve(solver.take([torch.as_tensor(d) for d in data])))
    got = mean_of(single, single.solve(single.take([torch.as_tensor(d, dtype=torch.float32) for d in data])))
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_folding_and_spreading_are_adjoint() -> None:
    """<predict b, y> = <b, what `take` makes of y> for every sensor."""
    solver, data, _, _ = build("MSI at 10 and 20 m")
    field = torch.as_tensor(np.random.default_rng(1).standard_normal((3, *solver.shape)))
    b = torch.fft.rfft2(field)
    for j, values in enumerate(data[:-1]):
        one = [torch.as_tensor(d * (k == j)) for k, d in enumerate(data)]
        left = (solver.predict(b, j) * torch.as_tensor(values)).sum()
        right = (field * solver.field(solver.take(one, alone=True).fine)).sum()
        assert abs(left - right) < 1e-11 * abs(left)


def test_the_hsi_alone() -> None:
    solver, data, observe, prior = build("HSI and MSI")
    own = observe[-data[-1].size :]
    want = np.linalg.solve(np.linalg.inv(prior) + own.T @ own, own.T @ data[-1].ravel())
    silent = [torch.zeros(data[0].shape, dtype=torch.float64), torch.as_tensor(data[-1])]
    b = solver.solve(solver.take(silent, alone=True), alone=True)
    np.testing.assert_allclose(mean_of(solver, b).ravel(), want, atol=1e-11)


@pytest.mark.parametrize("name", ["HSI and MSI", "MSI at 10 and 20 m"])
def test_gaps_give_the_dense_posterior_of_what_is_there(name: str) -> None:
    solver, data, observe, prior = build(name)
    rng = np.random.default_rng(2)
    gaps = [rng.random(d.shape) < 0.3 for d in data]
    keep = ~np.concatenate([g.ravel() for g in gaps])
    own = observe[keep]
    y = np.concatenate([d.ravel() for d in data])[keep]
    want = np.linalg.solve(np.linalg.inv(prior) + own.T @ own, own.T @ y)
    known = [torch.as_tensor(np.where(g, 0, d)) for d, g in zip(data, gaps, strict=True)]
    filled, steps = complete(solver, known, [torch.as_tensor(g) for g in gaps])
    got = mean_of(solver, solver.solve(solver.take(filled)))
    assert 0 < steps < 80
    np.testing.assert_allclose(got.ravel(), want, atol=2e-4 * np.abs(want).max())


def test_nothing_missing_costs_nothing() -> None:
    solver, data, _, _ = build("odd ratio")
    filled, steps = complete(solver, [torch.as_tensor(d) for d in data], [None, None])
    assert steps == 0
    assert torch.equal(filled[0], torch.as_tensor(data[0]))


@pytest.mark.parametrize("name", ["HSI and MSI", "MSI at 10 and 20 m"])
@pytest.mark.parametrize("alone", [False, True])
def test_posterior_variance_equals_the_dense_one(name: str, alone: bool) -> None:
    solver, data, observe, prior = build(name)
    own = observe[-data[-1].size :] if alone else observe
    dense = np.linalg.inv(np.linalg.inv(0.3 * prior) + own.T @ own)
    height, width = solver.shape
    dense = dense.reshape(3, height, width, 3, height, width)
    got = posterior_covariance(solver, 0.3, alone)
    for i in range(solver.period):
        for j in range(solver.period):
            np.testing.assert_allclose(got[i, j], dense[:, i, j, :, i, j], atol=1e-11)
            last = height - solver.period + i, width - solver.period + j
            np.testing.assert_allclose(got[i, j], dense[:, *last][..., *last], atol=1e-11)


@pytest.mark.parametrize("name", ["HSI and MSI", "MSI at 10 and 20 m"])
def test_mean_covariance_is_the_mean_over_phases_in_any_basis(name: str) -> None:
    rng = np.random.default_rng(0)
    sensors = build(name)[0].sensors
    a = rng.standard_normal((3, 3))
    covariance = a @ a.T + 0.1 * np.eye(3)
    found = mean_covariance(sensors, covariance, SPECTRUM)
    ratio = sensors[-1].ratio * (2 if len(sensors) > 2 else 1)
    exact = posterior_covariance(ClosedForm((12 * ratio, 12 * ratio), sensors, covariance, SPECTRUM)).mean((0, 1))
    assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(exact)
    turn = rng.standard_normal((3, 3))
    turned = [Sensor(s.ratio, s.matrix @ np.linalg.inv(turn), s.psf) for s in sensors]
    again = mean_covariance(turned, turn @ covariance @ turn.T, SPECTRUM)
    np.testing.assert_allclose(again, turn @ found @ turn.T, rtol=1e-3, atol=1e-3 * np.abs(again).max())


def test_posterior_mean_and_covariance_add_up_to_the_prior() -> None:
    """The EM step stays where it is when the covariance is the true one."""
    rng = np.random.default_rng(0)
    sensors = [Sensor(1, np.array([[1.0, 0.5, 0.0]])), Sensor(4, np.eye(3), Psf(4, 4))]
    a = rng.standard_normal((3, 3))
    covariance = a @ a.T + 0.1 * np.eye(3)
    solver = ClosedForm((96, 96), sensors, covariance, SPECTRUM, dtype=torch.float64)
    f = np.fft.fftfreq(96)
    shape = np.sqrt(SPECTRUM(f[:, None], f[None]))
    moment = np.zeros((3, 3))
    for _ in range(8):
        white = np.linalg.cholesky(covariance) @ rng.standard_normal((3, 96 * 96))
        field = np.fft.ifft2(np.fft.fft2(white.reshape(3, 96, 96)) * shape).real
        rows, columns = (sensors[1].psf.matrix(96, 4, "circular", axis) for axis in (0, 1))
        seen = [np.tensordot(sensors[0].matrix, field, 1), rows @ field @ columns.T]
        data = [torch.as_tensor(x + rng.standard_normal(x.shape)) for x in seen]
        mean = mix(solver.basis, solver.field(solver.solve(solver.take(data)))).numpy()
        moment += np.einsum("phw,qhw->pq", mean, mean) / 96**2 / 8
    found = moment + mean_covariance(sensors, covariance, SPECTRUM)
    assert np.linalg.norm(moment - covariance) > 0.3 * np.linalg.norm(covariance)
    assert np.linalg.norm(found - covariance) < 0.05 * np.linalg.norm(covariance)


@pytest.mark.parametrize("alone", [False, True])
def test_a_narrowed_solver_predicts_what_the_whole_one_does(alone: bool) -> None:
    solver, data, _, _ = build("blurred MSI", p=5)
    narrow = solver.narrowed()
    assert len(narrow.basis.T) == 2
    values = [torch.as_tensor(d) for d in data]
    whole, part = (s.predict(s.solve(s.take(values, alone), alone=alone), 0) for s in (solver, narrow))
    torch.testing.assert_close(part, whole)
    assert build("HSI and MSI", p=2)[0].narrowed().basis.shape == (2, 2)
