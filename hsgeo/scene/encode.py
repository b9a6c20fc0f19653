"""Physical values into stored ones: scale, offset, rounding, clipping, nodata; one band at a time in a small buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsgeo.errors import ParameterError

from .lazy import float_type

#: types that every output format stores
STORED_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


@dataclass(frozen=True)
class Encoding:
    """How physical values become stored ones: raw = (value - offset) / scale in `dtype`, NaN as `nodata`."""

    dtype: str
    scale: np.ndarray
    offset: np.ndarray
    nodata: float | None


def stored_type(name: Any, option: str = "--dtype") -> np.dtype:
    """The dtype of that name.

    Raises
    ------
    ParameterError
        It cannot be stored in a raster.
    """
    try:
        kind = np.dtype(name).newbyteorder("=")
    except TypeError:
        kind = None
    if kind is None or kind.name not in STORED_TYPES:
        raise ParameterError(f"{option} {name}: one of {', '.join(STORED_TYPES)}.")
    return kind


def default_nodata(dtype: Any) -> float:
    """The value that stands for no data where none was chosen: NaN, the lowest integer (0 where there is no sign)."""
    kind = np.dtype(dtype)
    return math.nan if kind.kind == "f" else float(np.iinfo(kind).min)


def fits(value: float, dtype: Any) -> bool:
    """Whether a type holds a value exactly (floats: whether it is in their range)."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return not math.isfinite(value) or abs(value) <= float(np.finfo(kind).max)
    if not math.isfinite(value) or value != int(value):
        return False
    info = np.iinfo(kind)
    # the extremes of 64-bit integers come back from files as the nearest float
    return info.min <= int(value) <= info.max or value == float(info.max)


def encode(
    values: np.ndarray, dtype: Any, scale: Any = 1.0, offset: Any = 0.0, nodata: float | None = None
) -> tuple[np.ndarray, int]:
    """Stored values, raw = (value - offset) / scale, rounded half to even and clipped to the type.

    Parameters
    ----------
    values : array (B, ...)
        Physical values, NaN where there is no data.
    dtype : dtype
        Stored type.
    scale, offset : array (B,) or float
        physical = raw * scale + offset.
    nodata : float, optional
        Stored value of NaN, which no valid value gets. None: NaN becomes `default_nodata`, and no value is kept free.

    Returns
    -------
    raw : array (B, ...)
        A valid value that would be stored as `nodata` moves by one step.
    saturated : int
        Number of values outside the range of the type.
    """
    kind = np.dtype(dtype)
    count = values.shape[0]
    scales, offsets = (np.broadcast_to(np.asarray(v, np.float64), (count,)) for v in (scale, offset))
    raw = np.empty(values.shape, kind)
    if kind.kind == "f":
        for b in range(count):
            _encode_float(values[b], scales[b], offsets[b], nodata, raw[b])
        return raw, 0
    # float32 has 24 bits: enough for 16-bit integers and the rounding of their scaling
    work = np.dtype(np.float32) if values.dtype == np.float32 and kind.itemsize <= 2 else np.dtype(np.float64)
    buffer = np.empty(values.shape[1:], work)
    saturated = sum(_encode_integer(values[b], scales[b], offsets[b], nodata, buffer, raw[b]) for b in range(count))
    return raw, saturated


def _encode_float(values: np.ndarray, scale: float, offset: float, nodata: float | None, out: np.ndarray) -> None:
    if scale == 1 and offset == 0:
        out[...] = values
    else:
        stored = (values - values.dtype.type(offset)) / values.dtype.type(scale)
        out[...] = stored
    if nodata is None or math.isnan(nodata):
        return
    blank = out.dtype.type(nodata)
    taken = out == blank
    if taken.any():
        out[taken] = np.nextafter(blank, out.dtype.type(0 if blank else 1))
    out[np.isnan(out)] = blank


def _encode_integer(
    values: np.ndarray, scale: float, offset: float, nodata: float | None, buffer: np.ndarray, out: np.ndarray
) -> int:
    """One band; returns how many values were outside the range."""
    low, high = _range(out.dtype, buffer.dtype)
    blank = default_nodata(out.dtype) if nodata is None else nodata
    if nodata == low:
        low = _step(buffer.dtype, low, 1)
    elif nodata == high:
        high = _step(buffer.dtype, high, -1)
    if offset:
        np.subtract(values, offset, out=buffer, casting="same_kind", dtype=buffer.dtype)
    else:
        buffer[...] = values
    if scale != 1:
        np.divide(buffer, buffer.dtype.type(scale), out=buffer)
    np.rint(buffer, out=buffer)
    if nodata is not None and low < blank < high and (taken := buffer == blank).any():
        buffer[taken] = _step(buffer.dtype, blank, -1 if blank > 0 else 1)
    # fmin and fmax pass over NaN, which only a band without any other value returns
    least, most = np.fmin.reduce(buffer, axis=None), np.fmax.reduce(buffer, axis=None)
    saturated = 0
    if least < low or most > high:
        saturated = int(np.count_nonzero(buffer < low) + np.count_nonzero(buffer > high))
        np.clip(buffer, low, high, out=buffer)
    missing = np.isnan(buffer)
    if missing.any():
        buffer[missing] = low
        out[...] = buffer
        out[missing] = _exact(blank, out.dtype)
    else:
        out[...] = buffer
    return saturated


def _range(dtype: np.dtype, work: np.dtype) -> tuple[float, float]:
    """The least and greatest integers of `dtype` that the working type holds without leaving the range."""
    info = np.iinfo(dtype)
    high = work.type(info.max)
    return float(info.min), float(high if int(high) <= info.max else np.nextafter(high, work.type(0)))


def _step(work: np.dtype, value: float, sign: int) -> float:
    """The next integer that the working type holds."""
    near = value + sign
    return (
        near if work.type(near) != work.type(value) else float(np.nextafter(work.type(value), work.type(sign * np.inf)))
    )


def _exact(value: float, dtype: np.dtype) -> int:
    info = np.iinfo(dtype)
    return min(max(int(value), info.min), info.max)


def decode(raw: np.ndarray, scale: Any = 1.0, offset: Any = 0.0, nodata: float | None = None) -> np.ndarray:
    """Physical values of stored ones: raw * scale + offset, NaN for `nodata` and for what is not finite.

    Parameters
    ----------
    raw : array (B, ...)
        Stored values; left unchanged.
    scale, offset : array (B,) or float
    nodata : float, optional

    Returns
    -------
    array (B, ...)
        float64 for 32-bit and wider integers and float64, else float32.
    """
    count = raw.shape[0]
    scales, offsets = (np.broadcast_to(np.asarray(v, np.float64), (count,)) for v in (scale, offset))
    kind = float_type(raw.dtype.name)
    values = np.empty(raw.shape, kind)
    blank = None
    if nodata is not None and not math.isnan(nodata) and fits(nodata, raw.dtype):
        blank = raw.dtype.type(nodata if raw.dtype.kind == "f" else _exact(nodata, raw.dtype))
    for b in range(count):
        band = values[b]
        band[...] = raw[b]
        if scales[b] != 1:
            band *= kind.type(scales[b])
        if offsets[b] != 0:
            band += kind.type(offsets[b])
        if blank is not None:
            band[raw[b] == blank] = np.nan
        if raw.dtype.kind == "f":
            band[~np.isfinite(band)] = np.nan
    return values
