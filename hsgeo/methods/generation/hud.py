"""HUD (Shen et al. 2025): scenes drawn by diffusion in the space of a scene's own abundances.

The published method has fixed endmembers, tiles of 32 pixels and one model for a scene. Here spectra vary about the
mixtures as they do in the scene (`encoding`), samples have any size (`sampling`), and classes can be asked for
(`training`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hsgeo.errors import DataError, ModelError
from hsgeo.methods.generation.classifier import Classifier, features_of
from hsgeo.methods.generation.correction import Correction, corrected
from hsgeo.methods.generation.encoding import Encoding, fitted_encoding
from hsgeo.methods.generation.sampling import Sampler, Wanted, sampled
from hsgeo.methods.generation.settings import HudTrainingParams
from hsgeo.methods.generation.training import Crops, trained
from hsgeo.methods.generation.wanted import Nothing
from hsgeo.methods.model_file import fitting, read_model, write_model
from hsgeo.methods.unmixing.fit import found_endmembers
from hsgeo.networks import AbundanceUNet
from hsgeo.scene.labels import Classes, Labels
from hsgeo.scene.window import Window

#: of the file's header; another number means that channels or layers have changed
METHOD, FORMAT = "hud", 3


class HudMethod:
    """Method ``hud``."""

    name = METHOD
    Params = HudTrainingParams


@dataclass(frozen=True)
class Hud:
    """A trained generator.

    Attributes
    ----------
    network : AbundanceUNet
    encoding : Encoding
        Of spectra in the bands `bands`.
    settings : HudTrainingParams
    bands : int array (B_used,)
        Those of the scene's that are generated.
    count : int
        The scene's bands B.
    classes : list of str
        Names of the classes that can be asked for.
    classifier : Classifier, optional
        Of states and their spectra; of models with classes.
    about : mapping
        ``wavelengths`` (nm, of all bands), ``cosine``, ``losses``, ``how`` endmembers were found,
        ``class_values`` in the raster of labels, ``version``.
    name : str
        Where it came from.
    correction : Correction, optional
        Of clean estimates in sampling.
    """

    network: AbundanceUNet
    encoding: Encoding
    settings: HudTrainingParams
    bands: np.ndarray
    count: int
    classes: list[str] = field(default_factory=list)
    classifier: Classifier | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = "untrained"
    correction: Correction | None = None

    @property
    def known(self) -> Classes:
        """Classes that can be asked for."""
        return Classes(self.classes, self.about.get("class_values", []))

    def states(
        self,
        shape: tuple[int, int],
        seeds: Sequence[int],
        steps: int,
        eta: float = 0.0,
        wanted: Sequence[Wanted] | None = None,
        device: str = "cpu",
    ) -> np.ndarray:
        """States (n, c, height, width), one for each seed; see `hsgeo.methods.generation.sampling.sampled`."""
        wanted = self.asking([None] * len(seeds)) if wanted is None else wanted
        return sampled(self.sampler(steps, eta, device), shape, seeds, wanted).numpy()

    def sampler(self, steps: int, eta: float = 0.0, device: str = "cpu") -> Sampler:
        """What draws states, step by step."""
        e, schedule = self.encoding, self.settings.schedule()
        return Sampler(
            self.network,
            schedule,
            e.channels,
            steps,
            eta,
            (e.low, e.high),
            target=self.settings.target,
            device=device,
            correction=self.correction,
        )

    def asking(self, wanted: Sequence[Wanted | None]) -> Sequence[Wanted] | None:
        """What the network is told is wanted, None asking for nothing; None where it cannot be told."""
        nothing = Nothing(len(self.classes))
        return [nothing if one is None else one for one in wanted] if self.classes else None

    def kinds(self, state: np.ndarray, abundances: np.ndarray) -> np.ndarray:
        """Class (...) of each pixel: the endmember with the largest abundance, counted from 1.

        Where the scene had labels, what labelled pixels that are alike have in their raster.

        Parameters
        ----------
        state : array (c, ...)
        abundances : array (p, ...)
            Of the state.
        """
        if self.classifier is None:
            return abundances.argmax(0) + 1
        places = self.classifier.classes(features_of(self.encoding, state))
        return np.array(self.about["class_values"])[places]

    def named_kinds(self) -> dict[int, str]:
        """Every value of `kinds`, with what it means."""
        names = self.classes or [f"endmember {i}" for i in range(1, len(self.encoding.endmembers) + 1)]
        values = self.about.get("class_values") or range(1, len(names) + 1)
        return dict(zip(values, names, strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises
        ------
        OutputWriteError
            The folder is missing or cannot be written, or the disk is full.
        """
        header: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json"),
            "bands": self.bands.tolist(),
            "count": self.count,
            "classes": self.classes,
            **self.about,
        }
        parts: dict[str, Any] = {"encoding": self.encoding}
        if self.classifier is not None:
            header["accuracy"] = self.classifier.accuracy
            parts["classifier"] = self.classifier
        if self.correction is not None:
            parts["correction"] = self.correction
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for kind, part in parts.items():
            arrays = {name: value for name, value in vars(part).items() if isinstance(value, np.ndarray)}
            state |= {f"{kind}.{name}": torch.from_numpy(np.ascontiguousarray(v)) for name, v in arrays.items()}
        write_model(path, METHOD, FORMAT, header, state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Hud:
        """Read a file.

        Raises
        ------
        ModelError
            It is none of ours, of another format, or damaged.
        """
        header, state = read_model(path, METHOD, FORMAT, "SCENE")
        with fitting(path):
            settings = HudTrainingParams.model_validate(header.pop("settings"))
            named = {kind: _part(state, kind) for kind in ("encoding", "network", "classifier", "correction")}
            encoding = Encoding(
                **{name: value.numpy() for name, value in named["encoding"].items()}, floor=settings.floor
            )
            classes, bands, count = (header.pop(name) for name in ("classes", "bands", "count"))
            classifier = None
            if classes:
                learned = {name: value.numpy() for name, value in named["classifier"].items()}
                classifier = Classifier(**learned, accuracy=header.pop("accuracy"))
                if classifier.weights.shape[1] != encoding.channels + len(bands):
                    raise ValueError("classes are told by other features")
            correction = None
            if settings.correction:
                correction = Correction(**{name: value.numpy() for name, value in named["correction"].items()})
            network = AbundanceUNet(encoding.channels, len(classes), settings.widths, settings.blocks)
            network.load_state_dict(named["network"])
        bands = np.array(bands)
        return cls(network.eval(), encoding, settings, bands, count, classes, classifier, header, str(path), correction)

    def refuse(self, scene: str, bands: int, wavelengths: np.ndarray) -> None:
        """Refuse a scene that the model is not of.

        Parameters
        ----------
        scene : str
            Its name.
        bands : int
        wavelengths : array (bands,)
            nm, NaN where not known.

        Raises
        ------
        ModelError
            It has other bands.
        """
        if bands != self.count:
            raise ModelError(f"{self.name}: made for {self.count} bands, {scene} has {bands}; train one on it.")
        apart = np.abs(np.array(self.about["wavelengths"], float) - wavelengths)
        if np.isfinite(apart).any() and np.nanmedian(apart) > 1:
            raise ModelError(
                f"{self.name}: made for other wavelengths, {np.nanmedian(apart):.0f} nm from those of {scene}; "
                "train one on it."
            )


def _part(state: Mapping[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{kind}."): value for name, value in state.items() if name.startswith(f"{kind}.")}


def fitted_hud(
    source: Any,
    good: np.ndarray,
    bad_reason: Sequence[str],
    params: HudTrainingParams,
    wavelengths: np.ndarray,
    labels: Labels | None = None,
    device: str = "cpu",
    progress: Any = None,
) -> Hud:
    """Train a generator on a scene.

    Parameters
    ----------
    source : SceneSource
        Of a scene that fits into memory as a state of p + q channels.
    good : bool array (B,)
    bad_reason : sequence of str
    params : HudTrainingParams
    wavelengths : array (B,)
        nm.
    labels : Labels, optional
        Of its pixels.

    Raises
    ------
    DataError
        Too few pixels have data for the endmembers or for a crop, or labels for the classes.
    BandError
        Too few bands can be used.
    """
    found = found_endmembers(source, good, bad_reason, params)
    whole = source.read(Window(0, source.shape[0], 0, source.shape[1]))[found.bands]
    if labels is not None:
        with_data = int(((labels.numbers >= 0) & np.isfinite(whole).all(0)).sum())
        if with_data <= len(labels.names):  # classes are told apart by what varies within them
            raise DataError(
                f"{with_data} labelled pixels with data are too few for {len(labels.names)} class"
                f"{'es' * (len(labels.names) > 1)}; label several pixels of each."
            )
    encoding, cosine = fitted_encoding(
        [whole],
        found.spectra,
        params.directions,
        params.rounds,
        device,
        floor=params.floor,
        brightness=params.brightness,
    )
    state, classes = encoding.encoded(whole, device), [] if labels is None else labels.names
    crops = Crops(state, params, None if labels is None else labels.numbers, len(classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        network = AbundanceUNet(encoding.channels, len(classes), params.widths, params.blocks)
    network, losses = trained(network, crops, params.seed, device, progress)
    correction = None
    if params.correction:
        correction = corrected(network, params.schedule(), crops, encoding.low, encoding.high, device, progress)
    every = max(1, len(losses) // 100)
    about = {
        "wavelengths": [float(nm) if np.isfinite(nm) else None for nm in wavelengths],
        "cosine": cosine,
        "losses": [float(np.mean(losses[i : i + every])) for i in range(0, len(losses), every)],
        "how": found.how,
        "notes": found.notes,
        "class_values": [] if labels is None else labels.values,
    }
    classifier = None
    if labels is not None:
        known = labels.numbers >= 0
        features = np.full((encoding.channels + len(found.bands), *known.shape), np.nan, np.float32)
        features[:, known] = features_of(encoding, state[:, known][:, None])[:, 0]
        classifier = Classifier.of(features, labels.numbers, len(classes))
    return Hud(network, encoding, params, found.bands, len(good), classes, classifier, about, correction=correction)
