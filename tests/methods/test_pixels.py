"""HSR-Diff as published: the image as the signal, the loss of its eq. 8, training, and a fusion with such a model."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsgeo.errors import DataError, ModelError, ParameterError
from hsgeo.methods.fusion.examples import ExampleStore, examples_from_pair
from hsgeo.methods.fusion.hsr_diff import HsrDiffFusion, HsrDiffParams
from hsgeo.methods.fusion.losses import Seen, SeenBatch, observed_loss
from hsgeo.methods.fusion.pixels import Pixels
from hsgeo.methods.fusion.sampling import denoised
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.fusion.spaces import repeated
from hsgeo.methods.fusion.subspace import SubspaceFusion
from hsgeo.methods.fusion.training import Patches, Training
from hsgeo.methods.fusion.weights import Weights
from hsgeo.observation.psf import FWHM_PER_SIGMA, Psf
from hsgeo.scene import open_scene
from hsgeo.tasks import FusionOptions, fuse, train
from hsgeo.tasks.training import _bands_of, settings_of
from tests.conftest import spectral_fields, write_raster
from tests.methods.pairs import Case, fuse_tiles, make_case

BANDS, RATIO = 12, 2
FOUR = ((0.1, 0.2), (0.35, 0.2), (0.6, 0.2), (0.85, 0.2))
PARAMS = {
    "space": "pixels",
    "loss": "observed",
    "network": {"kind": "cdformer", "width": 8, "depth": 1, "heads": 2, "window": 4, "fold": 1},
    "process": {"levels": 50, "sampler": "ancestral", "steps": 2},
    "seen_noise": 1.0,
    "steps": 3,
    "batch": 2,
    "patches": (10, 16),
    "learning_rate": 1.0,  # that of the first of 200 rising steps is a two-hundredth
    "average": 0.0,
    "checks": 1,
    "variants": 1,
}
SETTINGS = TrainingParams.model_validate(PARAMS)


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case((20, 18), RATIO, BANDS, (FOUR[:3], FOUR[3:]), (1, 2))


@pytest.fixture(scope="module")
def model(case):
    return SubspaceFusion().fit(case.inputs())


@pytest.fixture
def store(model, case, tmp_path) -> ExampleStore:
    store = ExampleStore(tmp_path / "examples.zarr")
    for example in examples_from_pair(model, case.pair.sample(), 0, "x", SETTINGS):
        store.add(example)
    return store


def weights(case: Case, seed: int = 0) -> Weights:
    """An untrained network that predicts something."""
    made = Weights.untrained(SETTINGS, (BANDS, BANDS + len(FOUR), BANDS), seed)
    torch.manual_seed(seed)
    torch.nn.init.normal_(made.network.out.weight, std=0.05)
    return replace(made, network=made.network.eval(), about={"ratios": [RATIO, RATIO], "bands": [BANDS, len(FOUR)]})


def coefficients(model, seed: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).multivariate_normal(model.mean, model.spread, (6, 5))
    return torch.as_tensor(drawn).permute(2, 0, 1)


# ------------------------------------------------------------------------------------------------------- the signal


def test_there_and_back(model):
    space, truth, result = Pixels.of(model), coefficients(model, 0), coefficients(model, 1)
    signal = space.target(truth, result)
    spectra = np.einsum("bp,phw->bhw", model.basis, truth.numpy())
    np.testing.assert_allclose(signal, (spectra - space.mean[:, None, None]) / space.scale, atol=1e-10)
    torch.testing.assert_close(space.correction(space.residual(signal, result)), truth - result)
    # what no coefficients give, the model's projection leaves out
    drawn = np.random.default_rng(2).standard_normal((BANDS, 6, 5)) * model.noise[:, None, None]
    white = model.basis / model.noise[:, None]
    outside = drawn - np.einsum("bp,qp,qhw->bhw", model.basis, white, drawn / model.noise[:, None, None])
    assert np.abs(outside).max() > 0.1 * model.noise.min()
    beside = signal + torch.as_tensor(outside) / space.scale
    torch.testing.assert_close(space.residual(beside, result), truth - result, rtol=0, atol=1e-6)


def test_the_scene_has_mean_0_and_variance_1(model, case):
    space = Pixels.of(model)
    signal = (case.pair.hsi_values - space.mean[:, None, None]) / space.scale
    assert np.abs(signal.mean((1, 2))).max() < 0.02
    assert (signal**2).mean() == pytest.approx(1, abs=0.05)


def test_the_guide_is_both_images(model, case):
    parts = case.response[:3], case.response[3:]
    space = Pixels.of(replace(model, responses=[2 * r for r in parts], offsets=[np.full(len(r), 3.0) for r in parts]))
    result = torch.as_tensor(model.coefficients(case.truth))
    exact = [3 + 2 * np.einsum("kb,bhw->khw", r, case.truth) for r in parts]
    exact[0][1, 5, 7] = np.nan
    own, guide = space.inputs(0.9 * result, 0.1 * result, exact)
    assert own.shape == (1, 0, *case.truth.shape[1:])
    torch.testing.assert_close(guide[:BANDS], space.target(0.9 * result, result))
    # the bands of the MSI are the response of the signal, gaps filled by the fast fusion
    truth = (case.truth - space.mean[:, None, None]) / space.scale
    np.testing.assert_allclose(guide[BANDS:], np.einsum("kb,bhw->khw", case.response, truth), atol=0.02)
    known = np.ones(case.truth.shape[1:], bool)
    known[5, 7] = False
    np.testing.assert_allclose(guide[BANDS:, known], (case.response @ truth[:, known]), atol=1e-9)


def test_coarse_pixels_are_repeated():
    np.testing.assert_array_equal(repeated(np.array([[1, 2], [3, 4]]), 2), np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


# -------------------------------------------------------------------------------------------------- the observation


def dense(psf: Psf, n: tuple[int, int], ratio: int) -> np.ndarray:
    """D (H W, h w) in float64: Gaussians about the centres of the coarse pixels, mirrored at the edges."""
    out = np.zeros((*n, n[0] // ratio, n[1] // ratio))
    sides = []
    for length, fwhm, shift in zip(n, psf.fwhm, (psf.shift_y, psf.shift_x), strict=True):
        wide = np.arange(-length, 2 * length)
        place = np.abs(wide + 0.5) - 0.5  # half-sample mirror at the first edge, then at the last
        place = np.where(place < length, place, 2 * length - 1 - place).astype(int)
        one = np.zeros((length, length // ratio))
        for i in range(length // ratio):
            d = wide - (ratio * i + (ratio - 1) / 2 + shift)
            w = np.where(abs(d) <= 4 * fwhm / FWHM_PER_SIGMA, np.exp(-(d**2) / 2 / (fwhm / FWHM_PER_SIGMA) ** 2), 0)
            np.add.at(one[:, i], place, w / w.sum())
        sides.append(one)
    out = np.einsum("yi,xj->yxij", *sides)
    return out.reshape(n[0] * n[1], -1)


PSF = Psf(2.2, 3.1, shift_y=0.4, shift_x=-0.3)


def observed(seed: int = 0, size: tuple[int, int] = (36, 30)):
    """A signal Z of 4 channels, R, and both images through dense matrices."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((4, *size))
    response = rng.random((2, 4))
    y = (z.reshape(4, -1) @ dense(PSF, size, 3)).reshape(4, size[0] // 3, size[1] // 3)
    x = (response @ z.reshape(4, -1)).reshape(2, *size)
    return z, response, x, y


def test_patches_see_what_the_dense_matrices_say():
    z, response, x, y = observed()
    images = Seen(x, 1, response), Seen(y, 3, None, PSF)
    top, left, side = 6, 9, 17
    patch = torch.as_tensor(z[:, top : top + side, left : left + side], dtype=torch.float32)
    for turns in range(4):
        for mirror in (False, True):
            moved = torch.rot90(patch, turns, (-2, -1))
            moved = moved.flip(-1) if mirror else moved
            fine, coarse = (one.patch(top, left, side).turned(turns, mirror).misfit(moved) for one in images)
            assert fine.shape == (2, side, side) and fine.abs().max() < 1e-5
            # of 5 x 5 whole coarse pixels those whose Gaussian of +-3.7 and +-5.3 pixels lies inside
            assert sorted(coarse.shape) == [2, 3, 4] and coarse.abs().max() < 1e-5
            assert images[1].patch(top, left, side).turned(turns, not mirror).misfit(moved).abs().max() > 0.1


def test_a_patch_too_small_for_the_psf_sees_nothing():
    _, _, _, y = observed()
    assert Seen(y, 3, None, PSF).patch(0, 0, 6).misfit(torch.zeros(4, 6, 6)).numel() == 0


def test_the_loss_is_equation_8():
    z, response, x, y = observed()
    size = z.shape[1:]
    rng = np.random.default_rng(1)
    found = rng.standard_normal(z.shape)
    truth = z.copy()
    truth[:, :4], x[:, 20], y[2, 5, 5] = np.nan, np.nan, np.nan
    seen = (Seen(x[:, :30], 1, response), Seen(y, 3, None, PSF))
    batch = SeenBatch((tuple(one.patch(0, 0, 30) for one in seen),))
    predicted = torch.tensor(found[None, :, :30], dtype=torch.float32, requires_grad=True)
    loss = observed_loss(predicted, torch.as_tensor(truth[None, :, :30], dtype=torch.float32), batch)
    # only coarse pixels 2..7 of rows and 2..7 of columns see the patch alone: their Gaussians end inside 0..29
    degraded = (found.reshape(4, -1) @ dense(PSF, size, 3)).reshape(y.shape)
    rows = [i for i in range(10) if 3 * i + 1.4 - 3.737 > -1 and 3 * i + 1.4 + 3.737 < 30]
    columns = [i for i in range(10) if 3 * i + 0.7 - 5.266 > -1 and 3 * i + 0.7 + 5.266 < 30]
    coarse = (y - degraded)[np.ix_(range(4), rows, columns)]
    fine = (x - np.einsum("kb,bhw->khw", response, found))[:, :30]
    expected = sum(np.nanmean(np.abs(v)) for v in (fine, coarse, (truth - found)[:, :30]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    slope = predicted.grad
    assert torch.isfinite(slope).all() and (slope[0, :, 2].abs() > 0).all(), (
        "rows without a truth learn from the images"
    )
    # at the truth itself nothing is left
    both = torch.as_tensor(z[None, :, :30], dtype=torch.float32)
    assert observed_loss(both, both, batch) < 1e-5


# ------------------------------------------------------------------------------------------------ examples, training


def test_examples_hold_both_images_in_place(model, case, store):
    (example,) = list(examples_from_pair(model, case.pair.sample(), 0, "x", SETTINGS))
    read, seen = store.read(0), store.seen(0)
    assert read.own.shape == (1, 0, 20, 18) and read.guide.shape == (BANDS + 4, 20, 18)
    np.testing.assert_allclose(read.target, example.target, atol=4e-3)
    np.testing.assert_allclose(read.base, example.base, atol=4e-3)
    assert [one.ratio for one in seen] == [1, 2, 2] and [one.psf for one in seen] == [e.psf for e in example.seen]
    # the truth explains the images, and it does so in this place alone
    truth = torch.nan_to_num(torch.as_tensor(read.target[0]))
    for one, kept in zip(seen, example.seen, strict=True):
        np.testing.assert_allclose(one.image, kept.image, atol=1e-5)
        views = [one.patch(2, 2, 14).misfit(truth[:, y : y + 14, x : x + 14]) for y, x in ((2, 2), (3, 2), (2, 1))]
        here, below, beside = (float(v.square().mean()) for v in views)
        assert here < 0.1 * min(below, beside)
    # weight and base: the fast fusion's own error counts as 1
    error = np.nanmean((example.target - example.base) ** 2)
    assert example.weight @ [error] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_one_scene_turned(store, seed):
    own, guide, clean, _, item, gamma, noise, seen = Patches(store, SETTINGS, seed)[2]
    assert own.shape == (2, 0, 16, 16) and guide.shape == (2, BANDS + 4, 16, 16)
    assert clean.shape == noise.shape == (2, BANDS, 16, 16) and item.tolist() == [0, 1]
    assert (gamma > 0).all() and len(seen.patches) == 2
    for truth, views, known in zip(clean, seen.patches, guide, strict=True):
        torch.testing.assert_close(views[0].image, known[BANDS : BANDS + 3], rtol=0, atol=4e-3)
        for view in views:
            assert view.misfit(truth).square().mean() < 0.1 * view.misfit(truth.roll(1, -1)).square().mean()


def test_training_lowers_the_loss(store, case, tmp_path):
    training = Training(store, SETTINGS, tmp_path, start=weights(case), seed=1)
    batches = [Patches(store, SETTINGS, 5)[step] for step in range(3)]

    def loss(network) -> float:
        training.network = network
        with torch.no_grad():
            return float(np.mean([float(training._loss(list(b))) for b in batches]))

    before, network = loss(training.network), training.network
    training.run()
    assert loss(network) < 0.8 * before
    assert len(training.log) == 2 and all(np.isfinite(e["validation_gain_db"]) for e in training.log)


def test_every_parameter_learns(store, tmp_path, case):
    training = Training(store, SETTINGS, tmp_path, start=weights(case))
    training._loss(list(Patches(store, SETTINGS, 0)[2])).backward()
    for name, parameter in training.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_start_of_other_bands_is_refused(store, tmp_path):
    other = Weights.untrained(SETTINGS, (5, 9, 5))
    with pytest.raises(ModelError, match="other numbers of bands"):
        Training(store, SETTINGS, tmp_path, start=other)


def test_the_network_sees_the_noisy_signal_itself():
    seen = []

    def network(signal, gamma, guide, item):
        seen.append((signal, gamma))
        return torch.ones(1, 2, 4, 4)

    z, guide, gamma = torch.randn(1, 2, 4, 4), torch.randn(1, 3, 4, 4), torch.tensor([0.3])
    item, own = torch.zeros(1, dtype=torch.long), torch.empty(1, 0, 4, 4)
    out = denoised(network, own, z, gamma, guide, item, plain=True)
    torch.testing.assert_close(seen[0][0], z)
    torch.testing.assert_close(out, guide[:, :2] + 1)
    assert not torch.allclose(denoised(network, own, z, gamma, guide, item), out)


def test_the_image_is_always_shown_noisy_and_every_level_counts_alike(store, tmp_path):
    """A sampler never shows such a network anything else, and it predicts the image at each level."""
    settings = TrainingParams.model_validate({**PARAMS, "loss": "l1", "seen_noise": 0.0})
    batch = list(Patches(store, settings, 0)[1])
    own, guide, clean, weight, item, gamma, noise, _ = batch
    assert (gamma > 0).all() and len(set(gamma.tolist())) > 1
    training = Training(store, settings, tmp_path)
    power = gamma.view(-1, 1, 1, 1)
    z = power.sqrt() * clean + (1 - power).sqrt() * noise
    with torch.no_grad():
        found = denoised(training.network, own, z, gamma, guide, item, plain=True)
    each = (found - clean).abs().mean((1, 2, 3))
    assert training._loss(batch).item() == pytest.approx(float(weight @ each) / settings.batch, rel=1e-4)


def test_the_loss_needs_the_image():
    with pytest.raises(ParameterError, match="observed needs space=pixels"):
        settings_of({"loss": "observed"})


# ------------------------------------------------------------------------------------------------------------ fusion


def fitted(case: Case, path, **params):
    return HsrDiffFusion().fit(case.inputs(), HsrDiffParams(model=str(path), **params))


@pytest.fixture
def file(case, tmp_path):
    weights(case).save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_saved_loaded_and_refused(case, file):
    again = Weights.load(file)
    assert again.settings == SETTINGS and again.about["bands"] == [BANDS, 4]
    z, guide = torch.randn(1, BANDS, 8, 8), torch.randn(1, BANDS + 4, 8, 8)
    level = torch.tensor([0.5])
    torch.testing.assert_close(again.network(z, level, guide), weights(case).network(z, level, guide), rtol=0, atol=0)
    other = make_case((20, 18), RATIO, BANDS + 1, (FOUR[:3], FOUR[3:]), (1, 2))
    with pytest.raises(ModelError, match="trained for 12 HSI and 4 MSI bands, the pair has 13 and 4"):
        fitted(other, file)


def test_the_result_is_what_was_predicted(case, file, monkeypatch):
    """With the truth for a prediction, the result is the truth's projection onto the subspace."""
    from hsgeo.methods.fusion import hsr_diff

    model = fitted(case, file, gain="full")
    truth = torch.as_tensor((case.truth - model.space.mean[:, None, None]) / model.space.scale, dtype=torch.float32)
    around = torch.nn.functional.pad(truth[None], (8, 8, 8, 8))

    def sample(weights, own, guide, outer, core, steps, seed, **how):
        return around[:, :, core.y0 + 8 : core.y1 + 8, core.x0 + 8 : core.x1 + 8]

    monkeypatch.setattr(hsr_diff, "sample", sample)
    found = fuse_tiles(model, case.pair).values
    base = model.base
    expected = np.tensordot(base.basis, base.coefficients(case.truth), 1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("params", [{"steps": 2}, {"steps": 1, "ensemble": True}])
def test_tiles_agree(case, file, params):
    model = fitted(case, file, gain="full", **params)
    assert model.weights.settings.process.sampler == "ancestral"
    whole, tiled = (fuse_tiles(model, case.pair, tile).values for tile in (None, 20))
    fast = fuse_tiles(model.base, case.pair).values
    assert np.abs(whole - fast).mean() > 1e-3, "an untrained network changes the result"
    assert np.abs(tiled - whole).max() < 2e-3 * (whole.max() - whole.min())


def test_a_prediction_that_is_wrong_one_scale_down_is_not_believed(case, file):
    model = fitted(case, file)
    assert model.gain.shape == model.base.mean.shape and model.gain.max() < 0.3
    fast, found = (fuse_tiles(m, case.pair).values for m in (model.base, model))
    wrong, error = (np.sqrt(((v - case.truth) ** 2).mean()) for v in (fast, found))
    assert error < 1.1 * wrong


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """(hsi.tif, msi.tif, three.tif) of 20 x 18 and 40 x 36 pixels; the last lacks a band."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(3)
    nm, centres = np.linspace(430, 900, BANDS), np.array([480.0, 560.0, 660.0, 830.0])
    fine = spectral_fields(40, 36, BANDS)
    coarse = fine.reshape(BANDS, 20, 2, 18, 2).mean((2, 4)) + 15 * rng.standard_normal((BANDS, 20, 18))
    rows = np.exp(-4 * np.log(2) * ((nm[None] - centres[:, None]) / 80) ** 2)
    msi = np.tensordot(rows / rows.sum(1, keepdims=True), fine, 1) + 8 * rng.standard_normal((4, 40, 36))
    return (
        write_raster(folder / "hsi.tif", np.rint(coarse).astype(np.int16), 20, wavelengths=nm, nodata=-9999),
        write_raster(folder / "msi.tif", np.rint(msi).astype(np.uint16), 10, wavelengths=centres, nodata=0),
        write_raster(folder / "three.tif", np.rint(msi[:3]).astype(np.uint16), 10, wavelengths=centres[:3], nodata=0),
    )


def test_from_scenes_to_a_fused_scene(scenes, tmp_path):
    hsi, msi, three = scenes
    path = tmp_path / "m.safetensors"
    options = FusionOptions(register=False)
    report = train([hsi, msi], path, options=options, params=PARAMS)  # the package's model is of another kind
    assert report["examples"] == 1 and report["steps"] == 3
    kept = Weights.load(path)
    assert kept.about["bands"] == [BANDS, 4] and kept.about["ratios"] == [2, 2] and kept.settings.space == "pixels"
    np.testing.assert_allclose(kept.about["wavelengths"], open_scene(hsi)["wavelength"].values)
    told = {"method": "hsr-diff", "register": False, "model": str(path), "gain": "full"}
    values = fuse(hsi, msi, **told).values
    fast = fuse(hsi, msi, register=False).values
    assert values.shape == (BANDS, 40, 36) and np.isfinite(values).all()
    assert 1 < np.abs(values - fast).mean() < 1500
    with pytest.raises(ModelError, match="trained for 12 HSI and 4 MSI bands, the pair has 12 and 3"):
        fuse(hsi, three, **told).compute()


def test_scenes_of_other_bands_are_not_mixed():
    def example(hsi: int, msi: int):
        return SimpleNamespace(name="b", target=np.empty((1, hsi, 4, 4)), guide=np.empty((hsi + msi, 4, 4)))

    assert _bands_of(example(8, 4), None) == _bands_of(example(8, 4), [8, 4]) == [8, 4]
    with pytest.raises(DataError, match="b: 7 HSI and 4 MSI bands can be fused, those before have 8 and 4"):
        _bands_of(example(7, 4), [8, 4])
