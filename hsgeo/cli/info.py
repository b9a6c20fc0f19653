"""``hsgeo info``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hsgeo.cli import options as o
from hsgeo.cli.printing import defect_rows, print_json, print_notes, print_rows, ranges


def info(
    scene: Annotated[str | None, typer.Argument(help="Raster file, folder of band files, or zarr store.")] = None,
    bands: o.Bands = None,
    bbox: o.Bbox = None,
    sensor: o.SensorName = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Read the scene: noise, dead bands and lines, stripes.")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Describe a scene from its header, or by its pixels; without a scene, list the known sensors."""
    o.set_up_logging(quiet or json, verbose)
    if scene is None:
        _sensors(json)
        return
    from hsgeo.tasks import describe

    part = {"bands": bands, "bbox": o.parse_bbox(bbox)}
    report = describe(scene, sensor, **part)
    if quality:
        from hsgeo.tasks import describe_quality

        report["quality"] = describe_quality(scene, sensor, **part)
    if json:
        print_json(report)
    else:
        _print(report)


def _sensors(json: bool) -> None:
    from hsgeo.tasks import describe_sensors

    rows = describe_sensors()
    if json:
        print_json({"sensors": rows})
        return
    for kind in ("hyperspectral", "multispectral"):
        typer.echo(f"{kind} sensors")
        for row in (r for r in rows if r["kind"] == kind):
            gsd = "/".join(f"{g:g}" for g in row["gsd_m"]) or "?"
            low, high = row["range_nm"]
            typer.echo(
                f"  {row['name']:<14} {row['bands']:>4} bands  {low:5.0f}-{high:4.0f} nm  {gsd:>9} m  {row['title']}"
            )
    typer.echo("A sensor of your own: a YAML file, given as --sensor my.yaml (copy configs/sensors/my-camera.yaml).")


def _print(r: dict[str, Any]) -> None:
    bands, height, width = r["shape"]
    known = [w for w in r["wavelengths"] if w is not None]
    bad: dict[str, list[int]] = {}
    for number, good, why in zip(r["band_numbers"], r["good"], r["bad_reason"], strict=True):
        if not good:
            bad.setdefault(why or "flagged", []).append(number)
    t = r["transform"]
    gsd = r["gsd"]
    print_rows(
        [
            ("path", r["path"]),
            ("driver", r["driver"]),
            ("size", f"{bands} bands, {height} rows x {width} columns, {r['dtype']}"),
            ("CRS", r["crs"] if r["crs"] is None or r["crs"].startswith("EPSG") else r["crs"][:70] + "..."),
            ("pixel", f"{abs(t[0]):g} x {abs(t[4]):g}" if t and not (t[1] or t[3]) else "rotated" if t else None),
            ("native GSD", None if not isinstance(gsd, list) else "/".join(f"{v:g}" for v in sorted(set(gsd)))),
            ("bounds", ", ".join(f"{v:.10g}" for v in r["bounds"]) if r["bounds"] else None),
            ("nodata", "none" if r["nodata"] is None else f"{r['nodata']:g}"),
            ("scale", r["scale"] if not isinstance(r["scale"], list) else "differs between bands"),
            ("offset", r["offset"] if r["offset"] != 0 and not isinstance(r["offset"], list) else None),
            ("sensor", r["sensor"] or "not known"),
            (
                "wavelengths",
                f"{min(known):.1f} to {max(known):.1f} nm ({len(known)} of {bands} bands)" if known else "none",
            ),
            ("good bands", f"{sum(r['good'])} of {bands}"),
            *((f"  {why}", ranges(numbers)) for why, numbers in bad.items()),
        ]
    )
    if "quality" in r:
        print_rows(_quality(r["quality"]))
    print_notes(r)


def _quality(q: dict[str, Any]) -> list[tuple[str, str]]:
    noise, snr = (sorted(q[name].values()) for name in ("noise_std", "snr"))
    middle = len(noise) // 2
    worst = [band for band, _ in sorted(q["snr"].items(), key=lambda item: item[1])[:5]]
    dead = [int(band) for band in q["dead_bands"]]
    return [
        ("noise", f"{noise[middle]:.3g} (median of the bands; {noise[0]:.3g} to {noise[-1]:.3g})"),
        (
            "mean over noise",
            f"{snr[middle]:.3g} (median; {snr[0]:.3g} to {snr[-1]:.3g}; least in bands {', '.join(worst)})",
        ),
        ("dead bands", ranges(dead) if dead else "none"),
        *(
            defect_rows({k: v for k, v in q.items() if k not in ("noise_std", "snr", "dead_bands")})
            or [("lines", "no dead or hot ones, no stripes")]
        ),
    ]
