"""What is read off a drawn state: abundances, spectra and classes of a tile."""

from __future__ import annotations

import numpy as np

from hsgeo.diffusion import noise_field
from hsgeo.errors import ParameterError
from hsgeo.methods.generation.classifier import features_of
from hsgeo.methods.generation.hud import Hud


def shown(
    model: Hud, state: np.ndarray, seed: int, steps: int, variability: bool = True, sensor_noise: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Abundances, spectra and classes of a whole tile.

    Parameters
    ----------
    model : Hud
    state : float32 array (c, h, w)
        That the seed gave.
    seed, steps : int
        Of the sampler; the sensor's noise is the field after its last step.
    variability, sensor_noise : bool
        See `hsgeo.methods.generation.encoding.Encoding.decoded`.

    Returns
    -------
    abundances : float32 array (p, h, w)
    spectra : float32 array (B_used, h, w)
        In the scene's units.
    classes : int array (h, w)
        What labelled pixels that are alike have in their raster; without labels the endmember with the largest
        abundance, from 1.
    """
    noise = None
    if sensor_noise:
        noise = noise_field(seed, steps + 1, len(model.bands), 0, state.shape[1], 0, state.shape[2])
    abundances, spectra = model.encoding.decoded(state, variability, noise)
    if model.classifier is None:
        return abundances, spectra, abundances.argmax(0) + 1
    places = model.classifier.classes(features_of(model.encoding, state))
    return abundances, spectra, np.array(model.about["class_values"])[places]


def class_table(model: Hud) -> dict[int, str]:
    """Names of the classes of its tiles by their values; endmembers where the scene had no labels."""
    if model.classes:
        return dict(zip(model.about["class_values"], model.classes, strict=True))
    return {i: f"endmember {i}" for i in range(1, len(model.encoding.endmembers) + 1)}


def check_steps(model: Hud, steps: int) -> None:
    """Refuse more steps of the sampler than the process has.

    Raises
    ------
    ParameterError
        It has fewer.
    """
    if steps > model.settings.length:
        raise ParameterError(f"--steps {steps}: this process has {model.settings.length} at most.")
