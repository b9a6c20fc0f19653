"""HSR-Diff on small in-memory pairs: what a network adds to the fast fusion, and how far it is believed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsgeo.diffusion import noise_field
from hsgeo.errors import GridError, ModelError, ParameterError
from hsgeo.methods.base import TileResult, get_method, method_names, read_tile
from hsgeo.methods.fusion import belief, training
from hsgeo.methods.fusion.belief import CAUTION, SHRINK, USUAL, fitted_gain, low_patches, pieces
from hsgeo.methods.fusion.coordinates import GUIDE, OWN, Coordinates
from hsgeo.methods.fusion.examples import ExampleStore, examples_from_pair
from hsgeo.methods.fusion.hsr_diff import PRIOR, HsrDiffFusion, HsrDiffModel, HsrDiffParams
from hsgeo.methods.fusion.model import SubspaceModel
from hsgeo.methods.fusion.sampling import PATCH
from hsgeo.methods.fusion.settings import NetworkParams, ProcessParams, TrainingParams
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams
from hsgeo.methods.fusion.training import Training
from hsgeo.methods.fusion.weights import Weights, load_weights
from hsgeo.scene.window import Window

from .pairs import Case, MemoryPair, degrade, fuse_tiles, make_case, psnr

CHANNELS = (OWN + 1, GUIDE, 1)
VISIBLE = ((0.08, 0.1), (0.18, 0.1), (0.28, 0.1), (0.4, 0.12))
SHORT = ((0.7, 0.15), (0.9, 0.15))


@lru_cache(maxsize=4)
def case(ratio: int = 4) -> Case:
    return make_case(shape={2: (20, 18), 3: (18, 16), 4: (16, 14)}[ratio], ratio=ratio)


def settings(**network) -> TrainingParams:
    small = {"width": 6, "sr_blocks": (1,), "blocks": (2, 1)} | network
    return TrainingParams(network=NetworkParams(**small), process=ProcessParams(levels=100))


@lru_cache(maxsize=4)
def wild(**network) -> Weights:
    """A network that says something, and nothing true: errors about as large as they are expected to be."""
    w = Weights.untrained(settings(**network), CHANNELS)
    torch.manual_seed(1)
    with torch.no_grad():
        for value in w.network.parameters():
            value.normal_(std=value[0].numel() ** -0.5 if value.ndim > 1 else 0.3)
    return replace(w, network=w.network.eval(), name="wild")


def fitted(c: Case, w: Weights, folder: Path, **params) -> HsrDiffModel:
    w.save(folder / "m.safetensors")
    return HsrDiffFusion().fit(c.inputs(), HsrDiffParams(model=str(folder / "m.safetensors"), halo=14, **params))


def whole(model: HsrDiffModel | SubspaceModel, pair: MemoryPair, halo: int) -> TileResult:
    """The scene in one tile, with this much context."""
    core = Window(0, pair.fine.shape[0], 0, pair.fine.shape[1])
    return model.apply(*read_tile(pair, core.grow(halo)), core.grow(halo), core)


def holed(c: Case, hsi: bool = False) -> tuple[MemoryPair, np.ndarray]:
    """The pair with a gap in the middle of the MSI, or of the HSI; the gap on the fine grid."""
    r = c.pair.ratio
    gap = np.zeros(c.pair.fine.shape, bool)
    gap[6 * r : 10 * r + (not hsi), 5 * r : 9 * r + (not hsi)] = True
    y, x = c.pair.hsi_values.copy(), c.pair.msi_values[0].copy()
    if hsi:
        y[:, gap[::r, ::r]] = np.nan
    else:
        x[:, gap] = np.nan
    return MemoryPair(y, [x], r), gap


def span(values: np.ndarray) -> float:
    return float(np.nanmax(values) - np.nanmin(values))


def test_it_is_found_by_name() -> None:
    assert "hsr-diff" in method_names() and isinstance(get_method("hsr-diff"), HsrDiffFusion)


@pytest.mark.parametrize(
    ("ratio", "tile", "gap", "params"),
    [
        (4, 20, False, {}),
        (4, 32, True, {}),
        (3, 30, False, {"consistency": "end"}),
        (3, 36, True, {"consistency": "steps", "steps": 3}),
        (4, 20, False, {"consistency": "steps", "steps": 2}),
        (3, 36, False, {"steps": 2}),
        (4, 28, False, {"ensemble": True}),
    ],
)
def test_tiles_equal_the_whole(tmp_path: Path, ratio: int, tile: int, gap: bool, params: dict) -> None:
    """Values, flags and misfits: all of a prediction is believed, which would show every seam.

    Gaps are shown to the package's model: one that answers an error with ten would be tested on the fast fusion's.
    """
    c = case(ratio)
    model = fitted(c, load_weights() if gap else wild(), tmp_path, gain="full", **params)
    assert model.multiple == {4: 4, 3: 6}[ratio]  # whole HSI pixels and whole squares of the network
    pair = holed(c)[0] if gap else c.pair
    one, plain = fuse_tiles(model, pair), fuse_tiles(model.base, pair)
    assert np.abs(one.values - plain.values).max() > (0.01 if gap else 0.05) * span(plain.values)
    tiled = fuse_tiles(model, pair, tile)
    assert np.abs(tiled.values - one.values).max() < 1e-4 * span(one.values)
    np.testing.assert_array_equal(tiled.flags, one.flags)
    for name, value in one.stats.items():
        assert tiled.stats[name] == pytest.approx(value, rel=1e-5)


def test_tiles_equal_the_whole_by_a_network_without_a_reach(tmp_path: Path) -> None:
    c = case()
    w = wild(kind="cdformer", width=4, depth=1, heads=1)
    model = fitted(c, w, tmp_path, gain="full")
    core = Window(40, 64, 16, 40)
    values = fuse_tiles(model, c.pair).values
    tile = model.apply(*read_tile(c.pair, core.grow(model.halo)), core.grow(model.halo), core).values
    assert np.abs(tile - values[(slice(None), *core.slices)]).max() < 1e-4 * span(values)


def test_more_halo_changes_nothing(tmp_path: Path) -> None:
    c = case()
    model = fitted(c, wild(), tmp_path, gain="full")
    core = Window(24, 48, 20, 40)
    near, far = (
        model.apply(*read_tile(c.pair, o), o, core) for o in (core.grow(model.halo), core.grow(2 * model.halo))
    )
    assert np.abs(near.values - far.values).max() < 1e-4 * span(far.values)


def test_what_is_added_is_what_the_network_says(tmp_path: Path) -> None:
    """From the fast fusion's coefficients, by the network alone: V (error . F), believed in part."""
    c = case()
    model = fitted(c, wild(), tmp_path, gain="full")
    model.gain = np.linspace(0, 1, len(model.gain))
    space, core = model.space, Window(0, 64, 0, 56)
    outer = core.grow(model.halo)
    tile = read_tile(c.pair, outer)
    solved = model.base.solve(*tile, outer, core)
    own, guide = space.inputs(solved.interpolated, solved.detail)
    with torch.inference_mode():
        power = float(model.weights.settings.process.schedule().gamma[-1])
        y, x, (height, width) = outer.y0, outer.x0, own.shape[-2:]
        drawn = noise_field(model.seed, 0, len(own), y, y + height, x, x + width)
        z = np.sqrt(power) * torch.as_tensor(drawn, dtype=torch.float32)[:, None]
        answer = model.weights.network(
            torch.cat([own, z], 1), torch.full((len(own),), power), guide[None], torch.zeros(len(own)).long()
        )
        found = (z + np.sqrt(1 - power) * answer)[:, 0].numpy()
    rows, columns = solved.frame.cut(core)
    added = np.einsum("pq,qhw->phw", space.vectors, (model.gain * space.error)[:, None, None] * found[:, rows, columns])
    expected = np.einsum("bp,phw->bhw", model.base.basis, added)
    difference = model.apply(*tile, outer, core).values - model.base.apply(*tile, outer, core).values
    assert np.abs(expected).max() > 0.05
    assert np.abs(difference - expected).max() < 1e-4


