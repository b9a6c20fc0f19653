"""Sun and atmosphere in a few lines: what makes bands noisy, and radiance out of reflectance.

Positions of the absorption bands are those of any atmospheric model (water vapour 720-1900 nm, oxygen 762 nm, carbon
dioxide 2010 and 2060 nm, ozone 600 nm); depths are of a clear mid-latitude summer day, fitted by eye. The sun is a
black body of 5772 K (IAU 2015 nominal temperature) in a disc of 6.794e-5 sr.
"""

from __future__ import annotations

import numpy as np

#: centre nm, standard deviation nm, optical depth along the path from the sun to the ground and up
_GASES = np.array(
    [
        (600, 45, 0.06), (688, 3, 0.18), (720, 9, 0.2), (762, 4, 0.55), (820, 12, 0.18), (940, 20, 0.75),
        (1130, 24, 0.95), (1268, 6, 0.12), (1375, 30, 5.5), (1420, 36, 2.2), (1470, 30, 0.35), (1860, 36, 6.0),
        (1930, 34, 2.2), (1990, 16, 0.45), (2010, 9, 0.55), (2060, 10, 0.4), (2440, 45, 0.55), (2540, 40, 1.7),
        (2640, 60, 4.0),
    ]
)  # fmt: skip


def transmission(wavelength: np.ndarray) -> np.ndarray:
    """Two-way transmission of gases and of scattering at each wavelength (nm), 0 to 1."""
    um = np.asarray(wavelength, dtype=np.float64) / 1000
    return np.exp(-_gases(wavelength) - 0.7 * 0.0088 * um**-4.05 - 0.10 * um**-1.2)


def _gases(wavelength: np.ndarray) -> np.ndarray:
    """Optical depth of the gases along the path."""
    nm = np.asarray(wavelength, dtype=np.float64)[..., None]
    return (_GASES[:, 2] * np.exp(-0.5 * ((nm - _GASES[:, 0]) / _GASES[:, 1]) ** 2)).sum(-1)


def sunlight(wavelength: np.ndarray) -> np.ndarray:
    """Solar irradiance above the atmosphere in W m-2 um-1 (Planck's law, 5772 K)."""
    metres = np.asarray(wavelength, dtype=np.float64) * 1e-9
    planck = 1.191043e-16 / metres**5 / np.expm1(1.438777e-2 / (metres * 5772.0))
    return 6.794e-5 * planck * 1e-6


def radiance_terms(wavelength: np.ndarray, sun_zenith: float = 35.0) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of at-sensor radiance = gain * reflectance + offset, in W m-2 sr-1 um-1.

    The offset is light scattered by air (Rayleigh) and haze before it reaches the ground.
    """
    sun = sunlight(wavelength) * np.cos(np.radians(sun_zenith)) / np.pi
    um = np.asarray(wavelength, dtype=np.float64) / 1000
    return sun * transmission(wavelength), sun * (0.3 * 0.0088 * um**-4.05 + 0.012 * um**-1.2)


def hyperion_snr(wavelength: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratio of Hyperion over a surface of 30 % reflectance, absorption included.

    The window values follow the in-flight figures of Pearlman et al. (2003), doi 10.1109/TGRS.2003.815018: about 160
    at 550 nm, 145 at 700 nm, 90 at 1025 nm, 110 at 1225 nm, 90 at 1575 nm, 40 at 2125 nm.
    """
    nodes = [(400, 60), (450, 120), (550, 161), (650, 150), (700, 145), (850, 110), (1025, 90), (1225, 110),
             (1575, 89), (1750, 70), (2125, 40), (2300, 30), (2400, 18), (2600, 8)]  # fmt: skip
    x, y = np.array(nodes, dtype=float).T
    return np.interp(wavelength, x, y) * np.maximum(np.exp(-_gases(wavelength)), 0.01)
