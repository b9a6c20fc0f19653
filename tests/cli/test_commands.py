"""The commands on small scenes, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

import hsgeo
from hsgeo.cli.app import run


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def succeed(arguments, capfd):
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 0, err
    return out, err


def test_help_and_version_are_fast(capfd):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "hsgeo", "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0
    for name in ("info", "fuse", "restore", "assess", "simulate", "convert", "demo", "bench"):
        assert f"\n  {name}" in done.stdout
    out, _ = succeed(["--version"], capfd)
    assert hsgeo.__version__ in out


def test_info_prints_the_keys_of_the_contract(pair, capfd):
    out, _ = succeed(["info", pair[0], "--json"], capfd)
    report = json.loads(out)
    keys = {"path", "driver", "crs", "transform", "shape", "dtype", "nodata", "scale", "sensor", "wavelengths", "fwhm"}
    assert keys | {"good", "bounds"} <= set(report)
    assert report["shape"] == [40, 14, 17] and report["crs"] == "EPSG:32633" and report["nodata"] == -9999
    assert report["bounds"] == [500000, 5800000 - 14 * 30, 500000 + 17 * 30, 5800000]
    assert len(report["wavelengths"]) == len(report["good"]) == 40 and all(report["good"])
    out, _ = succeed(["info", pair[0]], capfd)
    assert "40 bands" in out and "EPSG:32633" in out
    out, _ = succeed(["info"], capfd)
    assert "hyperion" in out and "sentinel-2a" in out and "my.yaml" in out


def test_dry_run_says_what_would_stop_the_run(pair, inside, capfd):
    Path("taken.tif").write_bytes(b"precious")
    _, err = succeed(["fuse", *pair, "-o", "taken.tif", "--dry-run"], capfd)
    assert "taken.tif exists" in err and "--overwrite" in err
    _, err = succeed(["fuse", *pair, "-o", "taken.tif", "--dry-run", "--overwrite"], capfd)
    assert "exists" not in err
    assert run(["fuse", *map(str, pair), "--dry-run", "--device", "tpu"]) == 2
    assert "tpu" in capfd.readouterr().err


def test_a_shift_that_was_not_found_has_no_figures(pair, inside, capfd):
    out, _ = succeed(["fuse", *pair, "--dry-run", "--no-register"], capfd)
    line = next(line for line in out.splitlines() if line.startswith("shift"))
    assert "switched off" in line and "+0.00" not in line


def test_convert_says_what_it_assumed(inside, capfd):
    profile = {"driver": "GTiff", "width": 5, "height": 4, "count": 242, "dtype": "int16", "crs": "EPSG:32633"}
    with rasterio.open("plain.tif", "w", transform=rasterio.transform.from_origin(5e5, 58e5, 30, 30), **profile) as d:
        d.write(np.ones((242, 4, 5), np.int16))
    _, err = succeed(["convert", "plain.tif", "-o", "out.tif"], capfd)
    assert "taken from hyperion" in err


def test_notes_are_printed_once(pair, inside, capfd):
    for verbose in ([], ["-v"]):
        _, err = succeed(["fuse", *pair, "--dry-run", *verbose], capfd)
        assert err.count("shift of") == 1


def test_fuse_writes_the_expected_raster_and_report(pair, inside, capfd):
    out, _ = succeed(["fuse", *pair, "--uncertainty", "std.tif", "--flags", "flags.tif", "--json"], capfd)
    report = json.loads(out)
    assert report["output"] == "hsi_fused.tif" and report["grid"]["ratio"] == 3
    assert report["bands"]["kept"] == list(range(1, 41)) and report["bands"]["dropped"] == {}
    assert report["pixels"] == {"both": 42 * 51, "hsi_only": 0, "msi_only": 0, "neither": 0}
    assert {"dy", "dx", "applied"} <= set(report["shift"])
    assert {s["stage"] for s in report["stages"]} >= {"open", "align", "fit", "apply", "write"}
    for name, value in report["consistency"].items():
        assert 0.3 < value < 1.5, name
    with rasterio.open("hsi_fused.tif") as fused, rasterio.open(pair[0]) as hsi:
        assert (fused.count, fused.height, fused.width) == (40, 42, 51) and fused.dtypes[0] == "int16"
        assert fused.crs == hsi.crs and fused.bounds == hsi.bounds and fused.nodata == -9999
        assert fused.tags(7)["wavelength"] and json.loads(fused.tags()["HSGEO_PROVENANCE"])["inputs"]
        down = fused.read().reshape(40, 14, 3, 17, 3).mean((2, 4))
        assert np.sqrt(np.mean((down - hsi.read()) ** 2)) < 120
    with rasterio.open("std.tif") as deviation, rasterio.open("flags.tif") as flags:
        assert deviation.count == 40 and 0 < np.median(deviation.read()) < 300
        assert flags.count == 1 and not flags.read().any()
    assert sorted(p.name for p in inside.iterdir()) == ["flags.tif", "hsi_fused.tif", "std.tif"]


def test_fuse_dry_run_writes_nothing(pair, inside, capfd):
    out, _ = succeed(["fuse", *pair, "--dry-run", "--json"], capfd)
    plan = json.loads(out)
    assert plan["output_bytes"] == 40 * 42 * 51 * 2 and plan["tiles"] >= 1
    out, _ = succeed(["fuse", *pair, "--dry-run"], capfd)
    assert "not written" in out and not list(inside.iterdir())


@pytest.mark.parametrize("method", ["gsa", "bicubic"])
@pytest.mark.parametrize("output", ["o.img", "o.zarr", "o.tif"])
def test_methods_and_formats(pair, inside, capfd, method, output):
    succeed(["fuse", *pair, "-o", output, "--method", method, "-q", *(["--cog"] if output == "o.tif" else [])], capfd)
    scene = hsgeo.open_scene(output)
    assert scene.shape == (40, 42, 51) and scene.attrs["dtype"] == "int16"
    assert np.allclose(scene["wavelength"].values, np.linspace(430, 2400, 40), atol=0.01)


def test_tiles_do_not_show(pair, inside, capfd):
    for tile in ("12", "30", "512"):
        succeed(["fuse", *pair, "-o", f"t{tile}.tif", "--tile", tile, "--dtype", "float32", "-q"], capfd)
    whole = hsgeo.open_scene("t512.tif").values
    for tile in ("12", "30"):
        assert np.abs(hsgeo.open_scene(f"t{tile}.tif").values - whole).max() < 1e-4 * np.ptp(whole)


def test_assess_against_inputs_and_reference(pair, inside, capfd):
    succeed(["fuse", *pair, "-q"], capfd)
    command = ["assess", "hsi_fused.tif", "--hsi", pair[0], "--msi", pair[1], "--report", "r.html", "--json"]
    report = json.loads(succeed([*command, "--reference", "hsi_fused.tif"], capfd)[0])
    assert set(report["consistency"]) == {"hsi_sam", "hsi_rmse", "msi_rmse"}
    assert report["consistency"]["hsi_sam"] < 1 and report["sam"] == pytest.approx(0, abs=1e-3) and report["rmse"] == 0
    assert 0 <= report["d_lambda"] < 0.1 and 0 < report["qnr"] <= 1 and report["ergas"] == 0
    assert "<svg" in Path("r.html").read_text()
    out, _ = succeed(["assess", "hsi_fused.tif", "--hsi", pair[0], "--msi", pair[1]], capfd)
    assert "QNR" in out and "RMSE to the HSI" in out


def test_simulate_then_fuse_then_assess(pair, inside, capfd):
    succeed(["fuse", *pair, "-q"], capfd)
    report = json.loads(succeed(["simulate", "hsi_fused.tif", "-o", "sim", "--ratio", "3", "--json"], capfd)[0])
    assert report["reference"]["shape"] == [40, 42, 51] and report["hsi"]["shape"] == [40, 14, 17]
    succeed(["fuse", "sim/hsi.tif", "sim/msi.tif", "-o", "again.tif", "-q"], capfd)
    quality = json.loads(succeed(["assess", "again.tif", "--reference", "sim/reference.tif", "--json"], capfd)[0])
    assert quality["psnr"] > 30 and quality["sam"] < 3 and quality["ergas"] > 0


def test_convert_there_and_back(pair, inside, capfd):
    succeed(["convert", pair[0], "-o", "a.img", "-q"], capfd)
    succeed(["convert", "a.img", "-o", "b.zarr", "-q"], capfd)
    succeed(["convert", "b.zarr", "-o", "c.tif", "--bands", "3-6", "-q"], capfd)
    with rasterio.open(pair[0]) as first, rasterio.open("c.tif") as last:
        assert np.array_equal(first.read([3, 4, 5, 6]), last.read()) and last.nodata == -9999
        assert float(last.tags(1)["wavelength"]) == pytest.approx(float(first.tags(3)["wavelength"]))


def test_config_and_set(pair, inside, capfd):
    Path("p.yaml").write_text("dimension: 3\n")
    small = json.loads(succeed(["fuse", *pair, "-o", "a.tif", "--config", "p.yaml", "--json"], capfd)[0])
    large = json.loads(
        succeed(["fuse", *pair, "-o", "b.tif", "--config", "p.yaml", "--set", "dimension=5", "--json"], capfd)[0]
    )
    assert (small["dimension"], large["dimension"]) == (3, 5)


def test_mask_makes_pixels_fall_back_on_the_hsi(pair, inside, capfd):
    from tests.conftest import write_raster

    cloud = np.zeros((1, 42, 51), np.uint8)
    cloud[0, 12:20, 20:31] = 1
    write_raster(Path("cloud.tif"), cloud, 10)
    report = json.loads(
        succeed(["fuse", *pair, "--msi-mask", "cloud.tif", "--flags", "f.tif", "--json", "--no-register"], capfd)[0]
    )
    with rasterio.open("f.tif") as flags, rasterio.open("hsi_fused.tif") as fused:
        assert np.array_equal(flags.read(1) == 1, cloud[0] == 1)
        assert (fused.read()[:, 12:20, 20:31] != -9999).all()
    assert report["pixels"]["hsi_only"] == 88


def test_python_interface_is_lazy_and_agrees_with_the_command(pair, inside, capfd):
    fused = hsgeo.fuse(hsgeo.open_scene(pair[0]), hsgeo.open_scene(pair[1]))
    assert fused.chunks is not None and fused.shape == (40, 42, 51)
    succeed(["fuse", *pair, "--dtype", "float32", "-q"], capfd)
    written = hsgeo.open_scene("hsi_fused.tif").values
    assert np.abs(fused.values - written).max() < 1e-4 * np.ptp(written)
    hsgeo.write_scene(fused, "lazy.tif")
    with rasterio.open("lazy.tif") as source:
        assert source.count == 40


def test_demo_makes_everything_it_promises(inside, capfd):
    out, _ = succeed(["demo", "-o", "d", "--size", "24"], capfd)
    names = {p.name for p in Path("d").iterdir()}
    assert names == {
        "hyperion_like.tif", "sentinel2_like.tif", "truth.tif", "hyperion_like_fused.tif", "report.html",
        "before_30m.png", "after_10m.png", "truth_10m.png", "error.png",
    }  # fmt: skip
    assert "interpolation" in out
    assert run(["demo", "-o", "d", "--size", "24"]) == 2


def test_a_type_too_small_is_said(pair, inside, capfd):
    report = json.loads(succeed(["fuse", *pair, "--dtype", "uint8", "--no-register", "--json"], capfd)[0])
    assert report["saturated"] > 0.9 * 40 * 42 * 51
    assert any("do not fit uint8" in note for note in report["notes"])


@pytest.mark.parametrize("bands", ["1-3", "1-8"])
def test_an_hsi_of_few_bands(pair, inside, capfd, bands):
    report = json.loads(succeed(["fuse", *pair, "--bands", bands, "--json"], capfd)[0])
    with rasterio.open("hsi_fused.tif") as fused:
        assert fused.count == len(report["bands"]["kept"]) == int(bands[2:])
