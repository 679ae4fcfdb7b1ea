"""Pixel data of a DICOM file, checked before anything of its size is decoded.

The size that is declared, the bytes that are there and the size that a compressed frame says of
itself have to agree: decoders believe the last, and fill with grey what is missing. Messages hold
no value of the file but counts and sizes.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array

from medres.images import jpeg
from medres.images.reading import (
    MAX_PIXELS,
    UnreadableImageError,
    choose_page,
    corrupt,
    require_sane_size,
)
from medres.images.tiff_layout import jpeg_2000_size

MAX_PIXELS_OF_FRAMES = 1000 * MAX_PIXELS
"""Rows x columns x frames: one frame alone is decoded, but no scanner writes more than this."""
MAX_FRAGMENTS = 1_000_000
UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_ITEMS = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
PIXEL_DATA = {(0x7FE0, 0x0008): 32, (0x7FE0, 0x0009): 64, (0x7FE0, 0x0010): None}
"""Elements that hold pixels, with the bits of a value where the element decides them."""
DECODERS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "imagecodecs",
    uid.JPEGLosslessSV1: "imagecodecs",
    uid.JPEGLSLossless: "imagecodecs",
    uid.JPEGLSNearLossless: "imagecodecs",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
    uid.RLELossless: "pydicom",
}
"""One decoder each, so that pixels do not depend on what else is installed. Not GDCM: within 1,000
damaged frames of lossless JPEG it ended the whole process twice."""


def decode(
    path: Path, file: BinaryIO, facts: Dataset, page: int | None
) -> tuple[np.ndarray, int, int]:
    """Return the samples of one frame, its number counted from 0, and the number of frames.

    Args:
        path: For messages.
        file: Standing at the pixel data, as `dcmread` without pixels leaves it.
        facts: What the file says of its image, with `file_meta`.
        page: The frame that is asked for.

    Returns:
        Shape (rows, columns) or (rows, columns, 3); YBR is RGB already.

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
    if syntax.is_compressed and syntax not in DECODERS:
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
    if syntax.is_compressed:
        coded = _coded_frame(file, facts, frame, n_frames)
        _require_sound_frame(path, coded, syntax, (columns, rows), samples, bits)
    if DECODERS.get(syntax) == "imagecodecs":
        decoded = _lossless(coded, syntax, facts, bits_stored)
    else:
        file.seek(0)
        decoded = pixel_array(file, index=frame, decoding_plugin=DECODERS.get(syntax, ""))
    if decoded.shape != ((rows, columns) if samples == 1 else (rows, columns, 3)):
        raise corrupt(path, f"{decoded.shape} decoded, {(rows, columns)} declared")
    return decoded, frame, n_frames


def _lossless(coded: bytes, syntax: uid.UID, facts: Dataset, bits_stored: int) -> np.ndarray:
    """Return a frame of lossless JPEG or of JPEG-LS, which keep bits and know no sign."""
    if syntax in uid.JPEGLSTransferSyntaxes:
        decoded: np.ndarray = imagecodecs.jpegls_decode(coded)
    else:  # colours as they are stored
        kept = "RGB" if int(facts.SamplesPerPixel) == 3 else None
        decoded = imagecodecs.jpeg8_decode(coded, colorspace=kept, outcolorspace=kept)
    if int(facts.get("PixelRepresentation") or 0) == 1:
        unused = 8 * decoded.dtype.itemsize - bits_stored
        signed = (decoded << unused).view(f"i{decoded.dtype.itemsize}")
        decoded = signed >> unused
    if facts.PhotometricInterpretation in ("YBR_FULL", "YBR_FULL_422"):
        decoded = convert_color_space(decoded, "YBR_FULL", "RGB")
    return decoded


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


def _require_sound_frame(
    path: Path, coded: bytes, syntax: uid.UID, size_px: tuple[int, int], samples: int, bits: int
) -> None:
    """Refuse a compressed frame of another size than the file declares, or that is cut."""
    said: tuple[int, int] | None
    if syntax == uid.RLELossless:
        # Two bytes become up to 128; honest ones at worst grow by a 128th.
        if len(coded) > 2 * size_px[0] * size_px[1] * samples * bits // 8 + 4096:
            raise corrupt(path, f"a frame of {len(coded):,} bytes for {size_px} px")
        return
    if syntax in uid.JPEG2000TransferSyntaxes:
        said = jpeg_2000_size(coded, samples)
    else:
        header = jpeg.frame_header(coded)
        if syntax == uid.JPEGExtended12Bit and header is not None and header[0] != 8:
            raise UnreadableImageError(
                f"{path}: DICOM of lossy JPEG with {header[0]} bits, which is not read; decompress "
                "it to explicit VR little endian first"
            )
        said = None if header is None or header[3] != samples else header[1:3]
        if b"\xff\xd9" not in coded.rstrip(b"\0")[-4:]:
            raise corrupt(path, "a frame of JPEG without its end")
    if said != size_px:
        raise corrupt(path, f"a frame of {said} px where {size_px} is declared")
    if syntax == uid.JPEGBaseline8Bit:
        jpeg.read(path, coded)  # which refuses scans that Pillow would fill with grey
