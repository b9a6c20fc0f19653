"""The variance's calibration: errors measured on the pair itself, one scale down."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.methods.fusion.calibration import LIMITS, USUAL, beyond_subspace, neighbours, one_scale_down, reduced
from hsgeo.methods.fusion.fit import PatchCase
from hsgeo.methods.fusion.prior import FallingSpectrum
from hsgeo.methods.fusion.solver import Sensor
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
    assert (calibrated.calibration >= LIMITS[0]).all() and (calibrated.calibration[:2] <= LIMITS[1]).all()


def test_where_the_hsi_is_alone_the_errors_are_measured_apart():
    """A response a band and a quarter off makes errors where both images are used, and none where the HSI is alone."""
    c = make_case(shape=(32, 32), ratio=4)
    near, far = (np.roll(c.response, k, axis=1) for k in (1, 2))
    off = c.inputs(response=0.75 * near + 0.25 * far)
    model = SubspaceFusion().fit(off, SubspaceParams(uncertainty=True))
    both, hsi, _ = model.calibration.mean(1)
    assert both > 2 * hsi
    c.pair.msi_values[0][:, 40:88, 40:88] = np.nan
    result = fuse_tiles(model, c.pair)
    alone = result.flags == 1
    error, said = (np.sqrt(v[:, alone].mean()) for v in ((result.values - c.truth) ** 2, result.variance))
    assert 0.5 < said / error < 1.5


def test_a_gap_in_the_hsi_leaves_the_rest_as_it_was_and_is_itself_uncertain() -> None:
    """It neither spoils what is learned of the scene, nor what the errors elsewhere are taken to be."""
    c = make_case(shape=(32, 32), ratio=4)
    whole = fuse_tiles(fit(c), c.pair)
    c.pair.hsi_values[:, 10:18, 12:20] = np.nan
    holed = fuse_tiles(fit(c), c.pair)
    both, alone = holed.flags == 0, holed.flags == 2
    assert alone.sum() == 32**2 and (both | alone).all()

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(values, dtype=float))))

    assert rms((holed.values - c.truth)[:, both]) < 1.05 * rms((whole.values - c.truth)[:, both])
    std = [np.sqrt(r.variance) for r in (whole, holed)]
    assert rms(std[1][:, both]) == pytest.approx(rms(std[0][:, both]), rel=0.15)
    assert 0.8 < rms(std[1][:, alone]) / rms((holed.values - c.truth)[:, alone]) < 3


def test_a_gap_in_the_hsi_is_filled_where_the_scene_is_learned() -> None:
    """Not with the scene's mean, which would make borders of it, and detail where there is none."""
    c = make_case(shape=(32, 32), ratio=4)
    whole, (patch,) = fit(c, calibrate=False), c.pair.sample()
    true = PatchCase(whole, patch).coarse[:, 10:18, 12:20]
    c.pair.hsi_values[:, 10:18, 12:20] = np.nan
    holed, (patch,) = fit(c, calibrate=False), c.pair.sample()
    found = PatchCase(whole, patch).coarse[:, 10:18, 12:20]
    left, blank = (np.square(v - true).mean() for v in (found, whole.mean[:, None, None]))
    assert left < 0.3 * blank
    power = [np.trace(m.basis @ m.covariance @ m.basis.T) for m in (whole, holed)]
    assert power[1] == pytest.approx(power[0], rel=0.2)


def test_what_the_msi_alone_sees_is_measured_where_the_hsi_is_known() -> None:
    """A response five bands off tells spectra wrongly, and the model's own variance does not know it."""
    c = make_case(shape=(32, 32), ratio=4)
    right, wrong = (
        SubspaceFusion().fit(c.inputs(response=r), SubspaceParams(uncertainty=True)).calibration[2].mean()
        for r in (c.response, np.roll(c.response, 5, axis=1))
    )
    assert wrong > 2 * right and 0.5 < right < 1.5


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