def test_no_gain_is_the_fast_fusion(tmp_path: Path) -> None:
    c = case()
    model = fitted(c, wild(), tmp_path)
    model.gain = np.zeros_like(model.gain)
    base = SubspaceFusion().fit(c.inputs(), SubspaceParams(halo=14))
    ours, plain = (whole(m, c.pair, model.halo) for m in (model, base))
    np.testing.assert_array_equal(ours.values, plain.values)
    assert ours.stats == plain.stats


@pytest.mark.parametrize(("ratio", "params"), [(3, {}), (4, {"steps": 2}), (3, {"consistency": "end"})])
def test_misfits_are_those_of_the_output(tmp_path: Path, ratio: int, params: dict) -> None:
    """The result degraded by dense matrices, and through the response, beside both images."""
    c = case(ratio)
    result = fuse_tiles(fitted(c, wild(), tmp_path, gain="full", **params), c.pair, 24)
    z, s = result.values.astype(float), result.stats
    hsi = (degrade(z, c.psf, ratio) - c.pair.hsi_values) / c.noise_hsi[:, None, None]
    msi = (np.einsum("kb,bhw->khw", c.response, z) - c.pair.msi_values[0]) / c.noise_msi[:, None, None]
    assert (s["hsi_count"], s["msi_count"]) == (hsi.size, msi.size)
    np.testing.assert_allclose(s["hsi_chi2"] / s["hsi_count"], (hsi**2).mean(), rtol=1e-4)
    np.testing.assert_allclose(s["msi_chi2"] / s["msi_count"], (msi**2).mean(), rtol=1e-4)


