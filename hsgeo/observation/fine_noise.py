"""The noise of HSI bands told from structure that only one band shows: noise is white in space, a scene is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .noise import SpectralStatistics

#: second difference of unit energy
_SECOND = np.array([1.0, -2.0, 1.0]) / np.sqrt(6)

#: samples that overlapping second differences are worth along one axis: 1 + 2 (4/6)^2 + 2 (1/6)^2 of them make one
_OVERLAP = 35 / 18

#: least number of independent fine samples per band
_ENOUGH = 10

#: a band is lowered by a tenth at least, or not at all: less is not worth a doubt
_WORTH = 0.1

#: the share of bands (from the least lowered ones) that tells how white the noise itself is
_WHITE = 0.9

#: bands below which spectra may have as many signals as bands, and the share of the noise that is left in the second
#: differences of an image resampled bilinearly, half a pixel off both ways
_FEW, _RESAMPLED = 12, 1 / 3

#: standard errors by which a band must be lower to be lowered, and the two directions differ to be called stripes
_SURE = 3.0


def noise_levels(statistics: SpectralStatistics, images: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation of the noise of each band, from spectra and from the finest structure of sample images.

    What the other bands cannot predict of a band is its noise and what the scene shows in this band alone. The PSF
    has passed over the scene and not over the noise, so the second difference of the image along both axes keeps all
    of the noise and a third or less of the scene: the same regression on it gives less where there was scene.

    Stripes are noise, and a difference along them takes them off: what the differences across and along do not share
    is added again. Resampled images have noise that is not white, in all bands alike: what lowers nine tenths of the
    bands is not taken off. A few bands that hold as many signals show scene in each of them, and are lowered by more
    than that.

    Parameters
    ----------
    statistics : SpectralStatistics
        Of the scene's spectra, B bands.
    images : sequence of array (B, h, w)
        NaN where there is no data.

    Returns
    -------
    array (B,)
        At most ``statistics.noise_std()``; equal to it where the images hold too few pixels for their number of bands.
    """
    plain = statistics.noise_std()
    fine = _fine(images, down=True, across=True)
    if fine.n < _ENOUGH * fine.bands:
        return plain
    both = fine.noise_std() ** 2
    down, across = _fine(images, down=True), _fine(images, across=True)
    one, other = down.noise_std() ** 2, across.noise_std() ** 2
    chance = _SURE * np.sqrt(2 / down.n + 2 / across.n) * np.minimum(one, other)
    ratio = np.sqrt(both + np.maximum(abs(one - other) - chance, 0.0)) / plain
    shared = min(np.quantile(ratio, _WHITE), 1.0)
    if len(plain) >= _FEW or shared > _RESAMPLED:
        ratio /= shared
    least = max(_SURE / np.sqrt(2 * (fine.n - fine.bands)), _WORTH)
    return plain * np.where(ratio < 1 - least, ratio, 1.0)


def _fine(images: Sequence[np.ndarray], down: bool = False, across: bool = False) -> SpectralStatistics:
    """Statistics of second differences, counted as the independent samples that they are worth."""
    bands = images[0].shape[0]
    found = SpectralStatistics(bands)
    for image in images:
        image = np.asarray(image, dtype=np.float64)
        if down:
            image = _SECOND[0] * (image[:, :-2] + image[:, 2:]) + _SECOND[1] * image[:, 1:-1]
        if across:
            image = _SECOND[0] * (image[..., :-2] + image[..., 2:]) + _SECOND[1] * image[..., 1:-1]
        found.update(image.reshape(bands, -1).T)
    return found.thinned(_OVERLAP ** (down + across))
