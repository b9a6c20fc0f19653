"""The bench of restorations: its protocol, and the figures that it must reach on real scenes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import zoom

from hsgeo.bench import protocols, self_supervised
from hsgeo.bench.finer import bench_finer, coarser, cropped
from hsgeo.bench.protocols import on_grid
from hsgeo.bench.restoration import CASES, bench_restoration, measure, reference_runs
from hsgeo.cli.app import run
from hsgeo.errors import InputError
from hsgeo.methods.restoration import dds2m
from tests.methods.restoration.test_subspace import noisy, truth


def test_figures_are_those_against_the_reference() -> None:
    z = truth()
    y = noisy(z, 0.1)
    found = measure(on_grid(z, 30), y, "subspace")
    import hsgeo

    x = hsgeo.restore(on_grid(y, 30)).values.astype(float)
    mse = ((x - z) ** 2).mean((1, 2))
    assert found["psnr"] == pytest.approx(10 * np.log10(z.max() ** 2 / mse).mean(), abs=0.01)
    angle = (x * z).sum(0) / np.sqrt((x**2).sum(0) * (z**2).sum(0))
    assert found["sam"] == pytest.approx(np.degrees(np.arccos(angle)).mean(), rel=0.01)
    assert 0 < found["noise_error"] < 0.1 and found["seconds"] > 0


def test_the_degradations_are_the_protocol_s() -> None:
    z = np.full((40, 50, 50), 0.5)
    for name, sigma in (("white 0.1", 0.1), ("white 0.2", 0.2)):
        added = CASES[name][0](z, np.random.default_rng(0)) - z
        np.testing.assert_allclose(added.std((1, 2)), sigma, rtol=0.08)
    rng = np.random.default_rng(0)
    mixed = CASES["mixed"][0](z, rng)
    dead = (mixed == 0).all(1)
    np.testing.assert_array_equal(dead.sum(1), 1)
    shift = np.abs(mixed.mean(1) - 0.5)[~dead]
    assert 0.03 < (shift > 0.05).mean() < 0.1  # 15 % of the columns of a third of the bands, most above the noise
    spread = np.sort(np.where(dead[:, None], np.nan, mixed - np.nanmedian(mixed, 1, keepdims=True))[:].std(1), 1)[:, 10]
    assert 0.01 < spread.min() < 0.03 and 0.09 < spread.max() < 0.13
    assert np.isnan(CASES["80 % missing"][0](z, rng)).mean() == pytest.approx(0.8, abs=0.01)
    assert set(reference_runs()) <= set(CASES)


def test_one_row_for_each(monkeypatch, capfd) -> None:
    case = type("C", (), {"name": "jasper", "reference": on_grid(truth(), 30), "response": 1})
    monkeypatch.setattr(protocols, "cases", lambda root, scene, quick: iter([case]))
    rows = list(bench_restoration("."))
    assert [r["case"] for r in rows if r["method"] == "subspace"] == [*CASES, "superres 2"]
    assert {"FastHyDe (reference run)", "prototype (reference run)"} <= {r["method"] for r in rows}
    assert run(["bench", "restoration", "--data", ".", "--json"]) == 0
    again = json.loads(capfd.readouterr().out)["rows"]
    assert [r["psnr"] for r in again] == [r["psnr"] for r in rows]
    assert run(["bench", "restoration", "--data", "."]) == 0
    assert "white 0.2" in capfd.readouterr().out


def test_a_folder_without_scenes(tmp_path) -> None:
    with pytest.raises(InputError, match="--data"):
        list(bench_restoration(tmp_path))


def test_above_every_reference_run(real_data) -> None:
    """All cases on Jasper Ridge, nothing given."""
    rows = list(bench_restoration(real_data, scene="jasper"))
    for case, more in {"white 0.1": 0.5, "white 0.2": 0.5, "mixed": 1.5, "80 % missing": 0.0}.items():
        own = next(r for r in rows if r["case"] == case and r["method"] == "subspace")
        others = [r for r in rows if r["case"] == case and r is not own]
        assert len(others) >= 3
        assert own["psnr"] > max(r["psnr"] for r in others) + more
        assert own["sam"] < min(r["sam"] for r in others) + (0.03 if case == "80 % missing" else 0)
        assert own.get("noise_error", 0) < 0.1


def test_the_case_of_a_finer_grid_is_its_protocol_s() -> None:
    """The spline's figures by hand, and the method's own above them; noise of a hundredth of the scene's amplitude."""
    z = truth((57, 61))
    rows = list(bench_finer(on_grid(z, 30), ["subspace"]))
    assert [r["method"] for r in rows] == ["subspace", "cubic spline"] and {r["case"] for r in rows} == {"superres 2"}
    even = cropped(z)
    assert even.shape[1:] == (56, 60)
    y, sigma = coarser(even, np.random.default_rng(0))
    assert sigma == pytest.approx(0.01 * np.sqrt((y**2).mean()), rel=0.01)
    up = zoom(y, (1, 2, 2), order=3, mode="reflect", grid_mode=True)
    mse = ((up - even) ** 2).mean((1, 2))
    assert rows[1]["psnr"] == pytest.approx(10 * np.log10(even.max() ** 2 / mse).mean(), abs=0.02)
    assert rows[0]["psnr"] > rows[1]["psnr"] + 1


def test_self_supervised_rows_tell_the_regret_and_choose_without_the_truth(monkeypatch, capfd) -> None:
    case = type("C", (), {"name": "jasper", "reference": on_grid(truth((40, 44)), 30), "response": 1})
    monkeypatch.setattr(protocols, "cases", lambda root, scene, quick: iter([case]))
    quick = {name: replace(settings, steps=4) for name, settings in dds2m.OURS.items()}
    monkeypatch.setattr(dds2m, "OURS", quick)
    monkeypatch.setattr(dds2m, "PAPER", {"denoise": replace(quick["denoise"], steps=3)})
    assert run(["bench", "restoration", "--self-supervised", "--paper", "--side", "24", "--data", ".", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [r["case"] for r in rows if r["method"] == "dds2m"] == [*self_supervised.CASES]
    assert [r["iterates"]["last"]["step"] for r in rows if "paper" in r["method"]] == [3]
    for r in rows:
        if "iterates" in r:
            each = {name: found["psnr"] for name, found in r["iterates"].items()}
            assert each["best"] >= max(each["chosen"], each["last"])
        assert np.isfinite(r["psnr"]) and r["seconds"] > 0
    hole = [r for r in rows if r["case"] == "hole"]
    whole = [r["iterates"]["chosen"]["psnr"] for r in hole if "iterates" in r]
    assert whole and all(r["psnr"] < 45 for r in hole)  # of the hole alone, where nothing is kept


def test_few_bands_and_holes_are_what_they_say() -> None:
    z = np.arange(10.0)[:, None, None] + np.zeros((10, 40, 40))
    np.testing.assert_array_equal(self_supervised.few(z)[:, 0, 0], [0, 3, 6, 9])
    gone = np.isnan(self_supervised.holed(z, np.random.default_rng(0)))
    assert gone.all(0).sum() == 100 and gone.any(0).sum() == 100
