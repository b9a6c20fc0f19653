"""The model that comes with the package, on a land that it has not seen."""

from __future__ import annotations

from importlib.resources import files

import pytest

from hsgeo.bench.starting_model import LANDS, RATIOS
from hsgeo.errors import ModelError
from hsgeo.methods.fusion.weights import load_weights
from hsgeo.quality.reference import compare
from hsgeo.simulation.generator import make_pair
from hsgeo.tasks import FusionJob, FusionOptions


def test_it_is_small_and_says_what_it_was_trained_on():
    path = files("hsgeo.methods.fusion") / "data" / "hsr-diff.safetensors"
    assert len(path.read_bytes()) < 10e6
    about = load_weights().about
    assert about["ratios"] == list(RATIOS)
    assert len(about["scenes"]) == len(LANDS) and all("land" in name for name in about["scenes"])
    assert about["bands"] is None


def test_it_betters_the_fast_fusion_of_another_land():
    pair = make_pair((40, 40), 77)
    found = {}
    for method in ("subspace", "hsr-diff"):
        result = FusionJob(pair.hsi, pair.msi, FusionOptions(method)).scene().compute(scheduler="synchronous")
        found[method] = compare(result, pair.truth, 3).values
    assert found["hsr-diff"]["psnr"] > found["subspace"]["psnr"] + 0.1
    assert found["hsr-diff"]["sam"] < found["subspace"]["sam"]


def test_other_ratios_are_refused():
    with pytest.raises(ModelError, match="ratios 2 to 8, the pair has 9"):
        load_weights().refuse(9, (100, 10))
