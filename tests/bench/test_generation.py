"""`hsgeo bench generation`: a scene's rows, by a hardly trained network, and what a tile costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from hsgeo.bench import generation, generation_cost, generation_use
from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.errors import InputError
from tests.conftest import spectral_fields

SHORT = ["--set", "steps=2", "--set", "batch=2", "--set", "widths=[8,12]"]


def test_rows_of_a_scene(tmp_path, capfd, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    spectra = spectral_fields(56, 60, 12) * (1 + 0.05 * gaussian_filter(rng.standard_normal((12, 56, 60)), (2, 2, 2)))
    scene = on_grid(spectra + 2 * rng.standard_normal(spectra.shape), 30, np.linspace(450, 2200, 12))
    monkeypatch.setattr(generation, "scenes", lambda *_: iter([("made", scene)]))
    monkeypatch.setattr(generation, "TILES", 4)
    monkeypatch.setattr(generation, "SAMPLERS", {"hud, 2 steps": (2, 0.0)})
    command = ["bench", "generation", "--data", ".", "--quick", "--models", str(tmp_path), *SHORT]
    assert run([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    rows = {row["row"]: row for row in found["rows"]}
    assert (tmp_path / "made.safetensors").exists() and found["published"]["point_fidelity"] == 0.999
    assert rows["copies of real crops"]["point_fidelity"] == pytest.approx(1, abs=1e-5)
    assert rows["copies of real crops"]["memorised_most"] > 0.999
    fidelity = [rows[name]["point_fidelity"] for name in ("random abundances", "their mixtures E X", "with directions")]
    assert fidelity[0] < fidelity[1] < fidelity[2] < 1
    assert rows["hud, 2 steps"]["seconds"] > 0 and rows["hud, 2 steps"]["directions"] > 0
    for unlike in ("random abundances", "hud, 2 steps"):
        assert rows[unlike]["variogram_distance"] > 2 * rows["with directions"]["variogram_distance"]
    assert len({row["own_block_diversity"] for row in rows.values()}) == 1
    monkeypatch.setattr(generation, "fitted_hud", None)  # the model is there
    assert run(command) == 0
    assert "told apart" in capfd.readouterr().out


def test_without_scenes(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.delenv("HSGEO_DATA", raising=False)
    assert run(["bench", "generation"]) == 2 and "--data DIR" in capfd.readouterr().err
    with pytest.raises(InputError, match="berlin"):
        next(generation.bench_generation(tmp_path))


def test_operations_of_a_tile_are_those_of_its_convolutions() -> None:
    """Counted by hand for the finest scale alone: 2 H W k^2 c_in c_out each."""
    found = {steps: generation_cost.one(32, steps, "cpu") for steps in (1, 10)}
    assert found[10]["flops"] == pytest.approx(10 * found[1]["flops"])
    channels = generation_cost.ENDMEMBERS + generation_cost.DIRECTIONS
    finest = 2 * 32 * 32 * 9 * (2 * channels * 32 + 8 * 32 * 32)
    assert finest < found[1]["flops"] < 5 * finest
    assert found[1]["parameters"] > 1e6 and found[10]["seconds"] > 0


def test_coarse_classes_are_those_of_most_pixels() -> None:
    fine = np.zeros((4, 4), int)
    fine[:2, :2] = [[1, 1], [2, 1]]
    fine[:2, 2:] = [[1, 2], [3, 0]]
    fine[2:, 2:] = 2
    np.testing.assert_array_equal(generation_use.coarse_classes(fine, 2), [[1, 0], [0, 2]])


@pytest.mark.slow
def test_what_tiles_teach(tmp_path, capfd, monkeypatch) -> None:
    """Three materials in patches: what tiles teach holds on ground that nobody has seen, and no label of it is used."""
    rng = np.random.default_rng(0)
    labels = zoom(rng.integers(1, 4, (16, 16)), 5, order=0)
    kinds = rng.uniform(0.1, 0.9, (3, 15))
    spectra = kinds[labels - 1].transpose(2, 0, 1) + 0.05 * rng.standard_normal((15, 80, 80))
    held = generation_use.HoldOut.of(0.25, 16).map(on_grid(spectra, 1.0), 12)
    nonsense = np.where(held == 0, labels, rng.permutation(labels.ravel()).reshape(labels.shape))
    found = {}
    for name, known in (("right", labels), ("nonsense where held out", nonsense)):
        monkeypatch.setattr(generation_use, "houston", lambda folder, known=known: (spectra, known))
        for key, value in {"CELL": 16, "TILES": 6, "STEPS": 8, "REPEATS": 2, "LABELS": (10,)}.items():
            monkeypatch.setattr(generation_use, key, value)
        command = ["bench", "generation", "--use", "--data", ".", "--models", str(tmp_path), "--set", "crop=12"]
        command += ["--set", "steps=60", "--set", "widths=[16,24]", "--set", "endmembers=3"]
        assert run([*command, "--json"]) == 0
        found[name] = {row["row"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    right, wrong = found.values()
    assert all(row["accuracy"] > 0.8 for row in right.values())
    assert all(row["accuracy"] < 0.6 for row in wrong.values())
    assert {name: row["pixels"] for name, row in right.items()} == {name: row["pixels"] for name, row in wrong.items()}
    assert right["real"]["pixels"] == 30 and right["real and synthetic, as many"]["pixels"] == 60
    monkeypatch.undo()
    with pytest.raises(InputError, match="houston"):
        next(generation_use.bench_use(tmp_path))
