"""Whatever is wrong with the input: one clear sentence, exit code 2, nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from hsgeo.cli.app import run
from tests.conftest import MSI_NM, NM, spectral_fields, write_raster


def cube(bands=40, height=14, width=17):
    return np.rint(spectral_fields(height, width, bands)).astype(np.int16)


def refused(arguments, capfd, *words):
    """Run, expect exit code 2 and one short message that holds all the words; return it."""
    code = run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert code == 2, err
    assert out == "" and "Traceback" not in err
    message = [line for line in err.splitlines() if line.startswith("hsgeo: error: ")]
    assert len(message) == 1, err
    assert len(message[0]) < 420
    for word in words:
        assert word.lower() in message[0].lower(), message[0]
    return message[0]


@pytest.fixture
def inside(tmp_path, monkeypatch, pair):
    """A working folder with copies of the pair; nothing else may be in it afterwards."""
    for path in pair:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {p.name for p in tmp_path.iterdir()}
    yield tmp_path
    made = {p.name for p in tmp_path.iterdir()} - before
    assert not {name for name in made if "fused" in name or name.startswith(".")}, made


def test_missing_file(inside, capfd):
    refused(["fuse", "hsy.tif", "msi.tif"], capfd, "hsy.tif", "hsi.tif")


def test_truncated_tiff(inside, capfd):
    whole = Path("hsi.tif").read_bytes()
    Path("cut.tif").write_bytes(whole[: len(whole) // 2])
    refused(["fuse", "cut.tif", "msi.tif"], capfd, "cut.tif")


def test_text_and_empty_files(inside, capfd):
    Path("notes.tif").write_text("not a raster\n")
    refused(["fuse", "notes.tif", "msi.tif"], capfd, "notes.tif")
    Path("empty.tif").write_bytes(b"")
    refused(["fuse", "hsi.tif", "empty.tif"], capfd, "empty.tif")


def test_no_crs(inside, capfd):
    write_raster(Path("plain.tif"), cube(), 30, wavelengths=NM, crs=None)
    refused(["fuse", "plain.tif", "msi.tif"], capfd, "plain.tif", "CRS", "a_srs")


def test_no_overlap(inside, capfd):
    write_raster(Path("far.tif"), cube(6, 42, 51).astype(np.uint16), 10, wavelengths=MSI_NM, left=700000.0)
    refused(["fuse", "hsi.tif", "far.tif"], capfd, "hsi.tif", "far.tif", "overlap")


def test_swapped_arguments(inside, capfd):
    refused(["fuse", "msi.tif", "hsi.tif"], capfd, "msi.tif", "hsi.tif")


def test_msi_coarser_than_hsi(inside, capfd):
    write_raster(Path("coarse.tif"), cube(6, 7, 8).astype(np.uint16), 60, wavelengths=MSI_NM)
    refused(["fuse", "hsi.tif", "coarse.tif"], capfd, "coarse.tif")


def test_one_band_hsi(inside, capfd):
    write_raster(Path("one.tif"), cube(1), 30, wavelengths=[500])
    refused(["fuse", "one.tif", "msi.tif"], capfd, "one.tif", "band")


def test_all_nodata(inside, capfd):
    write_raster(Path("void.tif"), np.full((40, 14, 17), -9999, np.int16), 30, wavelengths=NM, nodata=-9999)
    refused(["fuse", "void.tif", "msi.tif"], capfd, "void.tif")
    write_raster(Path("dark.tif"), np.zeros((6, 42, 51), np.uint16), 10, wavelengths=MSI_NM, nodata=0)
    refused(["fuse", "hsi.tif", "dark.tif"], capfd, "dark.tif")


def test_all_nan_and_inf(inside, capfd):
    data = np.full((40, 14, 17), np.nan, np.float32)
    data[:, ::2] = np.inf
    write_raster(Path("nan.tif"), data, 30, wavelengths=NM)
    refused(["fuse", "nan.tif", "msi.tif"], capfd, "nan.tif")


def test_wavelengths_that_do_not_meet(inside, capfd):
    write_raster(Path("thermal.tif"), cube(), 30, wavelengths=np.linspace(8000, 12000, 40))
    refused(["fuse", "thermal.tif", "msi.tif"], capfd, "thermal.tif", "nm")


def test_rotated_geotransform(inside, capfd):
    turned = Affine.translation(500000, 5800000) * Affine.rotation(20) * Affine.scale(30, -30)
    write_raster(Path("turned.tif"), cube(), 30, wavelengths=NM, transform=turned)
    refused(["fuse", "turned.tif", "msi.tif"], capfd, "turned.tif", "gdalwarp")


def test_missing_folder_and_folder_that_is_a_file(inside, capfd):
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "nowhere/out.tif"], capfd, "nowhere")
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "msi.tif/out.tif"], capfd, "msi.tif")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(inside, capfd):
    Path("locked").mkdir(mode=0o500)
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "locked/out.tif"], capfd, "locked")


def test_unwritable_folder_as_another_user(inside):
    """Root writes everywhere, so a process without that right tries."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    Path("locked").mkdir(mode=0o555)
    code = (
        "import os, hsgeo.tasks.options as o\n"
        "from hsgeo.errors import OutputWriteError\n"
        "import hsgeo.scene.write\n"
        "os.setuid(65534)\n"
        "try: o.check_target('locked/out.tif', o.WriteOptions())\n"
        "except OutputWriteError as e: print(e)\n"
    )
    for folder in [Path.cwd(), *Path.cwd().parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "locked" in done.stdout, done.stderr


def test_existing_output_stays(inside, capfd):
    Path("taken.tif").write_bytes(b"precious")
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "taken.tif"], capfd, "taken.tif", "--overwrite")
    assert Path("taken.tif").read_bytes() == b"precious"


