"""Look-up tables and palettes of DICOM, by the values that are in them.

Descriptors are often wrong about their entries: 8 bits in words that are called 16 wide, a first
value below zero that is written without its sign. Taken at their word, such a table makes an image
nearly black.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from medres.images.reading import corrupt

COLOURS = ("Red", "Green", "Blue")
MIN_BITS = 8


def looked_up(
    path: Path, values: np.ndarray, table: Dataset, facts: Dataset
) -> tuple[np.ndarray, int]:
    """Return what the first table of a modality or VOI LUT sequence makes of values, and its bits.

    Args:
        path: For messages.
        values: Of the image, any shape; floats are rounded.
        table: With LUTDescriptor and LUTData.
        facts: With `file_meta` of the file.

    Raises:
        UnreadableImageError: If it has fewer entries than it says.
    """
    n_entries, first, bits = _descriptor(table.LUTDescriptor)
    entries = _entries(path, table.LUTData, n_entries, _is_little_endian(facts))
    return _at(values, entries, first), bits_of(entries, bits, n_unused=2)


def by_palette(path: Path, samples: np.ndarray, facts: Dataset) -> tuple[np.ndarray, int]:
    """Return the colours that a palette gives to samples, uint8 (..., 3), and the bits of its own.

    Raises:
        UnreadableImageError: If it is none, or has fewer entries than it says.
    """
    n_entries, first, bits = _descriptor(facts.RedPaletteColorLookupTableDescriptor)
    if facts.get("RedPaletteColorLookupTableData"):
        is_little = _is_little_endian(facts)
        found = [facts.get(f"{name}PaletteColorLookupTableData") for name in COLOURS]
        table = np.stack([_entries(path, each, n_entries, is_little) for each in found], axis=-1)
        bits = bits_of(table, 8 if table.max() < 256 else 16, n_unused=4)
    else:  # in segments, which pydicom puts together for every value that has an entry
        every = np.arange(first, first + n_entries)
        table = apply_color_lut(every, facts)[..., :3].astype(np.uint16)
        bits = bits_of(table, bits, n_unused=4)
    # The high byte: entries of 16 bits hold 8 bits shifted, or repeated.
    return _at(samples, (table >> bits - 8).astype(np.uint8), first), bits


def bits_of(entries: np.ndarray, stated: int, *, n_unused: int) -> int:
    """Return the bits that entries have: those stated, unless so many of them are never used.

    A table for the display that never comes above a quarter of white, and a palette of which no
    colour comes above a sixteenth, say more bits than they have.

    >>> bits_of(np.array([0, 255]), 16, n_unused=2), bits_of(np.array([0, 40_000]), 16, n_unused=2)
    (8, 16)
    """
    needed = max(int(entries.max()).bit_length(), MIN_BITS)
    return needed if needed <= stated - n_unused or needed > stated else stated


def _descriptor(value: Any) -> tuple[int, int, int]:
    """Return number of entries, the value that the first is for, and bits of an entry."""
    n_entries, first, bits = (int(each) for each in value)
    return n_entries or 1 << 16, first, bits


def _entries(path: Path, found: Any, n_entries: int, is_little_endian: bool) -> np.ndarray:
    """Return the entries of a table as uint16, shape (n_entries,), of bytes or words."""
    if isinstance(found, bytes):
        order = "<" if is_little_endian else ">"
        words = np.frombuffer(found[: len(found) // 2 * 2], order + "u2")
        odd = found[len(words) * 2 :]
    else:
        words, odd = np.atleast_1d(np.asarray(found, np.int64)).astype(np.uint16), b""
    if len(words) < n_entries:  # two in a word, the first in its low byte
        packed = words.astype("<u2").tobytes() + odd
        words = np.frombuffer(packed, np.uint8)
    if len(words) < n_entries:
        raise corrupt(path, f"a table of {len(words):,} of its {n_entries:,} entries")
    return words[:n_entries].astype(np.uint16)


def _at(values: np.ndarray, entries: np.ndarray, first: int) -> np.ndarray:
    """Return the entry of each value; the first and the last stand for all values beyond them."""
    numbers = (np.rint(values) if values.dtype.kind == "f" else values).astype(np.int64)
    if first >= 1 << 15 and numbers.min() < 0:
        first -= 1 << 16  # written without its sign
    shown: np.ndarray = entries[np.clip(numbers - first, 0, len(entries) - 1)]
    return shown


def _is_little_endian(facts: Dataset) -> bool:
    return UID(facts.file_meta.TransferSyntaxUID).is_little_endian
