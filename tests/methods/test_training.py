"""The training of HSR-Diff's network: what it is shown, that it learns, and that it can be stopped and taken up."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hsgeo.errors import DataError
from hsgeo.methods.fusion import training
from hsgeo.methods.fusion.calibration import one_scale_down, reduced
from hsgeo.methods.fusion.coordinates import GUIDE, GUIDES, OWN, SIGNED, Coordinates
from hsgeo.methods.fusion.examples import LEAST, Example, ExampleStore, examples_from_pair
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.losses import HUBER, loss_of
from hsgeo.methods.fusion.sampling import denoised
from hsgeo.methods.fusion.settings import NetworkParams, ProcessParams, TrainingParams
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams
from hsgeo.methods.fusion.training import RISE, Patches, Training, bfloat16_pays, held_back, validated
from hsgeo.methods.fusion.weights import Weights

from .pairs import make_case

QUICK = TrainingParams(
    network=NetworkParams(width=4, sr_blocks=(1,), blocks=(1,)),
    process=ProcessParams(levels=100),
    patches=(8, 12, 16),
    steps=12,
    batch=2,
    items=3,
    checks=4,
    held_back=0.25,
    learning_rate=0.05,
)


def with_(**changes: Any) -> TrainingParams:
    return TrainingParams.model_validate({**QUICK.model_dump(), **changes})


def example(height: int = 40, width: int = 36, signals: int = 4, seed: int = 0) -> Example:
    """A target that follows from what is known: a part of one channel, where the guide says so."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((signals, OWN, height, width), np.float32)
    guide = rng.standard_normal((GUIDE, height, width), np.float32)
    target = own[:, :1] * (1 + 0.5 * np.tanh(guide[-1]))
    return Example(own, guide, target, np.full(signals, 1 / (1.4 * signals)), 4, f"toy {seed}")


def store_of(folder: Path, *examples: Example) -> ExampleStore:
    store = ExampleStore(folder / "examples.zarr")
    for one in examples:
        store.add(one)
    return store


@pytest.fixture
def store(tmp_path: Path) -> ExampleStore:
    return store_of(tmp_path, example(), example(44, 30, seed=1))


def same(a: Any, b: Any) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) for k in mine)


# ---------------------------------------------------------------------------------------------------- what is stored


def test_the_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    first, second = example(), replace(example(20, 21, 2, 1), ratio=3)
    second.target[0, 0, 3, 4] = np.nan
    second.target[1, 0, 5, 6] = 1e9
    store = store_of(tmp_path, first, second)
    again = ExampleStore(tmp_path / "examples.zarr")
    assert len(store) == len(again) == 2 and again.shape(0) == (40, 36) and again.shape(1) == (20, 21)
    for number, one in enumerate((first, second)):
        whole, part = again.read(number), again.read(number, slice(3, 9), slice(2, 7))
        assert (whole.ratio, whole.name) == (one.ratio, one.name)
        np.testing.assert_array_equal(whole.weight, one.weight)
        for name in ("own", "guide", "target"):
            expected = np.minimum(getattr(one, name), 6e4)
            np.testing.assert_allclose(getattr(whole, name), expected, rtol=1e-3, atol=1e-6)
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[..., 3:9, 2:7])
            assert getattr(whole, name).dtype == np.float32


def test_an_example_counts_once_it_is_whole(tmp_path: Path, monkeypatch) -> None:
    store = store_of(tmp_path, example())
    broken = replace(example(seed=1), weight=["no number"])  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        store.add(broken)
    assert len(store) == 1
    store.add(example(seed=2))
    assert len(store) == 2 and store.read(1).name == "toy 2"


