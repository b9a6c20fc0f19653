"""The HTML report of an assessment: one file without links, that any browser opens offline."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsgeo.errors import OutputExistsError, OutputWriteError
from hsgeo.quality.quicklook import decimated, enlarge, heat, png_bytes, rgb_bands, stretch_limits, to_bytes
from hsgeo.quality.reference import ReferenceReport, common_window
from hsgeo.scene.model import geobox_of, label

TITLES = {"hsi": "HSI, before", "msi": "MSI", "result": "Result", "reference": "Reference"}
MEANINGS = {
    "psnr": ("PSNR", "dB", "higher is better"),
    "ssim": ("SSIM", "", "1 is best"),
    "sam": ("SAM", "degrees", "0 is best"),
    "ergas": ("ERGAS", "", "0 is best"),
    "uiqi": ("UIQI", "", "1 is best"),
    "rmse": ("RMSE", "data units", "0 is best"),
    "d_lambda": ("D<sub>&lambda;</sub>", "", "spectral distortion, 0 is best"),
    "d_s": ("D<sub>s</sub>", "", "spatial distortion, 0 is best"),
    "qnr": ("QNR", "", "1 is best"),
    "hsi_sam": ("SAM of the degraded result to the HSI", "degrees", "as large as the HSI's noise makes it"),
    "hsi_rmse": ("RMSE of the degraded result to the HSI", "HSI units", "about the HSI's noise"),
    "msi_rmse": (
        "RMSE of the degraded result to the MSI",
        "MSI units",
        "about the MSI's noise and the misfit of its response",
    ),
}
COLOURS = {"result": "#1b6ca8", "reference": "#2f9e44", "hsi": "#c92a2a", "rmse": "#1b6ca8"}
#: size of the charts' type, pixels
FONT = 11
STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:70em;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse}
td,th{padding:.25em .9em .25em 0;text-align:left;border-bottom:1px solid #ddd}td.n{text-align:right;
font-variant-numeric:tabular-nums}.row{display:grid;grid-template-columns:repeat(auto-fill,minmax(18em,1fr));gap:1em}figure{margin:0;max-width:32em}
img{width:100%;image-rendering:pixelated;background:#eee}figcaption{color:#555}svg{max-width:100%;height:auto}
code{font-size:.9em;overflow-wrap:anywhere}"""


def write_report(
    path: str | os.PathLike[str],
    scenes: Mapping[str, xr.DataArray],
    values: Mapping[str, Any],
    compared: ReferenceReport | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the page.

    Parameters
    ----------
    path : path
        Target ``.html``.
    scenes : mapping
        ``result`` and any of ``hsi``, ``msi``, ``reference``.
    values : mapping
        What `hsgeo.assess` returns.
    compared : ReferenceReport, optional
        For the chart of RMSE by band.

    Raises
    ------
    OutputExistsError, OutputWriteError
        The file exists, or cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; give --overwrite or another --report.")
    result = scenes["result"]
    parts = [f"<h1>hsgeo: {escape(label(result))}</h1>", _facts(result), "<h2>Metrics</h2>", _metrics(values)]
    parts += ["<h2>Pictures</h2>", _pictures(scenes)]
    if compared is not None:
        chart = line_chart(compared.wavelength, {"rmse": compared.band_rmse}, "RMSE (data units)")
        parts += ["<h2>Error by band</h2>", chart]
    parts += ["<h2>Spectra</h2>", _spectra(scenes)]
    notes = values.get("notes") or []
    if notes:
        parts += ["<h2>Notes</h2><ul>", *(f"<li>{escape(n)}</li>" for n in notes), "</ul>"]
    body = "\n".join(parts)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>hsgeo: {escape(Path(label(result)).name)}</title><style>{STYLE}</style></head>"
        f"<body>{body}</body></html>"
    )
    temporary = target.with_name(f".{target.name}.part")
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputWriteError(f"{target}: cannot be written ({error.strerror}); choose another --report.") from error
    return target


