"""Building blocks of reflectance spectra, 350-2600 nm: absorption by pigments, water, iron oxides, clays, plastics.

No measured spectrum is stored. Positions and widths of absorption features are textbook values: vegetation after
PROSPECT (Jacquemoud & Baret 1990, doi 10.1016/0034-4257(90)90100-Z); minerals, plastics and roofing as catalogued in
the USGS Spectral Library version 7 (Kokaly et al. 2017, doi 10.3133/ds1035); the smooth shape of soils after Price
(1990, doi 10.1016/0034-4257(90)90037-M); water and turbid water after Pope & Fry (1997, doi 10.1364/AO.36.008710),
Hale & Querry (1973, doi 10.1364/AO.12.000555) and Kou et al. (1993, doi 10.1364/AO.32.003531).
"""

from __future__ import annotations

from functools import cache

import numpy as np

#: wavelengths in nm on which every spectrum of this package is computed
GRID = np.arange(350.0, 2601.0, 2.0)

#: absorption of pure water, (nm, 1/cm), rounded from the three sources named above
_WATER = np.array(
    [
        (350, 1e-4), (400, 6.6e-5), (450, 9.2e-5), (500, 2.0e-4), (550, 5.7e-4), (600, 2.2e-3), (650, 3.4e-3),
        (700, 6.2e-3), (740, 0.026), (800, 0.021), (860, 0.046), (910, 0.07), (970, 0.48), (1010, 0.33),
        (1070, 0.15), (1120, 0.35), (1160, 1.1), (1200, 1.25), (1260, 1.1), (1320, 1.9), (1380, 6.5),
        (1420, 24.0), (1450, 31.0), (1500, 18.0), (1550, 9.6), (1600, 6.7), (1680, 5.1), (1780, 7.5),
        (1840, 10.5), (1880, 28.0), (1930, 128.0), (1960, 110.0), (2000, 69.0), (2100, 27.0), (2215, 16.5),
        (2300, 22.0), (2400, 48.0), (2500, 91.0), (2600, 120.0),
    ]
)  # fmt: skip


def bell(centre: float, width: float) -> np.ndarray:
    """Gaussian of height 1 on `GRID`; `width` is its standard deviation in nm."""
    return np.exp(-0.5 * ((GRID - centre) / width) ** 2)


def step(centre: float, width: float) -> np.ndarray:
    """Logistic step from 0 to 1 on `GRID`."""
    return 1 / (1 + np.exp(-(GRID - centre) / width))


def features(*lines: tuple[float, float, float]) -> np.ndarray:
    """Sum of Gaussian absorption lines (centre nm, standard deviation nm, strength) on `GRID`."""
    return np.sum([strength * bell(centre, width) for centre, width, strength in lines], axis=0)


def curve(*nodes: tuple[float, float]) -> np.ndarray:
    """Smooth curve through (nm, value): linear between nodes, then smoothed over about 60 nm."""
    x, y = np.array(nodes, dtype=float).T
    kernel = np.exp(-0.5 * (np.arange(-45, 46) / 15.0) ** 2)
    line = np.pad(np.interp(GRID, x, y), 45, mode="edge")
    return np.convolve(line, kernel / kernel.sum(), mode="valid")


@cache
def water_absorption() -> np.ndarray:
    """Absorption coefficient of pure water in 1/cm on `GRID`, log-linear between rounded nodes."""
    return np.exp(np.interp(GRID, _WATER[:, 0], np.log(_WATER[:, 1])))


@cache
def pigments() -> np.ndarray:
    """Absorption of chlorophyll a and b in a leaf, 1 at the red maximum near 675 nm."""
    red_edge = 1 - step(702, 7.5)
    lines = features((430, 32, 1.4), (482, 26, 0.9), (585, 42, 0.3), (628, 24, 0.4), (652, 18, 0.42), (677, 15, 0.75))
    return (lines + 0.2) * red_edge


@cache
def carotenoids() -> np.ndarray:
    """Absorption of carotenoids, 1 at 450 nm, nothing beyond 530 nm."""
    return features((430, 26, 0.75), (465, 20, 0.8), (492, 13, 0.55))


