"""The self-supervised restoration on small mixtures whose truth is known to the tests alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsgeo.diffusion import Evidence
from hsgeo.errors import ParameterError
from hsgeo.methods.restoration.variational import _error, _held_back, reverse, span_of
from hsgeo.methods.restoration.variational_settings import OURS, PAPER, VariationalSettings
from hsgeo.networks import VS2M, VS2MShape
from hsgeo.observation.psf import Psf
from hsgeo.observation.spectral import SpectralBlur, SpectralMask

from ..pairs import landscape, materials

SIZE, BANDS, SIGMA = (24, 28), 8, 0.1

SHAPE = VS2MShape(4, (8, 12), (4, 4), (3, 3), (1,), (16,))

QUICK = VariationalSettings(SHAPE, steps=60, rate=1e-2, average=0.9)

SPAN = torch.full((1, 1, 1), 0.5, dtype=torch.float64), 0.5


def truth() -> torch.Tensor:
    maps = landscape(*SIZE, 3, np.random.default_rng(0), 0.05)
    return torch.from_numpy(np.einsum("bm,mhw->bhw", materials(BANDS, 3), maps))


def fields() -> torch.Tensor:
    """A field of one material beside a slope of another: what is not seen of it can be guessed."""
    y, x = torch.meshgrid(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in SIZE), indexing="ij")
    maps = torch.stack([(x > 0.45).double(), y])
    return torch.tensordot(torch.from_numpy(materials(BANDS, 2)), 0.6 * maps, 1)


def noisy(z: torch.Tensor, sigma: float = SIGMA) -> torch.Tensor:
    return z + sigma * torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def whole(y: torch.Tensor, sigma: float = SIGMA) -> Evidence:
    return Evidence.of(SpectralMask(True), y, sigma)


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("settings", [QUICK, replace(QUICK, choice="held-back")], ids=["fixed", "held-back"])
def test_noise_is_taken_out(settings: VariationalSettings) -> None:
    z = truth()
    found = reverse(whole(noisy(z)), settings, span=SPAN)
    assert rmse(found.image, z) < 0.6 * SIGMA


def test_a_hole_is_filled() -> None:
    """With half the error of each band's mean; what is known without noise is in the result as it is."""
    z, mask = fields(), torch.ones(SIZE, dtype=torch.bool)
    mask[8:16, 10:18] = False
    found = reverse(Evidence.of(SpectralMask(mask), z, 0.0), replace(QUICK, eta=0.95, steps=200), span=SPAN)
    torch.testing.assert_close(found.image[:, mask], z[:, mask], rtol=0, atol=1e-12)
    mean = z[:, mask].mean(1, keepdim=True)
    assert rmse(found.image[:, ~mask], z[:, ~mask]) < 0.5 * rmse(mean.expand(-1, 64), z[:, ~mask])


def test_a_coarse_image_is_sharpened() -> None:
    """Nearer to the truth than the least of all images that give the data, and giving them as well."""
    z, form, psf = fields(), SpectralBlur.of_psf(Psf(2.0, 2.0), 2, SIZE), Psf(2.0, 2.0)
    rows, columns = (torch.from_numpy(psf.matrix(n, 2)) for n in SIZE)
    y = rows @ z @ columns.T
    found = reverse(Evidence.of(form, y, 0.0), replace(QUICK, eta=0.95, steps=300), span=SPAN).image
    least = form.from_spectral(form.observed(y))
    torch.testing.assert_close(rows @ found @ columns.T, y, rtol=0, atol=1e-10)
    assert rmse(found, z) < 0.95 * rmse(least, z)


def traced(evidence: Evidence, settings: VariationalSettings, **given) -> tuple:
    seen: list[torch.Tensor] = []

    def look(step: int, average: torch.Tensor) -> None:
        assert step == len(seen) + 1
        seen.append(average.clone())
        average.fill_(torch.nan)  # whoever looks on has no influence

    return reverse(evidence, settings, callback=look, **given), seen


def test_the_last_average_is_returned() -> None:
    found, seen = traced(whole(noisy(truth())), replace(QUICK, steps=10))
    assert found.step == len(seen) == 10 and found.errors is None
    torch.testing.assert_close(found.image, seen[-1])


def test_the_average_of_least_error_is_returned() -> None:
    """On samples that the process did not see: its course is the same whatever they are."""
    y, settings = noisy(truth()), replace(QUICK, steps=12, choice="held-back", held=0.1, rate=0.05)
    found, seen = traced(whole(y), settings, span=SPAN)
    held = _held_back(whole(y), 0.1, 0)
    assert 0.05 < held.double().mean() < 0.15
    expected = [float((s - y)[held].square().mean()) - SIGMA**2 for s in seen]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-10)
    assert found.step == int(np.argmin(expected)) + 1
    torch.testing.assert_close(found.image, seen[found.step - 1])
    other, course = traced(whole(torch.where(held, y + 100, y)), settings, span=SPAN)
    torch.testing.assert_close(torch.stack(course), torch.stack(seen))
    assert other.errors.min() > 9000


