"""Everything between the two images found from the images alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.errors import DataError, ParameterError
from hsgeo.observation.estimate import estimate_observation
from hsgeo.observation.msi_noise import detail_noise
from hsgeo.observation.psf import Psf, psf_from_mtf

NM = np.linspace(420, 900, 40)
SNR_HSI, SNR_MSI = 10**-1.75, 10**-2


@dataclass(frozen=True)
class Band:
    name: str
    centre_nm: float
    fwhm_nm: float
    mtf: float | None = None
    response: tuple[np.ndarray, np.ndarray] | None = None


BANDS = [Band("b", 490, 65), Band("g", 560, 35), Band("r", 665, 30), Band("n", 800, 100)]


def rows(bands, nm=NM):
    r = np.exp(-4 * np.log(2) * ((nm - np.array([[b.centre_nm] for b in bands])) / [[b.fwhm_nm] for b in bands]) ** 2)
    return r / r.sum(1, keepdims=True)


def truth(size: int = 96, seed: int = 0, bands: int = 40) -> np.ndarray:
    """Fields of sharp edges and small texture, six smooth materials."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, bands)
    spectra = np.stack([0.4 + 0.3 * np.sin(2 * np.pi * (k * x / 3 + rng.random())) for k in range(1, 7)])
    coarse = gaussian_filter(rng.standard_normal((6, size, size)), (0, 3, 3))
    fine = gaussian_filter(rng.standard_normal((6, size, size)), (0, 1, 1))
    score = coarse / coarse.std((1, 2), keepdims=True) + 0.5 * fine / fine.std((1, 2), keepdims=True)
    share = np.exp(4 * score)
    share /= share.sum(0)
    flat = gaussian_filter(rng.standard_normal((size, size)), 8) > 0
    share[:, flat] = share[:, flat].mean(1, keepdims=True)
    return np.tensordot(spectra, share, ((0,), (0,)))


def observed(z, ratio=4, psf=None, response=None, seed=1, snr=(SNR_HSI, SNR_MSI)):
    rng = np.random.default_rng(seed)
    psf = psf or Psf(float(ratio), float(ratio))
    y = psf.matrix(z.shape[1], ratio, axis=0) @ z @ psf.matrix(z.shape[2], ratio, axis=1).T
    x = np.tensordot(rows(BANDS) if response is None else response, z, 1)
    noise = [s * np.sqrt((a**2).mean()) for s, a in zip(snr, (y, x), strict=True)]
    y = y + noise[0] * rng.standard_normal(y.shape)
    x = x + noise[1] * rng.standard_normal(x.shape)
    return SimpleNamespace(hsi=y.astype(np.float32), msi=[x.astype(np.float32)]), noise


@pytest.fixture(scope="module")
def pair():
    return observed(truth())


def weighted_error(got, z, response=None):
    """Error of what the MSI would see of the scene's variation, relative to that variation."""
    spectra = z.reshape(len(z), -1)
    spectra = spectra - spectra.mean(1, keepdims=True)
    want = (rows(BANDS) if response is None else response) @ spectra
    return np.sqrt(((got @ spectra - want) ** 2).mean(1) / (want**2).mean(1))


def test_blind_on_a_plain_pair(pair):
    patch, noise = pair
    found = estimate_observation([patch], 4, (1,), wavelengths=NM)
    assert found.psf.fwhm == pytest.approx((4, 4), rel=0.03)
    assert found.group_psfs == (None,)
    assert (weighted_error(found.response, truth()) < 0.06).all()
    assert (found.response >= 0).all()
    np.testing.assert_allclose(found.gain, found.response.sum(1))
    assert np.median(found.noise_hsi) == pytest.approx(noise[0], rel=0.1)
    assert (abs(found.noise_msi / noise[1] - 1) < 0.35).all()
    assert set(found.sources) == {"psf", "response", "gain", "offset", "noise_hsi", "noise_msi"}
    assert "estimated" in found.sources["psf"] and "residual" in found.sources["response"]
    assert (found.residuals < 0.03).all()


