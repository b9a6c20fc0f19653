"""The engine on callables of three lines; it knows nothing of what they compute."""

from __future__ import annotations

import errno
import json
import threading
import time

import numpy as np
import pytest

from hsgeo.engine.plan import TilePlan
from hsgeo.engine.progress import Progress
from hsgeo.engine.run import Output, run
from hsgeo.engine.store import Store, stored_plan
from hsgeo.errors import HsgeoError, OutputExistsError, OutputWriteError, ParameterError, ResumeError

IMAGE = np.random.default_rng(0).normal(0, 300, (4, 37, 53)).astype(np.float32)
OUT = {"image": Output(4, "int16", -32768)}
WHO = {"inputs": ["a.tif"], "parameters": {"rank": 8}}


def box(image, window):
    """3 x 3 mean over a window that may reach outside, edges repeated."""
    y = np.clip(np.arange(window.y0 - 1, window.y1 + 1), 0, image.shape[1] - 1)
    x = np.clip(np.arange(window.x0 - 1, window.x1 + 1), 0, image.shape[2] - 1)
    p = image[:, y][:, :, x]
    h, w = window.shape
    return sum(p[:, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9


def smooth(block, device):
    return {"image": box(IMAGE, block.outer), "stats": {"n": block.core.shape[0] * block.core.shape[1]}}


def go(path, work=smooth, tile=16, halo=2, shape=(37, 53), outputs=OUT, **options):
    plan = TilePlan(shape[0], shape[1], tile=tile, halo=halo)
    return run(work, plan, outputs, path / "store", **{"identity": WHO, "devices": "cpu", **options})


def test_tiled_equals_whole_for_any_tile(tmp_path):
    padded = np.pad(IMAGE, ((0, 0), (1, 1), (1, 1)), "edge")
    whole = np.rint(sum(padded[:, i : i + 37, j : j + 53] for i in range(3) for j in range(3)) / 9)
    for tile in (7, 16, 512):
        report = go(tmp_path, tile=tile)
        array = report.arrays["image"]
        assert array.dtype == np.int16 and array.shape == IMAGE.shape
        assert array.chunks == (4, min(tile, 37), min(tile, 53))
        np.testing.assert_array_equal(array[...], whole)
        assert sum(s["n"] for s in report.stats) == 37 * 53
        assert (report.done, report.skipped) == (len(TilePlan(37, 53, tile=tile)), 0)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (16, 33)])
def test_small_scenes(tmp_path, shape):
    report = go(tmp_path, lambda b, d: np.full(b.core.shape, 7.0), shape=shape, outputs={"one": Output(1, "uint8")})
    assert (report.arrays["one"][...] == 7).all()


def test_several_outputs_of_several_types(tmp_path):
    outputs = {"a": Output(2, "float32", float("nan")), "b": Output(1, "uint8", 3), "c": Output(1, "int32", 0)}

    def work(block, device):
        h, w = block.core.shape
        a = np.full((2, h, w), np.nan, np.float32)
        if block.row:
            a[:] = 2.5
        return {"a": a, "b": np.array([300.0, -1, np.nan] * h * w)[: h * w].reshape(h, w), "c": np.full((h, w), 1e12)}

    arrays = go(tmp_path, work, outputs=outputs, shape=(9, 8), tile=4, halo=0).arrays
    assert np.isnan(arrays["a"][:, :4]).all() and (arrays["a"][:, 4:] == 2.5).all()
    assert set(np.unique(arrays["b"][...])) == {0, 3, 255}
    assert (arrays["c"][...] == 2**31 - 1).all()


def test_integers_are_rounded_half_to_even():
    out = Output(1, "int16", -9).cast(np.array([0.5, 1.5, -0.5, np.nan, np.inf, -1e9], np.float32))
    assert out.tolist() == [0, 2, 0, -9, 32767, -32768]
    assert Output(1, "uint8", 0).cast(np.array([-5, 400], np.int64)).tolist() == [0, 255]
    assert Output(1, "int64", 0).cast(np.array([1e30])).tolist() == [9223372036854774784]


def test_a_chunk_never_passes_the_limit_of_the_compressor(tmp_path, monkeypatch):
    monkeypatch.setattr("hsgeo.engine.store.CHUNK_BYTES", 16 * 16 * 2)
    report = go(tmp_path)
    assert report.arrays["image"].chunks == (1, 16, 16)
    np.testing.assert_array_equal(report.arrays["image"][...], np.rint(box(IMAGE, TilePlan(37, 53).block(0, 0).core)))
    assert go(tmp_path, resume=True).done == 0


