from __future__ import annotations

import pytest

from hsgeo.engine import devices
from hsgeo.engine.devices import check_device, gpus_for, pick_device, visible_gpus
from hsgeo.errors import ParameterError


def test_cpu_needs_no_torch(monkeypatch):
    monkeypatch.setattr(devices, "cuda_count", lambda: 1 / 0)
    assert pick_device("cpu") == "cpu" and pick_device(" CPU ") == "cpu"


@pytest.mark.parametrize(("count", "spec", "device"), [
    (0, "auto", "cpu"), (2, "auto", "cuda:0"), (2, "cuda", "cuda:0"), (2, "cuda:1", "cuda:1"),
])  # fmt: skip
def test_devices_are_picked(monkeypatch, count, spec, device):
    monkeypatch.setattr(devices, "cuda_count", lambda: count)
    assert pick_device(spec) == device


@pytest.mark.parametrize(("count", "spec", "words"), [
    (0, "cuda", "no CUDA GPU"), (2, "cuda:2", "0 to 1"), (0, "gpu", "one of auto"), (0, "cuda:-1", "one of auto"),
])  # fmt: skip
def test_devices_that_are_not_there(monkeypatch, count, spec, words):
    monkeypatch.setattr(devices, "cuda_count", lambda: count)
    with pytest.raises(ParameterError, match=words):
        pick_device(spec)


def test_gpus_are_named_as_the_environment_names_them():
    assert visible_gpus(3, {}) == ["0", "1", "2"]
    assert visible_gpus(2, {"CUDA_VISIBLE_DEVICES": "5, GPU-abc"}) == ["5", "GPU-abc"]
    assert visible_gpus(1, {"CUDA_VISIBLE_DEVICES": ""}) == ["0"]


def test_one_process_for_each_gpu():
    names = ["4", "7"]
    assert gpus_for("auto", 1, names) == ["4"]
    assert gpus_for("cuda", 8, names) == ["4", "7"]
    assert gpus_for("cuda:1", 8, names) == ["7"]
    for spec, there in (("cuda:2", names), ("cuda", [])):
        with pytest.raises(ParameterError):
            gpus_for(spec, 1, there)


def test_cuda_count_of_this_machine():
    assert devices.cuda_count() >= 0
    assert check_device("CUDA:0") == "cuda:0"