def test_given_parts_are_kept(pair):
    patch, noise = pair
    given = rows(BANDS)
    found = estimate_observation([patch], 4, (1,), wavelengths=NM, given_response=given, given_psf=Psf(4, 4))
    np.testing.assert_array_equal(found.response, given)
    assert (found.offset == 0).all() and found.psf == Psf(4, 4)
    assert found.sources["psf"] == "given" and found.sources["response"].startswith("given")
    assert (abs(found.noise_msi / noise[1] - 1) < 0.3).all()
    narrow = estimate_observation([patch], 4, (1,), given_response=given)
    assert narrow.psf.fwhm == pytest.approx((4, 4), rel=0.03)


def test_psf_of_different_widths_and_a_shift():
    patch, _ = observed(truth(), psf=Psf(5.0, 3.6, shift_y=0.6, shift_x=-0.4))
    found = estimate_observation([patch], 4, (1,), shift=True)
    assert found.psf.fwhm == pytest.approx((5.0, 3.6), rel=0.05)
    assert (found.psf.shift_y, found.psf.shift_x) == pytest.approx((0.6, -0.4), abs=0.1)


def test_the_images_overrule_a_wrong_mtf(pair):
    found = estimate_observation([pair[0]], 4, (1,), hsi_mtf=0.15)
    assert psf_from_mtf(0.15, 4).fwhm_y > 5.5
    assert found.psf.fwhm == pytest.approx((4, 4), rel=0.05)


def test_without_structure_the_mtf_decides():
    rng = np.random.default_rng(0)
    patch = SimpleNamespace(
        hsi=1 + 0.01 * rng.standard_normal((20, 24, 24)), msi=[1 + 0.01 * rng.standard_normal((3, 96, 96))]
    )
    found = estimate_observation([patch], 4, (1,), hsi_mtf=0.2)
    assert found.psf.fwhm == pytest.approx(psf_from_mtf(0.2, 4).fwhm, rel=0.35)
    assert "say little" in found.sources["psf"] and "MTF 0.2" in found.sources["psf"]


def test_another_radiometry_goes_into_gain_and_offset():
    z = truth()
    patch, _ = observed(z)
    counts = SimpleNamespace(hsi=40 * patch.hsi, msi=[10000 * patch.msi[0] * 0.3 + 700])
    blind = estimate_observation([counts], 4, (1,), wavelengths=NM, msi_bands=BANDS)
    np.testing.assert_allclose(blind.gain, 75, rtol=0.03)
    np.testing.assert_allclose(blind.offset, 700, atol=60)
    given = estimate_observation([counts], 4, (1,), given_response=rows(BANDS), given_psf=Psf(4, 4))
    np.testing.assert_allclose(given.gain, 75, rtol=0.01)
    np.testing.assert_allclose(given.offset, 700, atol=20)
    assert "gain and offset" in given.sources["response"]
    unit = estimate_observation([patch], 4, (1,), wavelengths=NM, msi_bands=BANDS)
    np.testing.assert_allclose(blind.noise_msi, 3000 * unit.noise_msi, rtol=0.05)


def test_a_table_helps_where_pixels_are_few():
    z = truth(size=36, seed=4)
    patch, _ = observed(z)
    table = estimate_observation([patch], 4, (1,), wavelengths=NM, msi_bands=BANDS, given_psf=Psf(4, 4))
    free = estimate_observation([patch], 4, (1,), wavelengths=NM, given_psf=Psf(4, 4))
    spectra = truth(size=48, seed=9)
    assert weighted_error(table.response, spectra).max() < 0.1
    assert weighted_error(table.response, spectra).mean() < weighted_error(free.response, spectra).mean()
    # the bands have centres and widths alone
    assert table.sources["response"].startswith("estimated near Gaussians of the bands' centres and widths, residual")
    step = np.linspace(-1.5, 1.5, 121)
    curve = np.exp(-4 * np.log(2) * step**2)
    curves = [Band(b.name, b.centre_nm, b.fwhm_nm, response=(b.centre_nm + step * b.fwhm_nm, curve)) for b in BANDS]
    said = estimate_observation([patch], 4, (1,), wavelengths=NM, msi_bands=curves, given_psf=Psf(4, 4)).sources
    assert said["response"].startswith("estimated near the table, residual")