def test_examples_of_a_pair_are_its_fusion_one_scale_down() -> None:
    """Targets from dense algebra: V^-1 (true less fused coefficients), over the expected error."""
    case = make_case(shape=(32, 36), ratio=2, bands=16)
    case.pair.hsi_values[:, 5, 7] = np.nan
    model = SubspaceFusion().fit(case.inputs(), SubspaceParams(dimension=5))
    patches = case.pair.sample()
    (found,) = examples_from_pair(model, patches, 3, "x")
    ((patch, truth, known),) = reduced(model, patches, np.random.default_rng(3))
    low = one_scale_down(model, [patch])
    c = Coordinates.of(low, [patch])
    interpolated, detail, _ = PatchCase(low, patch).solution(low)
    error = np.einsum("qp,phw->qhw", np.linalg.inv(c.vectors), truth - (interpolated + detail).numpy())
    expected = error * np.sqrt(c.information + c.detail**-2.0)[:, None, None]
    # the gap, the coarse pixels whose PSF meets it, and two coarse pixels around those
    assert found.target.shape == (5, 1, 32, 36) and not known[5, 7]
    assert known[12:].all() and known[:, 14:].all() and not known[11].all() and not known[:, 13].all()
    np.testing.assert_allclose(found.target[:, 0, known], expected[:, known], rtol=1e-2, atol=1e-2)
    assert np.isnan(found.target[:, :, ~known]).all()
    own, guide = c.inputs(interpolated, detail)
    np.testing.assert_array_equal(found.own, own)
    np.testing.assert_array_equal(found.guide, guide)
    assert (found.ratio, found.name) == (2, "x")
    # the weights are those of the image: a unit of the whole error is 1
    squares = np.nanmean(found.target.astype(float) ** 2, (1, 2, 3))
    assert found.weight @ squares == pytest.approx(1, rel=1e-5)
    spectra = np.einsum(
        "bp,pn->bn", model.basis / model.noise[:, None], (truth - (interpolated + detail).numpy())[:, known]
    )
    shares = found.weight * squares
    direct = np.einsum(
        "bp,pq->bq", model.basis / model.noise[:, None], c.vectors / np.sqrt(c.information + c.detail**-2.0)
    )
    np.testing.assert_allclose(shares, (direct**2).sum(0) * squares / ((direct**2).sum(0) @ squares), rtol=1e-5)
    assert (spectra**2).sum() > 0


def test_what_is_too_small_gives_no_examples() -> None:
    case = make_case(shape=(LEAST - 2, 30), ratio=2, bands=16)
    model = SubspaceFusion().fit(case.inputs(), SubspaceParams(dimension=4))
    assert list(examples_from_pair(model, case.pair.sample(), 0)) == []


# --------------------------------------------------------------------------------------------------- what is shown


def coded(height: int = 40, width: int = 36) -> Example:
    """Every value says which pixel it is: 1 + y * width + x."""
    number = np.float32(1) + np.arange(height * width, dtype=np.float32).reshape(height, width)
    weight = np.array([1.0, 2.0, 3.0])
    scale = np.array([1.0, 0.5, 0.25], np.float32)[:, None, None, None]
    own = np.broadcast_to(number, (3, OWN, height, width)) * scale
    return Example(own, np.broadcast_to(number, (GUIDE, height, width)), own[:, :1].copy(), weight, 2)


def test_a_batch_is_patches_of_the_examples_turned_all_alike(tmp_path: Path) -> None:
    store = store_of(tmp_path, coded())
    source, seen, turned = Patches(store, QUICK, 0), set(), set()
    for step in range(QUICK.steps):
        own, guide, target, weight, item, _, noise, _ = source[step]
        side = own.shape[-1]
        assert own.shape == (6, OWN, side, side) and guide.shape == (2, GUIDE, side, side)
        assert target.shape == noise.shape == (6, 1, side, side) and item.tolist() == [0, 0, 0, 1, 1, 1]
        for n in range(2):
            place = guide[n, -1]  # this channel has no sign
            rows, columns = (place - 1).div(36, rounding_mode="floor"), (place - 1) % 36
            for axis in (rows, columns):
                assert axis.max() - axis.min() == side - 1 and len(axis.unique()) == side
            assert rows.max() < 30  # the last quarter is held back
            seen |= set(rows.flatten().int().tolist())
            turned.add((int(rows[0, 1] - rows[0, 0]), int(columns[0, 1] - columns[0, 0]), int(rows[1, 0] - rows[0, 0])))
            for m in range(3 * n, 3 * n + 3):
                scale = own[m, -1] / place
                assert torch.allclose(scale, scale[0, 0]) and scale[0, 0] in (1.0, 0.5, 0.25)
                sign = (own[m, 0] / own[m, -1])[0, 0].round()
                assert abs(sign) == 1
                torch.testing.assert_close(own[m, :SIGNED], sign * own[m, -1].expand(SIGNED, -1, -1))
                torch.testing.assert_close(own[m, SIGNED:], own[m, -1].expand(OWN - SIGNED, -1, -1))
                torch.testing.assert_close(target[m, 0], own[m, 0])
                assert weight[m] == {1.0: 1, 0.5: 2, 0.25: 3}[scale[0, 0].item()]
            signs = guide[n, : 3 * GUIDES] / place
            assert (signs.abs() == 1).all() and torch.equal(signs[:GUIDES], signs[GUIDES : 2 * GUIDES])
            assert (guide[n, 3 * GUIDES :] == place).all()
    assert len(seen) > 25 and len(turned) >= 6


