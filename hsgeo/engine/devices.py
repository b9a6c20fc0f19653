"""Which device tiles are worked on: named by the user, or the best there is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hsgeo.errors import ParameterError


def cuda_count() -> int:
    """Number of CUDA devices that torch can use here."""
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def check_device(spec: str) -> str:
    """The specification in lower case.

    Raises
    ------
    ParameterError
        It is none of ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
    """
    text = str(spec).strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ParameterError(f"--device {spec!r}: one of auto, cpu, cuda, cuda:0, cuda:1 and so on.")
    return text


def pick_device(spec: str = "auto") -> str:
    """The torch device for work in this process.

    Parameters
    ----------
    spec : str
        ``auto`` takes the first GPU, or the CPU where there is none; ``cpu``; ``cuda``; ``cuda:1``.

    Returns
    -------
    str
        ``cpu`` or ``cuda:N``.

    Raises
    ------
    ParameterError
        No such device here.
    """
    text = check_device(spec)
    if text == "cpu":
        return text
    count = cuda_count()
    if text == "auto":
        return "cuda:0" if count else "cpu"
    index = int(text.partition(":")[2] or 0)
    if index >= count:
        have = f"the GPUs here are 0 to {count - 1}" if count else "torch finds no CUDA GPU here"
        raise ParameterError(f"--device {spec}: {have}; use --device auto or cpu.")
    return f"cuda:{index}"


def visible_gpus(count: int, environ: dict[str, str] | os._Environ[str] = os.environ) -> list[str]:
    """Names of the GPUs of this process as ``CUDA_VISIBLE_DEVICES`` of a child must call them.

    Parameters
    ----------
    count : int
        What torch counts here; it counts from 0 among the visible ones.
    environ : mapping
        Where ``CUDA_VISIBLE_DEVICES`` may be set already, to numbers or UUIDs.
    """
    names = [n.strip() for n in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n.strip()]
    return names[:count] if names else [str(i) for i in range(count)]


def gpus_for(spec: str, workers: int, names: Sequence[str]) -> list[str]:
    """The GPU of each worker process: one process per GPU, so at most as many as there are GPUs.

    Parameters
    ----------
    spec : str
        ``auto``, ``cuda`` (any) or ``cuda:N`` (that one only).
    workers : int
        Processes asked for.
    names : sequence of str
        From `visible_gpus`.

    Raises
    ------
    ParameterError
        ``cuda:N`` is not among them, or there is none.
    """
    index = check_device(spec).partition(":")[2]
    chosen = [*names] if not index else [*names[int(index) : int(index) + 1]]
    if not chosen:
        raise ParameterError(f"--device {spec}: there are {len(names)} CUDA GPUs here; use --device auto or cpu.")
    return chosen[:workers]
