"""The variance's calibration: errors measured on the pair itself, one scale down."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.methods.fusion.calibration import LIMITS, USUAL, neighbours
from hsgeo.methods.fusion.prior import FallingSpectrum
from hsgeo.methods.fusion.subspace import SubspaceFusion, SubspaceParams
from hsgeo.observation.psf import Psf

from .pairs import Case, fuse_tiles, make_case


def fit(c: Case, **params):
    return SubspaceFusion().fit(c.inputs(), SubspaceParams(uncertainty=True, **params))


def test_the_calibrated_variance_is_nearer_to_the_errors():
    c = make_case(shape=(32, 32), ratio=4)
    raw, calibrated = fit(c, calibrate=False), fit(c)
    assert raw.calibration is None
    results = [fuse_tiles(m, c.pair) for m in (raw, calibrated)]
    np.testing.assert_array_equal(results[0].values, results[1].values)
    errors = results[0].values - c.truth
    too_small = [abs(np.log((errors**2).mean() / r.variance.mean())) for r in results]
    assert too_small[1] < max(too_small[0], np.log(1.5))
    inside = [(np.abs(errors) < 1.645 * np.sqrt(r.variance)).mean() for r in results]
    assert abs(inside[1] - 0.9) < max(abs(inside[0] - 0.9), 0.06)
    assert "one scale down" in calibrated.report()["uncertainty"]
    assert (calibrated.calibration >= LIMITS[0]).all() and (calibrated.calibration <= LIMITS[1]).all()


def test_where_the_hsi_is_alone_the_errors_are_measured_apart():
    """A response that is a band off makes errors where both images are used, and none where the HSI is alone."""
    c = make_case(shape=(32, 32), ratio=4)
    off = c.inputs(response=np.roll(c.response, 1, axis=1))
    model = SubspaceFusion().fit(off, SubspaceParams(uncertainty=True))
    both, hsi = model.calibration.mean(1)
    assert both > 2 * hsi
    c.pair.msi_values[0][:, 40:88, 40:88] = np.nan
    result = fuse_tiles(model, c.pair)
    alone = result.flags == 1
    error, said = (np.sqrt(v[:, alone].mean()) for v in ((result.values - c.truth) ** 2, result.variance))
    assert 0.5 < said / error < 1.5


@pytest.mark.parametrize("ratios", [(1,), (1, 2)])
def test_scenes_too_small_to_measure_take_the_usual_factor(ratios):
    windows = (((0.1, 0.2), (0.35, 0.2)), ((0.6, 0.2), (0.85, 0.2)))[: len(ratios)]
    c = make_case(shape=(8, 6), ratio=3, windows=windows, ratios=ratios)
    model = fit(c)
    np.testing.assert_array_equal(model.calibration[0], USUAL)
    assert (fuse_tiles(model, c.pair).variance > 0).all()


def test_two_gsds_are_measured_too():
    c = make_case(shape=(18, 18), ratio=3, windows=(((0.1, 0.2), (0.35, 0.2)), ((0.7, 0.2), (0.9, 0.2))), ratios=(1, 2))
    model = fit(c)
    assert np.ptp(model.calibration) > 0


def test_covariance_of_neighbours_by_sampling():
    """A white field blurred and decimated, against the sum over frequencies."""
    rng = np.random.default_rng(0)
    psf, n = Psf(4.0, 4.0), 1024
    rows = psf.matrix(n, 4, "circular")
    y = rows @ rng.standard_normal((n, n)) @ rows.T
    flat = FallingSpectrum(1e6)
    assert (y * np.roll(y, 1, 0)).mean() == pytest.approx(neighbours(psf, 4, flat), rel=0.1)