def test_batches_belong_to_their_step_and_seed(store: ExampleStore) -> None:
    source = Patches(store, QUICK, 3)
    backwards = [source[step] for step in (5, 4)]
    for one, again in zip(backwards, (Patches(store, QUICK, 3)[5], Patches(store, QUICK, 3)[4]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:-1], again[:-1], strict=True))
    assert not torch.equal(source[4][6], source[5][6]) and not torch.equal(source[4][6], Patches(store, QUICK, 4)[4][6])


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_patches_grow_in_equal_parts_of_the_training(tmp_path: Path, fold: int) -> None:
    settings = with_(network={**QUICK.network.model_dump(), "fold": fold}, patches=(8, 12, 100))
    source = Patches(store_of(tmp_path, example(), example(32, 26, seed=1)), settings, 0)
    sides = [source[step][0].shape[-1] for step in range(settings.steps)]
    assert sides[:8] == [8 // fold * fold] * 4 + [12 // fold * fold] * 4
    assert set(sides[8:]) <= {n // fold * fold for n in (24, 26, 30)}  # as large as there is, without the strips


def test_few_coefficients_stand_for_all(tmp_path: Path) -> None:
    one = replace(example(signals=6), weight=np.arange(1.0, 7.0))
    source = Patches(store_of(tmp_path, one), with_(items=2, batch=1, steps=400), 0)
    weights = torch.stack([source[step][3] for step in range(60)])
    assert weights.shape == (60, 2) and set(weights.flatten().tolist()) == {3.0 * n for n in range(1, 7)}
    assert weights.sum(1).mean() == pytest.approx(21, rel=0.1)  # the sum of all, on average


def test_noise_is_shown_to_the_share_that_is_asked_for(tmp_path: Path) -> None:
    for share in (0.0, 0.3, 1.0):
        settings = with_(seen_noise=share, batch=1, items=400)
        source = Patches(store_of(tmp_path / str(share), example(20, 16, 400)), settings, 0)
        gamma = source[0][5]
        assert (gamma > 0).float().mean() == pytest.approx(share, abs=0.08) and (gamma <= 1).all()


def test_a_strip_is_held_back_where_enough_is_left() -> None:
    assert [held_back(h, 0.15) for h in (100, 40, 24, 23)] == [15, 8, 8, 0]
    assert held_back(LEAST, 0.4) == 0


@pytest.mark.parametrize("levels", [2, 10, 50, 2000])
def test_the_noisiest_level_is_noise(levels: int) -> None:
    gamma = ProcessParams(levels=levels).schedule().gamma
    assert len(gamma) == levels + 1 and gamma[-1] < 2e-3 and gamma[1] > 1 - 2e-3


# ------------------------------------------------------------------------------------------------------ what is learned


def test_losses() -> None:
    error = torch.tensor([[0.5, -2.0, 4.0, -10.0]]).view(1, 1, 2, 2)
    target = torch.zeros(2, 1, 2, 2)
    predicted, weight = torch.cat([error, error]), torch.tensor([1.0, 3.0])
    huber = (0.25 + 4 + (2 * HUBER * 4 - HUBER**2) + (2 * HUBER * 10 - HUBER**2)) / 4
    assert loss_of(predicted, target, weight, "huber").item() == pytest.approx(4 * huber)
    assert loss_of(predicted, target, weight, "l1").item() == pytest.approx(4 * 16.5 / 4)
    target[1] = torch.nan  # nothing is known of the second
    predicted.requires_grad_()
    loss = loss_of(predicted, target, weight, "huber")
    loss.backward()
    assert loss.item() == pytest.approx(huber)
    assert predicted.grad is not None and (predicted.grad[1] == 0).all() and (predicted.grad[0] != 0).all()


@pytest.mark.parametrize("kind", ["huber", "l1"])
def test_the_loss_of_a_batch_is_that_of_the_process(
    store: ExampleStore, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """z = sqrt(gamma) z_0 + sqrt(1 - gamma) noise, and the less noise there is, the more an error counts."""
    monkeypatch.setattr("hsgeo.methods.fusion.training.bfloat16_pays", lambda device: False)  # compared to 1e-5
    settings = with_(loss=kind)
    one = Training(store, settings, tmp_path)
    torch.nn.init.normal_(one.network.out.weight, std=0.3)
    batch = list(Patches(store, settings, 0)[2])
    own, guide, clean, weight, item, gamma, noise, _ = batch
    clean[0, 0, :3] = torch.nan
    assert 0 < (gamma > 0).sum() < len(gamma)
    total = 0.0
    for m in range(len(own)):
        g = float(gamma[m])
        z0 = clean[m].nan_to_num()
        z = math.sqrt(g) * z0 + math.sqrt(1 - g) * noise[m] if g else torch.zeros_like(z0)
        with torch.no_grad():
            found = denoised(
                one.network, own[m : m + 1], z[None], gamma[m : m + 1], guide[item[m : m + 1]], torch.tensor([0])
            )
        size = (found[0] - clean[m]).nan_to_num().abs()
        each = size if kind == "l1" else torch.where(size < HUBER, size**2, 2 * HUBER * size - HUBER**2)
        hidden = max(1 - g, 1e-3) ** (0.5 if kind == "l1" else 1)  # a size, and the square of one
        total += float(weight[m] * each.mean()) / hidden / QUICK.batch
    loss = one._loss(batch)
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in one.network.parameters())


def test_it_learns_what_there_is_to_learn(store: ExampleStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "RISE", 10)
    settings = with_(steps=60, average=0.5, patches=(16,), checks=3)
    one = Training(store, settings, tmp_path)
    weights = one.run()
    losses = [e["loss"] for e in one.log[1:]]
    assert losses[-1] < 0.5 * losses[0]
    assert one.log[0]["validation_gain_db"] == 0 and one.log[-1]["validation_gain_db"] > 5
    gain = validated(weights.network, store, settings, torch.device("cpu"))
    assert gain == max(e["validation_gain_db"] for e in one.log)
    assert not weights.network.training and weights.settings == settings and weights.channels == (OWN + 1, GUIDE, 1)


def test_validation_is_the_gain_of_regression_on_the_strips(store: ExampleStore) -> None:
    class Half:
        """Says half of the first channel, whatever the noise."""

        def __call__(self, signal, gamma, guide, item):
            assert not signal[:, -1].any() and not gamma.any()
            return 0.5 * signal[:, :1]

    expected = []
    for number, strip in ((0, 10), (1, 11)):
        e = store.read(number)
        own, target = (v[..., -strip:, :].astype(float) for v in (e.own, e.target))
        left = (e.weight @ ((0.5 * own[:, :1] - target) ** 2).mean((1, 2, 3))) / (
            e.weight @ (target**2).mean((1, 2, 3))
        )
        expected.append(-10 * np.log10(left))
    assert validated(Half(), store, QUICK, torch.device("cpu")) == pytest.approx(np.mean(expected), rel=1e-4)


def test_held_back_rows_are_never_trained_on(tmp_path: Path) -> None:
    states = []
    for n, value in enumerate((0.0, np.nan, 6e4)):
        one = example()
        for array in (one.own, one.guide, one.target):
            array[..., 30:, :] = value
        (tmp_path / str(n)).mkdir()
        training_ = Training(store_of(tmp_path / str(n), one), QUICK, tmp_path / str(n))
        training_.run()
        states.append(training_.network)
    assert same(states[0], states[1]) and same(states[0], states[2])
    assert not any(p.isnan().any() for p in states[0].parameters())


def test_training_is_decided_by_the_seed(store: ExampleStore, tmp_path: Path) -> None:
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(nets))
        nets.append(Training(store, QUICK, tmp_path, seed=seed).run().network)
    assert same(nets[0], nets[1]) and not same(nets[0], nets[2])


def test_pace_changes_nothing(store: ExampleStore, tmp_path: Path) -> None:
    plain, timed = Training(store, QUICK, tmp_path), Training(store, QUICK, tmp_path)
    assert 0 < timed.pace() < 60
    assert same(plain.network, timed.network) and all(p.grad is None for p in timed.network.parameters())
    plain.run()
    timed.run()
    assert same(plain.network, timed.network) and timed.parameters == sum(p.numel() for p in plain.network.parameters())


class Watch:
    """Counts steps, looks at the training after each, and stops it after some."""

    def __init__(self, of: Training | None = None, at: int = 10**9) -> None:
        self.of, self.at, self.seen = of, at, []

    def advance(self) -> None:
        self.seen.append({k: v.clone() for k, v in self.of.network.state_dict().items()} if self.of else None)
        if len(self.seen) == self.at:
            raise KeyboardInterrupt


def test_taken_up_it_ends_where_an_uninterrupted_one_does(store: ExampleStore, tmp_path: Path) -> None:
    """To the bit, and so does its log: from the state of the last validation."""
    whole = Training(store, QUICK, tmp_path)
    result = whole.run()
    for at in (1, 5, 12):
        folder = tmp_path / str(at)
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            Training(store, QUICK, folder).run(progress=Watch(at=at))
        again = Training(store, QUICK, folder)
        assert again.take_up() == (at > 3)
        assert again.step == (at - 1) // 3 * 3
        watch, left = Watch(), 12 - again.step
        resumed = again.run(progress=watch)
        assert len(watch.seen) == left
        assert same(resumed.network, result.network) and same(again.network, whole.network)
        assert same(again.average, whole.average)
        mine, theirs = ([{k: v for k, v in e.items() if k != "seconds"} for e in t.log] for t in (again, whole))
        assert mine == theirs
        assert not list(folder.glob("*.part"))


def test_stopped_it_keeps_its_best(store: ExampleStore, tmp_path: Path) -> None:
    one = Training(store, QUICK, tmp_path)
    one.run(lambda: 0.0 if one.step == 5 else math.inf)
    assert one.step == 5 and [e["step"] for e in one.log] == [0, 3, 5]
    two = Training(store, QUICK, tmp_path)
    assert two.take_up() and two.step == 5
    three = Training(store, QUICK, tmp_path)
    three.run(lambda: 0.0 if three.step == 3 else math.inf)
    assert [e["step"] for e in three.log] == [0, 3]  # a validation is not made twice


def test_the_schedule_is_cut_to_the_time_that_is_left(store: ExampleStore, tmp_path: Path, monkeypatch) -> None:
    """A step takes a second, twice what was planned for: half the steps, and the rate still falls to its end."""
    one, rates = Training(store, with_(steps=60, checks=20), tmp_path), []
    monkeypatch.setattr(training.time, "perf_counter", lambda: 100.0 + one.step)
    learn = one._learn
    one._learn = lambda batch: (learn(batch), rates.append(one.optimiser.param_groups[0]["lr"] / (one.step + 1)))  # type: ignore
    one.run(lambda: 30.0 - one.step)
    assert one.step == 30 and one.settings.steps == one.weights.settings.steps == 30
    assert rates[-1] < 0.01 * rates[0]
    again = Training(store, with_(steps=60, checks=20), tmp_path)
    assert again.take_up() and again.settings.steps == 30
    # and made longer again where there is time for more, to as many as were asked for
    for left, steps in ((39.0, 40), (500.0, 60)):
        other = Training(store, with_(steps=60, checks=20), tmp_path)
        monkeypatch.setattr(training.time, "perf_counter", lambda of=other: 100.0 + of.step)
        other.plan(25)
        other.run(lambda of=other, left=left: left + 1 - of.step)
        assert other.step == steps


def test_a_shortened_one_is_taken_up_with_its_own_schedule(store: ExampleStore, tmp_path: Path) -> None:
    def shortened() -> Training:
        one = Training(store, QUICK, tmp_path)
        one.plan(6)
        return one

    with pytest.raises(KeyboardInterrupt):
        shortened().run(progress=Watch(at=5))
    again = Training(store, QUICK, tmp_path)
    assert again.take_up() and again.settings.steps == 6 and again.weights.settings.steps == 6
    assert same(again.run().network, shortened().run().network)


def test_it_ends_when_nothing_gets_better(store: ExampleStore, tmp_path: Path, monkeypatch) -> None:
    gains = iter([0.0, 1.0, 3.0, 2.0, 2.9, 2.5, 9.0])
    kept: list[Any] = []

    def measured(network, *_):
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(gains)

    monkeypatch.setattr(training, "validated", measured)
    settings = with_(steps=60, checks=20, patience=3)
    one = Training(store, settings, tmp_path)
    weights = one.run()
    assert one.step == 15 and len(one.log) == 6
    assert all(torch.equal(v, kept[2][k]) for k, v in weights.network.state_dict().items())
    again = Training(store, settings, tmp_path)
    assert again.take_up()
    again.run()  # it had ended
    assert again.step == 15 and same(again.result().network, weights.network)


def test_log_and_what_is_said(store: ExampleStore, tmp_path: Path) -> None:
    said: list[Any] = []
    one = Training(store, QUICK, tmp_path, said=said.append)
    one.run()
    log = json.loads((tmp_path / "log.json").read_text())["entries"]
    assert log == said == one.log
    assert [e["step"] for e in log] == [0, 3, 6, 9, 12] and log[0]["loss"] is None
    assert all(math.isfinite(e["loss"]) and math.isfinite(e["validation_gain_db"]) for e in log[1:])
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(log))


