"""Pixel data of a DICOM file, checked before anything of its size is decoded.

The size that is declared, the bytes that are there and the size that a compressed frame says of
itself have to agree: decoders believe the last, and fill with grey what is missing. Messages hold
no value of the file but counts and sizes.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from medres.images import dicom_streams
from medres.images.reading import (
    MAX_PIXELS,
    UnreadableImageError,
    choose_page,
    corrupt,
    require_sane_size,
)

MAX_PIXELS_OF_FRAMES = 1000 * MAX_PIXELS
"""Rows x columns x frames: one frame alone is decoded, but no scanner writes more than this."""
MAX_FRAGMENTS = 1_000_000
UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_ITEMS = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
PIXEL_DATA = {(0x7FE0, 0x0008): 32, (0x7FE0, 0x0009): 64, (0x7FE0, 0x0010): None}
"""Elements that hold pixels, with the bits of a value where the element decides them."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame."""

    samples: np.ndarray
    """Shape (rows, columns) or (rows, columns, 3); YBR is RGB already."""
    number: int
    """Counted from 0."""
    n_frames: int
    bits: int
    """Of a sample."""
    said: dict[str, Any]
    """Where a compressed frame contradicts the header, for the record."""


def decode(path: Path, file: BinaryIO, facts: Dataset, page: int | None) -> Frame:
    """Return one frame, its number counted from 0.

    Args:
        path: For messages.
        file: Standing at the pixel data, as `dcmread` without pixels leaves it.
        facts: What the file says of its image, with `file_meta`.
        page: The frame that is asked for.

    Raises:
        UnreadableImageError: If sizes do not agree, bytes are missing, or no frame is said.
    """
    if any(facts.get(name) is None for name in ("Rows", "Columns", "SamplesPerPixel")):
        raise UnreadableImageError(f"{path}: DICOM without an image; remove its row")
    syntax = uid.UID(facts.file_meta.TransferSyntaxUID)
    n_frames = int(facts.get("NumberOfFrames") or 1)
    rows, columns, samples = int(facts.Rows), int(facts.Columns), int(facts.SamplesPerPixel)
    if n_frames < 1 or samples not in (1, 3):
        raise corrupt(path, f"{n_frames} frames of {samples} samples a pixel")
    require_sane_size(path, (columns, rows))
    if rows * columns * n_frames > MAX_PIXELS_OF_FRAMES:
        raise UnreadableImageError(
            f"{path}: {n_frames:,} frames of {columns} x {rows} px are above "
            f"{MAX_PIXELS_OF_FRAMES:,} pixels; save the frames that are needed"
        )
    if syntax.is_compressed and syntax not in (*dicom_streams.DECODED, uid.RLELossless):
        raise UnreadableImageError(
            f"{path}: DICOM compressed in a way that is not read; decompress it to explicit VR "
            "little endian first"
        )
    frame = choose_page(path, n_frames, page)
    bits_of_element = _require_whole(path, file, facts, syntax, n_frames)
    bits = bits_of_element or int(facts.BitsAllocated)
    bits_stored = int(facts.get("BitsStored") or bits)
    if bits not in (1, 8, 16, 32, 64) or not 1 <= bits_stored <= bits:
        raise corrupt(path, f"{bits_stored} of {bits} bits stored")
    shift = 0 if bits_of_element else _bits_below(path, facts, bits, bits_stored)
    if syntax.is_compressed:
        coded = _coded_frame(file, facts, frame, n_frames)
        dicom_streams.require_sound(path, coded, syntax, (columns, rows), samples, bits)
    if syntax in dicom_streams.DECODED:
        stream = dicom_streams.decode(path, coded, syntax, facts)
    else:
        file.seek(0)
        # Of cells with unused low bits every bit is asked for.
        whole: dict[str, Any] = {"bits_stored": bits} if shift else {}
        plugin = "pydicom" if syntax.is_compressed else ""
        stream = dicom_streams.Stream(
            pixel_array(file, index=frame, decoding_plugin=plugin, **whole),
            bits if shift else bits_stored,
        )
    decoded, said = stream.samples, dict(stream.said)
    if decoded.shape != ((rows, columns) if samples == 1 else (rows, columns, 3)):
        raise corrupt(path, f"{decoded.shape} decoded, {(rows, columns)} declared")
    if decoded.dtype.itemsize < bits // 8 and samples == 1:  # which padding is written in
        decoded = decoded.astype(f"{decoded.dtype.kind}{bits // 8}")
    bits_of_sample = stream.bits
    if shift and bits_of_sample >= shift + bits_stored:
        decoded = _shifted(decoded, shift, bits_stored)
        bits_of_sample = bits_stored
    elif bits_of_sample > bits_stored and _fits(decoded, bits_stored):
        bits_of_sample = bits_stored
    if bits_of_sample != bits_stored:
        said["stream_bits"] = bits_of_sample
    return Frame(decoded, frame, n_frames, bits_of_sample, said)