def _facts(result: xr.DataArray) -> str:
    box = geobox_of(result)
    count, height, width = result.shape
    crs = f"EPSG:{box.crs.epsg}" if box.crs is not None and box.crs.epsg else "own CRS"
    return f"<p>{count} bands, {height} x {width} pixels of {abs(box.resolution.x):g}, {crs}.</p>"


def _metrics(values: Mapping[str, Any]) -> str:
    flat = {**values, **values.get("consistency", {})}
    rows = [
        f"<tr><th>{name}</th><td class=n>{flat[key]:.4g}</td><td>{unit}</td><td>{meaning}</td></tr>"
        for key, (name, unit, meaning) in MEANINGS.items()
        if isinstance(flat.get(key), int | float)
    ]
    return f"<table>{''.join(rows)}</table>" if rows else "<p>Nothing could be measured.</p>"


def _figure(image: np.ndarray, caption: str) -> str:
    code = base64.b64encode(png_bytes(image)).decode()
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{code}"><figcaption>{text}</figcaption></figure>'


def _pictures(scenes: Mapping[str, xr.DataArray]) -> str:
    figures = {}
    limits = None
    shape = None
    for name in ("result", "hsi", "reference", "msi"):
        if name not in scenes:
            continue
        values = decimated(scenes[name], rgb_bands(scenes[name]))
        own = stretch_limits(values)
        if limits is None:
            limits, shape = own, values.shape[1:]
        image = to_bytes(values, own if name == "msi" else limits)
        if shape is not None and image.shape[1] < shape[0]:
            image = enlarge(image, (shape[0], max(1, round(image.shape[2] * shape[0] / image.shape[1]))))
        figures[name] = _figure(image, TITLES[name])
    shown = [figures[name] for name in TITLES if name in figures]
    if "reference" in scenes:
        shown.append(_error_picture(scenes["result"], scenes["reference"]))
    return f'<div class="row">{"".join(shown)}</div>'


def _error_picture(result: xr.DataArray, reference: xr.DataArray) -> str:
    a, b = common_window(result, reference)
    bands = rgb_bands(result)
    first = decimated(result.isel(y=a.slices[0], x=a.slices[1]), bands)
    second = decimated(reference.isel(y=b.slices[0], x=b.slices[1]), bands)
    error = np.sqrt(((first - second) ** 2).mean(0))
    top = float(np.nanpercentile(error, 99)) if np.isfinite(error).any() else 1.0
    return _figure(heat(error, top), f"Error over the three bands shown, black 0 to pale {top:.3g}")


def _spectra(scenes: Mapping[str, xr.DataArray]) -> str:
    """Charts of the spectra at well-spread pixels of the result, beside the other images' at the same place."""
    result = scenes["result"]
    height, width = result.shape[1:]
    charts = []
    for fy, fx in (0.25, 0.25), (0.25, 0.75), (0.6, 0.4), (0.75, 0.75):
        y, x = int(fy * (height - 1)), int(fx * (width - 1))
        at = {"x": float(result["x"].values[x]), "y": float(result["y"].values[y])}
        lines = {"result": np.where(result["good"].values, result.isel(y=y, x=x).values, np.nan)}
        for name in ("hsi", "reference"):
            if name in scenes and scenes[name].sizes["band"] == result.sizes["band"]:
                pixel = scenes[name].sel(y=at["y"], x=at["x"], method="nearest")
                lines[name] = np.where(result["good"].values, pixel.values, np.nan)
        title = f"x {at['x']:.0f}, y {at['y']:.0f}"
        charts.append(f"<figure>{line_chart(result['wavelength'].values, lines, title, size=(460, 240))}</figure>")
    return f'<div class="row">{"".join(charts)}</div>'


