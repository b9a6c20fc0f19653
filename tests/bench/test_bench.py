"""The benchmarks run, and measure what they say."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.bench.engine import bench_engine, measured
from hsgeo.bench.fusion import bench_fusion, measure, published
from hsgeo.bench.protocols import aviris_nm, degraded, gaussian_rows
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


def test_published_figures_and_missing_data(tmp_path):
    for rows in published().values():
        assert all(20 < psnr < 60 and 0 < sam < 10 for psnr, sam in rows.values())
    with pytest.raises(InputError, match="--data"):
        list(bench_fusion(tmp_path))
