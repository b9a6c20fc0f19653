"""A pair's model under other sensors, and the images that those would have taken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hsgeo.methods.fusion import jitter
from hsgeo.methods.fusion.calibration import reduced
from hsgeo.methods.fusion.jitter import jittered
from hsgeo.methods.fusion.subspace import SubspaceFusion

from .pairs import Case, degrade, make_case

NM = np.linspace(400, 980, 30)  # of the pairs' bands; their response functions are 20 nm times as wide


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(
        shape=(20, 20),
        windows=(((0.1, 0.2), (0.35, 0.2), (0.6, 0.2)), ((0.85, 0.2),)),
        ratios=(1, 2),
        texture=0.05,
    )


@pytest.fixture(scope="module")
def model(case):
    return SubspaceFusion().fit(case.inputs())


def drawn(model, monkeypatch, **fixed):
    for name, value in {"CENTRE_NM": 0.0, "WIDTH": 1.0, "BLUR": 1.0, "SNR_DB": 0.0, **fixed}.items():
        monkeypatch.setattr(jitter, name, value)
    return jittered(model, NM, np.random.default_rng(1))


def test_other_units_mean_the_same(case, model) -> None:
    """Spectra of coefficients, and what the MSI sees of them; one unit is still the HSI's noise."""
    other = jittered(model, NM, np.random.default_rng(2))
    hsi = case.pair.hsi_values
    ours, theirs = (m.coefficients(hsi) for m in (model, other))
    spectra = np.einsum("bp,phw->bhw", other.basis, theirs)
    np.testing.assert_allclose(spectra, np.einsum("bp,phw->bhw", model.basis, ours), rtol=1e-9)
    for sensor, gauge, response in zip(other.sensors[:-1], other.gauges, other.responses, strict=True):
        seen = gauge[:, None, None] * np.einsum("kp,phw->khw", sensor.matrix, theirs)
        np.testing.assert_allclose(seen, np.einsum("kb,bhw->khw", response, spectra), rtol=1e-9)
    white = other.basis / other.noise[:, None]
    np.testing.assert_allclose(white.T @ white, np.eye(len(ours)), atol=1e-9)
    np.testing.assert_allclose(other.basis @ other.mean, model.basis @ model.mean)
    for name in ("spread", "covariance"):
        over_bands = (m.basis @ getattr(m, name) @ m.basis.T for m in (other, model))
        np.testing.assert_allclose(*over_bands, rtol=1e-6, atol=1e-12)


def test_everything_varies_and_stays_near(model) -> None:
    others = [jittered(model, NM, np.random.default_rng(n)) for n in range(60)]
    for ratios in (
        [o.noise[0] / model.noise[0] for o in others],
        [o.gauges[1][0] / model.gauges[1][0] for o in others],
        [o.sensors[-1].psf.fwhm_y / model.sensors[-1].psf.fwhm_y for o in others],
    ):
        assert 0.75 < min(ratios) < 0.9 and 1.1 < max(ratios) < 1.3
    centres = [(o.responses[0] @ NM / o.responses[0].sum(1)) - model.responses[0] @ NM for o in others]
    assert 2 < np.std(centres) < 6 and abs(np.mean(centres)) < 1.5
    assert all(np.allclose(o.responses[0].sum(1), 1) for o in others)
    assert np.ptp([o.responses[0][0].max() for o in others]) > 0.05 * model.responses[0][0].max()  # the widths


def test_a_band_moves_by_nanometres(model, monkeypatch) -> None:
    """By as many as were drawn, whether or not the bands are in order; unknown wavelengths lie 10 nm apart."""
    monkeypatch.setattr(jitter, "WIDTH", 1.0)
    row, rng = model.responses[0][1], np.random.default_rng(5)
    shift = np.random.default_rng(5).normal(0, jitter.CENTRE_NM)
    moved = jitter._moved(row, NM, rng)
    assert abs(shift) > 1 and moved @ NM - row @ NM == pytest.approx(shift, abs=0.1)
    order = np.random.default_rng(0).permutation(30)
    again = jitter._moved(row[order], NM[order], np.random.default_rng(5))
    np.testing.assert_allclose(again, moved[order])
    ours, theirs = (jittered(model, nm, np.random.default_rng(7)) for nm in (None, 10.0 * np.arange(30)))
    np.testing.assert_array_equal(ours.responses[0], theirs.responses[0])


