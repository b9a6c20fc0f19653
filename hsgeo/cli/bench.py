"""``hsgeo bench``."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_json, say
from hsgeo.errors import ParameterError

group = typer.Typer(help="Measure speed and memory, or accuracy beside other methods.", no_args_is_help=True)


@group.command()
def engine(
    rows: Annotated[int, typer.Option("--rows", help="Rows of the output.")] = 3000,
    columns: Annotated[int, typer.Option("--columns", help="Columns of the output.")] = 3000,
    bands: Annotated[int, typer.Option("--bands", help="Bands.")] = 224,
    ratio: Annotated[int, typer.Option("--ratio", help="Ratio of the GSDs.")] = 3,
    data: Annotated[str | None, typer.Option("--data", help="Keep the files in this folder.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="600 x 600 pixels, 60 bands.")] = False,
    tile: o.Tile = None,
    memory: o.Memory = "4GiB",
    workers: o.Workers = 0,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """A whole fusion of a synthetic pair beside a plain block copy of its output."""
    o.set_up_logging(json, verbose)
    from hsgeo.bench.engine import bench_engine

    if quick:
        rows, columns, bands = 600, 600, 60
    passed = ("--memory", memory, "--workers", str(workers), *(("--tile", str(tile)) if tile else ()))
    report = bench_engine(rows, columns, bands, ratio, folder=data, arguments=passed)
    if json:
        print_json(report)
        return
    size = report["output"]
    typer.echo(f"output {size['rows']} x {size['columns']} x {size['bands']} int16, {size['bytes'] / 1e9:.2f} GB")
    for stage in report["fuse"]["stages"]:
        typer.echo(
            f"  {stage['stage']:<22} {stage['seconds']:8.1f} s  peak {(stage['peak_rss_bytes'] or 0) / 2**30:5.2f} GiB"
        )
    for name in ("fuse", "copy", "copy_with_overviews"):
        part = report[name]
        typer.echo(f"{name:<24} {part['seconds']:8.1f} s  peak {part['peak_bytes'] / 2**30:5.2f} GiB")
    typer.echo(
        f"fusion takes {report['copy']['ratio']:.2f} times a plain block copy of its output, "
        f"{report['copy_with_overviews']['ratio']:.2f} times a copy that has its overviews too"
    )


@group.command()
def fusion(
    data: Annotated[str | None, typer.Option("--data", help="Folder of the scenes [default: $HSGEO_DATA].")] = None,
    methods: Annotated[str, typer.Option("--method", help="Comma-separated.")] = "bicubic,gsa,subspace",
    scene: Annotated[str | None, typer.Option("--scene", help="Only scenes whose name contains this.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three scenes.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="Of hsr-diff [default: hsgeo's own].")] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="What each part of hsr-diff is worth; trains on three scenes.")
    ] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, help="With --ablation: of each training.")] = 2500,
    only: Annotated[str | None, typer.Option("--row", help="With --ablation: rows whose name contains this.")] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="What wrong assumptions about the sensors cost each method.")
    ] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="The share of the truth inside the 90 % interval of each uncertainty.")
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Time and memory of hsr-diff's network beside the paper's; needs no scenes.")
    ] = False,
    device: o.Device = "auto",
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """The methods on real scenes by the standard protocol."""
    o.set_up_logging(True, verbose)
    from hsgeo.bench.fusion import bench_fusion

    if cost:
        _cost(device, json)
        return
    folder = folder_of(data, "fusion")
    if ablation:
        _ablation(folder, steps, model, only, json)
        return
    if robustness:
        _robustness(folder, model, json)
        return
    if coverage:
        _coverage(folder, scene, model, json)
        return
    rows: list[dict[str, Any]] = []
    if not json:
        typer.echo(
            f"{'scene':<15}{'method':<30}{'known':<15}{'shift y, x':<14}"
            f"{'PSNR dB':>8}{'SAM deg':>9}{'ERGAS':>8}{'SSIM':>8}{'s':>7}"
        )
    asked = methods.split(",")
    asked = asked if "subspace" in asked or "hsr-diff" not in asked else ["subspace", *asked]  # what it corrects
    for row in bench_fusion(folder, methods=asked, scene=scene, quick=quick, model=model):
        rows.append(row)
        if not json:
            cells = [row.get(k) for k in ("psnr", "sam", "ergas", "ssim", "seconds")]
            formats = ("8.2f", "9.3f", "8.3f", "8.4f", "7.1f")
            text = "".join(
                " " * int(f.split(".")[0]) if v is None else format(v, f) for v, f in zip(cells, formats, strict=True)
            )
            typer.echo(f"{row['scene']:<15}{row['method']:<30}{row['known']:<15}{_shift(row):<14}{text}")
    if json:
        print_json({"rows": rows})
        return
    typer.echo("shift: found between the images, in fine pixels, and taken out; (in brackets): found, not taken out")
    if any(row["known"] == "reference run" for row in rows):
        typer.echo(
            "reference run: other methods' code, run by this project on the same pair as it lies; "
            "like stands beside like where the shift is off"
        )


@group.command()
def restoration(
    data: Annotated[str | None, typer.Option("--data", help="Folder of the scenes [default: $HSGEO_DATA].")] = None,
    methods: Annotated[str, typer.Option("--method", help="Comma-separated.")] = "subspace",
    scene: Annotated[str | None, typer.Option("--scene", help="Only scenes whose name contains this.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two scenes.")] = False,
    self_supervised: Annotated[
        bool, typer.Option("--self-supervised", help="dds2m beside subspace on the middle of the scenes.")
    ] = False,
    side: Annotated[int, typer.Option("--side", min=16, help="With --self-supervised: of the middle, pixels.")] = 64,
    paper: Annotated[
        bool, typer.Option("--paper", help="With --self-supervised: the published configuration too; slow.")
    ] = False,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """The methods on real scenes with noise, stripes or gaps added, and on coarser ones."""
    o.set_up_logging(True, verbose)
    from hsgeo.bench.restoration import bench_restoration

    if self_supervised:
        _self_supervised(folder_of(data, "restoration"), side, scene, quick, paper, json)
        return
    rows: list[dict[str, Any]] = []
    if not json:
        typer.echo(
            f"{'case':<14}{'scene':<15}{'method':<38}{'PSNR dB':>8}{'SAM deg':>9}{'SSIM':>8}{'s':>7}{'noise off':>11}"
        )
    for row in bench_restoration(folder_of(data, "restoration"), methods.split(","), scene, quick):
        rows.append(row)
        if not json:
            own = f"{row['ssim']:8.4f}{row['seconds']:7.1f}" if "seconds" in row else ""
            own += f"{row['noise_error']:11.1%}" if "noise_error" in row else ""
            typer.echo(
                f"{row['case']:<14}{row['scene']:<15}{row['method']:<38}{row['psnr']:8.2f}{row['sam']:9.3f}{own}"
            )
    if json:
        print_json({"rows": rows})
        return
    typer.echo("noise off: largest relative error of a band's estimated noise")


def folder_of(data: str | None, name: str) -> str:
    folder = data or os.environ.get("HSGEO_DATA")
    if not folder:
        raise ParameterError(f"bench {name} needs the folder of the scenes: --data DIR, or the variable HSGEO_DATA.")
    return folder


def _self_supervised(folder: str, side: int, scene: str | None, quick: bool, paper: bool, json: bool) -> None:
    from hsgeo.bench.self_supervised import bench_self_supervised

    if not json:
        typer.echo(
            f"{'case':<20}{'scene':<15}{'method':<15}{'PSNR dB':>8}{'SAM deg':>9}{'SSIM':>8}{'s':>8}"
            "   networks alone, dB at step: chosen, best, last"
        )
    rows = []
    for r in bench_self_supervised(folder, side, scene, quick, paper):
        rows.append(r)
        if not json:
            each = "".join(f"{i['psnr']:>9.2f} at{i['step']:>5}" for i in r.get("iterates", {}).values())
            typer.echo(
                f"{r['case']:<20}{r['scene']:<15}{r['method']:<15}"
                f"{r['psnr']:>8.2f}{r['sam']:>9.3f}{r['ssim']:>8.4f}{r['seconds']:>8.1f}{each}"
            )
    if json:
        print_json({"rows": rows})
        return
    typer.echo("hole: the PSNR in it; best: by the truth, which chooses nothing")


def _ablation(folder: str, steps: int, model: str | None, only: str | None, json: bool) -> None:
    from hsgeo.bench.ablation import TEST, TRAIN, ablation

    if not json:
        typer.echo(f"trained on {', '.join(TRAIN)}; dB and degrees against subspace, SRF and PSF given")
        typer.echo(f"{'row':<32}{'gain dB':>8}{'worst':>8}{'SAM deg':>9}{'s':>8}{'train s':>9}  " + "  ".join(TEST))
    rows = []
    for r in ablation(folder, steps=steps, model=model, only=only, said=None if json else say):
        rows.append(r)
        if not json:
            trained = "" if r["trained"] is None else f"{r['trained']:.0f}"
            each = "  ".join(f"{r['scenes'][n]:+{len(n)}.2f}" for n in TEST)
            typer.echo(
                f"{r['row']:<32}{r['gain']:>+8.2f}{r['worst']:>+8.2f}{r['sam']:>+9.3f}"
                f"{r['seconds']:>8.1f}{trained:>9}  {each}"
            )
    if json:
        print_json({"rows": rows})


def _robustness(folder: str, model: str | None, json: bool) -> None:
    from hsgeo.bench.robustness import robustness

    rows = list(robustness(folder, params={"model": model}))
    if json:
        print_json({"rows": rows})
        return
    methods = list(dict.fromkeys(r["method"] for r in rows))
    cells = {(r["fault"], r["method"]): r for r in rows}
    typer.echo("mean PSNR in dB and what is lost of it, SRF and PSF given, no registration")
    typer.echo(f"{'fault':<26}" + "".join(f"{m:>18}" for m in methods))
    for fault in dict.fromkeys(r["fault"] for r in rows):
        found = [cells[fault, m] for m in methods]
        typer.echo(f"{fault:<26}" + "".join(f"{r['psnr']:>10.2f}{-r['loss']:>+8.2f}" for r in found))


def _coverage(folder: str, scene: str | None, model: str | None, json: bool) -> None:
    from hsgeo.bench.coverage import coverage

    methods: dict[str, dict[str, Any]] = {
        "subspace": {"method": "subspace"},
        "hsr-diff, 8 x 10 steps": {"method": "hsr-diff", "model": model, "samples": 8},
    }
    rows = []
    if not json:
        typer.echo(f"{'':<37}{'interval of the scene':>25}{'with the noise of the truth':>30}")
        typer.echo(
            f"{'scene':<15}{'method':<22}"
            + f"{'inside 90 %':>12}{'error / std':>13}"
            + f"{'inside 90 %':>17}{'error / std':>13}"
        )
    for r in coverage(folder, methods, scene, None if json else say):
        rows.append(r)
        if not json:
            typer.echo(
                f"{r['scene']:<15}{r['row']:<22}{r['inside']:>12.3f}{r['ratio']:>13.2f}"
                f"{r['noisy_inside']:>17.3f}{r['noisy_ratio']:>13.2f}"
            )
    if json:
        print_json({"rows": rows})
        return
    typer.echo(
        "inside 90 %: share of the truth in the interval, 0.90 is right; error / std: root mean squares, 1 is right"
    )
    typer.echo(
        "with the noise of the truth: that image has a sensor's noise, which is no part of the scene, put on top"
    )


def _cost(device: str, json: bool) -> None:
    from hsgeo.bench.cost import cost

    rows = list(cost(device))
    if json:
        print_json({"rows": rows})
        return
    typer.echo(f"{'configuration':<18}{'steps':>6}{'parameters':>12}{'s / megapixel':>15}{'memory GiB':>12}")
    for r in rows:
        typer.echo(
            f"{r['configuration']:<18}{r['steps']:>6}{r['parameters']:>12}"
            f"{r['seconds_per_megapixel']:>15.1f}{r['peak_bytes'] / 2**30:>12.2f}"
        )
    typer.echo(f"on {rows[0]['device']}; at most five steps were run, the others taken to be alike")


def _shift(row: dict[str, Any]) -> str:
    """The shift of a row: "off" where it was not looked for."""
    found = row.get("shift")
    if found is None:
        return "off"
    text = f"{found['dy']:+.2f}, {found['dx']:+.2f}"
    return text if found["applied"] else f"({text})"
