"""Every configuration that comes with hsgeo is found by name and fits its parameter class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hsgeo.methods.base import get_method
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.restoration.base import get_restoration, get_superres
from hsgeo.methods.unmixing.base import get_unmixing
from hsgeo.sensors import load_sensor
from hsgeo.tasks.options import find_config, load_parameters
from hsgeo.tasks.training import settings_of

FOLDER = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(FOLDER.glob("fusion/*.yaml"))

#: files that are not named like the method they are for, and state other values than its defaults
METHODS = {"hsr-diff-paper": "hsr-diff"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_config_is_found_by_name_and_valid(path):
    assert find_config(path.stem).read_text() == path.read_text()
    kind = get_method(METHODS.get(path.stem, path.stem)).Params
    values = load_parameters(path.stem, [])
    made = kind(**values)
    assert path.read_text().startswith("#")
    if path.stem not in METHODS:
        assert made == kind(), "a method's file states the defaults"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("restoration/*.yaml")), ids=lambda p: p.stem)
def test_a_restoration_s_file_states_the_defaults(path):
    task, _, method = path.stem.partition("-")
    kind = {"restore": get_restoration, "superres": get_superres}[task](method).Params
    values = load_parameters(path.stem, [])
    assert kind(**values) == kind() and set(values) == set(kind.model_fields)
    assert path.read_text().startswith("#")


@pytest.mark.parametrize("method", ["fcls", "linear"])
def test_the_unmixing_s_file_states_the_defaults(method):
    kind = get_unmixing(method).Params
    values = load_parameters("unmix", [])
    assert kind(**values) == kind() and set(values) == set(kind.model_fields)


def test_the_generation_s_files():
    values = load_parameters("hud", [])
    assert HudTrainingParams(**values) == HudTrainingParams() and set(values) == set(HudTrainingParams.model_fields)
    assert HudTrainingParams(**load_parameters("hud-paper", [])).directions == 0


def test_all_parameters_of_hsr_diff_are_in_its_file():
    every = names(get_method("hsr-diff").Params().model_dump(mode="json"))
    assert every - names(load_parameters("hsr-diff", [])) == {"uncertainty"}, "which --uncertainty sets"


def names(values: dict) -> set[str]:
    """All keys, those of parts with dots."""
    parts = {f"{key}.{name}" for key, part in values.items() if isinstance(part, dict) for name in names(part)}
    return parts | {key for key, part in values.items() if not isinstance(part, dict)}


@pytest.mark.parametrize("name", ["hsr-diff", "hsr-diff-paper"])
def test_one_file_serves_fuse_and_train(name):
    whole, part = load_parameters(name, []), load_parameters(name, ["network.width=16"], "training")
    changed = {**whole["training"], "network": {**whole["training"]["network"], "width": 16}}
    assert part == changed
    assert settings_of(part).network.width == 16


def test_the_paper_s_configuration():
    fusion = get_method("hsr-diff").Params(**load_parameters("hsr-diff-paper", []))
    t = fusion.training
    assert (t.space, t.loss, t.network.kind, t.network.width, t.network.depth, t.network.fold) == (
        "pixels", "observed", "cdformer", 256, 12, 1,
    )  # fmt: skip
    assert (t.process.levels, t.process.sampler, t.process.steps) == (2000, "ancestral", 100)
    assert (t.patches, t.batch, t.learning_rate, t.seen_noise, fusion.gain) == ((64, 128), 4, 1e-4, 1.0, "full")
    with torch.device("meta"):
        network = t.network.build(103, 103 + 4, 103)
    assert f"{sum(p.numel() for p in network.parameters()):,}" in find_config("hsr-diff-paper").read_text()


def test_settings_win_over_the_file():
    assert load_parameters("subspace", ["dimension=7"])["dimension"] == 7


def test_the_sensor_to_copy_is_a_sensor():
    sensor = load_sensor(FOLDER / "sensors" / "my-camera.yaml")
    assert [band.name for band in sensor.bands] == ["Blue", "Green", "Red", "NIR"]
    assert sensor.band("B3").centre_nm == pytest.approx(660, abs=3) and sensor.band("NIR").gsd == 4