def test_a_table_that_the_images_contradict_is_left(pair):
    wrong = [Band(b.name, c, b.fwhm_nm) for b, c in zip(BANDS, (800, 490, 560, 665), strict=True)]
    found = estimate_observation([pair[0]], 4, (1,), wavelengths=NM, msi_bands=wrong)
    assert (weighted_error(found.response, truth()) < 0.08).all()
    assert found.sources["response"].startswith("estimated,")


def test_model_error_enters_the_noise():
    z = truth()
    patch, noise = observed(z)
    moved = SimpleNamespace(hsi=patch.hsi, msi=[np.roll(patch.msi[0], (1, 2), (1, 2))])
    found = estimate_observation([moved], 4, (1,), given_response=rows(BANDS), given_psf=Psf(4, 4))
    assert (found.noise_msi > 3 * noise[1]).all()
    assert (found.sensor_noise < 1.5 * noise[1]).all()


def test_missing_pixels_change_little(pair):
    patch, _ = pair
    hsi, msi = patch.hsi.copy(), patch.msi[0].copy()
    hsi[:, 3:6, 4:9] = np.nan
    hsi[7, 12, 12] = np.nan
    msi[:, 60:75, 30:50] = np.nan
    msi[2, 5, 80] = np.nan
    whole = estimate_observation([patch], 4, (1,))
    found = estimate_observation([SimpleNamespace(hsi=hsi, msi=[msi])], 4, (1,))
    assert found.psf.fwhm == pytest.approx(whole.psf.fwhm, rel=0.02)
    np.testing.assert_allclose(found.noise_msi, whole.noise_msi, rtol=0.3)
    assert (weighted_error(found.response, truth()) < 0.08).all()


def test_patches_agree_with_the_whole(pair):
    patch, _ = pair
    parts = [
        SimpleNamespace(
            hsi=patch.hsi[:, i : i + 12, j : j + 12], msi=[patch.msi[0][:, 4 * i : 4 * i + 48, 4 * j : 4 * j + 48]]
        )
        for i in (0, 12)
        for j in (0, 12)
    ]
    found = estimate_observation(parts, 4, (1,))
    assert found.psf.fwhm == pytest.approx((4, 4), rel=0.04)


@pytest.mark.parametrize("step, ratio", [(2, 6), (2, 3), (3, 6)])
def test_groups_of_coarser_bands(step, ratio):
    """Bands at their own GSD, at whole and broken ratios to the HSI's, in the MSI's own order."""
    z = truth(size=96)
    ground = psf_from_mtf(0.35, step)
    hsi_psf = Psf(1.2 * ratio, 1.2 * ratio)
    patch, noise = observed(z, ratio, hsi_psf)
    x = patch.msi[0].astype(float)
    own = [ground.matrix(96, step, axis=a) for a in (0, 1)]
    clean = np.tensordot(rows(BANDS)[[1, 3]], z, 1)
    coarse = own[0] @ clean @ own[1].T
    coarse += noise[1] * np.random.default_rng(5).standard_normal(coarse.shape)
    bands = [Band(b.name, b.centre_nm, b.fwhm_nm, mtf=0.35) for b in BANDS]
    case = SimpleNamespace(hsi=patch.hsi, msi=[x[[0, 2]], coarse])
    found = estimate_observation(
        [case], ratio, (1, step), wavelengths=NM, msi_bands=bands, group_bands=[(0, 2), (1, 3)]
    )
    assert found.group_psfs[0] is None and found.group_psfs[1] is not None
    assert found.psf.fwhm == pytest.approx(hsi_psf.fwhm, rel=0.06)
    assert (weighted_error(found.response, z) < 0.08).all()
    assert (abs(found.sensor_noise / noise[1] - 1) < 0.4).all()


