"""Scale pixel values of any bit depth to 8 bits, by a named rule whose limits are recorded."""

import math
from typing import Any

import numpy as np

NAMES = "file, range, percentiles:<low>:<high>, window:<low>:<high>"
BLOCK = 1 << 22
"""Values converted at a time, so that 64-bit copies stay small beside the image."""


def parse(scaling: str) -> tuple[str, float, float]:
    """Return the kind of a scaling and its two numbers, NaN if it has none.

    >>> parse("percentiles:0.5:99.5")
    ('percentiles', 0.5, 99.5)

    Raises:
        ValueError: If it is none of `NAMES`.
    """
    kind, *texts = scaling.split(":")
    if kind in ("file", "range") and not texts:
        return kind, math.nan, math.nan
    if kind in ("percentiles", "window") and len(texts) == 2:
        try:
            low, high = (float(text) for text in texts)
        except ValueError:
            raise ValueError(f"scaling {scaling!r} has limits that are not numbers") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"scaling {scaling!r} needs two finite limits, the lower one first")
        if kind == "percentiles" and not 0 <= low < high <= 100:
            raise ValueError(f"scaling {scaling!r} has percentiles outside 0 to 100")
        return kind, low, high
    raise ValueError(f"unknown scaling {scaling!r}; known are {NAMES}")


def to_uint8(
    values: np.ndarray,
    scaling: str,
    *,
    stated: tuple[float, float] | None,
    bits: int | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return values as 0 to 255, and the limits that became 0 and 255.

    What lies between the limits is scaled linearly and rounded; what lies outside is clipped
    and counted. Not-a-number becomes 0 and is counted too. Eight unsigned bits under `file`
    or `range` stay as they are.

    Args:
        values: Booleans, integers or floats, any shape.
        scaling: One of `NAMES`.
        stated: The window that the file states, as the values that become 0 and 255.
        bits: Bits stored, where fewer than the data type has.

    Returns:
        Array of uint8, and scaling, low, high, share_clipped (of the values that are numbers),
        least and greatest of integers and, where there are any, n_nan.

    Raises:
        ValueError: If the rule does not fit: its name, a data type without a useful range,
            nothing finite to take percentiles of.
    """
    kind, low, high = parse(scaling)
    if values.dtype == np.bool_:
        values, bits = values.view(np.uint8), 1
    if values.dtype.kind not in "uif" or values.size == 0:
        raise ValueError(f"{values.size} pixel values of type {values.dtype} cannot become grey")
    if kind == "percentiles":
        low, high = _percentiles(values, low, high)
    elif kind == "file" and stated is not None:
        low, high = stated
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"the window that it states, {low} to {high}, is empty; set scaling to "
                "window:<low>:<high> or percentiles:<low>:<high>"
            )
    elif kind in ("file", "range"):
        low, high = _type_range(values.dtype, kind, bits)
    if not math.isfinite(high - low):
        raise ValueError(f"the range from {low} to {high} is too wide; set window:<low>:<high>")
    n_nan = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    record = {
        "scaling": scaling,
        "low": float(low),
        "high": float(high),
        "share_clipped": _n_outside(values, low, high) / max(values.size - n_nan, 1),
    }
    if values.dtype.kind != "f":
        record |= {"least": int(values.min()), "greatest": int(values.max())}
    if n_nan:
        record["n_nan"] = n_nan
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values, record
    if values.dtype.itemsize <= 2 and values.dtype.kind in "ui":
        return _by_table(values, low, high), record
    scaled = np.empty(values.shape, np.uint8)
    flat, out = values.reshape(-1), scaled.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        out[start : start + BLOCK] = _linear(flat[start : start + BLOCK], low, high)
    return scaled, record


def lies_within(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether no value is below the first or above the second limit."""
    return _n_outside(values, low, high) == 0


def spans(values: np.ndarray, low: float, high: float) -> bool:
    """Return whether two limits are the least and the greatest value there is, the first or 0."""
    least, greatest = float(values.min()), float(values.max())
    return greatest == high and low in (least, 0)


def _type_range(dtype: np.dtype[Any], kind: str, bits: int | None) -> tuple[float, float]:
    bits_used = bits or 8 * dtype.itemsize
    if dtype.kind == "f" or (kind == "file" and bits_used > 16):
        what = "floating-point" if dtype.kind == "f" else f"{bits_used}-bit integer"
        raise ValueError(
            f"{what} pixels have no stated range; set scaling to window:<low>:<high> or "
            "percentiles:<low>:<high>"
        )
    if dtype.kind == "i":
        return -(2 ** (bits_used - 1)), 2 ** (bits_used - 1) - 1
    return 0, 2**bits_used - 1


def _percentiles(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ValueError("no pixel value is finite, so that percentiles have no meaning")
    first, last = np.percentile(values, [low, high])
    return float(first), float(last)


def _n_outside(values: np.ndarray, low: float, high: float) -> int:
    if values.dtype.kind != "f":
        limits = np.iinfo(values.dtype)
        if low <= limits.min and high >= limits.max:
            return 0
        low, high = math.ceil(low), math.floor(high)
    return int((values < low).sum()) + int((values > high).sum())


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    numbers = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    if high == low:  # percentiles of an image of one value: nothing to stretch
        return np.where(numbers > high, 255, 0).astype(np.uint8)
    share = (np.clip(numbers, low, high) - low) / (high - low)
    return np.round(share * 255).astype(np.uint8)


def _by_table(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Look every value up: 16 bits have few values, and an image has many pixels."""
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    every = np.arange(1 << 8 * unsigned.itemsize).astype(unsigned)
    table = _linear(every.view(values.dtype.newbyteorder("=")), low, high)
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    scaled: np.ndarray = table[native.view(unsigned)]
    return scaled
