"""Every configuration that comes with hsgeo is found by name and fits its parameter class."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsgeo.methods.base import get_method
from hsgeo.sensors import load_sensor
from hsgeo.tasks.options import find_config, load_parameters

FOLDER = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(FOLDER.glob("fusion/*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config_is_found_by_name_and_valid(path):
    assert find_config(path.stem).read_text() == path.read_text()
    method = path.stem if path.parent.name == "fusion" else "subspace"
    kind = get_method(method).Params
    values = load_parameters(path.stem, [])
    made = kind(**values)
    assert path.read_text().startswith("#")
    if path.parent.name == "fusion":
        assert made == kind(), "a method's file states the defaults"


def test_settings_win_over_the_file():
    assert load_parameters("subspace", ["dimension=7"])["dimension"] == 7


def test_the_sensor_to_copy_is_a_sensor():
    sensor = load_sensor(FOLDER / "sensors" / "my-camera.yaml")
    assert [band.name for band in sensor.bands] == ["Blue", "Green", "Red", "NIR"]
    assert sensor.band("B3").centre_nm == pytest.approx(660, abs=3) and sensor.band("NIR").gsd == 4
