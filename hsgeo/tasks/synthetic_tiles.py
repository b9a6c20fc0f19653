"""Generated tiles as torch takes them: from a folder, or drawn as they are asked for."""

from __future__ import annotations

import json
import operator
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from hsgeo.errors import ParameterError, SceneReadError, did_you_mean
from hsgeo.methods.generation.hud import Hud
from hsgeo.methods.generation.sampling import Wanted
from hsgeo.methods.generation.tiles import check_sampling
from hsgeo.methods.generation.wanted import FullOf
from hsgeo.methods.generation.work import Drawing, whole_tiles
from hsgeo.scene import open_scene
from hsgeo.tasks.generation_options import GenerationOptions, wanted_of
from hsgeo.tasks.inputs import Scene
from hsgeo.tasks.options import check_seed
from hsgeo.tasks.splits import DEFAULT, Shares
from hsgeo.tasks.stac import COLLECTION
from hsgeo.tasks.stored_tiles import StoredTiles

#: what `torch.nn.functional.cross_entropy` leaves out
UNKNOWN = -100

#: reflectance (B, h, w), abundances (p, h, w) and values of classes (h, w)
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


class Tiles(Protocol):
    """Where tiles come from; `table` has the names of classes by their values."""

    name: str
    seeds: Sequence[int]
    table: dict[int, str]
    bands: np.ndarray
    wavelengths: np.ndarray

    def splits(self) -> list[str]:
        """Of every tile."""

    def read(self, numbers: Sequence[int]) -> list[Arrays]:
        """Tiles by their numbers, from 0."""


