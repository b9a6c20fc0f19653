"""The streamed metrics against scikit-image and plain formulas, whole and in windows."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from hsgeo.quality.metrics import SSIM_RADIUS, ReferenceMetrics, spectral_angle, uiqi_blocks, windows


def pair(bands=3, height=70, width=90, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    reference = np.stack([0.5 + 0.3 * np.sin(x / (5 + b)) * np.cos(y / 7) for b in range(bands)])
    return reference + 0.05 * rng.standard_normal(reference.shape), reference


def stream(result, reference, size, peak=None):
    height, width = reference.shape[1:]
    metrics = ReferenceMetrics((height, width), float(np.nanmax(reference)) if peak is None else peak)
    for core in windows(height, width, size):
        outer = core.grow(SSIM_RADIUS).clip(height, width)
        cut = (slice(None), *outer.slices)
        metrics.update(result[cut], reference[cut], core, outer)
    return metrics


@pytest.mark.parametrize("size", [32, 64, 256])
def test_windows_do_not_matter_and_formulas_hold(size):
    result, reference = pair()
    got = stream(result, reference, size).summary(ratio=4)
    mse = ((result - reference) ** 2).mean((1, 2))
    peak = reference.max()
    assert got["psnr"] == pytest.approx(np.mean(10 * np.log10(peak**2 / mse)), rel=1e-12)
    assert got["rmse"] == pytest.approx(np.sqrt(mse.mean()), rel=1e-12)
    assert got["ergas"] == pytest.approx(25 * np.sqrt(np.mean(mse / reference.mean((1, 2)) ** 2)), rel=1e-12)
    unit = [v / np.linalg.norm(v, axis=0) for v in (result, reference)]
    assert got["sam"] == pytest.approx(np.degrees(np.arccos((unit[0] * unit[1]).sum(0))).mean(), rel=1e-9)
    oracle = np.mean(
        [
            structural_similarity(a, b, gaussian_weights=True, use_sample_covariance=False, data_range=peak)
            for a, b in zip(result, reference, strict=True)
        ]
    )
    assert got["ssim"] == pytest.approx(oracle, rel=1e-6)


def test_missing_pixels_are_left_out():
    result, reference = pair()
    holed = result.copy()
    holed[:, 20:30, 40:44] = np.nan
    got = stream(holed, reference, 32)
    keep = np.isfinite(holed[0])
    mse = ((result - reference) ** 2)[:, keep].mean(1)
    assert got.count == keep.sum()
    assert got.summary(4)["rmse"] == pytest.approx(np.sqrt(mse.mean()), rel=1e-12)
    assert got.summary(None)["ergas"] is None
    assert np.allclose(got.band_rmse(), np.sqrt(mse))


def test_uiqi_is_one_for_equal_images_and_matches_its_definition():
    result, reference = pair(height=32, width=32)
    valid = np.ones((32, 32), bool)
    same, blocks = uiqi_blocks(reference, reference, valid)
    assert blocks == 1 and np.allclose(same, 1)
    a, b = result[0].ravel(), reference[0].ravel()
    cov = np.cov(a, b, ddof=0)
    expected = 4 * cov[0, 1] * a.mean() * b.mean() / ((cov[0, 0] + cov[1, 1]) * (a.mean() ** 2 + b.mean() ** 2))
    assert uiqi_blocks(result, reference, valid)[0][0] == pytest.approx(expected)


def test_spectral_angle_of_known_spectra():
    a, b = np.array([[1.0, 1.0, 0.0]]).T, np.array([[1.0, 0.0, 0.0]]).T
    assert spectral_angle(a, b)[0] == pytest.approx(45)
    assert spectral_angle(a, 7 * a)[0] == pytest.approx(0, abs=1e-5)
    assert spectral_angle(a, 0 * a)[0] == 0


def test_nothing_valid_and_tiny_scenes_give_nulls_not_errors():
    empty = stream(np.full((2, 3, 3), np.nan), np.ones((2, 3, 3)), 32, peak=1.0)
    assert set(empty.summary(4).values()) == {None}
    tiny = stream(np.full((2, 3, 3), 0.9), np.ones((2, 3, 3)), 32)
    assert tiny.summary(4)["ssim"] is None and tiny.summary(4)["rmse"] == pytest.approx(0.1)
