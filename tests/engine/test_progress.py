from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest

from hsgeo.engine.progress import NullProgress, Progress
from hsgeo.errors import ParameterError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_lines_are_those_of_the_contract():
    stream = io.StringIO()
    progress = Progress("json", stream, interval=0)
    with progress.stage("apply", total=4) as stage:
        for _ in range(4):
            time.sleep(0.02)
            stage.advance()
    with progress.stage("fit"):
        pass
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(list(line) == ["event", "stage", "done", "total", "eta_s"] for line in lines)
    assert {line["event"] for line in lines} == {"progress"}
    apply = [line for line in lines if line["stage"] == "apply"]
    assert [line["done"] for line in apply] == [0, 1, 2, 3, 4, 4]
    assert apply[0]["eta_s"] is None and apply[1]["eta_s"] > 0 and apply[-1]["eta_s"] == 0
    assert lines[-1] == {"event": "progress", "stage": "fit", "done": 0, "total": None, "eta_s": None}


def test_json_lines_are_few_when_work_is_fast():
    stream = io.StringIO()
    with Progress("json", stream, interval=10).stage("apply", total=1000) as stage:
        for _ in range(1000):
            stage.advance()
    assert len(stream.getvalue().splitlines()) <= 4


def test_time_left_does_not_count_what_an_earlier_run_did():
    with NullProgress().stage("apply", total=100) as stage:
        stage.skip(90)
        assert stage.eta is None
        time.sleep(0.05)
        stage.advance(1)
        assert stage.done == 91
        assert stage.eta == pytest.approx(9 * stage.seconds, rel=0.5)


@pytest.mark.parametrize(("mode", "stream", "shown"), [
    ("auto", io.StringIO, False), ("auto", Terminal, True), ("bar", io.StringIO, True), ("none", Terminal, False),
])  # fmt: skip
def test_a_bar_on_a_terminal_and_nothing_elsewhere(mode, stream, shown):
    out = stream()
    with Progress(mode, out) as progress:
        with progress.stage("open"):
            pass
        with progress.stage("apply", total=2) as stage:
            stage.advance(2)
    assert ("apply" in out.getvalue()) is shown
    assert [s["stage"] for s in progress.stages] == ["open", "apply"]


def test_stages_record_seconds_and_the_memory_of_their_peak():
    progress = Progress("none", interval=0.01)
    with progress.stage("small"):
        time.sleep(0.02)
    with progress.stage("large") as stage:
        block = np.ones(200 << 20, np.uint8)
        time.sleep(0.5)
        stage.advance(block[0])
        del block
    with progress.stage("after"):
        time.sleep(0.02)
    small, large, after = progress.stages
    assert large["peak_rss_bytes"] - small["peak_rss_bytes"] > 150 << 20
    assert after["peak_rss_bytes"] < large["peak_rss_bytes"] - (100 << 20)
    assert 0.05 <= large["seconds"] < 5 and large["done"] == 1
    json.dumps(progress.stages)


def test_a_stage_that_fails_is_recorded_and_the_bar_taken_down():
    progress = Progress("bar", Terminal())
    with pytest.raises(KeyboardInterrupt), progress.stage("apply", total=3):
        raise KeyboardInterrupt
    assert progress.stages[0]["done"] == 0 and progress._bar is None


def test_stages_may_nest():
    progress = Progress("json", io.StringIO())
    with progress.stage("fit", total=2) as outer:
        with progress.stage("sample", total=1) as inner:
            inner.advance()
        outer.advance()
    assert [s["stage"] for s in progress.stages] == ["sample", "fit"]


def test_null_progress_has_the_same_face():
    progress = NullProgress()
    with progress.stage("fit", total=3) as stage:
        stage.advance(2)
    assert stage.done == 2 and progress.stages == []


def test_unknown_mode():
    with pytest.raises(ParameterError, match="auto, bar, json, none"):
        Progress("loud")
