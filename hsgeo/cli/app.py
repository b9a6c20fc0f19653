"""The typer application, and how every failure becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from hsgeo.cli import (
    assess,
    bench,
    bench_generation,
    convert,
    demo,
    fuse,
    generate,
    info,
    restore,
    simulate,
    train,
    unmix,
)
from hsgeo.errors import HsgeoError

INTERRUPTED = "interrupted; the same command with --resume, where it has that, goes on from the tiles that were done."

#: typer carries click under another name from 0.26 on, so the base of usage errors is taken from a known leaf
UsageFault: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="hsgeo",
    help="Hyperspectral and multispectral scenes in, better scenes out: georeferenced, at any size.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    info.info, fuse.fuse, restore.restore, unmix.unmix, generate.generate, assess.assess, simulate.simulate,
    convert.convert, demo.demo,
):  # fmt: skip
    app.command()(command)
train.group.command("hsr-diff")(train.hsr_diff)
train.group.command("hud")(train.hud)
app.add_typer(train.group, name="train")
bench.group.command()(bench_generation.generation)
app.add_typer(bench.group, name="bench")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from hsgeo import __version__

        typer.echo(f"hsgeo {__version__}")
        raise typer.Exit()


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    verbose = any(a == "--verbose" or (a.startswith("-v") and set(a[1:]) == {"v"}) for a in arguments)
    try:
        code = int(app(arguments, prog_name="hsgeo", standalone_mode=False) or 0)
        return _fail(INTERRUPTED, 130) if code == 130 else code  # newer typer turns Ctrl-C into this code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(INTERRUPTED, 130)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except UsageFault as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except HsgeoError as error:
        if verbose and error.exit_code == 1:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if verbose:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        return _fail(f"internal error ({type(error).__name__}): {text} Run with -v for the traceback.", 1)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"hsgeo: {'' if code == 130 else 'error: '}{message}\n")
    return code