def _bits_below(path: Path, facts: Dataset, bits: int, bits_stored: int) -> int:
    """Return how many bits of a cell lie below those of the value."""
    found = facts.get("HighBit")
    high_bit = bits_stored - 1 if found is None else int(found)
    if not bits_stored - 1 <= high_bit < bits:
        raise UnreadableImageError(
            f"{path}: its HighBit (0028,0102) is {high_bit}, which cannot be with BitsStored "
            f"(0028,0101) {bits_stored} of BitsAllocated (0028,0100) {bits}; correct it, usually "
            f"to {bits_stored - 1}"
        )
    return high_bit + 1 - bits_stored


def _shifted(samples: np.ndarray, shift: int, bits: int) -> np.ndarray:
    """Return what lies above the unused low bits, `bits` wide, with the sign that it has there."""
    unused = 8 * samples.dtype.itemsize - shift - bits
    values: np.ndarray = (samples << unused) >> (unused + shift)
    return values


def _fits(samples: np.ndarray, bits: int) -> bool:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1)
    if samples.dtype.kind == "u":
        low, high = 0, (1 << bits) - 1
    return samples.dtype.kind in "ui" and low <= int(samples.min()) <= int(samples.max()) <= high


def _require_whole(
    path: Path, file: BinaryIO, facts: Dataset, syntax: uid.UID, n_frames: int
) -> int | None:
    """Leave the file at the value of its pixel data; return bits of a value if that decides."""
    order = "<" if syntax.is_little_endian else ">"
    header = file.read(8 if syntax.is_implicit_VR else 12)
    if not header:
        raise UnreadableImageError(f"{path}: DICOM without pixel data; remove its row")
    if len(header) < 8 + 4 * (not syntax.is_implicit_VR):
        raise corrupt(path, "the file ends where its pixel data begin")
    element = struct.unpack_from(order + "HH", header)
    (length,) = struct.unpack_from(order + "I", header, len(header) - 4)
    if element not in PIXEL_DATA:
        raise corrupt(path, "no pixel data where they should be")
    begin = file.tell()
    n_bytes = file.seek(0, 2)
    file.seek(begin)
    if syntax.is_compressed:
        if length != UNDEFINED:
            raise corrupt(path, "compressed pixel data that are not in fragments")
        _require_whole_fragments(path, file, n_bytes)
        file.seek(begin)
        return PIXEL_DATA[element]
    n_values = int(facts.Rows) * int(facts.Columns) * int(facts.SamplesPerPixel) * n_frames
    n_bits = n_values * (PIXEL_DATA[element] or int(facts.BitsAllocated))
    if facts.PhotometricInterpretation == "YBR_FULL_422":
        n_bits = n_bits * 2 // 3
    expected = math.ceil(n_bits / 8)
    there = min(length, n_bytes - begin)
    if there < expected or (length != UNDEFINED and begin + length > n_bytes):
        raise corrupt(path, f"{there:,} bytes of pixels, {max(expected, length):,} declared")
    return PIXEL_DATA[element]


def _require_whole_fragments(path: Path, file: BinaryIO, n_bytes: int) -> None:
    for _ in range(MAX_FRAGMENTS):
        header = file.read(8)
        group, element, length = struct.unpack("<HHI", header.ljust(8, b"\0"))
        if len(header) == 8 and (group, element) == END_OF_ITEMS:
            return
        if (group, element) != ITEM or file.tell() + length > n_bytes:
            raise corrupt(path, "compressed pixel data without their end")
        file.seek(length, 1)
    raise corrupt(path, f"more than {MAX_FRAGMENTS:,} fragments of pixel data")


def _coded_frame(file: BinaryIO, facts: Dataset, frame: int, n_frames: int) -> bytes:
    tables = [facts.get(f"ExtendedOffsetTable{rest}") for rest in ("", "Lengths")]
    offsets: Any = tuple(tables) if all(tables) else None
    return get_frame(file, frame, number_of_frames=n_frames, extended_offsets=offsets)
