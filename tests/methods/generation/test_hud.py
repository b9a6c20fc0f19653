"""The generator of a scene: trained, written and read, refused where it does not belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import DataError, ModelError
from hsgeo.methods.generation.hud import Hud, fitted_hud
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.scene.labels import Labels
from hsgeo.scene.source import SceneSource
from tests.methods.restoration.test_subspace import noisy, truth

QUICK = HudTrainingParams(endmembers=4, steps=3, batch=2, crop=16, widths=(8, 12), blocks=1, directions=2)
NM = np.linspace(400, 900, 24)


def fitted(y: np.ndarray, **given) -> Hud:
    good, reasons = np.ones(len(y), bool), [""] * len(y)
    good[5], reasons[5] = False, "bbl"
    return fitted_hud(SceneSource(on_grid(y, 30)), good, reasons, QUICK, NM, **given)


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return noisy(truth((40, 44)), 0.01)


def test_written_and_read(y, tmp_path: Path) -> None:
    labels = (np.arange(44) // 22 - np.zeros((40, 1))).astype(int)
    model = fitted(y, labels=Labels(labels, ["field", "town"], [1, 2]))
    assert model.encoding.channels == 6 and 5 not in model.bands and model.count == 24
    path = tmp_path / "m.safetensors"
    model.save(path)
    again = Hud.load(path)
    assert again.classes == ["field", "town"] and again.settings == QUICK and again.about["cosine"] > 0.9
    assert again.classifier.accuracy == model.classifier.accuracy > 0.5
    np.testing.assert_array_equal(again.classifier.weights, model.classifier.weights)
    wanted = [lambda w: np.full((2, *w.shape), 0.5, np.float32)]
    for asked in (None, wanted):
        one, other = (m.states((20, 24), [3], 2, wanted=asked) for m in (model, again))
        np.testing.assert_array_equal(one, other)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    rng = torch.get_rng_state()
    assert all(
        torch.equal(a, b)
        for a, b in zip(fitted(y).network.state_dict().values(), fitted(y).network.state_dict().values(), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), rng)


def test_what_it_draws_is_in_the_scene_s_units(y) -> None:
    model = fitted(y)
    abundances, spectra = model.encoding.decoded(model.states((16, 16), [1], 5)[0])
    assert abundances.shape == (4, 16, 16) and np.abs(abundances.sum(0) - 1).max() < 1e-5 and (abundances >= 0).all()
    assert spectra.shape == (23, 16, 16) and np.isfinite(spectra).all()


def test_what_does_not_belong_is_refused(y, tmp_path: Path) -> None:
    model = fitted(y)
    model.refuse("scene.tif", 24, NM)
    model.refuse("scene.tif", 24, np.full(24, np.nan))
    with pytest.raises(ModelError, match=r"made for 24 bands, other.* has 20"):
        model.refuse("other.tif", 20, NM[:20])
    with pytest.raises(ModelError, match="50 nm from those of other"):
        model.refuse("other.tif", 24, NM + 50)
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match="no such model"):
        Hud.load(path)
    model.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-400] + b"\xff" * 400)
    with pytest.raises(ModelError, match="damaged, it holds numbers that are none"):
        Hud.load(path)
    path.write_bytes(whole[:-50])
    with pytest.raises(ModelError, match="damaged"):
        Hud.load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path, {"hsgeo": '{"method": "hsr-diff"}'})
    with pytest.raises(ModelError, match="not a model of hud"):
        Hud.load(path)
    with pytest.raises(DataError, match="hold no crop of 16"):
        fitted(y[:, :12])
