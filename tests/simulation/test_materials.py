from __future__ import annotations

import numpy as np
import pytest

from hsgeo.simulation.atmosphere import hyperion_snr, sunlight, transmission
from hsgeo.simulation.materials import MODE_LIMIT, MODES, material_library, material_names
from hsgeo.simulation.spectra import GRID, kubelka_munk


def at(spectrum: np.ndarray, *nm: float) -> np.ndarray:
    return np.interp(nm, GRID, spectrum)


@pytest.fixture(scope="module")
def spectra() -> dict[str, np.ndarray]:
    return {m.name: m.spectrum for m in material_library()}


def test_there_are_many_different_materials():
    library = material_library()
    assert len(library) >= 20
    assert tuple(m.name for m in library) == material_names()
    unit = np.stack([m.spectrum / np.linalg.norm(m.spectrum) for m in library])
    angle = np.degrees(np.arccos(np.clip(unit @ unit.T, -1, 1)))
    assert angle[~np.eye(len(library), dtype=bool)].min() > 0.5


def test_spectra_and_their_variation_stay_physical():
    for material in material_library():
        reach = MODE_LIMIT * np.abs(material.modes).sum(0)
        assert material.modes.shape == (MODES, GRID.size)
        assert (material.spectrum - reach).min() > 0 and (material.spectrum + reach).max() <= 0.95 + 1e-12
        # a mode is worth something, and the modes are in the order of their size
        size = np.linalg.norm(material.modes, axis=1)
        assert size[0] > 0.01 * np.linalg.norm(material.spectrum)


def test_vegetation_has_its_red_edge_green_peak_and_water(spectra):
    for name in ("deciduous forest", "winter wheat", "meadow", "sugar beet"):
        red, green, nir, w970, w1080, w1450, w1650, w1930 = at(
            spectra[name], 672, 552, 800, 970, 1080, 1450, 1650, 1935
        )
        assert nir > 6 * red and 1.3 * red < green < 0.2
        assert w970 < w1080 and w1450 < 0.6 * w1650 and w1930 < w1450
    dry = at(spectra["ripe cereal"], 672, 800, 2100, 2200)
    assert dry[1] < 3 * dry[0] and dry[2] < dry[3]


def test_soils_roofs_and_water_show_their_features(spectra):
    assert np.all(at(spectra["ferric soil"], 880) < np.minimum(*at(spectra["ferric soil"], 760, 1050)))
    loess = at(spectra["loess soil"], 2180, 2205, 2235)
    assert loess[1] < min(loess[0], loess[2])
    stone = at(spectra["limestone gravel"], 2260, 2340)
    assert stone[1] < 0.9 * stone[0]
    film = at(spectra["plastic film"], 1680, 1728)
    assert film[1] < 0.8 * film[0]
    river = spectra["turbid river water"]
    assert at(river, 560) > 0.08 and river[GRID > 1300].max() < 0.02
    assert at(spectra["lake water"], 700) < 0.03


def test_kubelka_munk_solves_its_equation():
    ratio = np.array([0.0, 0.05, 1.0, 8.0])
    reflectance = kubelka_munk(ratio)
    assert reflectance[0] == 1
    np.testing.assert_allclose((1 - reflectance) ** 2 / (2 * reflectance), ratio, atol=1e-12)


def test_atmosphere_is_dark_where_water_absorbs_and_the_sun_is_the_sun():
    clear, wet = transmission(np.array([860.0, 1650.0, 2200.0])), transmission(np.array([1380.0, 1870.0]))
    assert clear.min() > 0.7 and wet.max() < 0.02
    nm = np.arange(200.0, 20000.0, 5.0)
    assert np.trapezoid(sunlight(nm), nm / 1000) == pytest.approx(1361, rel=0.02)  # the solar constant
    snr = hyperion_snr(np.array([550.0, 1225.0, 2200.0, 1380.0]))
    assert 140 < snr[0] < 170 and 30 < snr[2] < 40 and snr[3] < 3
