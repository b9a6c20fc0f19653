"""A trained model on disk: safetensors whose header holds, as JSON, which method it is for and how it is built."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from hsgeo import __version__
from hsgeo.errors import ModelError, OutputWriteError

Place = str | os.PathLike[str]


def write_model(
    path: Place, method: str, number: int, header: Mapping[str, Any], state: Mapping[str, torch.Tensor]
) -> None:
    """Write a file, whole or not at all.

    Parameters
    ----------
    path : path
    method : str
    number : int
        Of the format; another one means that channels or layers have changed.
    header : mapping
        For JSON.
    state : mapping of tensors

    Raises
    ------
    OutputWriteError
        The folder is missing or cannot be written, or the disk is full.
    """
    from safetensors.torch import save

    told = {"format": number, "method": method, "version": __version__, **header}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    beside = Path(f"{path}.part")
    try:
        beside.write_bytes(save(tensors, {"hsgeo": json.dumps(told)}))
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise OutputWriteError(f"{path}: the model cannot be written ({error.strerror}).") from error


def read_model(path: Place, method: str, number: int, inputs: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header, without its format and method, and tensors of a file.

    Parameters
    ----------
    path : path
    method : str
    number : int
        See `write_model`.
    inputs : str
        What ``hsgeo train`` is given for such a model, as a person writes it.

    Raises
    ------
    ModelError
        It is none of ours, of another method or format, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as opened:
            header = json.loads((opened.metadata() or {}).get("hsgeo", "null"))
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such model; train one with hsgeo train {method} {inputs} -o {path}.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a model file, or a damaged one; give one of hsgeo train.") from error
    if not isinstance(header, dict) or header.pop("method", None) != method:
        raise ModelError(f"{path}: not a model of {method}; give one that hsgeo train {method} has written.")
    if header.pop("format", None) != number:
        raise ModelError(f"{path}: written by hsgeo {header.get('version')} for other layers; train it again.")
    if any(torch.isnan(value).any() for value in state.values()):
        raise ModelError(f"{path}: damaged, it holds numbers that are none; copy it again, or train it again.")
    return header, state


@contextmanager
def fitting(path: Place) -> Iterator[None]:
    """What goes wrong when a model is built of a file, as the file's fault.

    Raises
    ------
    ModelError
        Its parts do not fit each other.
    """
    try:
        yield
    except (ValidationError, ValueError, RuntimeError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: the model file does not fit itself ({said}); train it again.") from error
