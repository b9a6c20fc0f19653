"""``hsgeo train``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes, print_rows
from hsgeo.errors import ParameterError

group = typer.Typer(help="Train a network on a scene, a pair, or reference scenes.", no_args_is_help=True)


def parse_ratio(text: str | None) -> int | tuple[int, int] | None:
    """``4`` or ``2-8``."""
    if text is None:
        return None
    try:
        first, dash, last = text.partition("-")
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise ParameterError(f"--ratio {text!r}: a whole number, or a range such as 2-8.") from None


@o.command
def hsr_diff(
    inputs: Annotated[
        list[str], typer.Argument(help="An HSI and an MSI; with --reference, hyperspectral scenes.", show_default=False)
    ],
    *,
    output: Annotated[str, typer.Option("-o", "--output", help="The model, .safetensors.")],
    reference: Annotated[
        bool, typer.Option("--reference", help="The inputs are reference scenes, degraded in many ways.")
    ] = False,
    ratio: Annotated[
        str | None, typer.Option("--ratio", help="With --reference: of the GSDs, 4 or a range 2-8.")
    ] = None,
    msi_sensor: Annotated[
        list[str] | None,
        typer.Option(
            "--msi-sensor",
            help="With --reference: whose bands the MSI has; may be repeated [default: ten near Sentinel-2's].",
        ),
    ] = None,
    start: Annotated[
        str, typer.Option("--start", help="Model to begin from: a file, package (hsgeo's own) or none.")
    ] = "package",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, help="Plan as many steps as this time allows, and stop after it."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the optimiser.")] = None,
    hsi_sensor: o.HsiSensor = None,
    no_register: Annotated[bool, typer.Option("--no-register", help="Do not look for a residual shift.")] = False,
    gsd: Annotated[float | None, typer.Option("--gsd", help="Pixel size wanted, in metres.")] = None,
    config: o.Config = None,
    settings: o.Settings = None,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    progress: Any,
    say: Any,
) -> o.Said:
    """Train hsr-diff on a pair, or on references.

    A pair teaches itself, one scale down: both images are degraded by their ratio, and the HSI is what is to be found.
    Reference scenes (--reference) are degraded in many ways. The model's log (.log.json) and curves (.png) are written
    beside it; use it by: hsgeo fuse HSI MSI --method hsr-diff --model MODEL.
    """
    from hsgeo.tasks import FusionOptions, train
    from hsgeo.tasks.options import load_parameters

    params = load_parameters(config, settings or [], "training", {"steps": steps})
    sensors = msi_sensor or []
    options = FusionOptions(
        gsd=gsd,
        register=not no_register,
        hsi_sensor=hsi_sensor,
        msi_sensor=sensors[0] if sensors and not reference else None,
    )
    report = train(
        inputs,
        output,
        reference=reference,
        ratio=parse_ratio(ratio),
        msi_sensors=sensors,
        start=None if start == "none" else start,
        options=options,
        params=params,
        minutes=minutes,
        seed=seed,
        device=device,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
        said=say,
    )
    return report, print_report


def print_report(r: dict[str, Any]) -> None:
    """What was trained, as a person reads it."""
    print_rows(
        [
            ("model", f"{r['output']} ({r['parameters']} parameters)"),
            ("examples", str(r["examples"])),
            ("trained", f"{r['steps']} steps in {r['seconds']:.0f} s"),
            (
                "validation",
                f"PSNR on {'the held-back strips' if r['held_back'] else 'what it was trained on'} "
                f"{r['validation_gain_db']:+.2f} dB over subspace",
            ),
            ("curves", f"{r['curves']}, numbers in {r['log']}"),
        ]
    )


@o.command
def hud(
    scene: Annotated[str, typer.Argument(help="Raster file, folder of band files, or zarr store.")],
    *,
    output: Annotated[str, typer.Option("-o", "--output", help="The model, .safetensors.")],
    endmembers: Annotated[int | None, typer.Option("--endmembers", help="How many [default: counted].")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Raster of classes on the scene's grid, from 1; 0 where not known.")
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            metavar="SHARE|RASTER",
            help="Ground that is not learned from: a share of cells spread over the scene, or a raster not 0 there.",
        ),
    ] = None,
    hold_out_cell: Annotated[
        int | None, typer.Option("--hold-out-cell", help="Side of such a cell, pixels [default: of the crops].")
    ] = None,
    guard: Annotated[
        int | None,
        typer.Option("--guard", help="Pixels along the border of that ground not for testing either [default: 2]."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the optimiser.")] = None,
    sensor: o.SensorName = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    config: o.Config = None,
    settings: o.Settings = None,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    overwrite: o.Overwrite = False,
    progress: Any,
) -> o.Said:
    """Train a generator on one scene.

    Use it by: hsgeo generate SCENE --model MODEL.
    """
    from hsgeo.cli.generate import model_rows, print_stages
    from hsgeo.tasks import HoldOut, RunOptions, train_hud
    from hsgeo.tasks.hold_out import GUARD
    from hsgeo.tasks.options import load_parameters

    for option, value in (("--hold-out-cell", hold_out_cell), ("--guard", guard)):
        if hold_out is None and value is not None:
            raise ParameterError(f"{option} is of --hold-out; give that as well, such as --hold-out 0.25.")
    params = load_parameters(config, settings or [], own={"steps": steps, "endmembers": endmembers})
    report = train_hud(
        scene,
        output,
        labels=labels,
        hold_out=None if hold_out is None else HoldOut.of(hold_out, hold_out_cell, GUARD if guard is None else guard),
        sensor=sensor,
        bands=bands,
        bbox=o.parse_bbox(bbox),
        params=params,
        run=RunOptions(device=device, seed=seed),
        overwrite=overwrite,
        progress=progress,
    )

    def show(r: dict[str, Any]) -> None:
        print_rows([("model", r["output"]), *model_rows(r), ("held out", held_out_text(r["held_out"]))])
        print_stages(r)
        print_notes(r)

    return report, show


def held_out_text(told: dict[str, Any] | None) -> str | None:
    """Ground that was not learned from."""
    if told is None:
        return None
    pixels = told["pixels"]
    return f"{pixels['held']} pixels for testing, {pixels['seen']} learned from, see {told['raster']}"