def test_an_output_never_replaces_an_input(inside, capfd):
    run(["convert", "hsi.tif", "-o", "cube.bsq", "-q"])
    before = {p.name: p.read_bytes() for p in inside.iterdir()}
    for output in ("hsi.tif", "./msi.tif"):
        refused(["fuse", "hsi.tif", "msi.tif", "-o", output, "--overwrite"], capfd, output.strip("./"), "input")
        refused(["fuse", "hsi.tif", "msi.tif", "-o", output, "--overwrite", "--dry-run"], capfd, "input")
    refused(["fuse", "cube.hdr", "msi.tif", "-o", "cube.bsq", "--overwrite"], capfd, "cube", "input")
    refused(["fuse", "cube.bsq", "msi.tif", "-o", "cube.img", "--overwrite"], capfd, "cube", "input")
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "x.tif", "--flags", "msi.tif", "--overwrite"], capfd, "input")
    refused(["assess", "hsi.tif", "--reference", "hsi.tif", "--report", "hsi.tif", "--overwrite"], capfd, "input")
    refused(["simulate", "hsi.tif", "-o", ".", "--ratio", "2", "--overwrite"], capfd, "hsi.tif", "input")
    refused(["convert", "hsi.tif", "-o", "./hsi.tif", "--overwrite"], capfd, "hsi.tif", "input")
    refused(["convert", "cube.bsq", "-o", "cube.img", "--overwrite"], capfd, "cube", "input")
    assert before == {p.name: p.read_bytes() for p in inside.iterdir()}


def test_a_bbox_outside_names_the_bounds_in_full(inside, capfd):
    refused(["fuse", "hsi.tif", "msi.tif", "--bbox", "1,2,3,4"], capfd, "500000", "5800000")


def test_misspelt_sensor_and_method(inside, capfd):
    refused(["fuse", "hsi.tif", "msi.tif", "--msi-sensor", "sentinal-2a"], capfd, "sentinel-2a")
    refused(["info", "hsi.tif", "--sensor", "hyperon"], capfd, "hyperion")
    refused(["fuse", "hsi.tif", "msi.tif", "--method", "subspase"], capfd, "subspace")