@pytest.mark.parametrize("kind", ["mask", "blur"])
def test_error_held_back_is_that_of_the_observed_image(kind: str) -> None:
    """Over 400 draws of the noise the estimate's mean is the true error, within five standard errors."""
    z, wrong = truth(), truth().flip(2)
    if kind == "mask":
        form, clean, difference = SpectralMask(True), z, wrong - z
    else:
        psf = Psf(2.0, 2.0)
        rows, columns = (torch.from_numpy(psf.matrix(n, 2)) for n in SIZE)
        form, clean = SpectralBlur.of_psf(psf, 2, SIZE), rows @ z @ columns.T
        difference = form.to_spectral(wrong - z) * form.singular
    rng, level = torch.Generator().manual_seed(2), torch.linspace(0.1, 0.3, BANDS)[:, None, None].double()
    held = _held_back(Evidence.of(form, clean, level), 0.2, 0)
    drawn = []
    for _ in range(400):
        y = clean + level * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
        drawn.append(_error(Evidence.of(form, y, level), held, wrong))
    true = float(difference[held].square().mean())
    assert np.mean(drawn) == pytest.approx(true, abs=5 * np.std(drawn) / 20)
    assert 5 * np.std(drawn) / 20 < 0.1 * true


def test_seed_decides_everything() -> None:
    y, settings = noisy(truth()), replace(QUICK, steps=4)
    torch.manual_seed(1)
    first = reverse(whole(y), settings).image
    torch.manual_seed(2)
    torch.testing.assert_close(reverse(whole(y), settings).image, first, rtol=0, atol=0)
    assert not torch.allclose(reverse(whole(y), settings, seed=1).image, first)


def test_units_do_not_matter() -> None:
    y, settings = noisy(truth()), replace(QUICK, steps=6, choice="held-back")
    first = reverse(whole(y), settings)
    other = reverse(whole(3000 * y - 50, 3000 * SIGMA), settings)
    torch.testing.assert_close(other.image, 3000 * first.image - 50)
    np.testing.assert_allclose(other.errors, 9e6 * first.errors, rtol=1e-6)


def test_an_estimate_is_where_the_networks_start() -> None:
    """Fitted to it and not moved any more, they show it; without it they show nothing of the scene yet."""
    z = truth()
    still = replace(QUICK, steps=2, rate=0.0, warm_rate=2e-2, warm=100)
    warm, cold = (reverse(whole(noisy(z)), still, estimate=e, span=SPAN).image for e in (z, None))
    assert rmse(warm, z) < 0.4 * float(z.std()) < 0.4 * rmse(cold, z)


def test_span() -> None:
    offset, scale = span_of(torch.linspace(2, 4, 100001).reshape(1, 1, -1))
    assert offset.item() == pytest.approx(3, abs=1e-3) and scale == pytest.approx(0.998, abs=1e-3)
    assert span_of(torch.full((2, 3, 3), 7.0))[1] == 1


@pytest.mark.parametrize("name, count", [("denoise", 1000), ("complete", 1500), ("sharpen", 500)])
def test_published_levels(name: str, count: int) -> None:
    settings = PAPER[name]
    levels = settings.levels()
    assert len(levels) == count + 1 and levels[-1] == 0 and (np.diff(levels) < 0).all()
    gamma = np.cumprod(1 - np.linspace(1e-4, 5e-3, settings.length))[count - 1]
    assert levels[0] == pytest.approx(((1 - gamma) / gamma) ** 0.5)
    few = replace(settings, steps=7).levels()
    assert len(few) == 8 and few[0] == levels[0] and few[-1] == 0


def test_ours_is_a_tenth_of_the_published_size_and_of_its_steps() -> None:
    ours, theirs = (
        sum(p.numel() for p in VS2M(20, 64, 64, kind["denoise"].shape).parameters()) for kind in (OURS, PAPER)
    )
    assert OURS.keys() == PAPER.keys() and ours < theirs / 10
    assert len(OURS["denoise"].levels()) - 1 == 400 and OURS["denoise"].levels()[0] == PAPER["denoise"].levels()[0]


@pytest.mark.parametrize("given", [{"start": 0}, {"start": 2001}, {"steps": 1001}, {"held": 0.0}])
def test_refuses_what_is_no_process(given: dict) -> None:
    with pytest.raises(ParameterError, match=r"is|lies"):
        replace(QUICK, **given)


def test_refuses_to_hold_back_from_nothing() -> None:
    nothing = Evidence.of(SpectralMask(False), truth(), 0.0)
    with pytest.raises(ParameterError, match="too few data"):
        reverse(nothing, replace(QUICK, choice="held-back"))
