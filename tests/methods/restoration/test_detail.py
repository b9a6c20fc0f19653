"""Where a scene holds detail, and that one coarse pass is made where it holds little."""

import numpy as np
import pytest
import torch

from hsgeo.bench.protocols import on_grid
from hsgeo.methods.restoration import detail
from hsgeo.methods.restoration.base import RestorationInputs
from hsgeo.methods.restoration.detail import CELL, FINE, NOISE, WIDE, excess, is_plain, most_detailed
from hsgeo.methods.restoration.passes import COARSE, FIRST
from hsgeo.methods.restoration.subspace import SubspaceRestoration, SubspaceRestorationParams, SubspaceRestorer
from hsgeo.scene.source import SceneSource
from hsgeo.scene.window import Window

BANDS, SIGMA = 24, 0.05


def test_noise_alone_has_no_detail() -> None:
    """What it has between the two means is the sum of the squares of the weights, by a dense kernel."""
    kernel = np.full((WIDE, WIDE), -1 / WIDE**2)
    inner = slice((WIDE - FINE) // 2, (WIDE + FINE) // 2)
    kernel[inner, inner] += 1 / FINE**2
    assert np.square(kernel).sum() == pytest.approx(NOISE)
    found = excess(torch.as_tensor(np.random.default_rng(0).standard_normal((3, 8 * CELL, 8 * CELL))))
    assert found.shape == (8, 8) and abs(float(found.mean())) < 0.003
    assert is_plain([torch.zeros(2, 40, 50)])


def test_cells_are_those_of_the_image_by_hand() -> None:
    z = np.random.default_rng(1).standard_normal((2, 70, 45))
    wide = np.pad(z, ((0, 0), (4, 4), (4, 4)), mode="edge")
    power = np.zeros((70, 45))
    for i, j in np.ndindex(70, 45):
        box = wide[:, i : i + 9, j : j + 9]
        power[i, j] = np.square(box[:, 3:6, 3:6].mean((1, 2)) - box.mean((1, 2))).mean()
    found = excess(torch.as_tensor(z)).numpy()
    want = [[power[i : i + 32, j : j + 32].mean() - NOISE for j in (0, 32)] for i in (0, 32, 64)]
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 1 << 30])
def test_the_most_detailed_cells_are_found_in_parts_too(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(detail, "CHUNK", chunk)
    rng, scene = np.random.default_rng(2), (250, 170)
    z = rng.standard_normal((2, *scene))
    z[:, 240:248, 165:169] += 8  # in the last cell, of which the scene holds a part
    z[:, 32:64, 64:96] += 0.8 * rng.standard_normal((2, 32, 32))

    def read(window: Window) -> torch.Tensor:
        return torch.as_tensor(z[(slice(None), *window.slices)])

    cells = most_detailed(read, scene, 2)
    held = excess(torch.as_tensor(z)).numpy()
    places = [divmod(int(i), held.shape[1]) for i in np.argsort(-held.ravel())[[0, 3, 12]]]
    assert cells == [Window(y, y + 32, x, x + 32) for i, j in places for y, x in [(min(32 * i, 218), min(32 * j, 138))]]
    assert cells[0] == Window(218, 250, 138, 170)
    assert most_detailed(lambda w: read(w)[:, :5, :7], (5, 7), 2) == [Window(0, 5, 0, 7)]


def plain(shape: tuple[int, int]) -> np.ndarray:
    """Three materials whose shares change slowly, (B, h, w)."""
    y, x = (g / n for g, n in zip(np.mgrid[: shape[0], : shape[1]], shape, strict=True))
    return np.tensordot(spectra(), np.stack([1 + y, 2 - x, 1 + x * y]), 1)


def spectra() -> np.ndarray:
    steps = np.random.default_rng(3).standard_normal((BANDS, 3))
    return 0.1 + 0.05 * np.abs(np.cumsum(steps, 0))


def fitted(truth: np.ndarray, params: SubspaceRestorationParams | None = None) -> tuple[SubspaceRestorer, np.ndarray]:
    y = truth + np.random.default_rng(4).normal(0, SIGMA, truth.shape)
    inputs = RestorationInputs(SceneSource(on_grid(y, 30)), np.ones(BANDS, bool), [""] * BANDS)
    model = SubspaceRestoration().fit(inputs, params)
    assert isinstance(model, SubspaceRestorer)
    return model, y


def test_of_a_plain_scene_one_coarse_pass_is_made() -> None:
    """It leaves about what it says, tiles are as the whole, and who wants fine patches has them."""
    truth = plain((96, 100))
    model, y = fitted(truth)
    assert model.first == COARSE and model.passes == 1 and "larger patches" in model.estimates["passes"]
    source, whole = SceneSource(on_grid(y, 30)), Window(0, 96, 0, 100)
    found = model.apply(source.read(whole.grow(model.halo)), whole.grow(model.halo), whole).values
    left = ((model.basis / model.noise[:, None] ** 2).T @ (found - truth).reshape(BANDS, -1)) ** 2
    assert left.mean() < 0.05
    core = Window(13, 40, 30, 64)
    part = model.apply(source.read(core.grow(model.halo)), core.grow(model.halo), core).values
    np.testing.assert_allclose(part, found[(slice(None), *core.slices)], atol=1e-5)
    assert fitted(truth, SubspaceRestorationParams(patches="fine"))[0].first == FIRST


def test_detail_is_seen_wherever_it_lies() -> None:
    """In one cell of 64, far from the windows that are learned from."""
    truth = plain((256, 256))
    checks = np.indices((24, 24)).sum(0) % 6 < 3
    truth[:, 226:250, 3:27] += 0.3 * spectra()[:, :1, None] * checks
    model, _ = fitted(truth)
    assert model.first == FIRST