def test_unknown_format_parameter_and_values(inside, capfd):
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "out.jpg"], capfd, ".jpg")
    refused(["fuse", "hsi.tif", "msi.tif", "--set", "dimensoin=4"], capfd, "dimension")
    refused(["fuse", "hsi.tif", "msi.tif", "--set", "dimension=many"], capfd, "dimension")
    refused(["fuse", "hsi.tif", "msi.tif", "--config", "nothing"], capfd, "nothing")
    refused(["fuse", "hsi.tif", "msi.tif", "--bbox", "1,2,3"], capfd, "bbox")
    refused(["fuse", "hsi.tif", "msi.tif", "--dtype", "int7"], capfd, "int7")
    refused(["fuse", "hsi.tif", "msi.tif", "--memory", "plenty"], capfd, "plenty")
    refused(["fuse", "hsi.tif", "msi.tif", "--device", "tpu"], capfd, "tpu")
    refused(["fuse", "hsi.tif", "msi.tif", "--progress", "loud"], capfd, "loud")
    refused(["assess", "hsi.tif"], capfd, "--reference")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("dimension=abc", "dimension='abc': a whole number or auto."),
        ("halo=-1", "halo=-1: at least 0."),
        ("halo=1.5", "halo=1.5: a whole number."),
        ("uncertainty=perhaps", "uncertainty='perhaps': true or false."),
    ],
)
def test_a_wrong_value_is_told_with_what_may_be_given(inside, capfd, setting, says):
    assert refused(["fuse", "hsi.tif", "msi.tif", "--set", setting], capfd).endswith(f"error: {says}")


def test_a_ratio_that_degrades_nothing(inside, capfd):
    text = refused(["simulate", "hsi.tif", "-o", "folder", "--ratio", "1"], capfd)
    assert text.endswith("--ratio 1: a whole number of at least 2.") and not Path("folder").exists()


def test_an_hsi_of_one_pixel_is_called_so(inside, capfd):
    write_raster(Path("dot.tif"), cube(40, 1, 1), 30, wavelengths=NM)
    for more in ([], ["--dry-run"]):
        refused(["fuse", "dot.tif", "msi.tif", *more], capfd, "only one pixel of dot.tif")


@pytest.mark.parametrize("image", ["hsi", "msi"])
def test_a_mask_that_hides_a_whole_image(image, inside, capfd):
    write_raster(Path("all.tif"), np.ones((1, 14, 17), np.uint8), 30)
    for more in ([], ["--dry-run"]):
        refused(
            ["fuse", "hsi.tif", "msi.tif", f"--{image}-mask", "all.tif", *more],
            capfd,
            f"--{image}-mask",
            f"{image}.tif: ",
        )


def test_creation_options(inside, capfd):
    refused(["fuse", "hsi.tif", "msi.tif", "--co", "COMPRES=ZSTD"], capfd, "COMPRES=ZSTD", "did you mean COMPRESS")
    refused(["fuse", "hsi.tif", "msi.tif", "--co", "COMPRESS=ZTSD"], capfd, "COMPRESS=ZTSD", "did you mean ZSTD")
    refused(["fuse", "hsi.tif", "msi.tif", "--co", "COMPRESS=JPEG"], capfd, "JPEG", "int16")
    refused(["fuse", "hsi.tif", "msi.tif", "-o", "a.tif", "--cog", "--co", "BLOCKXSIZE=256"], capfd, "BLOCKSIZE")
    refused(["convert", "hsi.tif", "-o", "a.img", "--co", "COMPRESS=ZSTD"], capfd, "ENVI", "INTERLEAVE")
    refused(["convert", "hsi.tif", "-o", "a.zarr", "--co", "CHUNKS=64"], capfd, "CHUNK")
    refused(["simulate", "hsi.tif", "-o", "folder", "--ratio", "2", "--co", "FROB=1"], capfd, "FROB")
    assert not Path("folder").exists()


def test_wrong_usage_is_exit_code_2(capfd):
    for arguments in (["fuse"], ["fuse", "a.tif"], ["frob"], ["info", "--frob"]):
        assert run(arguments) == 2
        assert "Traceback" not in capfd.readouterr().err


def test_disk_that_fills_up(tmp_path, pair):
    """A folder of 1 MiB: one sentence, and nothing is left in it."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs the right to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        command = [
            sys.executable,
            "-m",
            "hsgeo",
            "fuse",
            *map(str, pair),
            "-o",
            str(small / "out.tif"),
            "--dtype",
            "float64",
        ]
        done = subprocess.run([*command, "--co", "COMPRESS=NONE"], capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "disk" in done.stderr.lower() and "Traceback" not in done.stderr
        assert not (small / "out.tif").exists()
    finally:
        subprocess.run(["umount", str(small)], check=False)
