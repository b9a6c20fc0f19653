"""The HTML report: whole, self-contained, refused where something stands already."""

from __future__ import annotations

import re

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import OutputExistsError
from hsgeo.quality.reference import compare
from hsgeo.quality.report import line_chart, text_width, tick_labels, write_report
from hsgeo.scene.model import make_scene


def scene(gsd, n, seed=0, noise=0.0):
    y, x = np.mgrid[:n, :n] * gsd / 90
    data = np.stack([0.3 + 0.1 * np.sin(x + b) * np.cos(y) for b in range(6)])
    data += noise * np.random.default_rng(seed).standard_normal(data.shape)
    box = GeoBox((n, n), Affine(gsd, 0, 5e5, 0, -gsd, 5.8e6), "EPSG:32633")
    return make_scene(data.astype(np.float32), box, wavelength=np.linspace(450, 900, 6), fwhm=10.0)


def test_report_holds_pictures_metrics_and_charts(tmp_path):
    result, truth = scene(10, 60, noise=0.01), scene(10, 60)
    compared = compare(result, truth, 3)
    scenes = {"result": result, "reference": truth, "hsi": scene(30, 20), "msi": scene(10, 60)}
    path = write_report(tmp_path / "r.html", scenes, {**compared.values, "notes": ["a < b"]}, compared)
    text = path.read_text()
    assert text.count("data:image/png;base64,") == 5 and text.count("<svg") == 5
    assert f"{compared.values['psnr']:.4g}" in text and "a &lt; b" in text
    assert "http://" not in text and "https://" not in text
    with pytest.raises(OutputExistsError):
        write_report(path, scenes, {}, None)
    assert not list(tmp_path.glob(".*"))


def test_chart_breaks_its_line_at_missing_bands():
    values = np.array([1.0, 2.0, np.nan, 3.0, 4.0])
    assert line_chart(np.arange(5.0), {"a": values}, "t").count("<polyline") == 2
    assert "No valid pixel" in line_chart(np.arange(5.0), {"a": values * np.nan}, "t")


@pytest.mark.parametrize(
    ("top", "last"),
    [(0.5, "0.50"), (0.0123, "0.0123"), (2730, "2730"), (12345, "12345"), (99999, "99999"), (2.5e6, "2.50e+06")],
)
def test_labels_of_the_y_axis_are_plain_and_fit(top, last):
    chart = line_chart(np.linspace(400, 900, 9), {"a": np.linspace(-0.1 * top, top, 9)}, "t", size=(460, 240))
    found = re.findall(r'<text x="(\d+)" y="[\d.]+" text-anchor="end">([-\d.e+]+)</text>', chart)[:4]
    assert found[-1][1] == last and len({text for _, text in found}) == 4
    for x, text in found:
        assert int(x) - text_width(text) >= 0
        assert float(x) < 80


def test_labels_tell_ticks_of_a_narrow_range_apart():
    assert len(set(tick_labels(np.linspace(0, 0.004, 4)))) == 4
    assert tick_labels(np.array([0.0, 910.0, 1820.0, 2730.0])) == ["0", "910", "1820", "2730"]
    assert tick_labels(np.array([0.0, 0.5, 1.0, 1.5])) == ["0", "0.50", "1.00", "1.50"]
