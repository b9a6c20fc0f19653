"""`hsgeo unmix` as a user runs it, and `hsgeo.unmix`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.cli.app import run
from hsgeo.errors import DataError, ParameterError
from hsgeo.methods.unmixing.base import Unmixer
from hsgeo.scene import write_scene
from hsgeo.tasks import UnmixingJob, WriteOptions
from hsgeo.tasks import unmixing as task
from tests.cli.test_restore import refused, succeed

P, BANDS, SHAPE = 4, 40, (36, 44)
ALL = ("y_abundances.tif", "y_abundances_endmembers.csv", "y_abundances_endmembers.sli", "y_abundances_endmembers.hdr")


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene (B, h, w) without noise, its endmembers (p, B) and abundances (p, h, w)."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, BANDS)
    e = 0.3 + sum(rng.uniform(-0.1, 0.2, (P, 1)) * np.exp(-(((at - rng.random((P, 1))) / 0.15) ** 2)) for _ in range(4))
    a = rng.dirichlet(np.full(P, 0.6), SHAPE).transpose(2, 0, 1)
    for i in range(P):
        a[:, 5 + 7 * i, 9 + 8 * i] = np.eye(P)[i]
    return np.tensordot(e.T, a, 1), e, a


@pytest.fixture
def inside(truth, tmp_path, monkeypatch) -> Path:
    """Stored as int16, with a gap, a bad band and a dead one, and one sample missing elsewhere."""
    monkeypatch.chdir(tmp_path)
    y = truth[0].astype(np.float32)
    y[:, 30:33, 2:6], y[11], y[3, 0, 0] = np.nan, 0.2, np.nan
    scene = on_grid(y, 30.0, np.linspace(450, 900, BANDS), 10.0).assign_coords(
        scale=("band", np.full(BANDS, 1e-4)),
        good=("band", np.arange(BANDS) != 7),
        bad_reason=("band", ["smile" if i == 7 else "" for i in range(BANDS)]),
    )
    scene.attrs |= {"dtype": "int16", "nodata": -9999.0, "tags": {"place": "here"}, "sensor": ""}
    write_scene(scene, "y.tif")
    return tmp_path


def table(path: str) -> np.ndarray:
    """Columns band, wavelength and one for each endmember."""
    return np.array(list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))[1:], float)


def ordered(found: np.ndarray, e: np.ndarray) -> list[int]:
    """Which of the spectra found is each endmember."""
    order = [int(((found - one) ** 2).sum(1).argmin()) for one in e]
    assert sorted(order) == list(range(len(e)))
    return order


def test_abundances_and_endmembers_are_those_that_made_the_scene(inside, truth, capfd) -> None:
    out = succeed(["unmix", "y.tif", "--endmembers", P], capfd)
    for word in (*ALL[:3], "4 (as asked)", "smile", "bands 8 left out", "same value", "RMSE", "38 used"):
        assert word in out, word
    _, e, a = truth
    rows = table(ALL[1])
    used = np.setdiff1d(np.arange(BANDS), [7, 11])
    assert np.isnan(rows[[7, 11], 2:]).all() and np.isfinite(rows[used, 2:]).all()
    np.testing.assert_allclose(rows[:, 1], np.linspace(450, 900, BANDS))
    order = ordered(rows[used, 2:].T, e[:, used])
    np.testing.assert_allclose(rows[used, 2:].T[order], e[:, used], atol=2e-4)
    library = np.fromfile(ALL[2], "<f4").reshape(P, len(used))
    np.testing.assert_allclose(library, rows[used, 2:].T, rtol=1e-6)
    with rasterio.open(ALL[0]) as source, rasterio.open("y.tif") as before:
        values = source.read()
        assert (source.crs, source.transform, source.shape) == (before.crs, before.transform, before.shape)
        assert set(source.dtypes) == {"float32"} and np.isnan(source.nodata)
        assert source.descriptions == tuple(f"endmember {i}" for i in range(1, P + 1))
        assert source.tags()["place"] == "here" and "wavelength" not in source.tags(1)
        record = json.loads(source.tags()["HSGEO_PROVENANCE"])
        assert record["parameters"]["command"] == "unmix" and record["estimates"]["endmembers"] == P
    hidden = np.zeros(SHAPE, bool)
    hidden[30:33, 2:6] = hidden[0, 0] = True
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(hidden, values.shape))
    np.testing.assert_allclose(values[order][:, ~hidden], a[:, ~hidden], atol=0.01)  # the rounding of int16
    assert values[:, ~hidden].min() >= 0 and np.abs(values[:, ~hidden].sum(0) - 1).max() < 1e-6


def test_the_report(inside, truth, capfd) -> None:
    report = json.loads(succeed(["unmix", "y.tif", "-o", "x.tif", "--json"], capfd))
    assert report["endmembers"] == P and "HySime" in report["criterion"] and report["method"] == "fcls"
    assert report["bands"]["dropped"] == {"8": "smile", "12": "the same value everywhere"}
    assert len(report["bands"]["kept"]) == BANDS - 2 and report["incomplete"] == 1 and report["pixels"] == 36 * 44 - 13
    assert {tuple(place) for place in report["places"]} == {(5 + 7 * i, 9 + 8 * i) for i in range(P)}
    assert [s["stage"] for s in report["stages"]] == ["open", "fit", "apply", "write"]
    assert all(s["seconds"] >= 0 and s["peak_rss_bytes"] > 0 for s in report["stages"])
    assert [note for note in report["notes"] if note.startswith("1 pixels lack some bands")]


def test_errors_are_those_of_the_rasters(inside, truth, capfd) -> None:
    """With an endmember too few, so that there are some."""
    report = json.loads(succeed(["unmix", "y.tif", "-o", "x.tif", "--endmembers", P - 1, "--json"], capfd))
    values, y = hsgeo.open_scene("x.tif", chunks=None).values, hsgeo.open_scene("y.tif", chunks=None).values
    e = table("x_endmembers.csv")[:, 2:].T
    used = np.isfinite(e).all(0)
    known = np.isfinite(y).all(0)
    mixed, seen = np.tensordot(e[:, used].T, values, 1)[:, known], y[used][:, known]
    assert report["rmse"] == pytest.approx(np.sqrt(((mixed - seen) ** 2).mean()), rel=1e-3)
    cosines = (mixed * seen).sum(0) / np.linalg.norm(mixed, axis=0) / np.linalg.norm(seen, axis=0)
    assert report["sam"] == pytest.approx(np.degrees(np.arccos(np.minimum(cosines, 1))).mean(), rel=1e-4)
    np.testing.assert_allclose(report["mean_abundances"], values[:, known].mean(1), rtol=1e-5)


@pytest.mark.parametrize("name", ["x.img", "x.zarr", "x.tif"])
def test_every_format_and_any_tile(inside, name, capfd) -> None:
    succeed(["unmix", "y.tif", "-o", "whole.tif", "--endmembers", P, "-q"], capfd)
    succeed(["unmix", "y.tif", "-o", name, "--endmembers", P, "--tile", 13, "-q"], capfd)
    scene = hsgeo.open_scene(name, chunks=None)
    np.testing.assert_allclose(scene.values, hsgeo.open_scene("whole.tif", chunks=None).values, atol=1e-6)
    assert scene["band_name"].values.tolist() == [f"endmember {i}" for i in range(1, P + 1)]
    assert np.isnan(scene["wavelength"].values).all()
    assert Path("x_endmembers.csv").read_text() == Path("whole_endmembers.csv").read_text()


def test_worker_processes_give_the_same(inside, capfd) -> None:
    succeed(["unmix", "y.tif", "-o", "a.tif", "--tile", 20, "-q"], capfd)
    succeed(["unmix", "y.tif", "-o", "b.tif", "--tile", 20, "--workers", 1, "-q"], capfd)
    np.testing.assert_allclose(*(hsgeo.open_scene(n, chunks=None).values for n in ("a.tif", "b.tif")), atol=1e-6)


def test_envi_lists_of_the_scene_are_not_those_of_abundances(inside, capfd) -> None:
    succeed(["convert", "y.tif", "-o", "y.img"], capfd)
    succeed(["unmix", "y.img", "-o", "x.img", "--endmembers", P, "-q"], capfd)
    header = Path("x.hdr").read_text()
    assert "\nwavelength =" not in header and "band names = {endmember 1," in header
    assert "bbl = {1, 1, 1, 1}" in header
    succeed(["unmix", "y.img", "-o", "x.tif", "--endmembers", P, "--overwrite", "-q"], capfd)
    with rasterio.open("x.tif") as source:
        assert "wavelength" not in source.tags(ns="ENVI")


def test_python_gives_the_same(inside, capfd) -> None:
    succeed(["unmix", "y.tif", "-o", "x.tif", "--endmembers", P, "-q"], capfd)
    abundances, spectra = hsgeo.unmix("y.tif", endmembers=P)
    assert abundances.chunks is not None and abundances.dims == ("band", "y", "x")
    np.testing.assert_allclose(abundances.values, hsgeo.open_scene("x.tif", chunks=None).values, atol=1e-6)
    assert spectra.dims == ("endmember", "band") and spectra["wavelength"].values[0] == 450
    rows = table("x_endmembers.csv")
    np.testing.assert_allclose(spectra.values.T, rows[:, 2:], rtol=1e-8)
    linear, _ = hsgeo.unmix(hsgeo.open_scene("y.tif"), endmembers=P, method="linear")
    used = np.isfinite(spectra.values).all(0)
    y = hsgeo.open_scene("y.tif", chunks=None).values
    expected = np.tensordot(np.linalg.pinv(spectra.values[:, used].T), y[used], 1)
    np.testing.assert_allclose(linear.values[:, 20], expected[:, 20], atol=1e-5)


def test_a_part_of_the_scene_and_of_its_bands(inside, capfd) -> None:
    box = "500000,5799400,500900,5800000"
    report = json.loads(
        succeed(
            ["unmix", "y.tif", "-o", "x.tif", "--endmembers", 3, "--bbox", box, "--bands", "13-40", "--json"], capfd
        )
    )
    assert report["grid"]["shape"] == [20, 30] and report["bands"]["kept"] == list(range(13, 41))
    assert table("x_endmembers.csv")[0, 0] == 13


def test_one_seed_one_result(inside, capfd) -> None:
    for name in ("a.tif", "b.tif"):
        succeed(["unmix", "y.tif", "-o", name, "--seed", 5, "-q"], capfd)
    assert Path("a_endmembers.csv").read_bytes() == Path("b_endmembers.csv").read_bytes()
    assert Path("a_endmembers.sli").read_bytes() == Path("b_endmembers.sli").read_bytes()


def test_a_plan_writes_nothing(inside, capfd) -> None:
    before = set(inside.iterdir())
    out = succeed(["unmix", "y.tif", "--dry-run", "--config", "unmix"], capfd)
    for word in (*ALL[:3], "not written", "counted by the run", "36 x 44", "40, of which 39 good"):
        assert word in out
    assert set(inside.iterdir()) == before


@pytest.mark.parametrize("there", ALL)
def test_an_output_that_is_there_is_kept(inside, there, capfd) -> None:
    """Each is looked for before any work; ``--overwrite`` replaces all."""
    Path(there).write_text("mine")
    refused(["unmix", "y.tif"], capfd, there, "exists", "--overwrite")
    succeed(["unmix", "y.tif", "--endmembers", P, "--overwrite", "-q"], capfd)
    assert all(Path(name).stat().st_size > 10 for name in ALL)
    assert hsgeo.open_scene(ALL[0]).sizes["band"] == P


def test_whole_or_not_at_all(inside, monkeypatch) -> None:
    """A raster that cannot be written leaves no endmembers behind; what was computed stays for a second run."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = set(inside.iterdir())
    monkeypatch.setattr(task.Outputs, "publish", full)
    with pytest.raises(Exception, match="disk full"):
        UnmixingJob("y.tif", params={"endmembers": P}).write("x.tif")
    left = {p.name for p in set(inside.iterdir()) - before}
    assert left == {".x.tif.hsgeo-work"}
    monkeypatch.undo()
    monkeypatch.chdir(inside)
    report = UnmixingJob("y.tif", params={"endmembers": P}).write("x.tif", WriteOptions(resume=True))
    assert report["tiles"]["resumed"] == 1 and Path("x_endmembers.csv").exists()
    assert not Path(".x.tif.hsgeo-work").exists()


