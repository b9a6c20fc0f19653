"""Lines that are lost in all bands, clouds at the border, and scenes of a few lines: by the tasks that fill."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import griddata

import hsgeo
from hsgeo.bench.protocols import on_grid
from hsgeo.tasks import RestorationJob, RestorationOptions
from tests.methods.restoration.test_subspace import noisy, truth


@pytest.mark.parametrize("value", [np.nan, 0.0])
@pytest.mark.parametrize("task", ["inpaint", "all"])
def test_lines_lost_in_all_bands_are_filled(value: float, task: str) -> None:
    """As nodata or stuck, a row and two columns inside the scene."""
    z = truth((48, 52))
    y = noisy(z).astype(np.float32)
    lost = np.zeros(y.shape[1:], bool)
    lost[20], lost[:, [30, 31]] = True, True
    y[:, lost] = value
    found = hsgeo.restore(on_grid(y, 30.0), task=task).values
    places = np.argwhere(~lost)
    straight = np.stack([griddata(places, band[~lost], np.argwhere(lost)) for band in y])
    assert np.square(found - z)[:, lost].mean() < 0.8 * np.square(straight - z[:, lost]).mean()
    if task == "inpaint":
        np.testing.assert_array_equal(found[:, ~lost], y[:, ~lost])


def test_a_cloud_at_the_border_is_told_of() -> None:
    y = noisy(truth((48, 52)))
    y[:, :12, 20:30] = np.nan
    job = RestorationJob(on_grid(y, 30.0), RestorationOptions("inpaint", "subspace"))
    assert np.isnan(job.scene().values[:, :12, 20:30]).all()
    assert any(note.startswith("120 pixels at the edge have no data") for note in job.model.notes)


@pytest.mark.parametrize("lines", [3, 5, 7])
@pytest.mark.parametrize("task", ["destripe", "all"])
def test_scenes_of_a_few_lines(lines: int, task: str) -> None:
    z = truth((64, 80))
    for part in (np.s_[:, :lines], np.s_[:, :, :lines]):
        y = noisy(z)[part]
        found = hsgeo.restore(on_grid(y, 30.0), task=task).values
        assert np.isfinite(found).all() and np.square(found - z[part]).mean() < 1.1 * np.square(y - z[part]).mean()
