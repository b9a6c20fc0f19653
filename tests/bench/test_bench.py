"""The benchmarks run, and measure what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from hsgeo.bench.engine import bench_engine, measured
from hsgeo.bench.fusion import bench_fusion, measure, reference_runs
from hsgeo.bench.protocols import aviris_nm, degraded, gaussian_rows
from hsgeo.cli.bench import group
from hsgeo.errors import HsgeoError, InputError
from tests.conftest import spectral_fields


def test_engine_bench_compares_a_fusion_with_both_copies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = bench_engine(60, 72, 8, 3)
    assert report["output"]["bytes"] == 60 * 72 * 8 * 2
    for name in ("copy", "copy_with_overviews"):
        part = report[name]
        assert part["ratio"] == pytest.approx(report["fuse"]["seconds"] / part["seconds"]) and part["peak_bytes"] > 1e7
    assert {s["stage"] for s in report["fuse"]["stages"]} >= {"fit", "apply", "write"}
    assert not list(tmp_path.iterdir())


def test_a_command_that_fails_is_told():
    with pytest.raises(HsgeoError, match="no such file"):
        measured(["python3", "-c", "import sys; sys.exit('no such file')"])


def test_protocol_pair_has_the_noise_it_promises():
    z = spectral_fields(32, 32, 20) / 10000
    nm = np.linspace(450, 900, 20)
    case = degraded("x", z, nm)
    rows, centres, _ = gaussian_rows(nm)
    assert case.hsi.shape == (20, 8, 8) and case.msi.shape == (len(centres), 32, 32)
    noise = case.msi.values - np.tensordot(rows, z, 1)
    assert 10 * np.log10((case.msi.values**2).mean() / noise.var()) == pytest.approx(40, abs=0.3)
    assert len(aviris_nm(191)) == 191 and np.all(np.diff(aviris_nm(191)) > 0)
    fused = measure(case, "subspace", known=True)
    assert fused["psnr"] > measure(case, "bicubic", known=False)["psnr"] + 3


def real_pair(dy, dx):
    """A pair of which nothing is known, whose MSI lies (dy, dx) fine pixels off."""
    z = spectral_fields(104, 104, 12) / 10000
    case = degraded("paris", z[:, 4:-4, 4:-4], np.linspace(450, 900, 12))
    moved = degraded("moved", z[:, 4 - dy : 100 - dy, 4 - dx : 100 - dx], np.linspace(450, 900, 12))
    return replace(case, msi=moved.msi, response=None, psf=None)


def test_a_real_pair_is_run_with_and_without_registration(monkeypatch, tmp_path):
    monkeypatch.setattr("hsgeo.bench.fusion.cases", lambda *_: [real_pair(2, -1)])
    rows = list(bench_fusion(tmp_path, methods=["bicubic", "gsa"]))
    assert [row["method"] for row in rows[:3]] == ["bicubic", "gsa", "gsa"]
    with_shift, without = rows[1:3]
    assert with_shift["shift"]["applied"] and without["shift"] is None
    assert (with_shift["shift"]["dy"], with_shift["shift"]["dx"]) == pytest.approx((2, -1), abs=0.2)
    assert with_shift["psnr"] > without["psnr"] + 0.5
    assert {row["known"] for row in rows[3:]} == {"reference run"}


def test_the_table_says_what_its_rows_are(monkeypatch):
    shift = {"dy": 2.0, "dx": -1.0, "applied": False}
    row = {"scene": "paris", "known": "nothing", "psnr": 35.0, "sam": 2.5, "ergas": 3.0, "ssim": 0.9, "seconds": 1.0}
    rows = [
        {**row, "method": "gsa", "shift": shift},
        {**row, "method": "gsa", "shift": None},
        {"scene": "paris", "method": "CNMF", "known": "reference run", "psnr": 34.82, "sam": 2.67},
    ]
    monkeypatch.setattr("hsgeo.bench.fusion.bench_fusion", lambda *_, **__: iter(rows))
    text = CliRunner().invoke(group, ["fusion", "--data", "x"]).output
    assert "(+2.00, -1.00)" in text and "published" not in text
    assert [line.split()[2:4] for line in text.splitlines()[2:4]] == [["nothing", "off"], ["reference", "run"]]
    assert "as it lies" in text.splitlines()[-1]
    assert json.loads(CliRunner().invoke(group, ["fusion", "--data", "x", "--json"]).stdout)["rows"] == rows


def test_reference_runs_and_missing_data(tmp_path):
    for rows in reference_runs().values():
        assert all(20 < psnr < 60 and 0 < sam < 10 for psnr, sam in rows.values())
    with pytest.raises(InputError, match="--data"):
        list(bench_fusion(tmp_path))
