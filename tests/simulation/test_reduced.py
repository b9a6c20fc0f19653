from __future__ import annotations

import json
import os
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from hsgeo.errors import BandError, GridError, ParameterError
from hsgeo.scene.model import geobox_of, make_scene
from hsgeo.scene.open import open_scene
from hsgeo.sensors import Band, load_sensor
from hsgeo.simulation import reduced
from hsgeo.simulation.reduced import simulate_pair

NM = np.linspace(400, 2400, 41)


def scene_of(values, **bands):
    box = GeoBox(values.shape[1:], Affine(10, 0, 500003.5, 0, -10, 5200001.25), "EPSG:32633")
    bands = {"wavelength": NM[: len(values)], "fwhm": 50.0, **bands}
    return make_scene(values, box, **bands)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    smooth = rng.random((41, 26, 23)).cumsum(0)
    return 0.05 + smooth / smooth.max() * 0.6


def dense_rows(n, s):
    """Independent statement of the protocol: Gaussian of sigma s / 2.355 about block centres, mirrored edge."""
    sigma, out = s / 2.355, np.zeros((n // s, n))
    for i in range(n // s):
        centre = s * i + (s - 1) / 2
        total = 0.0
        for j in range(-4 * n, 5 * n):
            if abs(j - centre) <= 4 * sigma:
                weight = np.exp(-0.5 * ((j - centre) / sigma) ** 2)
                folded = j % (2 * n)
                out[i, folded if folded < n else 2 * n - 1 - folded] += weight
                total += weight
        out[i] /= total
    return out


def dense_response(nm):
    centre = np.array([490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190.0])
    width = np.array([65, 35, 30, 15, 15, 20, 115, 20, 90, 180.0])
    rows = 2.0 ** (-((2 * (nm[None] - centre[:, None]) / width[:, None]) ** 2))
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_the_protocol_to_the_last_digit(values, ratio):
    hsi, msi, reference = simulate_pair(scene_of(values), ratio, snr_hsi=None, snr_msi=None)
    height, width = (n // ratio * ratio for n in values.shape[1:])
    z = values[:, :height, :width]
    np.testing.assert_array_equal(reference.values, z)
    expected = np.einsum("ih,bhw,jw->bij", dense_rows(height, ratio), z, dense_rows(width, ratio))
    np.testing.assert_allclose(hsi.values, expected, atol=1e-10)
    np.testing.assert_allclose(msi.values, np.einsum("bB,Bhw->bhw", dense_response(NM), z), atol=1e-10)


def test_light_is_conserved_where_all_is_alike(values):
    flat = np.ones_like(values) * np.linspace(0.1, 0.9, 41)[:, None, None]
    hsi, msi, _ = simulate_pair(scene_of(flat), 4, snr_hsi=None, snr_msi=None)
    np.testing.assert_allclose(hsi.values, flat[:, :6, :5], rtol=1e-12)
    assert np.ptp(msi.values, axis=(1, 2)).max() < 1e-12
    # one bright block spreads over its neighbours and keeps its sum
    block = np.zeros((2, 60, 60))
    block[:, 30:33, 27:30] = 1
    spread = simulate_pair(scene_of(block, wavelength=[490.0, 560.0]), 3, snr_hsi=None, snr_msi=None).hsi.values[0]
    assert spread.max() < 0.8 and spread.sum() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("ratio", [3, 4])
def test_a_ramp_stays_on_its_line(ratio):
    y, x = np.mgrid[: 12 * ratio, : 11 * ratio] + 0.5
    ramp = np.stack([2 * y - 3 * x] * 2)
    hsi = simulate_pair(scene_of(ramp, wavelength=[490.0, 560.0]), ratio, snr_hsi=None, snr_msi=None).hsi
    centre_y, centre_x = (np.mgrid[:12, :11] + 0.5) * ratio
    inside = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(hsi.values[inside], np.stack([2 * centre_y - 3 * centre_x] * 2)[inside], atol=1e-9)


def test_pixel_edges_coincide_and_the_scene_is_cropped_to_whole_blocks(values):
    scene = scene_of(values)
    hsi, msi, reference = simulate_pair(scene, 4)
    boxes = [geobox_of(s) for s in (hsi, msi, reference)]
    assert [b.shape for b in boxes] == [(6, 5), (24, 20), (24, 20)]
    assert boxes[0].boundingbox == boxes[1].boundingbox == boxes[2].boundingbox
    assert boxes[0].affine.c == geobox_of(scene).affine.c and boxes[0].resolution.x == 40
    assert (hsi["gsd"].values == 40).all() and (msi["gsd"].values == 10).all()
    told = json.loads(hsi.attrs["tags"]["HSGEO_SIMULATION"])
    assert told["ratio"] == 4 and told["snr_hsi"] == 35 and told["fwhm"] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize(("snr_hsi", "snr_msi"), [(35, 40), (20, 10)])
def test_noise_is_as_strong_as_asked(snr_hsi, snr_msi):
    z = np.random.default_rng(1).uniform(0.1, 0.6, (41, 120, 120))
    quiet = simulate_pair(scene_of(z), 3, snr_hsi=None, snr_msi=np.inf)
    noisy = simulate_pair(scene_of(z), 3, snr_hsi=snr_hsi, snr_msi=snr_msi, seed=5)
    for k, snr in ((0, snr_hsi), (1, snr_msi)):
        error = noisy[k].values - quiet[k].values
        measured = 10 * np.log10((quiet[k].values ** 2).mean() / error.var())
        assert measured == pytest.approx(snr, abs=0.1)
        assert abs(error.mean()) < 0.02 * error.std()
    again = simulate_pair(scene_of(z), 3, snr_hsi=snr_hsi, snr_msi=snr_msi, seed=5)
    np.testing.assert_array_equal(again.hsi.values, noisy.hsi.values)
    other = simulate_pair(scene_of(z), 3, snr_hsi=snr_hsi, snr_msi=snr_msi, seed=6)
    assert np.abs(other.hsi.values - noisy.hsi.values).max() > 0


def test_blocks_and_chunks_do_not_show(values, monkeypatch):
    big = np.tile(values, (1, 2, 3)).astype(np.float32)
    whole = simulate_pair(scene_of(big), 3)
    monkeypatch.setattr(reduced, "TASK_BYTES", 41 * 4 * 21**2)
    for data in (big, da.from_array(big, chunks=(21, 40, 30))):
        cut = simulate_pair(scene_of(data), 3)
        assert cut.hsi.data.numblocks[1] > 2
        np.testing.assert_allclose(cut.hsi.values, whole.hsi.values, atol=2e-6)
        np.testing.assert_allclose(cut.msi.values, whole.msi.values, atol=2e-6)
    assert cut.hsi.dtype == np.float32


def test_nothing_is_read_before_it_is_needed(values):
    def refuse(block):
        raise AssertionError("read")

    data = da.from_array(values, chunks=(41, 8, 8)).map_blocks(refuse, dtype=values.dtype, meta=np.empty((0, 0, 0)))
    hsi, _, _ = simulate_pair(scene_of(data), 3, snr_hsi=None, snr_msi=None)
    with pytest.raises(AssertionError, match="read"):
        hsi.values  # noqa: B018


def test_nodata_stays_nodata_and_does_not_leak(values):
    z = values[:, :24, :20].copy()
    z[:, :9, :] = np.nan
    z[:, 17, 11] = np.nan
    hsi, msi, reference = simulate_pair(scene_of(z), 4, snr_hsi=None, snr_msi=None)
    assert np.isnan(hsi.values[:, :2]).all() and np.isfinite(hsi.values[:, 2:]).all()
    np.testing.assert_array_equal(np.isnan(msi.values), np.broadcast_to(np.isnan(z[:1]), msi.shape))
    np.testing.assert_array_equal(reference.values, z)
    # what is left is a weighted mean of valid pixels, not one that counts the missing as zero
    flat = np.where(np.isnan(z), np.nan, 0.5)
    half = simulate_pair(scene_of(flat), 4, snr_hsi=None, snr_msi=None).hsi.values
    np.testing.assert_allclose(half[np.isfinite(half)], 0.5, rtol=1e-12)


def test_bad_bands_are_carried_and_have_no_say(values):
    z, good = values.copy(), np.ones(41, bool)
    z[5], z[30], good[[5, 30]] = 0, np.nan, False
    z[20] *= 100
    good[20] = False
    reason = np.where(good, "", "uncalibrated")
    hsi, msi, reference = simulate_pair(scene_of(z, good=good, bad_reason=reason), 3)
    for out in (hsi, reference):
        np.testing.assert_array_equal(out["good"].values, good)
        np.testing.assert_array_equal(out["bad_reason"].values, reason)
    assert (hsi.values[5] == 0).all() and np.isnan(hsi.values[30]).all()
    weights = dense_response(NM) * good
    weights /= weights.sum(1, keepdims=True)
    height, width = (n // 3 * 3 for n in z.shape[1:])
    expected = np.einsum("bB,Bhw->bhw", weights[:, good], z[good, :height, :width])
    np.testing.assert_allclose(msi.values, expected, atol=0.02)
    assert np.isfinite(msi.values).all()


def test_a_band_that_is_all_nodata_but_not_flagged_does_no_harm(values):
    z = values.copy()
    z[10] = np.nan
    for sensor in (None, "sentinel-2a"):
        scene = scene_of(z, wavelength=np.linspace(420, 1000, 41), fwhm=15.0)
        hsi, msi, _ = simulate_pair(scene, 3, sensor)
        assert np.isfinite(msi.values).all() and np.isnan(hsi.values[10]).all()
        assert np.isfinite(np.delete(hsi.values, 10, 0)).all()


def test_a_named_sensor_gives_its_bands_inside_the_range(values):
    nm = np.linspace(420, 1000, 41)
    msi = simulate_pair(scene_of(values, wavelength=nm, fwhm=15.0), 3, "sentinel-2a", snr_msi=None).msi
    assert msi["band_name"].values.tolist() == ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A"]
    assert msi.attrs["sensor"] == load_sensor("sentinel-2a").name
    assert msi["wavelength"].values[0] == pytest.approx(492, abs=2)
    line = np.broadcast_to(nm[:, None, None] / 1000, (41, 9, 9)).copy()
    msi = simulate_pair(scene_of(line, wavelength=nm, fwhm=15.0), 3, "sentinel-2a", snr_msi=None).msi
    np.testing.assert_allclose(msi.values[:, 0, 0], msi["wavelength"].values / 1000, atol=2e-3)
    own = simulate_pair(scene_of(values), 3, [Band("Green", 560, 40), Band("Far", 9000, 40)]).msi
    assert own["band_name"].values.tolist() == ["Green"]


def test_storage_follows_the_scene(values):
    scene = scene_of(values, scale=1e-4, units="reflectance")
    scene.attrs.update(dtype="int16", nodata=-999)
    hsi, msi, _ = simulate_pair(scene, 3)
    for out in (hsi, msi):
        assert out.attrs["dtype"] == "int16" and out.attrs["nodata"] == -999
        assert (out["scale"].values == 1e-4).all() and (out["units"].values == "reflectance").all()
    mixed = scene_of(values, scale=np.where(np.arange(41) < 20, 1 / 40, 1 / 80))
    mixed.attrs.update(dtype="int16")
    hsi, msi, _ = simulate_pair(mixed, 3)
    assert hsi.attrs["dtype"] == "int16" and msi.attrs["dtype"] == "float32" and (msi["scale"].values == 1).all()


def test_a_psf_of_choice(values):
    sharp, soft = (simulate_pair(scene_of(values), 3, snr_hsi=None, fwhm=f).hsi.values for f in (0.0, 6.0))
    np.testing.assert_allclose(sharp, values[:, 1:24:3, 1:21:3], rtol=1e-12)
    assert soft.std() < sharp.std()


def test_what_cannot_be_is_said(values):
    scene = scene_of(values)
    with pytest.raises(GridError, match="smaller ratio"):
        simulate_pair(scene, 40)
    for wrong in ({"ratio": 0}, {"ratio": 2.5}, {"fwhm": -1.0}, {"snr_hsi": np.nan}, {"seed": -1}):
        with pytest.raises(ParameterError):
            simulate_pair(scene, **{"ratio": 3, **wrong})
    with pytest.raises(BandError, match="wavelengths"):
        simulate_pair(scene_of(values, wavelength=np.nan), 3)
    with pytest.raises(BandError, match="--msi-sensor"):
        simulate_pair(scene_of(values, wavelength=np.linspace(3000, 5000, 41)), 3)
    with pytest.raises(BandError, match="another sensor"):
        simulate_pair(scene_of(values, wavelength=np.linspace(3000, 5000, 41)), 3, "sentinel-2a")


@pytest.mark.skipif("HSGEO_DATA" not in os.environ, reason="HSGEO_DATA does not name the folder of real scenes")
def test_a_real_scene_with_dead_bands_and_nodata():
    scene = open_scene(Path(os.environ["HSGEO_DATA"]) / "potsdam" / "enmap_potsdam_nw.tif")
    hsi, msi, reference = simulate_pair(scene, 4, "sentinel-2a")
    dead = np.isnan(hsi.values).all((1, 2))
    assert np.flatnonzero(dead).tolist() == list(range(129, 135))
    assert np.isfinite(hsi.values[~dead]).all() and np.isfinite(msi.values).all() and msi.sizes["band"] == 10
    assert hsi.shape == (224, 16, 24) and geobox_of(hsi).boundingbox == geobox_of(reference).boundingbox
    assert hsi.attrs["dtype"] == scene.attrs["dtype"] and hsi.attrs["nodata"] == scene.attrs["nodata"]
    mean = reference.values[~dead].mean((1, 2))
    np.testing.assert_allclose(hsi.values[~dead].mean((1, 2)), mean, rtol=0.1, atol=0.01 * mean.max())
