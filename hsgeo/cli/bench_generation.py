"""``hsgeo bench generation``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.bench import folder_of
from hsgeo.cli.printing import print_json

#: heading, key and format of the columns
COLUMNS = (
    ("Fp", "point_fidelity", "8.4f"),
    ("own Fp", "own_point_fidelity", "8.4f"),
    ("Db", "block_diversity", "8.3f"),
    ("own Db", "own_block_diversity", "8.3f"),
    ("nearest", "memorised_most", "9.3f"),
    ("told apart", "told_apart", "12.2f"),
    ("+-", "told_apart_error", "6.2f"),
    ("FID", "fid", "8.3f"),
    ("variogram", "variogram_distance", "11.3f"),
    ("layout", "layout_distance", "8.3f"),
    ("angle", "spectral_angle_distance", "8.2f"),
    ("s", "seconds", "8.1f"),
)


def generation(
    data: Annotated[str | None, typer.Option("--data", help="Folder of the scenes [default: $HSGEO_DATA].")] = None,
    models: Annotated[
        str | None, typer.Option("--models", help="Folder in which the trained models are kept and looked for.")
    ] = None,
    scene: Annotated[str | None, typer.Option("--scene", help="Only scenes whose name contains this.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One scene, no measure that trains a network.")] = False,
    all_steps: Annotated[bool, typer.Option("--all-steps", help="With 1000 steps as well.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Time, operations and memory of tiles and of a training; needs no scenes.")
    ] = False,
    use: Annotated[
        bool, typer.Option("--use", help="Accuracy of a classifier of pixels that learns from tiles.")
    ] = False,
    config: o.Config = None,
    settings: o.Settings = None,
    device: o.Device = "auto",
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """HUD's tiles of real scenes beside real blocks and beside tiles that fool a measure."""
    o.set_up_logging(True, verbose)
    if cost:
        _cost(device, json)
        return
    from hsgeo.bench.generation import PUBLISHED, bench_generation
    from hsgeo.tasks.options import load_parameters

    folder, params = folder_of(data, "generation"), load_parameters(config, settings or [])
    if use:
        _use(folder, models, params, device, json)
        return
    rows: list[dict[str, Any]] = []
    if not json:
        typer.echo(f"{'scene':<15}{'row':<22}" + "".join(f"{h:>{int(f.split('.')[0])}}" for h, _, f in COLUMNS))
    for row in bench_generation(folder, models, scene, quick, all_steps, params, device, not quick):
        rows.append(row)
        if not json:
            typer.echo(f"{row['scene']:<15}{row['row']:<22}" + "".join(_cell(row[key], f) for _, key, f in COLUMNS))
    if json:
        print_json({"rows": rows, "published": PUBLISHED})
        return
    typer.echo(
        "64 tiles of 32 x 32; Fp, Db: point fidelity and block diversity, with real blocks at offsets in steps of 2, "
        f"unturned; published for HUD, mean of five scenes: {PUBLISHED['point_fidelity']} and "
        f"{PUBLISHED['block_diversity']}"
    )
    typer.echo(
        "own Fp, own Db: real blocks beside all that does not overlap with them; nearest: the most alike of all pairs; "
        "told apart: by a network, 0.5 is chance"
    )


def _cell(value: float | None, form: str) -> str:
    return " " * (int(form.split(".")[0]) - 1) + "-" if value is None else format(value, form)


def _cost(device: str, json: bool) -> None:
    from hsgeo.bench.generation_cost import generation_cost

    rows = list(generation_cost(device))
    if json:
        print_json({"rows": rows})
        return
    typer.echo(f"{'tile':<12}{'steps':<10}{'s':>9}{'GFLOP':>10}{'memory GiB':>12}")
    for r in rows:
        steps = str(r["steps"]) if r["steps"] else "training"
        typer.echo(
            f"{r['side']:>4} x {r['side']:<5}{steps:<10}{r['seconds']:>9.2f}{r['flops'] / 1e9:>10.1f}"
            f"{r['peak_bytes'] / 2**30:>12.2f}"
        )
    typer.echo(f"{rows[0]['parameters']} parameters, on {rows[0]['device']}; training: a step on four crops")


def _use(folder: str, models: str | None, params: dict[str, Any], device: str, json: bool) -> None:
    from hsgeo.bench.generation_use import bench_use

    rows = list(bench_use(folder, models, params, device))
    if json:
        print_json({"rows": rows})
        return
    typer.echo(
        f"{'labels a class':<16}{'learned from':<34}{'pixels':>8}{'accuracy':>10}{'+-':>7}{'mean of classes':>17}"
    )
    for r in rows:
        typer.echo(
            f"{r['labels']:<16}{r['row']:<34}{r['pixels']:>8}{r['accuracy']:>10.3f}{r['spread']:>7.3f}"
            f"{r['class_accuracy']:>17.3f}"
        )
    typer.echo(f"on {rows[0]['tested']} real pixels of ground that was held out of everything")