def test_solving_once_more_brings_both_images_back(tmp_path: Path) -> None:
    c = case()
    free, bound = (
        fuse_tiles(fitted(c, wild(), tmp_path, gain="full", consistency=b), c.pair).stats for b in ("none", "end")
    )
    for name in ("hsi", "msi"):
        assert free[f"{name}_chi2"] > 5 * free[f"{name}_count"]
        assert bound[f"{name}_chi2"] < 1.2 * bound[f"{name}_count"]


@pytest.mark.parametrize("hsi", [False, True])
def test_nothing_is_added_where_an_image_is_missing(tmp_path: Path, hsi: bool) -> None:
    c = case()
    model = fitted(c, wild(), tmp_path, gain="full")
    pair, gap = holed(c, hsi)
    ours, plain = (whole(m, pair, model.halo) for m in (model, model.base))
    assert (ours.flags[gap] == (2 if hsi else 1)).all()
    np.testing.assert_array_equal(ours.values[:, gap], plain.values[:, gap])
    assert (ours.values[:, ~gap] != plain.values[:, ~gap]).mean() > 0.99


def test_groups_at_two_gsds(tmp_path: Path) -> None:
    c = make_case(shape=(16, 14), ratio=4, windows=(VISIBLE, SHORT), ratios=(1, 2))
    model = fitted(c, wild(), tmp_path, gain="full")
    one, tiled = (fuse_tiles(model, c.pair, t).values for t in (None, 24))
    assert np.abs(tiled - one).max() < 1e-4 * span(one)


def test_a_model_survives_pickling(tmp_path: Path) -> None:
    c = case(2)
    model = fitted(c, wild(), tmp_path, gain="full", uncertainty=True, samples=2, steps=2)
    core = Window(20, 40, 0, 36)
    outer = core.grow(model.halo)
    tile = read_tile(c.pair, outer)
    again = pickle.loads(pickle.dumps(model))
    one, other = (m.apply(*tile, outer, core) for m in (model, again))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.variance, other.variance)
    assert again.report() == model.report()


# ---------------------------------------------------------------------------------------------------- what is believed