def test_rate_and_average(store: ExampleStore, tmp_path: Path) -> None:
    """The rate rises over 200 steps and falls as a cosine; the average forgets more slowly as it goes."""
    one = Training(store, with_(average=0.3), tmp_path)
    rates: list[float] = []
    learn = one._learn
    one._learn = lambda batch: (learn(batch), rates.append(one.optimiser.param_groups[0]["lr"]))  # type: ignore
    watch = Watch(one)
    mean = {k: v.clone() for k, v in one.average.state_dict().items()}
    one.run(progress=watch)
    for step, (rate, state) in enumerate(zip(rates, watch.seen, strict=True)):
        assert rate == pytest.approx(0.05 * (step + 1) / RISE * 0.5 * (1 + math.cos(math.pi * step / 12)))
        memory = min(0.3, (step + 1) / (step + 10))
        mean = {k: memory * v + (1 - memory) * state[k] for k, v in mean.items()}
    for name, value in one.average.state_dict().items():
        torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-6)
    assert not same(one.average, one.network)


def test_it_begins_from_a_model_and_leaves_that_alone(store: ExampleStore, tmp_path: Path) -> None:
    start = Weights.untrained(QUICK, (OWN + 1, GUIDE, 1), seed=9)
    before = {k: v.clone() for k, v in start.network.state_dict().items()}
    one = Training(store, QUICK, tmp_path, start=start)
    assert same(one.network, start.network)
    one.run()
    assert all(torch.equal(v, before[k]) for k, v in start.network.state_dict().items())
    assert not same(one.network, start.network)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_learns_as_it_does_here(store: ExampleStore, tmp_path: Path) -> None:
    """The same patches and first weights; sums differ by rounding to 16 bits."""
    here, there = (Training(store, QUICK, tmp_path, device=d) for d in ("cpu", "cuda"))
    mine, theirs = (one.run().network.state_dict() for one in (here, there))
    assert bfloat16_pays(torch.device("cuda")) == torch.cuda.is_bf16_supported()
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=0.1, atol=0.05 * float(value.abs().max()) + 1e-3)
    assert [e["step"] for e in here.log] == [e["step"] for e in there.log]


def test_it_learns_with_16_bits_too(store: ExampleStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "RISE", 10)
    settings, gains = with_(steps=60), []
    for pays in (False, True):
        monkeypatch.setattr(training, "bfloat16_pays", lambda device, pays=pays: pays)
        one = Training(store, settings, tmp_path)
        one.run()
        gains.append(max(e["validation_gain_db"] for e in one.log))
    assert gains[0] != gains[1] and gains[1] > 0.7 * gains[0] > 0


def test_16_bits_are_used_where_they_pay(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert bfloat16_pays(torch.device("cpu")) and not bfloat16_pays(torch.device("meta"))
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not bfloat16_pays(torch.device("cpu"))


def test_without_examples_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        Training(ExampleStore(tmp_path / "none.zarr"), QUICK, tmp_path)
