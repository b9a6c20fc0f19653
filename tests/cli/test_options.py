"""What makes a command of a function."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from hsgeo.cli import options as o
from hsgeo.tasks import RunOptions, WriteOptions


@pytest.fixture
def call(capfd):
    """Run a command made of a small function; what the function got, and what was printed."""
    got: dict[str, Any] = {}

    @o.command
    def work(scene: str, *, write: o.Writing, resume: o.Resume = False, run: o.Running, progress: Any) -> o.Said:
        """Try the options."""
        got.update(scene=scene, write=write.options(resume), run=run.options(), mode=progress.mode)
        return {"scene": scene}, lambda report: typer.echo(f"did {report['scene']}")

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(work)

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        app(["a.tif", *arguments], standalone_mode=False)
        return got, capfd.readouterr().out

    return run


def test_the_defaults_are_those_of_the_tasks(call):
    got, out = call()
    assert got == {"scene": "a.tif", "write": WriteOptions(), "run": RunOptions(), "mode": "none"}
    assert out == "did a.tif\n"


def test_groups_are_options_of_their_own(call):
    got, _ = call("--co", "LEVEL=9", "--co", "TILED=NO", "--nodata", "-1", "--resume", "--seed", "3", "--tile", "64")
    assert got["write"] == WriteOptions(resume=True, nodata=-1, creation={"LEVEL": "9", "TILED": "NO"})
    assert got["run"] == RunOptions(seed=3, tile=64)


@pytest.mark.parametrize("flags", [(), ("-q",), ("--json",)])
def test_json_lines_that_were_asked_for_are_never_silenced(call, flags):
    got, out = call("--progress", "json", *flags)
    assert got["mode"] == "json"
    assert out == ("did a.tif\n" if not flags else "" if flags == ("-q",) else json.dumps({"scene": "a.tif"}) + "\n")


def test_quiet_takes_the_bar_down(call):
    assert call("--progress", "bar")[0]["mode"] == "bar"
    assert call("--progress", "bar", "-q")[0]["mode"] == "none"