def test_the_gain_is_the_least_squares_factor_one_scale_down(monkeypatch) -> None:
    """Coefficient by coefficient, drawn to that of all together as the pixels are few."""
    c = case()
    model = SubspaceFusion().fit(c.inputs(), SubspaceParams(dimension=4))
    factors = torch.tensor([2.0, -1.0, 1.0, 0.3])[:, None, None]
    monkeypatch.setattr(belief.Low, "predicted", lambda self, *_: self.error * factors)
    patches = c.pair.sample()
    gain, said = fitted_gain(model, wild(), patches)
    (low,) = low_patches(model, wild(), patches, 1, 0)
    true = low.error[:, low.known].double().numpy()
    weight = low.space.weight(model.basis / model.noise[:, None])
    f = factors.numpy().ravel().astype(float)
    power = (true**2).sum(1)
    overall = (weight * f * power).sum() / (weight * f**2 * power).sum()
    count = true.shape[1]
    share = count / (count + SHRINK)
    np.testing.assert_allclose(gain, np.clip(CAUTION * (share / f + (1 - share) * overall), 0, 1), rtol=1e-4)
    assert f"{count} HSI pixels" in said and np.ptp(gain) > 0.3


def test_a_sample_of_many_steps_is_believed_as_far_as_it_is_right(tmp_path: Path) -> None:
    """It holds what the images leave open, too, so it is believed less than regression; and never hurts much."""
    c = make_case(shape=(24, 20))
    plain = psnr(fuse_tiles(SubspaceFusion().fit(c.inputs()), c.pair).values, c.truth)
    one, many, trusted = (
        HsrDiffFusion().fit(c.inputs(), HsrDiffParams(steps=s, gain=g))
        for s, g in ((1, "fitted"), (10, "fitted"), (10, "full"))
    )
    share = [np.average(m.gain, weights=m.space.weight(m.base.basis)) for m in (one, many)]
    assert 0 <= share[1] < 0.7 * share[0]
    found = [psnr(fuse_tiles(m, c.pair).values, c.truth) for m in (many, trusted)]
    assert found[0] > plain - 0.05 and found[1] < found[0]


def test_an_ensemble_is_believed_as_far_as_an_ensemble_is_right(tmp_path: Path) -> None:
    c = make_case(shape=(24, 20))
    one, eight = (HsrDiffFusion().fit(c.inputs(), HsrDiffParams(ensemble=e)) for e in (False, True))
    patches_ = c.pair.sample()
    for model, ensemble in ((one, False), (eight, True)):
        gain, _ = fitted_gain(model.base, model.weights, patches_, ensemble=ensemble)
        np.testing.assert_allclose(model.gain, gain, rtol=1e-4, atol=1e-6)
    assert np.abs(one.gain - eight.gain).max() > 1e-3


def test_what_agrees_at_every_step_is_believed_as_far_as_that_is_right(tmp_path: Path) -> None:
    c = make_case(shape=(24, 20))
    every, end, none = (
        HsrDiffFusion().fit(c.inputs(), HsrDiffParams(steps=3, consistency=how)) for how in ("steps", "end", "none")
    )
    np.testing.assert_array_equal(end.gain, none.gain)  # solved for afterwards
    gain, _ = fitted_gain(every.base, every.weights, c.pair.sample(), steps=3, consistent=True)
    np.testing.assert_allclose(every.gain, gain, rtol=1e-4, atol=1e-6)
    assert np.abs(every.gain - none.gain).max() > 1e-2
    kept = replace(every, consistency="end"), replace(every, consistency="none")
    values = [fuse_tiles(m, c.pair).values for m in (every, *kept)]
    assert min(np.abs(a - b).max() for a, b in combinations(values, 2)) > 1e-3 * span(values[0])


def test_a_pair_too_small_to_be_measured(monkeypatch) -> None:
    c = make_case(shape=(7, 7), ratio=4)
    model = SubspaceFusion().fit(c.inputs())
    gain, said = fitted_gain(model, wild(), c.pair.sample())
    assert (gain == 0.5).all() and "too few" in said


def test_a_harmful_network_is_not_believed(tmp_path: Path) -> None:
    c = make_case(shape=(24, 20))
    plain = psnr(fuse_tiles(SubspaceFusion().fit(c.inputs()), c.pair).values, c.truth)
    trusted, measured = (fitted(c, wild(), tmp_path, gain=g) for g in ("full", "fitted"))
    assert psnr(fuse_tiles(trusted, c.pair).values, c.truth) < plain - 5
    assert psnr(fuse_tiles(measured, c.pair).values, c.truth) > plain - 0.05
    assert np.average(measured.gain, weights=measured.space.weight(measured.base.basis)) < 0.05
    assert measured.report()["gain_of_model"].startswith("0%") and (trusted.gain == 1).all()