def test_another_run_is_not_gone_on_with(inside, capfd, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task.Outputs, "publish", stop)
        assert run(["unmix", "y.tif", "-o", "x.tif", "--endmembers", "4"]) == 130
    assert "--resume" in capfd.readouterr().err
    refused(
        ["unmix", "y.tif", "-o", "x.tif", "--endmembers", 3, "--resume"], capfd, "x.tif", "endmembers (4 before, 3 now)"
    )
    refused(["unmix", "y.tif", "-o", "x.tif", "--endmembers", 4, "--seed", 9, "--resume"], capfd, "seed")
    with monkeypatch.context() as patch:
        patch.setattr(Unmixer, "fingerprint", "other pixels, as another machine may find")
        refused(["unmix", "y.tif", "-o", "x.tif", "--endmembers", 4, "--resume"], capfd, "x.tif", "weights")
    report = json.loads(succeed(["unmix", "y.tif", "-o", "x.tif", "--endmembers", 4, "--resume", "--json"], capfd))
    assert report["tiles"] == {"done": 0, "resumed": 1, "size": 44}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.tif"], ("none.tif",)),
        (["y.tif", "--endmembers", "1"], ("endmembers=1", "at least 2")),
        (["y.tif", "--set", "endmembers=few"], ("endmembers='few'", "whole number or auto")),
        (["y.tif", "--set", "average=0"], ("average=0", "at least 1")),
        (["y.tif", "--endmembers", "39"], ("y.tif", "endmembers=39", "38 bands")),
        (["y.tif", "--bands", "1-3", "--endmembers", "4"], ("y.tif", "3 bands", "no more than 3")),
        (["y.tif", "--bands", "1-2"], ("y.tif", "three are needed")),
        (["y.tif", "--method", "fclss"], ("fclss", "Did you mean 'fcls'")),
        (["y.tif", "-o", "x.jpg"], ("x.jpg",)),
        (["y.tif", "-o", "y.tif", "--overwrite"], ("would replace the input",)),
        (["y.tif", "--set", "averages=3"], ("averages", "Did you mean 'average'")),
        (["y.tif", "-o", "no/x.tif"], ("no/x.tif", "does not exist")),
        (["y.tif", "--bbox", "500000,5799910,500090,5800000", "--endmembers", "9"], ("y.tif", "8 pixels", "9 end")),
        (["y.tif", "--bbox", "500000,5799910,500090,5800000"], ("y.tif", "8 pixels of 3", "--endmembers")),
    ],
)
def test_refused(inside, capfd, arguments, words) -> None:
    refused(["unmix", *arguments], capfd, *words)


def test_scenes_without_data_or_difference(inside, capfd) -> None:
    for values, word in ((np.nan, "no pixel with data"), (1.0, "same value everywhere")):
        write_scene(on_grid(np.full((5, 9, 9), values), 30.0), "w.tif", overwrite=True)
        refused(["unmix", "w.tif", "-o", "v.tif"], capfd, "w.tif", word)
    two = np.random.default_rng(0).random((6, 2))[:, np.random.default_rng(1).integers(0, 2, (9, 9))]
    write_scene(on_grid(two, 30.0), "w.tif", overwrite=True)
    refused(["unmix", "w.tif", "-o", "v.tif", "--endmembers", "3"], capfd, "w.tif", "fewer than 3 spectra")


def test_mistakes_in_python(inside) -> None:
    with pytest.raises(ParameterError, match="no parameter 'endmembres'"):
        hsgeo.unmix("y.tif", endmembres=3)
    with pytest.raises(DataError, match="fewer than 30"):
        hsgeo.unmix("y.tif", endmembers=30, bbox=(500000, 5799880, 500120, 5800000))
