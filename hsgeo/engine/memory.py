"""Memory: how much there is, how much was used, and the tile size that stays within a limit."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

from hsgeo.errors import ParameterError

MIB = 1 << 20
#: resident size of a process of ours before its first tile: interpreter, torch, GDAL with its cache, zarr
BASE = 512 * MIB

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_size(text: str | int | float) -> int:
    """Bytes from ``4GiB``, ``500 MB``, ``2g`` (powers of 1000 without the i) or a plain number.

    Raises
    ------
    ParameterError
        Not a size, or not positive.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([kmgt]?i?)b?\s*", str(text).lower())
    if match is None or match[2] not in _UNITS:
        raise ParameterError(f"{text!r} is not a size in bytes; write it as 4GiB, 500MB or a number.")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size < 1:
        raise ParameterError(f"{text!r} is not a positive size.")
    return size


def format_size(size: float) -> str:
    """A size for people: ``3.2 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def available_memory(cgroup: str | Path = "/sys/fs/cgroup") -> int:
    """Bytes that can still be used: of the machine, or of the container when its limit is lower."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int((Path(cgroup) / limit_name).read_text())
            used = int((Path(cgroup) / used_name).read_text())
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        free = min(free, max(0, limit - used))
    return free


def tree_rss() -> int:
    """Resident bytes of this process and of its descendants now."""
    import psutil

    me = psutil.Process()
    total = me.memory_info().rss
    for child in me.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return int(total)


def peak_rss() -> int:
    """Largest resident size that this process (without its children) has had, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def choose_tile(
    limit: str | int | None,
    bytes_per_pixel: float,
    *,
    halo: int = 0,
    multiple: int = 1,
    shape: tuple[int, int] | None = None,
    tasks: int = 1,
    base: int = BASE,
    largest: int = 1024,
) -> int:
    """The largest handy tile whose tasks stay within a memory limit.

    Parameters
    ----------
    limit : str, int or None
        Memory of all tasks together, such as ``4GiB``; None takes half of what is available, at most 4 GiB.
    bytes_per_pixel : float
        What one task holds at its peak for each pixel of its tile with halo, all bands and buffers together.
    halo, multiple : int
        As in `TilePlan`.
    shape : (height, width), optional
        Of the output: no tile larger than it is needed.
    tasks : int
        Tasks that run at a time. Several are taken to be processes, each with `base` bytes of its own, beside the
        one that leads them.
    base : int
        Resident bytes of a process before its first tile.
    largest : int
        Upper bound in pixels; larger tiles save little halo and cost memory.

    Returns
    -------
    int
        A multiple of `multiple`, and also of 512, 256, 128, 64, 32 or 16 where that fits, so that blocks line up
        with the blocks of the file to be written.

    Raises
    ------
    ParameterError
        Not even the smallest tile fits; the message says what would be enough.
    """
    total = parse_size(limit) if limit is not None else min(available_memory() // 2, 4 << 30)
    processes = tasks + 1 if tasks > 1 else 1
    # a limit near the base is not to be held; then a quarter of it goes to the tiles
    room = max(total - base * processes, total / 4) / max(1, tasks)
    edge = math.isqrt(int(room / bytes_per_pixel)) - 2 * halo
    smallest = max(multiple, min(16, largest) // multiple * multiple)
    if edge < smallest:
        least = (smallest + 2 * halo) ** 2 * bytes_per_pixel * max(1, tasks)
        needed = min(4 * least, least + base * processes)
        raise ParameterError(
            f"--memory {format_size(total)} is too little for the smallest tile, {smallest} pixels with a halo of "
            f"{halo}; give at least {format_size(1.01 * needed)}."
        )
    edge = min(edge, max(largest, smallest))
    if shape is not None and edge >= max(shape):
        return -(-max(shape) // multiple) * multiple
    for align in (512, 256, 128, 64, 32, 16):
        step = math.lcm(align, multiple)
        if step <= edge:
            return edge // step * step
    return edge // multiple * multiple
