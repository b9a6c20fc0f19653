"""``hsgeo assess``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import print_notes

if TYPE_CHECKING:
    from hsgeo.tasks import GeneratedOptions

NAMES = {
    "psnr": ("PSNR", "dB, higher is better"),
    "ssim": ("SSIM", "1 is best"),
    "sam": ("SAM", "degrees, lower is better"),
    "ergas": ("ERGAS", "lower is better"),
    "uiqi": ("UIQI", "1 is best"),
    "rmse": ("RMSE", "in the unit of the data"),
    "d_lambda": ("D_lambda", "spectral distortion, 0 is best"),
    "d_s": ("D_s", "spatial distortion, 0 is best"),
    "qnr": ("QNR", "1 is best"),
}
CONSISTENCY = {
    "hsi_sam": ("degraded, SAM to the HSI", "degrees"),
    "hsi_rmse": ("degraded, RMSE to the HSI", "in the unit of the HSI"),
    "msi_rmse": ("degraded, RMSE to the MSI", "in the unit of the MSI"),
}


GENERATED = {
    "point_fidelity": ("point fidelity", "cosine, 1 is best"),
    "own_point_fidelity": ("  of the scene itself", "its blocks beside all outside of them"),
    "block_diversity": ("block diversity", "cosine, as low as the scene's own is diverse"),
    "own_block_diversity": ("  of the scene itself", "its blocks beside others that lie apart"),
    "memorised_most": ("most like a real block", "cosine, 1 is a copy"),
    "spectral_angle_distance": ("spectral angles", "degrees, 0 is best"),
    "pair_angle_distance": ("angles between pixels", "degrees, 0 is best"),
    "variogram_distance": ("variogram", "relative, 0 is best"),
    "class_frequency_distance": ("class frequencies", "0 is best, 1 worst"),
    "layout_distance": ("classes of neighbours", "0 is best, 1 worst"),
    "inception_score": ("inception score", "from 1 to the number of classes"),
    "fid": ("Fréchet distance", "0 is best; of this scene's own network"),
    "told_apart": ("told from real blocks", "accuracy, 0.5 is best"),
}


@dataclass(frozen=True)
class Tiles:
    """How generated tiles are measured."""

    generated: Annotated[
        bool, typer.Option("--generated", help="The result is generated [default: a folder of tiles is].")
    ] = False
    labels: Annotated[
        str | None, typer.Option("--labels", help="Generated tiles: classes of the reference, a raster on its grid.")
    ] = None
    pairs: Annotated[
        str | None, typer.Option("--pairs", help="Generated tiles: a PNG of those most like real blocks.")
    ] = None
    block: Annotated[
        int | None, typer.Option("--block", help="Generated tiles: side of a block in pixels [default: 32].")
    ] = None
    stride: Annotated[
        int | None, typer.Option("--stride", help="Generated tiles: pixels between real blocks [default: 2].")
    ] = None
    orientations: Annotated[
        int, typer.Option("--orientations", help="Generated tiles: 1, 4 (real blocks turned) or 8 (mirrored as well).")
    ] = 1
    networks: Annotated[
        bool, typer.Option("--networks/--no-networks", help="Generated tiles: train networks to judge them.")
    ] = True
    seed: o.Seed = 0
    device: o.Device = "auto"

    def options(self) -> GeneratedOptions:
        """As tasks take them."""
        from hsgeo.tasks import GeneratedOptions

        return GeneratedOptions(**vars(self))


@o.command
def assess(
    result: Annotated[str, typer.Argument(help="The scene to be measured.")],
    *,
    hsi: Annotated[str | None, typer.Option("--hsi", help="The HSI it was made from.")] = None,
    msi: Annotated[str | None, typer.Option("--msi", help="The MSI it was made from.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The truth on the same grid.")] = None,
    report: Annotated[str | None, typer.Option("--report", help="Write an HTML page here.")] = None,
    hsi_sensor: o.HsiSensor = None,
    msi_sensor: o.MsiSensor = None,
    tiles: Tiles,
    overwrite: o.Overwrite = False,
) -> o.Said:
    """Measure a result against a reference or the two scenes it was made from; generated tiles against their scene."""
    from hsgeo.tasks import assess as task

    values = task(
        result,
        hsi=hsi,
        msi=msi,
        reference=reference,
        report=report,
        hsi_sensor=hsi_sensor,
        msi_sensor=msi_sensor,
        overwrite=overwrite,
        tiles=tiles.options(),
    )
    return values, print_generated if "point_fidelity" in values else print_metrics


def print_metrics(values: dict[str, Any]) -> None:
    """The metrics as a person reads them."""
    found = values.get("consistency", {})
    rows = [(*NAMES[key], values[key]) for key in NAMES if values.get(key) is not None]
    rows += [(*CONSISTENCY[key], found[key]) for key in CONSISTENCY if found.get(key) is not None]
    for name, meaning, value in rows:
        typer.echo(f"{name:<26} {value:10.4g}  {meaning}")
    print_notes(values)
    if "report" in values:
        typer.echo(f"report: {values['report']}")


def print_generated(values: dict[str, Any]) -> None:
    """The measures of generated tiles, each beside that of real blocks in their place."""
    real = values["real_blocks"]
    typer.echo(f"{'':<26} {'tiles':>10} {'real':>10}")
    for key, (name, meaning) in GENERATED.items():
        if values.get(key) is not None:
            beside = "" if real.get(key) is None else f"{real[key]:.4g}"
            off = f" ± {values['told_apart_error']:.2g}" if key == "told_apart" else ""
            typer.echo(f"{name:<26} {values[key]:10.4g} {beside:>10}  {meaning}{off}")
    m = values["measured"]
    typer.echo(
        f"{m['tiles']} tiles, {m['blocks']} blocks of {m['block']} x {m['block']} pixels, {m['bands']} bands; "
        f"{m['real_blocks']} real blocks, {m['stride']} pixels apart, in {m['orientations']} orientation(s)"
    )
    if values.get("held_out"):
        pixels = values["held_out"]["pixels"]
        typer.echo(
            f"held out: the model has learned from {pixels['seen']} pixels of its scene, {pixels['held']} are for tests"
        )
    print_notes(values)
    if "pairs" in values:
        typer.echo(f"pairs: {values['pairs']}")
