"""What is read off a drawn state: abundances, spectra and classes of a tile."""

from __future__ import annotations

import numpy as np

from hsgeo.diffusion import noise_field
from hsgeo.errors import ParameterError
from hsgeo.methods.generation.hud import Hud
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.scene.window import Window


def shown(
    model: Hud,
    state: np.ndarray,
    seed: int,
    steps: int,
    window: Window,
    variability: bool = True,
    sensor_noise: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Abundances, spectra and classes of a window of a tile.

    Parameters
    ----------
    model : Hud
    state : float32 array (c, h, w)
        That the seed gave, of the window.
    seed, steps : int
        Of the sampler; the sensor's noise is the field after its last step.
    window : Window
        Of the tile.
    variability, sensor_noise : bool
        See `hsgeo.methods.generation.encoding.Encoding.decoded`.

    Returns
    -------
    abundances : float32 array (p, h, w)
    spectra : float32 array (B_used, h, w)
        In the scene's units.
    classes : int array (h, w)
        See `hsgeo.methods.generation.hud.Hud.kinds`.
    """
    noise = None
    if sensor_noise:
        place = (window.y0, window.y1, window.x0, window.x1)
        noise = noise_field(seed, steps + 1, len(model.bands), *place)
    abundances, spectra = model.encoding.decoded(state, variability, noise)
    return abundances, spectra, model.kinds(state, abundances)


def check_sampling(settings: HudTrainingParams, steps: int, size: int) -> None:
    """Refuse more steps of the sampler than the process has, and tiles that are no pixel on the network's last scale.

    Raises
    ------
    ParameterError
        It has fewer, or they are; with the limit.
    """
    if steps > settings.length:
        raise ParameterError(f"--steps {steps}: this process has {settings.length} at most.")
    least = 2 ** (len(settings.widths) - 1)
    if size < least:
        raise ParameterError(
            f"--size {size}: a network of {len(settings.widths)} scales needs {least} pixels at least."
        )
