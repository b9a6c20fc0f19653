"""What instruments do to light: noise per band, stripes, dead bands, whole numbers."""

from __future__ import annotations

import numpy as np

from hsgeo.scene.window import Window
from hsgeo.sensors import Band

from .atmosphere import hyperion_snr, radiance_terms
from .noise import pixel_noise

#: last band of Hyperion's VNIR spectrometer is at 1058 nm; level 1 radiance is stored x 40 up to there, x 80 beyond
VNIR_BANDS = 70


def hsi_noise_level(wavelengths: np.ndarray, quantity: str) -> np.ndarray:
    """Standard deviation of the noise of each band, in reflectance or in W m-2 sr-1 um-1."""
    reflectance = 0.3 / hyperion_snr(wavelengths)
    return reflectance if quantity == "reflectance" else reflectance * radiance_terms(wavelengths)[0]


def stripes(bands: int, width: int, seed: int) -> np.ndarray:
    """Offset of each detector column in units of the noise, (bands, 1, width): weak everywhere, strong in a few."""
    rng = np.random.default_rng([seed, 21])
    offset = 0.2 * rng.standard_normal((bands, 1, width), dtype=np.float32)
    strong = rng.random((bands, 1, width), dtype=np.float32) < 0.015
    return offset + strong * rng.normal(0, 1.6, (bands, 1, width)).astype(np.float32)


def record_hsi(clean: np.ndarray, level: np.ndarray, dead: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """Raw values of a Hyperion-like recording.

    Parameters
    ----------
    clean : array (B, h, w)
        Physical values.
    level : array (B,)
        Standard deviation of the noise; 0 for none (and no stripes).
    dead : bool array (B,)
        Bands recorded as zeros.
    scale : array (B,)
        physical = raw * scale.

    Returns
    -------
    int16 array (B, h, w)
    """
    bands, height, width = clean.shape
    noise = pixel_noise(Window(0, height, 0, width), bands, seed, stream=1)
    noise += stripes(bands, width, seed)
    raw = (clean + noise * level[:, None, None]) / scale[:, None, None]
    raw[dead] = 0
    return np.clip(np.rint(raw), -32767, 32767).astype(np.int16)


def record_msi(clean: np.ndarray, level: np.ndarray, scale: float, seed: int, stream: int) -> np.ndarray:
    """Raw values of a Sentinel-2-like recording, uint16; 0 is kept for "no data" (NaN in `clean`)."""
    bands, height, width = clean.shape
    noise = pixel_noise(Window(0, height, 0, width), bands, seed, stream)
    raw = np.rint((clean + noise * level[:, None, None]) / scale)
    return np.where(np.isfinite(raw), np.clip(raw, 1, 65535), 0).astype(np.uint16)


def storage_scale(bands: tuple[Band, ...], quantity: str) -> np.ndarray:
    """physical = raw * scale, per band: 1e-4 for reflectance; radiance as Hyperion's level 1 (1/40 and 1/80)."""
    if quantity == "reflectance":
        return np.full(len(bands), 1e-4)
    return np.where(np.arange(len(bands)) < VNIR_BANDS, 1 / 40, 1 / 80)