def test_a_band_of_no_group_takes_no_part(pair):
    patch, _ = pair
    case = SimpleNamespace(hsi=patch.hsi, msi=[patch.msi[0][[0, 1, 3]]])
    found = estimate_observation([case], 4, (1,), wavelengths=NM, msi_bands=BANDS, group_bands=[(0, 1, 3)])
    assert found.response.shape == (4, 40) and not found.response[2].any()
    assert np.isinf(found.noise_msi[2]) and np.isfinite(found.noise_msi[[0, 1, 3]]).all()


@pytest.mark.parametrize("shape", [(7, 5), (2, 2), (1, 1)])
def test_tiny_scenes_still_get_an_answer(shape):
    z = truth(size=32)[:, : 4 * shape[0], : 4 * shape[1]]
    patch, _ = observed(z)
    found = estimate_observation([patch], 4, (1,), wavelengths=NM, msi_bands=BANDS, hsi_mtf=0.3)
    assert found.psf.fwhm == pytest.approx((4, 4), rel=0.5)
    assert np.isfinite(found.response).all() and (found.noise_msi > 0).all() and np.isfinite(found.noise_msi).all()


def test_what_cannot_serve(pair):
    patch, _ = pair
    with pytest.raises(DataError):
        estimate_observation([], 4, (1,))
    empty = SimpleNamespace(hsi=np.full_like(patch.hsi, np.nan), msi=patch.msi)
    with pytest.raises(DataError):
        estimate_observation([empty], 4, (1,))
    apart = SimpleNamespace(hsi=patch.hsi, msi=[np.full_like(patch.msi[0], np.nan)])
    with pytest.raises(DataError, match="both images"):
        estimate_observation([apart], 4, (1,))
    with pytest.raises(ParameterError):
        estimate_observation([patch], 4, (1, 2))
    with pytest.raises(ParameterError):
        estimate_observation([patch], 4, (1,), given_response=np.ones((4, 7)))
    with pytest.raises(ParameterError):
        estimate_observation([patch], 4, (1,), group_bands=[(0, 1)])
    with pytest.raises(ParameterError):
        estimate_observation([patch], 4, (1,), basis=np.ones((7, 2)))


@pytest.mark.parametrize("bands", [1, 4])
def test_noise_of_an_image_with_structure(bands):
    x = np.tensordot(rows(BANDS)[:bands], truth(size=160, seed=2), 1)
    level = 0.004 * np.arange(1, bands + 1)
    noisy = x + level[:, None, None] * np.random.default_rng(0).standard_normal(x.shape)
    noisy[:, :20, :20] = np.nan
    np.testing.assert_allclose(detail_noise([noisy[:, :80], noisy[:, 80:]]), level, rtol=0.25)
    assert (detail_noise([np.ones((2, 2, 2))]) > 0).all()


def test_texture_of_one_band_is_no_noise_where_the_hsi_sees_it():
    z = truth(size=192)
    grain = np.zeros(len(z))
    grain[20:26] = 0.05
    z = z + grain[:, None, None] * np.random.default_rng(4).standard_normal(z.shape[1:])
    patch, noise = observed(z)
    found = estimate_observation([patch], 4, (1,), given_response=rows(BANDS), given_psf=Psf(4.0, 4.0))
    assert detail_noise(patch.msi)[2] > 3 * noise[1]
    assert 0.6 * noise[1] < found.sensor_noise[2] < 2 * noise[1]
    np.testing.assert_allclose(np.delete(found.sensor_noise, 2), noise[1], rtol=0.3)