class SyntheticTiles(Dataset[Any]):
    """Tiles of ``hsgeo generate`` for training.

    A sample is a dict of tensors: ``reflectance`` float32 (B, h, w) in the scene's physical units, ``abundances``
    float32 (p, h, w), ``classes`` int64 (h, w), places in `classes`. Only bands that have data are there; `bands` says
    which. Can be pickled, and read by workers of a `torch.utils.data.DataLoader` that are forked or spawned.

    Parameters
    ----------
    folder : path
        That ``hsgeo generate`` has written, or a store of ``--format zarr``.
    split : {"train", "val", "test"}, optional
        Tiles of this split alone, as they were marked when they were generated.
    transform : callable, optional
        Of a sample.

    Attributes
    ----------
    classes : list of str
        Names.
    class_values : list of int
        Their values in class maps and rasters of labels, in the same order.
    bands : int array (B,)
        Places of the bands among the scene's.
    wavelengths : float array (B,)
        nm, NaN where not known.

    Raises
    ------
    SceneReadError
        The folder is none of ``hsgeo generate``, or lacks a file.
    ParameterError
        No tile is of the split.
    """

    def __init__(
        self, folder: str | os.PathLike[str], split: str | None = None, *, transform: Callable[[Any], Any] | None = None
    ) -> None:
        store = StoredTiles.place(Path(folder))
        self._take(Folder.of(folder) if store is None else StoredTiles.of(store), split, transform)

    @classmethod
    def from_model(
        cls,
        model: str | os.PathLike[str] | Hud,
        *,
        count: int,
        size: int = 128,
        steps: int = 50,
        seed: int = 0,
        classes: str | int | Sequence[str | int] | None = None,
        layout: Scene | None = None,
        split: str | None = None,
        shares: str = DEFAULT,
        variability: bool = True,
        sensor_noise: bool = True,
        eta: float = 0.0,
        transform: Callable[[Any], Any] | None = None,
        device: str = "cpu",
    ) -> SyntheticTiles:
        """Tiles that are drawn as they are asked for: the values that ``hsgeo generate`` writes for the same arguments.

        Parameters
        ----------
        model : path or Hud
            Of ``hsgeo train hud``.
        count : int
            Tiles of all splits together; that of index i has the seed `seed` + i.
        size, steps, seed : int
            See `hsgeo.tasks.GenerationOptions`.
        classes : str or int, or sequence of them, optional
            Name or number of the class that tiles are full of; of several each tile takes the next.
        layout : path or scene, optional
            A raster of classes, from whose middle every tile takes its layout.
        split : {"train", "val", "test"}, optional
            Tiles of this split alone, so fewer than `count`.
        shares : str
            Of the splits, as of ``hsgeo generate --split``.
        variability, sensor_noise : bool
            See `hsgeo.tasks.GenerationOptions`.
        eta : float
            See `hsgeo.tasks.GenerationOptions`.
        transform : callable, optional
            Of a sample.
        device : str
            Where tiles are drawn. Of workers only spawned ones can use a GPU.

        Raises
        ------
        ModelError
            The file is no such model.
        ParameterError
            A number that cannot be, a class that the model does not know, or no tile is of the split.
        """
        self = cls.__new__(cls)
        each = [str(classes)] if isinstance(classes, str | int) else [str(name) for name in classes or []]
        first = each[0] if each else None
        options = GenerationOptions(count, size, steps, variability, sensor_noise, first, layout, split=shares, eta=eta)
        drawn = Drawn.of(model, seed, each, options, device)
        self._take(drawn, split, transform)
        return self

    def _take(self, tiles: Tiles, split: str | None, transform: Callable[[Any], Any] | None) -> None:
        self._tiles, self.transform, self.split = tiles, transform, split
        self._numbers: Sequence[int] = range(len(tiles.seeds))
        if split is not None:
            splits = tiles.splits()
            self._numbers = [i for i, one in enumerate(splits) if one == split]
        if not self._numbers:
            there = ", ".join(f"{name} ({n})" for name, n in sorted(Counter(splits).items()))
            hint = did_you_mean(str(split), splits)
            raise ParameterError(f"{tiles.name}: no tile is of the split {split!r}; there are {there}.{hint}")
        self.classes, self.class_values = list(tiles.table.values()), list(tiles.table)
        self.bands, self.wavelengths = tiles.bands, tiles.wavelengths

    @property
    def seeds(self) -> list[int]:
        """Of the tiles."""
        return [self._tiles.seeds[i] for i in self._numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Samples of a batch; those of a model are drawn together."""
        numbers = [self._number(i) for i in indices]
        samples = [self._sample(*arrays) for arrays in self._tiles.read(numbers)]
        return samples if self.transform is None else [self.transform(sample) for sample in samples]

    def __repr__(self) -> str:
        which = "" if self.split is None else f", split={self.split!r}"
        return f"SyntheticTiles({self._tiles.name!r}{which}): {len(self)} tiles, {len(self.bands)} bands"

    def places(self, values: Any) -> np.ndarray:
        """Places in `classes` (int64) of values of a raster of labels; -100, which losses leave out, where not known.

        Parameters
        ----------
        values : array
            Such as a raster that the model was trained with; NaN is not known.
        """
        known, given = np.array(self.class_values), np.nan_to_num(np.asarray(values))
        order = np.argsort(known)
        found = order[np.searchsorted(known[order], given).clip(max=len(known) - 1)]
        return np.where(known[found] == given, found, UNKNOWN).astype(np.int64)

    def _number(self, index: int) -> int:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"{self._tiles.name}: there is no tile {place} of {len(self)}")
        return self._numbers[place]

    def _sample(self, reflectance: np.ndarray, abundances: np.ndarray, values: np.ndarray) -> dict[str, torch.Tensor]:
        arrays = {"reflectance": reflectance, "abundances": abundances, "classes": self.places(values)}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


@dataclass
class Folder:
    """Tiles in the rasters that a catalogue names; see `Tiles`."""

    name: str
    seeds: Sequence[int]
    table: dict[int, str]
    bands: np.ndarray
    wavelengths: np.ndarray
    marked: list[str]
    files: list[tuple[Path, Path, Path]] = field(repr=False)

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> Folder:
        """Of a folder of ``hsgeo generate``.

        Raises
        ------
        SceneReadError
            It is none.
        """
        place = Path(folder)
        if not (place / COLLECTION).is_file():
            what = f"has no {COLLECTION}" if place.is_dir() else "is no folder"
            raise SceneReadError(f"{place} {what}; give a folder that hsgeo generate has written.")
        seeds, splits, files = [], [], []
        table: dict[int, str] = {}
        try:
            links = json.loads((place / COLLECTION).read_text("utf-8"))["links"]
            for link in (one for one in links if one["rel"] == "item"):
                item = json.loads((place / link["href"]).read_text("utf-8"))
                assets, told = item["assets"], item["properties"]
                seeds.append(int(told["hsgeo:seed"]))
                splits.append(str(told["hsgeo:split"]))
                files.append(tuple(place / assets[k]["href"] for k in ("reflectance", "abundances", "classes")))
                table = table or {c["value"]: c["title"] for c in assets["classes"]["classification:classes"]}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise SceneReadError(f"{place} is no folder of hsgeo generate, or incomplete ({error!r}).") from error
        if not files:
            raise SceneReadError(f"{place} holds no tiles; give a folder that hsgeo generate has written.")
        first = open_scene(files[0][0], chunks=None)
        bands = np.flatnonzero(np.isfinite(first.values).any((1, 2)))
        return cls(str(place), seeds, table, bands, first["wavelength"].values[bands], splits, files)

    def splits(self) -> list[str]:
        """See `Tiles`."""
        return self.marked

    def read(self, numbers: Sequence[int]) -> list[Arrays]:
        """See `Tiles`."""
        out = []
        for number in numbers:
            tile, shares, classes = self.files[number]
            bands = open_scene(tile, chunks=None).isel(band=self.bands)
            out.append((bands.values.astype(np.float32), _stored(shares), _stored(classes)[0]))
        return out


@dataclass
class Drawn:
    """Tiles that a model draws; see `Tiles`. what is `asked` for is taken in turn."""

    name: str
    seeds: Sequence[int]
    table: dict[int, str]
    bands: np.ndarray
    wavelengths: np.ndarray
    model: Hud = field(repr=False)
    options: GenerationOptions
    asked: list[Wanted] = field(repr=False)
    device: str

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str] | Hud,
        seed: int,
        each: Sequence[str],
        o: GenerationOptions,
        device: str,
    ) -> Drawn:
        """See `SyntheticTiles.from_model`; of the classes `each` tiles take one after the other."""
        from hsgeo.engine.devices import pick_device

        hud = model if isinstance(model, Hud) else Hud.load(model)
        o.check()
        check_seed(seed)
        check_sampling(hud.settings, o.steps, o.size)
        asked = wanted_of(hud.known, o)
        every = [] if asked is None else [asked]
        if each:
            every = [FullOf(len(hud.classes), hud.known.place(name)) for name in each]
        wavelengths = np.array(hud.about["wavelengths"], float)[hud.bands]
        table = hud.named_kinds()
        seeds = range(seed, seed + o.count)
        return cls(hud.name, seeds, table, hud.bands, wavelengths, hud, o, every, pick_device(device))

    def splits(self) -> list[str]:
        """See `Tiles`."""
        shares = Shares.of(self.options.split)
        return [shares.split_of(seed) for seed in self.seeds]

    def read(self, numbers: Sequence[int]) -> list[Arrays]:
        """See `Tiles`."""
        o, asked = self.options, self.asked
        wanted = [asked[number % len(asked)] if asked else None for number in numbers]
        seeds = [self.seeds[number] for number in numbers]
        drawing = Drawing(seeds[0], o.steps, o.variability, o.sensor_noise, eta=o.eta)
        made = whole_tiles(self.model, drawing, o.size, seeds, wanted, self.device)
        return [(tile, shares, classes) for shares, tile, classes in made]


def _stored(path: Path) -> np.ndarray:
    """All bands of a raster beside a tile, as they are stored.

    Raises
    ------
    SceneReadError
        It is missing or damaged.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as dataset:
            return dataset.read()
    except RasterioError as error:
        raise SceneReadError(f"{path} is missing or cannot be read; generate the tiles again.") from error