def test_the_images_of_the_other_responses(case, model, monkeypatch) -> None:
    """The MSI one scale down is what the moved response sees of the HSI, at either GSD."""
    other = drawn(model, monkeypatch, CENTRE_NM=30.0)
    ((low, _, _),) = reduced(other, case.pair.sample(), np.random.default_rng(0), model)
    clean = degrade(case.truth, case.psf, 4)
    for k, r in ((0, 1), (1, 2)):
        psf = other.sensors[k].psf
        spectra = clean if psf is None else degrade(clean, psf, r)
        left = (np.einsum("kb,bhw->khw", m.responses[k], spectra) - low.msi[k] for m in (other, model))
        error, before = (np.sqrt((x[:, 2:-2, 2:-2] ** 2).mean((1, 2))) / model.gauges[k] for x in left)
        assert (error < 1.2).all() and before.max() > 1.7 * error.max()


def test_the_images_of_another_blur(case, model, monkeypatch) -> None:
    """The HSI one scale down goes through the other PSF; the MSI was seen through that of its truth, which is the HSI.

    Of a scene without noise, exactly.
    """
    silent = replace(model, noise=1e-9 * model.noise, gauges=[1e-9 * g for g in model.gauges])
    monkeypatch.setattr(jitter, "_factor", lambda largest, rng: 1.0 if largest == 1.0 else largest)
    other = drawn(silent, monkeypatch, BLUR=1.14)
    hsi = degrade(case.truth, case.psf, 4)
    seen = [np.einsum("kb,bhw->khw", r, case.truth) for r in model.responses]
    seen[1] = degrade(seen[1], model.sensors[1].psf, 2)
    patch = SimpleNamespace(hsi=hsi, msi=seen)
    ((low, _, _),) = reduced(other, [patch], np.random.default_rng(0), silent)
    wider = other.sensors[-1].psf
    assert wider.fwhm_y == pytest.approx(1.14 * case.psf.fwhm_y)
    np.testing.assert_allclose(low.hsi, degrade(hsi, wider, 4), atol=1e-6)
    np.testing.assert_allclose(low.msi[0], np.einsum("kb,bhw->khw", model.responses[0], hsi), atol=1e-6)


def test_the_images_of_other_noise(case, model, monkeypatch) -> None:
    """Each image has the noise that its model is told, whatever noise it was made from."""
    other = drawn(model, monkeypatch, SNR_DB=6.0)
    factors = other.noise[0] / model.noise[0], other.gauges[0][0] / model.gauges[0][0]
    assert max(abs(np.log(f)) for f in factors) > 0.3
    plain = case.pair.sample()
    draws = [reduced(other, plain, np.random.default_rng(n), model)[0][0] for n in range(30)]
    clean = degrade(degrade(case.truth, case.psf, 4), case.psf, 4)
    left = np.stack([d.hsi for d in draws]).astype(float) - clean
    assert np.sqrt((left**2).mean()) / other.noise[0] == pytest.approx(1, abs=0.07)
    sharp = np.stack([d.msi[0] for d in draws])
    white = np.sqrt((sharp - sharp.mean(0)).var() * len(draws) / (len(draws) - 1))  # what the draws do not share
    psf = case.psf.matrix(80, 4, "reflect", 0)
    kept = (psf**2).sum(1).mean() ** 2 * model.gauges[0].mean() ** 2
    assert np.hypot(white, np.sqrt(kept)) / np.sqrt((other.gauges[0] ** 2).mean()) == pytest.approx(1, abs=0.05)
    same = [reduced(model, plain, np.random.default_rng(n))[0][0] for n in range(3)]
    again = [reduced(model, plain, np.random.default_rng(n), model)[0][0] for n in range(3)]
    for a, b in zip(same, again, strict=True):
        np.testing.assert_array_equal(a.msi[0], b.msi[0])