def test_a_network_that_is_right_is_believed_and_helps(tmp_path: Path, monkeypatch) -> None:
    """Trained for a moment on another scene of sharp borders, one scale down."""
    monkeypatch.setattr(training, "RISE", 10)
    kind = {"ratio": 4, "texture": 0.02, "windows": (((0.1, 0.2), (0.8, 0.2)),)}
    taught = make_case(shape=(32, 32), seed=1, **kind)
    store = ExampleStore(tmp_path / "examples.zarr")
    for example in examples_from_pair(SubspaceFusion().fit(taught.inputs()), taught.pair.sample(), 0):
        store.add(example)
    changes = {"steps": 60, "patches": (24,), "learning_rate": 0.01, "average": 0.9, "checks": 1, "seen_noise": 0.0}
    weights = Training(store, settings(width=8, blocks=(1, 1)).model_copy(update=changes), tmp_path).run()
    c = make_case(shape=(28, 26), **kind)
    model = fitted(c, weights, tmp_path)
    ours, plain = (psnr(whole(m, c.pair, model.halo).values, c.truth) for m in (model, model.base))
    assert ours > plain + 0.5
    assert np.average(model.gain, weights=model.space.weight(model.base.basis)) > 0.4


# -------------------------------------------------------------------------------------------------------- uncertainty


def test_samples_give_the_uncertainty(tmp_path: Path) -> None:
    """Finite, positive, the samples' variance times what was measured; gaps keep the fast fusion's."""
    c = case(2)
    model = fitted(c, wild(), tmp_path, gain="full", uncertainty=True, samples=3, steps=2)
    pair, gap = holed(c)
    core = Window(0, 40, 0, 36)
    outer = core.grow(model.halo)
    tile = read_tile(pair, outer)
    result = model.apply(*tile, outer, core)
    assert result.variance is not None and np.isfinite(result.variance).all() and (result.variance > 0).all()
    base = model.base.apply(*tile, outer, core)
    np.testing.assert_allclose(result.variance[:, gap], base.variance[:, gap], rtol=1e-5)
    singles = []
    for seed in range(3):
        one = replace(model, samples=1, has_variance=False, seed=seed)
        singles.append(one.apply(*tile, outer, core).values)
    assert model.spread is not None and np.ptp(model.spread) > 0.01
    theirs = model.spread[:, None, None] ** 2 * np.stack(singles).var(0, ddof=1) + model.base.lost[:, None, None]
    direct = (2 * theirs + PRIOR * base.variance) / (2 + PRIOR)
    np.testing.assert_allclose(result.variance[:, ~gap], direct[:, ~gap], rtol=2e-3, atol=1e-9)
    # the value is their mean as regression has it, in one pass
    regression = replace(model, samples=1, steps=1, has_variance=False).apply(*tile, outer, core).values
    np.testing.assert_allclose(result.values, regression, atol=1e-4 * span(regression))
    assert "3 samples" in model.report()["uncertainty"] and model.report()["samples"] == 3
    # where no uncertainty is asked for, their mean is all there is
    mean = fitted(c, wild(), tmp_path, gain="full", samples=3, steps=2)
    assert (mean.steps, mean.samples, mean.halo) == (1, 1, replace(mean, steps=1).halo)
    np.testing.assert_allclose(mean.apply(*tile, outer, core).values, regression, atol=1e-4 * span(regression))
    free = fitted(c, wild(), tmp_path, uncertainty=True, samples=2, steps=2, calibrate=False)
    assert free.report()["uncertainty"].endswith("not calibrated")


def test_the_samples_mean_variance_is_what_was_measured_for_the_fast_fusion(tmp_path: Path) -> None:
    """Band by band, over the windows that were looked at: here the whole of a scene that is small."""
    c = make_case(shape=(14, 15), ratio=4)
    model = fitted(c, wild(), tmp_path, uncertainty=True, samples=4, steps=2)
    ours, plain = (whole(m, c.pair, model.halo).variance for m in (model, model.base))
    assert ours is not None and plain is not None
    np.testing.assert_allclose(ours.mean((1, 2)), plain.mean((1, 2)), rtol=0.1)
    assert np.abs(ours - plain).max() > 0.1 * plain.max()
    assert model.report()["uncertainty"].endswith(model.base.report()["uncertainty"])