def tick_labels(values: np.ndarray) -> list[str]:
    """Plain numbers whose digits tell neighbouring ticks apart; powers of ten beyond 99999 and below 0.001.

    Parameters
    ----------
    values : array (n,)
        Increasing, evenly spaced.
    """
    step, largest = float(np.diff(values).min()), float(np.abs(values).max())
    if not 1e-3 <= largest < 99999.5:
        return [f"{value:.2e}" if value else "0" for value in values]
    decimals = min(max(0, 1 - math.floor(math.log10(step))), 6)
    if largest >= 100:
        decimals = min(decimals, 1 if step < 1 else 0)
    return [f"{value:.{decimals}f}" if value else "0" for value in values]


def text_width(text: str) -> float:
    """Pixels that a number takes at most in the charts' type, whose digits are 0.64 of its size wide or narrower."""
    return 0.65 * FONT * len(text)


def line_chart(x: np.ndarray, lines: Mapping[str, np.ndarray], title: str, size: tuple[int, int] = (900, 260)) -> str:
    """An SVG of one or more lines over wavelength (or band number where wavelengths are unknown)."""
    width, height = size
    known = np.isfinite(x).all() and len(x) > 1
    x = x if known else np.arange(1, len(x) + 1, dtype=float)
    order = np.argsort(x, kind="stable")
    stacked = np.concatenate([v[np.isfinite(v)] for v in lines.values()])
    if not stacked.size:
        return "<p>No valid pixel there.</p>"
    low, high = min(0.0, float(stacked.min())), float(stacked.max())
    high = high if high > low else low + 1
    ticks = np.linspace(low, high, 4)
    labels = tick_labels(ticks)
    left = max(40, math.ceil(max(map(text_width, labels))) + 10)
    right, top, bottom = width - 8, 26, height - 34

    def place(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        span = (x.max() - x.min()) or 1
        return np.stack(
            [left + (xs - x.min()) / span * (right - left), bottom - (ys - low) / (high - low) * (bottom - top)], 1
        )

    marks = []
    for value, said in zip(ticks, labels, strict=True):
        yy = place(x[:1], np.array([value]))[0, 1]
        marks.append(f'<line x1="{left}" x2="{right}" y1="{yy:.1f}" y2="{yy:.1f}" stroke="#ddd"/>')
        marks.append(f'<text x="{left - 6}" y="{yy + 4:.1f}" text-anchor="end">{said}</text>')
    for i, value in enumerate(np.linspace(x.min(), x.max(), 5)):
        xx, anchor = place(np.array([value]), np.array([low]))[0, 0], ("middle", "end")[i == 4]
        marks.append(f'<text x="{xx:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{value:.0f}</text>')
    steps = np.diff(place(x[order], x[order] * 0)[:, 0])
    reach = 4 * float(np.median(steps)) if known else np.inf
    for i, (name, values) in enumerate(lines.items()):
        colour = COLOURS.get(name, "#555")
        marks += [_polyline(run, colour) for run in _runs(place(x[order], values[order]), reach)]
        if len(lines) > 1:
            marks.append(f'<text x="{right - 70 * (len(lines) - i) + 10}" y="14" fill="{colour}">{escape(name)}</text>')
    unit = "nm" if known else "band"
    marks.append(f'<text x="{right}" y="{height - 4}" text-anchor="end">{unit}</text>')
    marks.append(f'<text x="{left}" y="14">{escape(title)}</text>')
    style = f'font-size="{FONT}" font-family="system-ui,sans-serif" fill="#333"'
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" {style}>{"".join(marks)}</svg>'


def _runs(points: np.ndarray, reach: float) -> list[np.ndarray]:
    """Split (n, 2) at points that are not finite, and where the next lies farther than `reach` to the right."""
    finite = np.isfinite(points).all(1)
    breaks = (np.diff(finite.astype(int)) != 0) | (np.diff(points[:, 0]) > reach)
    pieces: Sequence[np.ndarray] = np.split(points, np.flatnonzero(breaks) + 1)
    return [piece for piece in pieces if len(piece) and np.isfinite(piece).all()]


def _polyline(points: np.ndarray, colour: str) -> str:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>'
