"""Convert grey DICOM frames to 8 bits: modality, then window, then polarity (PS3.3 C.11)."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medres.images import dicom_tables, scaling
from medres.images.reading import Reading, UnreadableImageError

STEP = 1e-6
"""Height of the ramp of a window of one value: all below it black, all above it white."""


def to_grey(
    path: Path, stored: np.ndarray, bits: int, facts: Dataset, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return 0 for black to 255 for white, shape (rows, columns), and how that came about.

    Padding around the image is black, and no part of percentiles or of the share that is clipped.

    Raises:
        UnreadableImageError: If the file's window is empty, no value is more than padding, or
            the scaling does not fit.
    """
    padding = _padding(stored, facts)
    has_padding = bool(padding.any())
    values = stored[~padding] if has_padding else stored
    if values.size == 0:
        raise UnreadableImageError(f"{path}: every pixel is padding; remove its row")
    limits = _range(stored.dtype, bits)
    values, limits, record = _rescaled(path, values, limits, facts)
    if scaling.parse(reading.scaling)[0] == "file":
        values, limits, window = _windowed(path, values, limits, facts)
        record |= window
    elif reading.scaling != "range":
        limits = None
    rule = reading.scaling if limits is None else "file"
    message = ""
    try:
        grey, scaled = scaling.to_uint8(values, rule, stated=limits, bits=None)
    except ValueError as error:
        message = str(error)
    if message:
        raise UnreadableImageError(f"{path}: {message}")
    record = {**scaled, "scaling": reading.scaling, **record}
    if facts.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    if has_padding:
        record["n_padding"] = int(padding.sum())
        whole = np.zeros(stored.shape, np.uint8)
        whole[~padding] = grey
        grey = whole
    return grey, record


def _padding(stored: np.ndarray, facts: Dataset) -> np.ndarray:
    """Return where padding is; its value may be written with the wrong sign."""
    first = facts.get("PixelPaddingValue")
    if first is None or stored.dtype.kind not in "ui":
        return np.zeros(stored.shape, np.bool_)
    last = facts.get("PixelPaddingRangeLimit")
    bits = 8 * stored.dtype.itemsize
    ends = [int(first) if end is None else int(end) for end in (first, last)]
    ends = [end % (1 << bits) for end in ends]
    if stored.dtype.kind == "i":
        ends = [end - (1 << bits) if end >> bits - 1 else end for end in ends]
    is_padding: np.ndarray = (stored >= min(ends)) & (stored <= max(ends))
    return is_padding


def _range(dtype: np.dtype[Any], bits: int) -> tuple[float, float] | None:
    if dtype.kind not in "ui" or bits > 16:
        return None
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.kind == "i" else (0, 2**bits - 1)


def _rescaled(
    path: Path, values: np.ndarray, limits: tuple[float, float] | None, facts: Dataset
) -> tuple[np.ndarray, tuple[float, float] | None, dict[str, Any]]:
    """Return values and the range of their type in the file's own units, and what is odd in it."""
    if facts.get("ModalityLUTSequence"):
        values, bits, record = _looked_up(path, values, facts.ModalityLUTSequence[0], facts)
        return values, (0, 2**bits - 1), record
    record = {}
    slope, intercept = (
        next((number for number in _numbers(facts.get(name)) if number is not None), default)
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0:  # which would make every pixel alike
        slope, record = 1.0, {"ignored": "RescaleSlope of 0"}
    if (slope, intercept) == (1, 0):
        return values, limits, record
    if limits is not None:
        ends = [limit * slope + intercept for limit in limits]
        limits = min(ends), max(ends)
    is_whole = slope.is_integer() and intercept.is_integer() and values.dtype.itemsize <= 2
    if is_whole and max(abs(slope), abs(intercept)) < 2**14:
        return values.astype(np.int32) * int(slope) + int(intercept), limits, record
    return values * slope + intercept, limits, record


def _looked_up(
    path: Path, values: np.ndarray, table: Dataset, facts: Dataset
) -> tuple[np.ndarray, int, dict[str, Any]]:
    shown, bits = dicom_tables.looked_up(path, values, table, facts)
    stated = int(table.LUTDescriptor[2])
    return shown, bits, {} if bits == stated else {"lut_bits": bits, "lut_bits_stated": stated}


def _windowed(
    path: Path, values: np.ndarray, limits: tuple[float, float] | None, facts: Dataset
) -> tuple[np.ndarray, tuple[float, float] | None, dict[str, Any]]:
    """Return values, those that become 0 and 255, and what the file said about it.

    Where it states no window and has more than 8 bits, the least and the greatest value of the
    frame are taken.
    """
    if facts.get("VOILUTSequence"):
        values, bits, record = _looked_up(path, values, facts.VOILUTSequence[0], facts)
        return values, (0, 2**bits - 1), {"voi_lut": 0, **record}
    function = str(facts.get("VOILUTFunction") or "LINEAR")
    stated = [
        (index, centre, width)
        for index, (centre, width) in enumerate(
            zip(
                _numbers(facts.get("WindowCenter")),
                _numbers(facts.get("WindowWidth")),
                strict=False,  # what has no partner is no window
            )
        )
        if centre is not None and width is not None
    ]
    if not stated:
        if limits is None or limits[1] - limits[0] <= 255:
            return values, limits, {"window": None}
        # The range of 16 bits would leave a CT of 12 a handful of greys.
        low, high = float(values.min()), float(values.max())
        return values, (low, max(high, low + STEP)), {"window": None, "is_spread": True}
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise UnreadableImageError(
            f"{path}: a window of a function that is not read; set scaling to window:<low>:<high>"
        )
    usable = [each for each in stated if (each[2] >= 1 if function == "LINEAR" else each[2] > 0)]
    if not usable:
        raise UnreadableImageError(
            f"{path}: the width of its window is not positive; set scaling to window:<low>:<high> "
            "or percentiles:<low>:<high>"
        )
    index, centre, width = usable[0]
    window = {"index": index, "function": function, "center": centre, "width": width}
    if function == "SIGMOID":
        steepness = np.clip(-4 * (values - centre) / width, -700, 700)
        return 1 / (1 + np.exp(steepness)), (0, 1), {"window": window}
    if function == "LINEAR":  # whose formula counts grey values, not distances
        centre, width = centre - 0.5, width - 1
    low, high = centre - width / 2, centre + width / 2
    return values, (low, max(high, low + STEP)), {"window": window}


def _numbers(value: Any) -> list[float | None]:
    """Return the numbers of an element that may hold none, one or several, None for empty ones."""
    values = value if isinstance(value, MultiValue) else [value]
    return [None if each is None or str(each).strip() == "" else float(each) for each in values]