def test_interrupted_run_is_resumed_and_equals_an_uninterrupted_one(tmp_path):
    seen: list[tuple[int, int]] = []

    def stops(block, device):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append((block.row, block.col))
        return smooth(block, device)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, stops)
    again = []

    def rest(block, device):
        again.append((block.row, block.col))
        return smooth(block, device)

    resumed = go(tmp_path, rest, resume=True)
    assert (resumed.done, resumed.skipped) == (len(again), 5)
    assert not set(seen) & set(again) and len(seen) + len(again) == 12
    first = resumed.arrays["image"][...]
    fresh = go(tmp_path / "fresh")
    np.testing.assert_array_equal(first, fresh.arrays["image"][...])
    assert resumed.stats == fresh.stats
    assert fresh.done == 12 and not fresh.notes


def test_resume_with_another_identity_names_what_differs(tmp_path):
    go(tmp_path)
    with pytest.raises(ResumeError, match=r"parameters\.rank \(8 before, 9 now\)"):
        go(tmp_path, resume=True, identity={"inputs": ["a.tif"], "parameters": {"rank": 9}})
    with pytest.raises(ResumeError, match=r"inputs\[0\]"):
        go(tmp_path, resume=True, identity={**WHO, "inputs": ["b.tif"]})
    with pytest.raises(ResumeError, match=r"plan\.tile \(16 before, 32 now\)"):
        go(tmp_path, resume=True, tile=32)
    assert stored_plan(tmp_path / "store") == TilePlan(37, 53, tile=16, halo=2)
    assert go(tmp_path, resume=True).skipped == 12


def test_resume_with_nothing_there_starts_and_says_so(tmp_path, caplog):
    report = go(tmp_path, resume=True)
    assert report.done == 12
    assert "nothing to resume" in report.notes[0] and "nothing to resume" in caplog.text


def test_without_resume_the_store_starts_afresh(tmp_path):
    go(tmp_path, identity={"other": 1})
    report = go(tmp_path, lambda b, d: np.zeros((4, *b.core.shape)))
    assert report.done == 12 and not report.arrays["image"][...].any()
    assert "had an interrupted run, which is gone now" in report.notes[0]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_a_damaged_chunk_or_marker_is_done_again(tmp_path):
    good = go(tmp_path).arrays["image"][...]
    chunks = sorted(p for p in (tmp_path / "store/arrays").rglob("*") if p.parent.name == "1" and p.is_file())
    chunks[0].write_bytes(b"")
    chunks[1].unlink()
    (tmp_path / "store/blocks/0.0").write_text("{")
    (tmp_path / "store/blocks/0.1.abc.partial").write_text("{")
    report = go(tmp_path, resume=True)
    assert report.done == 3
    np.testing.assert_array_equal(report.arrays["image"][...], good)
    assert not list((tmp_path / "store").rglob("*.partial"))


