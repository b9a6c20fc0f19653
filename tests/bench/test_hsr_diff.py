"""The benches of hsr-diff: on scenes made here, with networks that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsgeo.bench import ablation as ablation_module
from hsgeo.bench import cost
from hsgeo.bench import robustness as robustness_module
from hsgeo.bench.ablation import TEST, TRAIN, ablation
from hsgeo.bench.coverage import covered
from hsgeo.bench.protocols import degraded
from hsgeo.bench.robustness import faults, robustness
from hsgeo.errors import InputError
from hsgeo.methods.fusion.coordinates import GUIDE, OWN
from hsgeo.methods.fusion.sampling import sample
from hsgeo.methods.fusion.settings import NetworkParams, TrainingParams
from hsgeo.methods.fusion.weights import Weights, load_weights
from hsgeo.scene.window import Window
from hsgeo.tasks.training import settings_of


def scene(name: str, seed: int):
    rng = np.random.default_rng(seed)
    nm = np.linspace(400, 2400, 24)
    spectra = np.stack([0.3 + 0.2 * np.sin(nm / 150 * (i + 1)) for i in range(4)])
    shares = rng.dirichlet(np.ones(4), (8, 8)).repeat(4, 0).repeat(4, 1)
    return degraded(name, np.tensordot(spectra.T, shares, (1, 2)), nm)


@pytest.fixture
def made(monkeypatch):
    every = [scene(name, i) for i, name in enumerate((*TRAIN, *TEST))]

    def found(root, only=None, quick=False):
        return (case for case in every if only is None or only in case.name)

    for module in (ablation_module, robustness_module):
        monkeypatch.setattr(module, "cases", found)
    return every


@pytest.fixture
def silent(tmp_path):
    """A network that says 0."""
    weights = Weights.untrained(TrainingParams(network=NetworkParams(width=4)), (OWN + 1, GUIDE, 1))
    weights.save(tmp_path / "silent.safetensors")
    return str(tmp_path / "silent.safetensors")


def test_a_network_that_says_nothing_gains_nothing(made, silent):
    rows = {row["row"]: row for row in ablation("scenes", model=silent, only="all of")}
    assert set(rows) == {"default", "all of the prediction believed"}
    for row in rows.values():
        assert set(row["scenes"]) == set(TEST)
        assert row["gain"] == pytest.approx(0, abs=0.02) and row["worst"] <= row["gain"]


def test_ablation_trains_on_some_scenes_and_tests_on_others(made, silent, monkeypatch):
    trained_on = []

    def trained(scenes, output, steps, changes, said=None):
        trained_on.append(([case.name for case in scenes], changes))
        Weights.load(silent).save(output)
        return 1.0

    monkeypatch.setattr(ablation_module, "trained", trained)
    list(ablation("scenes", only="regression"))
    assert [changes for _, changes in trained_on] == [{}, {"seen_noise": 0.0}]
    assert all(names == list(TRAIN) for names, _ in trained_on) and not set(TRAIN) & set(TEST)


def test_scenes_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match="abu-airport-1"):
        list(ablation(tmp_path))
    with pytest.raises(InputError, match="jasper"):
        list(robustness(tmp_path))


def test_each_fault_is_what_it_is_called(made):
    case = made[0]
    table = faults(case)
    assert table["PSF 20 % too narrow"].psf.fwhm_y == pytest.approx(0.8 * case.psf.fwhm_y)
    assert table["PSF 20 % too wide"].psf.fwhm_x == pytest.approx(1.2 * case.psf.fwhm_x)
    nm = case.reference["wavelength"].values
    centre = [np.average(nm, weights=t.response[3]) for t in (case, table["SRF shifted by 5 nm"])]
    assert centre[1] - centre[0] == pytest.approx(5, abs=0.5)
    noisy = table["SNR 25 dB"].msi.values - np.tensordot(case.response, case.reference.values, 1)
    signal = np.tensordot(case.response, case.reference.values, 1)
    assert 10 * np.log10((signal**2).mean() / noisy.var()) == pytest.approx(25, abs=0.3)
    y, x = np.mgrid[:32, :32].astype(float)
    ramp = case.msi.copy(data=np.broadcast_to(y + 2 * x, case.msi.shape).astype(np.float32))
    moved = robustness_module._moved(ramp, 0.5).values[:, 8:-8, 8:-8]
    assert moved == pytest.approx(ramp.values[:, 8:-8, 8:-8] - 1.5, abs=1e-3)


def test_robustness_counts_from_nothing_wrong(made):
    rows = list(robustness("scenes", ("bicubic", "subspace")))
    table = {(row["fault"], row["method"]): row for row in rows}
    assert len(table) == 12
    assert table["nothing wrong", "subspace"]["loss"] == 0
    assert table["SNR 25 dB", "subspace"]["loss"] > 1
    assert table["MSI 0.5 fine pixel off", "bicubic"]["loss"] == pytest.approx(0, abs=1e-6)  # does not look at the MSI


@pytest.mark.parametrize(("name", "steps"), [("hsr-diff", 1), ("hsr-diff", 7)])
def test_cost_is_that_of_all_steps(name: str, steps: int, monkeypatch) -> None:
    """Where only some are run, each further one takes what the last of them took."""
    taken: list[int] = []
    monkeypatch.setattr(cost, "SIDE", 16)
    monkeypatch.setattr("hsgeo.methods.fusion.sampling.sample", lambda *given: taken.append(given[5]))
    clock = iter(np.cumsum([0, 0, 0, 3.0, 5.0, 1.2, 0, 0]))  # five steps take 3 s, two take 1.2 s
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    row = cost.one(name, steps, "cpu")
    area = (16 if steps == 1 else 48) ** 2 / 1e6
    assert taken == ([1, 1] if steps == 1 else [2, 5, 2])
    assert row["seconds_per_megapixel"] * area == pytest.approx(3.0 if steps == 1 else 3.0 + 2 * (3.0 - 1.2) / 3)
    assert row["parameters"] == sum(p.numel() for p in load_weights().network.parameters())


def test_the_papers_network_is_measured_too() -> None:
    """Its signal is the image, of which nothing else is known."""
    small = {"network": {"kind": "cdformer", "width": 4, "depth": 1, "heads": 1}, "process": {"steps": 2}}
    weights = Weights.untrained(settings_of({"space": "pixels", **small}), (6, 8, 6))
    core = Window(16, 48, 16, 48)
    z = sample(weights, torch.zeros(1, 0, 64, 64), torch.randn(8, 64, 64), Window(0, 64, 0, 64), core, 2, 0)
    assert z.shape == (1, 6, 32, 32) and z.isfinite().all()


def test_coverage_counts_the_truth_inside(made):
    found = covered(made[0], "subspace")
    assert 0.5 < found["inside"] <= 1.0
    assert 0.2 < found["ratio"] < 3
    # noise that only the truth has is told apart from what the interval is for
    case = made[0]
    noise = 0.05 * np.random.default_rng(0).standard_normal(case.reference.shape)
    noisy = covered(replace(case, reference=case.reference + noise), "subspace")
    assert noisy["inside"] < found["inside"] - 0.3 and noisy["noisy_inside"] == pytest.approx(0.9, abs=0.06)
    assert noisy["noisy_ratio"] == pytest.approx(1, abs=0.25) and noisy["ratio"] > 2
