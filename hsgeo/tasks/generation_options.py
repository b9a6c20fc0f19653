"""What generated tiles are asked to be."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from hsgeo.errors import GridError, ParameterError
from hsgeo.scene.labels import Classes, Labels
from hsgeo.scene.model import label
from hsgeo.tasks.hud_training import opened_labels
from hsgeo.tasks.inputs import Scene, path_of
from hsgeo.tasks.splits import DEFAULT, Shares

if TYPE_CHECKING:
    from hsgeo.methods.generation.sampling import Wanted


@dataclass(frozen=True)
class GenerationOptions:
    """What `generate` may be told besides the scene and the model.

    Parameters
    ----------
    count, size, steps : int
        Tiles, the side of one in pixels, and steps of the sampler.
    variability, sensor_noise : bool
        Spectra vary about the mixtures of the endmembers, and have the noise that is left of the scene's.
    wanted : str, optional
        A class, name or number, that tiles are full of.
    layout : path or scene, optional
        A raster of classes, from whose middle every tile takes its layout, wherever it lies; classes are known by their
        names, or where it has none, by their values.
    format : {"tif", "zarr"}
        Three GeoTIFFs a tile, or one zarr store of all.
    method : str
        ``hud``.
    split : str
        Shares of the tiles for training and validation, or for these and a test; see `hsgeo.tasks.splits`.
    eta : float
        Noise that is drawn at each step: 1 as in the published sampler (ancestral), 0 none (DDIM).
    """

    count: int = 1
    size: int = 128
    steps: int = 50
    variability: bool = True
    sensor_noise: bool = True
    wanted: str | None = None
    layout: Scene | None = None
    format: str = "tif"
    method: str = "hud"
    split: str = DEFAULT
    eta: float = 0.0

    def check(self) -> None:
        """Refuse numbers that cannot be.

        Raises
        ------
        ParameterError
            With the reason.
        """
        for name in ("count", "size", "steps"):
            if getattr(self, name) < 1:
                raise ParameterError(f"--{name} {getattr(self, name)}: at least 1.")
        if not 0 <= self.eta <= 1:
            raise ParameterError(f"--eta {self.eta:g}: from 0, DDIM, to 1, ancestral.")
        if self.wanted is not None and self.layout is not None:
            raise ParameterError("--class and --labels say the same in two ways; give one of them.")
        Shares.of(self.split)

    def record(self) -> dict[str, Any]:
        """The options as JSON can hold them."""
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "layout": path_of(self.layout)}


def wanted_of(classes: Classes, o: GenerationOptions) -> Wanted | None:
    """What is asked for of every tile, shares of the classes of a window; None where nothing is.

    Raises
    ------
    ParameterError
        The model has no classes, or not those.
    GridError
        The layout is smaller than a tile.
    """
    from hsgeo.methods.generation.wanted import FullOf, LaidOut

    if o.wanted is None and o.layout is None:
        return None
    if not classes.names:
        option = "--labels" if o.wanted is None else "--class"
        raise ParameterError(f"{option}: {classes.model} knows no classes; train one with hsgeo train hud --labels.")
    if o.wanted is not None:
        return FullOf(len(classes.names), classes.place(o.wanted))
    assert o.layout is not None
    raster = opened_labels(o.layout)
    layout = Labels.of(raster)
    if min(layout.numbers.shape) < o.size:
        height, width = layout.numbers.shape
        raise GridError(
            f"{label(raster)}: {height} x {width} pixels are less than a tile of {o.size}; take --size less."
        )
    y, x = ((n - o.size) // 2 for n in layout.numbers.shape)
    layout = replace(layout, numbers=layout.numbers[y : y + o.size, x : x + o.size])
    return LaidOut(len(classes.names), classes.places(label(raster), layout)[layout.numbers])
