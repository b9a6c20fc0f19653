"""What is asked for of a tile, as shares of the classes of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsgeo.scene.window import Window


@dataclass(frozen=True)
class Nothing:
    """A tile as it comes.

    Parameters
    ----------
    classes : int
        How many there are.
    """

    classes: int

    def __call__(self, window: Window) -> np.ndarray:
        """Shares (classes, h, w) of a window."""
        return np.zeros((self.classes, *window.shape), np.float32)


@dataclass(frozen=True)
class FullOf:
    """A tile full of one class.

    Parameters
    ----------
    classes : int
        How many there are.
    place : int
        Of the one.
    """

    classes: int
    place: int

    def __call__(self, window: Window) -> np.ndarray:
        """Shares (classes, h, w) of a window."""
        out = np.zeros((self.classes, *window.shape), np.float32)
        out[self.place] = 1
        return out


@dataclass(frozen=True, eq=False)
class LaidOut:
    """A tile by a map of classes.

    Parameters
    ----------
    classes : int
        How many there are.
    places : int array (H, W)
        The class of each pixel, -1 where none is asked for.
    """

    classes: int
    places: np.ndarray

    def __call__(self, window: Window) -> np.ndarray:
        """Shares (classes, h, w) of a window."""
        part = self.places[window.slices]
        return (part == np.arange(self.classes)[:, None, None]).astype(np.float32)
