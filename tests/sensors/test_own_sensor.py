"""A sensor file of the user's own: what it may hold, and one sentence for every mistake."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hsgeo.errors import SensorError
from hsgeo.sensors import load_sensor

GOOD = """
title: My camera
kind: multispectral
gsd: 4
bands:
  - name: Blue
    aliases: [B1]
    gsd: 2
    mtf: 0.3
    response: [[440, 0], [450, 0.5], [485, 1], [520, 0.5], [530, 0]]
  - {name: Green, centre_nm: 560, fwhm_nm: 50, flag: atmospheric}
"""


def write(folder, text, name="my.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_list_of_bands(tmp_path):
    sensor = load_sensor(write(tmp_path, GOOD))
    blue, green = sensor.bands
    assert (sensor.name, sensor.title, sensor.kind) == ("my", "My camera", "multispectral")
    assert (blue.gsd, blue.mtf, green.gsd, green.mtf, green.flag) == (2, 0.3, 4, None, "atmospheric")
    assert blue.centre_nm == pytest.approx(485) and blue.fwhm_nm == pytest.approx(70)
    assert sensor.band("B01") is blue
    assert blue.response and not blue.response[1].flags.writeable
    assert load_sensor(str(tmp_path / "my.yaml")) is sensor


def test_tables_beside_the_file_and_a_file_that_changes(tmp_path):
    write(tmp_path, "name,centre_nm,fwhm_nm,aliases\nA,500,20,one|first\nB,,,\n", "bands.csv")
    write(tmp_path, "wavelength_nm,B\n600,0\n605,1\n607,\n610,0\n", "curves.csv")
    text = "title: T\nkind: multispectral\nbands: bands.csv\nresponses: curves.csv\n"
    path = write(tmp_path, text)
    sensor = load_sensor(path)
    assert sensor.band("first").name == "A"
    np.testing.assert_array_equal(sensor.band("B").response, [[600, 605, 610], [0, 1, 0]])
    changed = write(tmp_path, "wavelength_nm,B\n600,0\n606,1\n610,0\n", "curves.csv")
    os.utime(changed, ns=(1, 1))
    np.testing.assert_array_equal(load_sensor(path).band("B").response, [[600, 606, 610], [0, 1, 0]])


MISTAKES = {
    "title": ("title: My camera", "", "the key 'title' is missing"),
    "kind": ("kind: multispectral", "kind: optical", "kind is hyperspectral or multispectral, not 'optical'"),
    "unknown key": ("gsd: 4", "gds: 4", "the key 'gds' is not known. Did you mean 'gsd'?"),
    "unknown band key": ("mtf: 0.3", "mft: 0.3", "band 'Blue': the key 'mft' is not known. Did you mean 'mtf'?"),
    "no name": ("name: Green, ", "", "band number 2 has no name"),
    "twice": ("name: Green", "name: Blue", "band 'Blue' is there twice"),
    "no width": (", fwhm_nm: 50", "", "band 'Green': fwhm_nm is missing; give it, or the band's response"),
    "negative width": ("fwhm_nm: 50", "fwhm_nm: -5", "band 'Green': fwhm_nm is -5; it must be above 0"),
    "micrometres": ("centre_nm: 560", "centre_nm: 0.56", "looks like micrometres (multiply by 1000)"),
    "a word": ("centre_nm: 560", "centre_nm: green", "centre_nm is 'green', which is not a number"),
    "infinite": ("centre_nm: 560", "centre_nm: .inf", "centre_nm is inf; it must be finite"),
    "mtf": ("mtf: 0.3", "mtf: 30", "band 'Blue': mtf is 30; it must lie between 0 and 1"),
    "gsd": ("gsd: 2", "gsd: 0", "band 'Blue': gsd is 0; it must be above 0"),
    "flag": ("flag: atmospheric", "flag: cloudy", "flag 'cloudy' is not one of uncalibrated"),
    "order": ("[450, 0.5]", "[430, 0.5]", "band 'Blue': the wavelengths of the response do not increase at 430 nm"),
    "negative": ("[450, 0.5]", "[450, -0.5]", "band 'Blue': the response is negative at 450 nm"),
    "pairs": ("[450, 0.5]", "450", "response is a list of pairs [wavelength_nm, value]"),
    "short": ("[450, 0.5], [485, 1], [520, 0.5], ", "", "the response needs at least 3 points"),
    "flat": ("[450, 0.5], [485, 1], [520, 0.5]", "[450, 0]", "the response is zero everywhere"),
    "syntax": ("title: My camera", "title: [My camera", "not valid YAML"),
    "pattern": ("gsd: 4", "match: ['(']", "match '(' is not a regular expression"),
    "aliases": ("aliases: [B1]", "aliases: {a: 1}", "aliases is a list of words"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_one_sentence_with_the_file(tmp_path, mistake):
    good, bad, says = MISTAKES[mistake]
    assert good in GOOD
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(SensorError) as error:
        load_sensor(path)
    message = str(error.value)
    assert says in message and message.startswith(str(path)) and "\n" not in message


@pytest.mark.parametrize(
    ("bands", "curves", "says"),
    [
        (None, None, "bands.csv: there is no such table"),
        ("wave,width\n500,10\n", None, "bands.csv: the first column of this comma-separated table must be 'name'"),
        ("name,centre_nm,fwhm_nm\nA,500,10,7\n", None, "bands.csv, line 2: more cells than columns"),
        ("name,centre_nm,fwhm_nm\n", None, "'bands' is a list of bands"),
        ("name,centre_nm,fwhm_nm\nA,500,10\n", None, "curves.csv: there is no such table"),
        ("name,centre_nm,fwhm_nm\nA,500,10\n", "wavelength_nm,Z\n1e3,1\n", "its column 'Z' is no band of"),
        ("name,centre_nm,fwhm_nm\nA,500,10\n", "wavelength_nm,A\n500,x\n", "A at 500 nm is 'x', which is not a number"),
        ("name,centre_nm,fwhm_nm\nA,500,10\n", "wavelength_nm,A\n500,1\n500,1\n501,0\n", "do not increase at 500 nm"),
        ("name,centre_nm,fwhm_nm\nA,500,10\n", "wavelength_nm,A\n,1\n", "a row has no wavelength_nm"),
    ],
)
def test_mistakes_in_tables(tmp_path, bands, curves, says):
    for name, text in (("bands.csv", bands), ("curves.csv", curves)):
        if text is not None:
            write(tmp_path, text, name)
    path = write(tmp_path, "title: T\nkind: multispectral\nbands: bands.csv\nresponses: curves.csv\n")
    with pytest.raises(SensorError) as error:
        load_sensor(path)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_not_a_sensor_file(tmp_path, text):
    with pytest.raises(SensorError, match="a sensor file is a mapping with the keys title, kind, bands"):
        load_sensor(write(tmp_path, text))


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(SensorError, match=r"no\.yaml: there is no such sensor file"):
        load_sensor(tmp_path / "no.yaml")
    (tmp_path / "raw.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SensorError, match=r"raw\.yaml"):
        load_sensor(tmp_path / "raw.yaml")
