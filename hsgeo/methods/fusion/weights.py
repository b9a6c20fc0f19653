"""A trained network on disk: safetensors whose header holds, as JSON, how it is built and what it was trained for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from hsgeo.errors import ModelError
from hsgeo.methods.fusion.settings import TrainingParams
from hsgeo.methods.model_file import fitting, read_model, write_model

#: of the file's header; another number means that features or layers have changed
METHOD, FORMAT = "hsr-diff", 1

#: bands that lie no further apart than this are the same, nm
NEAR_NM = 5.0


@dataclass(frozen=True)
class Weights:
    """A network and all that is needed to use it.

    Attributes
    ----------
    network : torch module
        In evaluation mode.
    settings : TrainingParams
    channels : (int, int, int)
        Of the signal, the guide and the result.
    about : mapping
        ``ratios`` (smallest and largest), ``bands`` (HSI and MSI; null where any will do) and then ``wavelengths``,
        ``scenes``, ``sensors``, ``steps``, ``validation_gain_db``, ``version``.
    name : str
        Where it came from.
    """

    network: Any
    settings: TrainingParams
    channels: tuple[int, int, int]
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = "untrained"

    @classmethod
    def untrained(cls, settings: TrainingParams, channels: tuple[int, int, int], seed: int = 0) -> Weights:
        """A new network, its first weights drawn from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(settings.network.build(*channels), settings, channels)

    def on(self, device: torch.device | str) -> Weights:
        """The same on a device: itself where it is there, else a copy, since one that is kept serves others too."""
        if all(value.device == torch.device(device) for value in self.network.parameters()):
            return self
        return replace(self, network=deepcopy(self.network).to(device))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        OutputWriteError
            The folder is missing or cannot be written, or the disk is full.
        """
        header = {"settings": self.settings.model_dump(mode="json"), "channels": self.channels, **self.about}
        write_model(path, METHOD, FORMAT, header, self.network.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Weights:
        """Read a file.

        Raises
        ------
        ModelError
            It is none of ours, of another format, or damaged.
        """
        header, state = read_model(path, METHOD, FORMAT, "...")
        with fitting(path):
            settings = TrainingParams.model_validate(header.pop("settings"))
            channels = header.pop("channels")
            network = settings.network.build(*channels)
            network.load_state_dict(state)
        return cls(network.eval(), settings, tuple(channels), header, str(path))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all weights and settings: the same for the same network, wherever it was read from."""
        digest = hashlib.sha256(self.settings.model_dump_json().encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def refuse(
        self, ratio: int, bands: tuple[int, int] | None = None, nm: Sequence[float] | np.ndarray | None = None
    ) -> None:
        """Refuse a pair that the network was not made for.

        Parameters
        ----------
        ratio : int
        bands : (int, int), optional
            Fused HSI bands and MSI bands, where they are known.
        nm : array (HSI bands,), optional
            Wavelengths of the former, nm.

        Raises
        ------
        ModelError
            With the reason.
        """
        low, high = self.about.get("ratios", (ratio, ratio))
        known = self.about.get("bands")
        if not low <= ratio <= high:
            trained, seen = f"ratio {low}" if low == high else f"ratios {low} to {high}", f"{ratio}"
        elif known is not None and bands is not None and tuple(known) != bands:
            trained, seen = f"{known[0]} HSI and {known[1]} MSI bands", f"{bands[0]} and {bands[1]}"
        elif known is not None and (apart := _apart(self.about.get("wavelengths"), nm)) > NEAR_NM:
            trained, seen = "bands at other wavelengths", f"bands {apart:.0f} nm away (median)"
        else:
            return
        raise ModelError(
            f"{self.name}: trained for {trained}, the pair has {seen}; train one on the pair (hsgeo fuse --train)."
        )


def _apart(mine: Sequence[float] | None, others: Sequence[float] | np.ndarray | None) -> float:
    """Median distance of bands in nm; 0 where one side does not know."""
    if mine is None or others is None:
        return 0.0
    return float(np.nan_to_num(np.median(np.abs(np.asarray(mine) - np.asarray(others, float)))))


def load_weights(path: str | None = None) -> Weights:
    """The model of a path, or the one that comes with the package; kept, so that a worker reads each file once."""
    found = str(files("hsgeo.methods.fusion") / "data" / "hsr-diff.safetensors") if path is None else str(path)
    written = os.stat(found).st_mtime_ns if os.path.isfile(found) else 0
    kept = _kept(found, written)
    return kept if path is not None else replace(kept, name="the model that comes with hsgeo")


@lru_cache(maxsize=4)
def _kept(path: str, written: int) -> Weights:
    return Weights.load(path)