def test_what_is_outside_the_subspace_is_told_from_noise():
    """White signal of known variance outside a subspace, through the PSF, and noise that is four times stronger."""
    rng = np.random.default_rng(0)
    bands, p, ratio, psf, variance = 12, 3, 3, Psf(3.0, 3.0), 2.0
    noise = rng.uniform(0.5, 2, bands)
    white = np.linalg.qr(rng.standard_normal((bands, p)))[0]
    beyond = np.eye(bands) - white @ white.T
    rows = psf.matrix(96 * ratio, ratio, "reflect")
    fine = np.sqrt(variance) * np.einsum("bc,chw->bhw", beyond, rng.standard_normal((bands, 96 * ratio, 96 * ratio)))
    hsi = noise[:, None, None] * (rows @ fine @ rows.T + rng.standard_normal((bands, 96, 96)))
    model = SimpleNamespace(
        basis=white * noise[:, None],
        noise=noise,
        model_bands=np.arange(bands),
        sensors=[Sensor(ratio, np.eye(p), psf)],
        scale=ratio,
        spectrum=FallingSpectrum(1e6),
    )
    expected = variance * np.diag(beyond) * noise**2
    patch = SimpleNamespace(hsi=hsi.astype(np.float32))
    np.testing.assert_allclose(beyond_subspace(model, [patch]), expected, rtol=0.1)
    patch.hsi[:, 20:40, 30:50] = np.nan
    np.testing.assert_allclose(beyond_subspace(model, [patch]), expected, rtol=0.1)
    alone = SimpleNamespace(hsi=(noise[:, None, None] * rng.standard_normal((bands, 96, 96))).astype(np.float32))
    assert (beyond_subspace(model, [alone]) < 0.1 * expected).all()


def test_the_reduced_pair_is_one_scene_seen_by_the_same_sensors():
    """A smooth scene without noise: each group one scale down is what its sensor sees of the HSI one scale down."""
    ratio, own = 4, Psf(2.0, 2.0, shift_y=0.3)
    psf = Psf(4.0, 4.0)
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.standard_normal((256, 256)), 6, mode="reflect")[None] * 30
    see = {k: (s.matrix(256, r, "reflect", 0), s.matrix(256, r, "reflect", 1)) for k, s, r in
           (("hsi", psf, ratio), ("own", own, 2))}  # fmt: skip
    hsi, group = (rows @ scene @ columns.T for rows, columns in see.values())
    model = SimpleNamespace(
        sensors=[Sensor(1, None), Sensor(2, None, own), Sensor(ratio, None, psf)],
        multiple=ratio,
        scale=ratio,
        model_bands=np.array([0]),
        noise=np.zeros(1),
        gauges=[np.zeros(1), np.zeros(1)],
        coefficients=lambda values: values,
    )
    patch = SimpleNamespace(hsi=hsi, msi=[scene, group])
    ((low, truth, known),) = reduced(model, [patch], rng)
    assert known.all()
    np.testing.assert_array_equal(truth, hsi)
    sharp, coarse = low.msi
    np.testing.assert_allclose(sharp, hsi, atol=1e-9)
    rows, columns = (own.matrix(64, 2, "reflect", axis) for axis in (0, 1))
    expected = rows @ hsi @ columns.T
    error = np.abs(coarse - expected)[:, 2:-2, 2:-2].max()
    assert error < 0.02 * np.ptp(expected), error / np.ptp(expected)
    np.testing.assert_allclose(low.hsi, psf.matrix(64, 4, "reflect") @ hsi @ psf.matrix(64, 4, "reflect").T, atol=1e-5)


def test_the_prior_one_scale_down_is_that_of_the_reduced_pair():
    c = make_case(shape=(20, 20))
    model = fit(c, calibrate=False)
    before = model.covariance.copy()
    patches = [patch for patch, _, _ in reduced(model, c.pair.sample(), np.random.default_rng(0))]
    low = one_scale_down(model, patches)
    other = copy(model)
    other.covariance = 9 * other.covariance  # what the prior was before does not matter
    np.testing.assert_allclose(one_scale_down(other, patches).covariance, low.covariance, rtol=1e-6)
    np.testing.assert_array_equal(model.covariance, before)
    assert np.abs(low.covariance - before).max() > 0.05 * np.abs(before).max()
    assert low.calibration is None and not low.lost.any()