def test_samples_of_a_pair_too_small_to_be_measured(tmp_path: Path) -> None:
    c = make_case(shape=(2, 2), ratio=4)
    model = fitted(c, wild(), tmp_path, uncertainty=True, samples=2, steps=2)
    assert (model.spread == USUAL).all() and "too few" in model.report()["uncertainty"]


@pytest.mark.parametrize(("ratios", "scale", "side"), [((1,), 4, 16), ((1,), 5, 13), ((1, 2), 3, 22)])
def test_pieces_hold_whole_pixels_of_all_images(ratios: tuple, scale: int, side: int) -> None:
    """One window of the sampler wide; they tell the same place in each image."""
    model = SimpleNamespace(scale=scale, ratios=ratios, multiple=np.lcm.reduce([scale, *ratios]))
    height, width = side + 8, side - 2
    fine = np.arange(height * scale * width * scale, dtype=float).reshape(1, height * scale, width * scale)
    patch = SimpleNamespace(hsi=fine[:, ::scale, ::scale], msi=[fine[:, ::r, ::r] for r in ratios])
    found = pieces(model, patch)
    assert [p.hsi.shape[1:] for p in found] == [(side, width)] * 2 and side * scale >= PATCH
    for piece, y in zip(found, (0, 8), strict=True):
        assert (piece.hsi == patch.hsi[:, y : y + side]).all()
        for r, one in zip(ratios, piece.msi, strict=True):
            assert one.shape[1] * r == side * scale and one[0, 0, 0] == piece.hsi[0, 0, 0]
            assert one[0, -1, 0] == fine[0, (y + side) * scale - r, 0]


def test_one_sample_keeps_the_uncertainty_of_the_fast_fusion(tmp_path: Path) -> None:
    c = case(2)
    model = fitted(c, wild(), tmp_path, uncertainty=True)
    base = SubspaceFusion().fit(c.inputs(), SubspaceParams(uncertainty=True, halo=14))
    ours, plain = (whole(m, c.pair, model.halo).variance for m in (model, base))
    np.testing.assert_array_equal(ours, plain)


# ------------------------------------------------------------------------------------------------------ what is said


def test_report(tmp_path: Path) -> None:
    c = case()
    report = fitted(c, wild(), tmp_path, steps=4).report()
    assert report["model"] == str(tmp_path / "m.safetensors") and report["steps"] == 4 and report["samples"] == 1
    assert set(SubspaceFusion().fit(c.inputs()).report()) <= set(report)


def test_what_cannot_be_done_is_refused_before_the_fit(tmp_path: Path, monkeypatch) -> None:
    c = case()
    for name in ("survey", "fitted_gain"):
        monkeypatch.setattr(f"hsgeo.methods.fusion.hsr_diff.{name}", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ModelError, match="ratios 5 to 8, the pair has 4"):
        fitted(c, replace(wild(), about={"ratios": [5, 8]}), tmp_path)
    with pytest.raises(ParameterError, match=r"steps is 101; .* 1 to 100"):
        fitted(c, wild(), tmp_path, steps=101)
    with pytest.raises(ParameterError, match="ensemble is for one step, and 3 are asked for"):
        fitted(c, wild(), tmp_path, steps=3, ensemble=True)
    with pytest.raises(ModelError, match="no such model"):
        HsrDiffFusion().fit(c.inputs(), HsrDiffParams(model=str(tmp_path / "none.safetensors")))
    flat = Case(
        c.truth, MemoryPair(c.pair.hsi_values, [c.pair.hsi_values[:4]], 1), c.response, c.psf, c.noise_hsi, c.noise_msi
    )
    with pytest.raises(GridError, match="nothing to sharpen"):
        fitted(flat, wild(), tmp_path)


def test_it_is_in_the_space_of_its_settings(tmp_path: Path) -> None:
    assert isinstance(fitted(case(), wild(), tmp_path).space, Coordinates)
