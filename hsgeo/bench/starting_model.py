"""How the model that comes with hsgeo is made: ``python -m hsgeo.bench.starting_model -o MODEL.safetensors``.

Only scenes of the demo generator are used, so nobody's terms apply to it: lands of several seeds, recorded by several
hyperspectral sensors, degraded by ratios 2 to 8 with the bands of several multispectral ones.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.errors import HsgeoError

#: hyperspectral sensor and GSD of the truth in m, one land each
LANDS = (
    ("hyperion", 10.0), ("enmap", 10.0), ("prisma", 10.0), ("aviris-ng", 5.0), ("emit", 20.0), ("aviris-c", 15.0),
    ("desis", 10.0), ("enmap", 5.0), ("hyperion", 20.0), ("aviris-ng", 10.0), ("prisma", 5.0), ("aviris-c", 5.0),
)  # fmt: skip
MSI_SENSORS = ("sentinel-2a", "landsat-8", "worldview-3", "spot-6-7", "ali")
RATIOS = (2, 8)

#: hyperspectral pixels along the side of a land, three fine ones each
SIDE = 64


def lands() -> list[Any]:
    """The reference scenes."""
    from hsgeo.simulation.generator import make_truth

    out = []
    for seed, (sensor, gsd) in enumerate(LANDS):
        truth = make_truth((SIDE, SIDE), 1000 + seed, hsi_sensor=sensor, gsd=gsd)
        out.append(truth.scene.rename(f"land {seed}, {sensor}, {gsd:g} m"))
    return out


def main(
    output: Annotated[str, typer.Option("-o", "--output")],
    steps: Annotated[int, typer.Option("--steps")] = 14000,
    variants: Annotated[int, typer.Option("--variants")] = 12,
    start: Annotated[
        str, typer.Option("--start", help="A model to go on from, package (the present one) or none.")
    ] = "none",
    minutes: Annotated[float | None, typer.Option("--minutes")] = None,
    resume: Annotated[bool, typer.Option("--resume")] = False,
) -> None:
    """Train the starting model."""
    from hsgeo.tasks import train

    def say(text: str) -> None:
        typer.echo(text, err=True)

    params = {"steps": steps, "variants": variants, "checks": 40, "patience": 40}
    try:
        report = train(
            lands(),
            output,
            reference=True,
            ratio=RATIOS,
            msi_sensors=MSI_SENSORS,
            start=None if start == "none" else start,
            params=params,
            minutes=minutes,
            resume=resume,
            said=say,
        )
    except HsgeoError as error:
        raise SystemExit(str(error)) from error
    typer.echo(str(report))


if __name__ == "__main__":
    typer.run(main)