@cache
def dry_matter() -> np.ndarray:
    """Absorption of cellulose, lignin and protein, and the brown rise towards the blue; 1 near 2300 nm."""
    lines = features((1500, 70, 0.22), (1735, 35, 0.35), (2100, 55, 0.75), (2300, 50, 0.8), (2480, 60, 0.9))
    return lines + 0.16 + 0.28 * np.clip((GRID - 1300) / 1200, 0, 1)


@cache
def brown() -> np.ndarray:
    """Absorption of tannins and humus: 1 at 400 nm, falling by e every 130 nm."""
    return np.exp(-(GRID - 400) / 130)


@cache
def hydrocarbons() -> np.ndarray:
    """C-H overtone lines of plastics, bitumen and paint, 1 at 1728 nm."""
    return features(
        (1190, 14, 0.3),
        (1215, 12, 0.35),
        (1395, 16, 0.4),
        (1728, 14, 1.0),
        (1762, 12, 0.7),
        (2310, 18, 1.1),
        (2350, 16, 0.9),
    )


@cache
def iron_oxide() -> np.ndarray:
    """Absorption of ferric iron: the edge below 580 nm, bands at 660 and 880 nm; 1 in the blue."""
    return (1 - step(562, 22)) + features((500, 40, 0.15), (660, 45, 0.12), (880, 75, 0.3))


@cache
def clay() -> np.ndarray:
    """Absorption of Al-OH and bound water in clays, 1 at 2205 nm."""
    return features((1412, 16, 0.7), (1915, 28, 1.2), (2160, 16, 0.25), (2205, 17, 1.0), (2345, 20, 0.35))


@cache
def carbonate() -> np.ndarray:
    """Absorption of calcite, 1 at 2340 nm."""
    return features((1875, 18, 0.15), (1995, 20, 0.2), (2155, 18, 0.15), (2340, 30, 1.0), (2530, 40, 1.1))


def kubelka_munk(ratio: np.ndarray) -> np.ndarray:
    """Reflectance of a thick scattering layer from the ratio of absorption to scattering (Kubelka & Munk 1931)."""
    return 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)


def leaf_canopy(
    chlorophyll: float, carotenoid: float, water: float, dry: float, brightness: float, senescence: float = 0.0
) -> np.ndarray:
    """Dense canopy: a Kubelka-Munk layer whose absorbers are pigments, leaf water and dry matter.

    Parameters
    ----------
    chlorophyll, carotenoid, dry, senescence : float
        Absorption relative to scattering at each absorber's maximum.
    water : float
        Leaf water in cm times the lengthening of the light path (0.05-0.12 for turgid leaves).
    brightness : float
        What canopy structure (gaps, self-shading) leaves of the layer's reflectance.
    """
    ratio = (
        chlorophyll * pigments()
        + carotenoid * carotenoids()
        + water * water_absorption()
        + dry * dry_matter()
        + senescence * brown()
        + 0.028
    )
    return brightness * kubelka_munk(ratio)


def soil(
    level: float, organic: float, iron: float, clays: float, lime: float = 0.0, moisture: float = 0.0
) -> np.ndarray:
    """Bare soil: a smooth rise towards the infrared, less humus, iron oxides, clay, lime and water.

    `level` is the reflectance of the plateau near 1700 nm; the absorbers are optical depths at their maximum;
    `moisture` multiplies the absorption of water (cm).
    """
    rise = 1 - 0.72 * np.exp(-(GRID - 350) / 480)
    end = 1 - 0.1 * step(2230, 70)
    depth = organic * (brown() + 0.5 * np.exp(-(GRID - 400) / 900)) + iron * iron_oxide() + clays * clay()
    return level * rise * end * np.exp(-depth - lime * carbonate() - moisture * np.minimum(water_absorption(), 60.0))


def water_body(sediment: float, chlorophyll: float, cdom: float, glint: float) -> np.ndarray:
    """Optically deep water: 0.3 * b / (a + b), the sky's glint added.

    Absorption a (1/m): pure water, dissolved organic matter (440 nm, slope 0.016 per nm) and algae; backscattering
    b (1/m) of suspended sediment falls with wavelength to the power 0.7.
    """
    absorption = 100 * water_absorption() + cdom * np.exp(-0.016 * (GRID - 440)) + chlorophyll * pigments()
    scatter = sediment * (550 / GRID) ** 0.7 + 0.0011 * (550 / GRID) ** 4.3
    return 0.3 * scatter / (absorption + scatter) + glint
