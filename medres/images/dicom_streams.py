"""Decode one compressed frame of DICOM, and say where it contradicts the file's header.

The stream was written by whoever compressed the pixels, the header often by somebody else later:
what a stream says of its size, bits and colours counts. Messages hold no value of the file but
counts and sizes.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from medres.images import jpeg
from medres.images.reading import UnreadableImageError, corrupt
from medres.images.tiff_layout import jpeg_2000_size

LOSSY_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
DECODED = (
    *LOSSY_JPEG,
    *LOSSLESS_JPEG,
    *uid.JPEGLSTransferSyntaxes,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
"""Read here, each by one decoder, so that pixels do not depend on what else is installed. Not by
GDCM: within 1,000 damaged frames of lossless JPEG it ended the whole process twice."""
YBR = ("YBR_FULL", "YBR_FULL_422")
CODING_STYLE = b"\xff\x52"


@dataclass(frozen=True)
class Stream:
    """A decoded frame."""

    samples: np.ndarray
    """Shape (rows, columns) or (rows, columns, 3); colours are RGB."""
    bits: int
    """Of a sample, as the stream says."""
    said: dict[str, Any] = field(default_factory=dict)
    """Where the stream contradicts the header, for the record."""


def require_sound(
    path: Path, coded: bytes, syntax: uid.UID, size_px: tuple[int, int], samples: int, bits: int
) -> None:
    """Refuse a compressed frame of another size than the file declares, or that is cut.

    Raises:
        UnreadableImageError: Saying which.
    """
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


def decode(path: Path, coded: bytes, syntax: uid.UID, facts: Dataset) -> Stream:
    """Return the samples of a sound frame of one of the syntaxes in `DECODED`.

    Raises:
        UnreadableImageError: If its scans are damaged.
    """
    if syntax in LOSSY_JPEG:
        return _lossy(path, coded, facts)
    if syntax in uid.JPEG2000TransferSyntaxes:
        return _jpeg_2000(coded, facts)
    return _lossless(coded, syntax, facts)


def _lossy(path: Path, coded: bytes, facts: Dataset) -> Stream:
    """Return a frame in the colours that it says, and only if it says none, in the header's."""
    kind = str(facts.PhotometricInterpretation)
    by_header = "RGB" if kind == "RGB" else "YCbCr"
    by_stream = jpeg.stated_colours(coded)
    said: dict[str, Any] = {}
    if int(facts.SamplesPerPixel) == 3:
        if by_stream and by_stream != by_header:
            said["stream_colours"] = by_stream
        coded = jpeg.marked(coded, by_stream or by_header)
    samples = jpeg.read(path, coded)[0]  # which refuses scans that others fill with grey
    if _is_signed(facts) and samples.ndim == 2:
        samples = samples.view(np.int8)
    return Stream(samples, 8, said)


def _lossless(coded: bytes, syntax: uid.UID, facts: Dataset) -> Stream:
    """Return a frame of lossless JPEG or of JPEG-LS, which keep bits and know no sign."""
    header = jpeg.frame_header(coded)
    bits = header[0] if header is not None else 16
    if syntax in uid.JPEGLSTransferSyntaxes:
        decoded: np.ndarray = imagecodecs.jpegls_decode(coded)
    else:  # colours as they are stored
        kept = "RGB" if int(facts.SamplesPerPixel) == 3 else None
        decoded = imagecodecs.jpeg8_decode(coded, colorspace=kept, outcolorspace=kept)
    if _is_signed(facts):
        decoded = as_signed(decoded, min(bits, int(facts.get("BitsStored") or bits)))
    if facts.PhotometricInterpretation in YBR:
        decoded = convert_color_space(decoded, "YBR_FULL", "RGB")
    return Stream(decoded, bits)


def _jpeg_2000(coded: bytes, facts: Dataset) -> Stream:
    """Return a frame of JPEG 2000, whose samples have bits and a sign of their own.

    A stream without sign under a header with one holds two's complements. One with a sign under a
    header without is taken as it is, or, where values are negative, moved up by half its range.
    """
    at = coded.index(b"\xff\x4f\xff\x51")
    depth = coded[at + 42]
    bits, has_sign = (depth & 0x7F) + 1, bool(depth & 0x80)
    decoded: np.ndarray = imagecodecs.jpeg2k_decode(coded)
    said: dict[str, Any] = {}
    if has_sign != _is_signed(facts):
        said["stream_is_signed"] = has_sign
        if not has_sign:
            decoded = as_signed(decoded, bits)
        else:
            lift = 1 << bits - 1 if (decoded < 0).any() else 0
            decoded = (decoded.astype(np.int64) + lift).astype(f"u{decoded.dtype.itemsize}")
    if facts.PhotometricInterpretation in YBR and not _is_transformed(coded, at):
        decoded = convert_color_space(decoded, "YBR_FULL", "RGB")
    return Stream(decoded, bits, said)


def _is_transformed(coded: bytes, at: int) -> bool:
    """Say whether a codestream's own colour transform was applied, which decoders turn back."""
    at += 2
    while at + 9 < len(coded) and coded[at] == 0xFF:
        if coded[at : at + 2] == CODING_STYLE:
            return coded[at + 8] == 1
        at += 2 + struct.unpack_from(">H", coded, at + 2)[0]
    return False


def _is_signed(facts: Dataset) -> bool:
    return int(facts.get("PixelRepresentation") or 0) == 1


def as_signed(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return integers of which the low bits are a two's complement as signed ones."""
    unused = 8 * samples.dtype.itemsize - bits
    signed: np.ndarray = (samples << unused).view(f"i{samples.dtype.itemsize}") >> unused
    return signed