def test_blocks_that_are_all_fill_take_no_space_and_stay_done(tmp_path):
    report = go(tmp_path, lambda b, d: np.full((4, *b.core.shape), -32768, np.int16))
    assert (report.arrays["image"][...] == -32768).all()
    assert not [p for p in (tmp_path / "store/arrays").rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert go(tmp_path, resume=True).skipped == 12


def test_a_folder_that_is_not_ours_is_never_deleted(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a working store"):
        go(tmp_path)
    assert (tmp_path / "store" / "thesis.txt").read_text() == "mine"


def test_a_store_serves_one_run_at_a_time(tmp_path):
    go(tmp_path)
    plan = TilePlan(37, 53, tile=16, halo=2)
    identity = json.loads((tmp_path / "store/identity.json").read_text())
    other = Store(tmp_path / "store", plan, OUT)
    other.open(identity, resume=True)
    for resume in (True, False):
        with pytest.raises(OutputExistsError, match="in use"):
            go(tmp_path, resume=resume)
    other.release()
    assert go(tmp_path, resume=True).skipped == 12


def test_a_store_is_kept_until_its_arrays_have_been_read(tmp_path):
    report = go(tmp_path, keep_lock=True)
    with pytest.raises(OutputExistsError, match="in use"):
        go(tmp_path)
    assert (report.arrays["image"][...] != OUT["image"].fill).all()
    report.release()
    go(tmp_path).release()

    def breaks(block, device):
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        go(tmp_path, breaks, keep_lock=True)
    go(tmp_path)


def test_errors_of_the_work_come_through_with_the_block(tmp_path):
    def breaks(block, device):
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError) as caught:
        go(tmp_path, breaks)
    assert "block 0, 0" in caught.value.__notes__[0]
    for error in (MemoryError(), type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")):

        def hungry(block, device, error=error):
            raise error

        with pytest.raises(HsgeoError, match="smaller --tile"):
            go(tmp_path, hungry)


@pytest.mark.parametrize("finished", [0, 2])
def test_a_refused_run_leaves_a_store_only_where_it_holds_blocks(tmp_path, finished):
    count = 0

    def work(block, device):
        nonlocal count
        count += 1
        if count > finished:
            raise ParameterError("no such thing")
        return smooth(block, device)

    with pytest.raises(ParameterError, match="no such thing"):
        go(tmp_path, work)
    assert (tmp_path / "store").exists() == (finished > 0)


def test_results_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(HsgeoError, match=r"came back as \(3, 16, 16\)"):
        go(tmp_path, lambda b, d: np.zeros((3, *b.core.shape)))
    with pytest.raises(HsgeoError, match="did not return image"):
        go(tmp_path, lambda b, d: {"picture": np.zeros((4, *b.core.shape))})
    with pytest.raises(TypeError, match="statistics"):
        go(tmp_path, lambda b, d: {"image": np.zeros((4, *b.core.shape)), "stats": {"x": {1, 2}}})


def test_numpy_numbers_in_statistics_are_kept(tmp_path):
    stats = {"sum": np.float64(0.1) + 0.2, "n": np.int64(3), "hist": np.arange(3)}
    report = go(tmp_path, lambda b, d: {"image": np.zeros((4, *b.core.shape)), "stats": stats}, tile=64)
    assert report.stats == [{"sum": 0.1 + 0.2, "n": 3, "hist": [0, 1, 2]}]


def test_a_full_disk_is_one_clear_sentence_and_can_be_resumed(tmp_path, monkeypatch):
    import zarr.storage._local as local

    write, left = local._put, [20]

    def full(path, *rest, **more):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *rest, **more)

    monkeypatch.setattr(local, "_put", full)
    with pytest.raises(OutputWriteError, match=r"disk of .* is full"):
        go(tmp_path, tile=8)
    left[0] = 10**6
    report = go(tmp_path, tile=8, resume=True)
    assert report.skipped > 0 and report.done > 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError, match="cannot be written"):
        go(tmp_path / "file")


@pytest.mark.parametrize(
    "bad", [{"workers": -1}, {"mode": "mix"}, {"mode": "blend"}, {"devices": "tpu"}, {"identity": {"a": object()}}]
)
def test_wrong_options(tmp_path, bad):
    with pytest.raises(ParameterError):
        go(tmp_path, **bad)


def test_blend_mode_and_finish(tmp_path):
    def patches(windows, device):
        return [box(IMAGE, w) for w in windows]

    def finish(block, arrays):
        return {"image": arrays["image"] * 2, "stats": {"rows": block.core.shape[0]}}

    options = {"mode": "blend", "patch": 12, "overlap": 4, "batch": 3, "outputs": {"image": Output(4, "float32")}}
    one = go(tmp_path, patches, **options).arrays["image"][...]
    np.testing.assert_allclose(one, box(IMAGE, TilePlan(37, 53, tile=64).block(0, 0).core), atol=1e-3)
    report = go(tmp_path, patches, tile=64, finish=finish, **options)
    np.testing.assert_allclose(report.arrays["image"][...], 2 * one, atol=1e-3)
    assert report.stats == [{"rows": 37}]
    with pytest.raises(ResumeError, match=r"blend\.overlap"):
        go(tmp_path, patches, tile=64, resume=True, **{**options, "overlap": 6})


def test_threads_give_the_same_and_stop_together(tmp_path):
    alone = go(tmp_path).arrays["image"][...]
    team = go(tmp_path, threads=3)
    np.testing.assert_array_equal(team.arrays["image"][...], alone)
    assert [s["n"] for s in team.stats] == [s["n"] for s in go(tmp_path).stats]

    def breaks(block, device):
        if block.col == 2:
            raise ZeroDivisionError
        for _ in range(2000):
            time.sleep(0.01)
        return smooth(block, device)

    start = time.perf_counter()
    with pytest.raises(ZeroDivisionError):
        go(tmp_path, breaks, threads=3)
    assert time.perf_counter() - start < 5
    assert not [t for t in threading.enumerate() if t.name.startswith("hsgeo-tile")]


def test_progress_counts_resumed_blocks(tmp_path):
    (tmp_path / "x").mkdir()
    go(tmp_path)
    for marker in list((tmp_path / "store/blocks").iterdir())[:4]:
        marker.unlink()
    progress = Progress("none")
    go(tmp_path, resume=True, progress=progress)
    assert progress.stages[0]["stage"] == "apply" and progress.stages[0]["done"] == 12
    with progress.stage("again", total=12) as stage:
        go(tmp_path, progress=stage)
    assert stage.done == 12
