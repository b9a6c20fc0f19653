"""`hsgeo bench generation`: a scene's rows, by a hardly trained network, and what a tile costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.bench import generation, generation_cost
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
