"""What both images make of a prediction, against dense linear algebra."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsgeo.methods.fusion import data_consistency
from hsgeo.methods.fusion.data_consistency import DataConsistency
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams
from hsgeo.scene.window import Window

from .pairs import make_case

#: a space whose signals are the coefficients themselves
ITSELF = SimpleNamespace(residual=lambda z, result: z, correction=lambda z: z, target=lambda a, result: a - result)


@pytest.fixture(scope="module")
def case():
    return make_case(shape=(16, 14), ratio=4)


@pytest.fixture(scope="module")
def model(case):
    return SubspaceFusion().fit(case.inputs(), SubspaceParams(halo=14))


@pytest.mark.parametrize("gamma", [0.0, 0.7, 0.999])
def test_a_prediction_becomes_the_dense_posterior_mean(model, monkeypatch, gamma: float) -> None:
    """The prediction as the mean of a prior of variance 1 - gamma, and what each sensor sees; a gap, and an end."""
    monkeypatch.setattr(data_consistency, "MIRRORED", 0)  # the window is periodic, as the matrices here
    rng, p, side = np.random.default_rng(3), len(model.mean), 20
    outer, window = Window(-8, 12, 0, 32), Window(0, 16, 4, 20)  # the images end in the last HSI row of the window
    left = []
    for s in model.sensors:
        h, w = (n // s.ratio for n in outer.shape)
        left.append(rng.standard_normal((len(s.matrix), h, w)).astype(np.float32))
    left[0][:, 10:13, 7:9] = np.nan
    predicted, result = (rng.standard_normal((p, *window.shape)).astype(np.float32) for _ in range(2))
    seen = Window(-8, 24, -4, 36)
    wide = np.full((p, *seen.shape), np.nan, np.float32)
    wide[(slice(None), *window.within(seen).slices)] = result
    agreement = DataConsistency(model, ITSELF, [torch.as_tensor(x) for x in left], outer, torch.as_tensor(wide), seen)
    found = agreement(window, torch.as_tensor(predicted)[:, None], gamma)[:, 0].numpy()

    dft = np.kron(np.fft.fft(np.eye(side)), np.fft.fft(np.eye(side)))
    power = model.spectrum(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    prior = np.kron(model.covariance, np.real(np.linalg.inv(dft) @ (power.ravel()[:, None] * dft)))
    # grown by a pixel of the HSI, which every window is that may begin inside one
    mean = np.pad(predicted.astype(float), ((0, 0), (0, 4), (0, 4)), "edge").ravel()
    observe, beyond, known = [], [], []
    for s, x in zip(model.sensors, left, strict=True):
        blur = np.eye(side**2)
        if s.psf is not None:
            blur = np.kron(*(s.psf.matrix(side, s.ratio, "circular", axis) for axis in (0, 1)))
        matrix, r = np.kron(s.matrix, blur), s.ratio
        y = np.full((len(x), side // r, side // r), np.nan)
        y[:, : 12 // r] = x[:, 8 // r :, 4 // r : 24 // r]
        observe.append(matrix)
        known.append(np.isfinite(y.ravel()))
        beyond.append(np.where(known[-1], y.ravel() - matrix @ mean, 0.0))
    h, y = np.concatenate(observe), np.concatenate(beyond)  # gaps say: nothing beyond the prediction
    want = mean + np.linalg.solve(np.linalg.inv((1 - gamma) * prior) + h.T @ h, h.T @ y)
    assert np.abs(want - mean).max() > 0.02
    np.testing.assert_allclose(found, want.reshape(p, side, side)[:, :16, :16], atol=2e-3)


def test_all_windows_of_the_lattice_are_solved_for_alike(model) -> None:
    """By one shape, which is set up once; levels of a sampler are not kept."""
    model = replace(model, scale=5, ratios=(5,))
    seen = Window(-64, 256, -64, 256)
    agreement = DataConsistency(model, ITSELF, [], seen, torch.zeros(0), seen)
    windows = [Window(y, y + 64, x, x + 64) for y in range(-48, 192, 48) for x in (-48, 96)]
    wholes = [agreement._whole(w) for w in windows]
    assert {w.shape for w in wholes} == {(70, 70)} and {w.y0 % 5 for w in wholes} == {0}
    assert all(w.clip_to(whole) == w for w, whole in zip(windows, wholes, strict=True))


def test_a_patch_is_its_own_scene(case, model) -> None:
    """What is left of its data, and its solution, where they belong."""
    solved = PatchCase(model, SimpleNamespace(hsi=case.pair.hsi_values, msi=case.pair.msi_values))
    interpolated, detail, _ = solved.solution(model)
    size, seen = detail.shape[1:], Window(-4, detail.shape[1] + 4, -4, detail.shape[2] + 4)
    agreement = DataConsistency.of_patch(model, ITSELF, solved, seen)
    assert agreement.outer == Window(0, size[0], 0, size[1])
    inner = (slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(agreement.result[inner], interpolated + detail)
    own = model.operators(solved.frame.shape)
    everywhere = own.detail(solved.data, model.energy)[0]
    for j, x in enumerate(agreement.left):
        r = model.sensors[j].ratio
        inside = (slice(None), slice(0, size[0] // r), slice(0, size[1] // r))
        torch.testing.assert_close(x, (solved.data[j] - own.observe(everywhere, j))[inside])
