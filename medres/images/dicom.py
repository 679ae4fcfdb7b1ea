"""Read pixels from DICOM, and nothing else.

No tag about a person, place or time leaves this reader: of all elements only those that decide
pixels are read, the record holds technical facts, and messages hold counts and sizes, never the
text of another library's error, warning or log, which may quote any element. File names are the
user's own. What is written into the pixels themselves (names on ultrasound, scanned films) is
there to stay: look at the images before they leave the hospital. Overlays are not drawn, embedded
colour profiles not applied.
"""

import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info

from medres.images import dicom_grey, dicom_streams, dicom_tables, pixels, slides, tiff_stated
from medres.images.dicom_frames import decode
from medres.images.reading import (
    DECODER_ERRORS,
    Reading,
    UnreadableImageError,
    require_sane_file,
)

SUFFIXES = (".dcm", ".dicom")
FIRST_GROUPS = (b"\2\0", b"\x08\0", b"\0\2", b"\0\x08")
"""What a data set without the header of a file begins with, in either byte order."""
FILE_META = b"\2\0\0\0UL\4\0"
BARE = re.compile(rb"\x08\0[\x00\x01\x05\x08\x16\x18]\0(?:UL|CS|UI|LO|..\0\0)", re.DOTALL)
"""How the file's own elements begin where its first 132 bytes were cut off, and a data set where
all of them were."""
PREAMBLE = bytes(128) + b"DICM"
WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422")
COLOUR_OF_STREAM = ("YBR_RCT", "YBR_ICT", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
SAYS_COLOURS = (*dicom_streams.LOSSY_JPEG, *uid.JPEG2000TransferSyntaxes)
READ = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth"),
    *("RescaleIntercept", "RescaleSlope", "VOILUTFunction", "ModalityLUTSequence"),
    *("VOILUTSequence", "PixelPresentation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(f"{name}PaletteColorLookupTableDescriptor" for name in ("Red", "Green", "Blue")),
    *(f"{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")),
    *(f"Segmented{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelSpacing"),
]
"""All elements that are ever read, by keyword."""
PYDICOM_ERRORS = (
    *DECODER_ERRORS,
    MemoryError,  # of an element that claims to be longer than any file
    InvalidDicomError,
    BytesLengthException,
    Image.DecompressionBombError,
)

_ONE_AT_A_TIME = threading.Lock()


def is_dicom(head: bytes, path: Path) -> bool:
    """Say whether a file is DICOM, if need be by its name and first element; slides are not."""
    if head[128:132] != b"DICM":
        if head.startswith(FILE_META) or BARE.match(head):
            return True
        return path.suffix.lower() in SUFFIXES and head.startswith(FIRST_GROUPS)
    return not (WHOLE_SLIDE in head and slides.is_slide(head, path))


def read(path: Path, page: int | None, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    """Return RGB of shape (rows, columns, 3), and the record of how it was read.

    Args:
        path: File.
        page: Frame, counted from 0; not needed where there is one.
        reading: Choices that the file leaves open. Under scaling `file` grey is shown as the file
            says: by its first VOI look-up table, else its first window, else, where it has more
            than 8 bits, from the least to the greatest of its values. Limits of other scalings
            are in the file's own units (Hounsfield units).

    Raises:
        UnreadableImageError: If it is damaged, too large, has no pixels, is compressed or
            coloured in a way that is not read, or a choice is missing.
    """
    try:
        with _ONE_AT_A_TIME, _silenced(), _opened(path) as file:
            return _read(path, file, page, reading)
    except UnreadableImageError as error:
        message = str(error)
    except PYDICOM_ERRORS as error:
        message = f"{path}: truncated or corrupt DICOM ({type(error).__name__}); fetch it again"
    # Not in the handler: an error's context would show what the file holds.
    raise UnreadableImageError(message)


def _opened(path: Path) -> BinaryIO:
    """Open a file, its first 132 bytes added where it begins with the elements behind them."""
    file = path.open("rb")
    if file.read(8) != FILE_META:
        file.seek(0)
        return file
    with file:
        require_sane_file(path)
        file.seek(0)
        return BytesIO(PREAMBLE + file.read())


def _file_meta(path: Path, file: BinaryIO) -> Dataset:
    """Return the elements of the file itself, and nothing that a deflated rest may become."""
    if not isinstance(file, BytesIO):
        return read_file_meta_info(path)
    head = file.getvalue()[: len(PREAMBLE) + 12]
    (n_bytes,) = struct.unpack_from("<I", head, len(PREAMBLE) + 8)
    return dcmread(BytesIO(file.getvalue()[: len(head) + n_bytes])).file_meta


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep pydicom's warnings and log entries, which quote elements, from everyone.

    Both are of the whole process: hence one file at a time.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _read(
    path: Path, file: BinaryIO, page: int | None, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    if file.read(132)[128:] != b"DICM":
        raise UnreadableImageError(
            f"{path}: DICOM without its file header, so that nothing says how its pixels are "
            "stored; export it again as a DICOM file"
        )
    file.seek(0)
    syntax = _file_meta(path, file).get("TransferSyntaxUID")
    if syntax is None or not uid.UID(syntax).is_transfer_syntax or uid.UID(syntax).is_private:
        raise UnreadableImageError(
            f"{path}: DICOM of no known transfer syntax; decompress it to explicit VR little "
            "endian first"
        )
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        raise UnreadableImageError(
            f"{path}: DICOM deflated as a whole; save it as explicit VR little endian"
        )
    facts = dcmread(file, stop_before_pixels=True, specific_tags=READ)
    frame = decode(path, file, facts, page)
    samples, bits = frame.samples, frame.bits
    _update_from_groups(facts, frame.number)
    kind = str(facts.PhotometricInterpretation)
    record: dict[str, Any] = {
        "format": "DICOM",
        "stored_px": [samples.shape[1], samples.shape[0]],
        "bits": bits,
        "transfer_syntax": uid.UID(syntax).name,
        **frame.said,
    }
    if frame.n_frames > 1:
        record |= {"frame": frame.number, "n_frames": frame.n_frames}
    of_stream = COLOUR_OF_STREAM if syntax in SAYS_COLOURS else ()
    if kind in GREY and samples.ndim == 2:
        grey, scaled = dicom_grey.to_grey(path, samples, bits, facts, reading)
        shown_as = Reading(channels=reading.channels)
        rgb = pixels.colour(path, grey, shown_as)[0]
    elif kind == "PALETTE COLOR" and samples.ndim == 2:
        coloured, bits_of_palette = dicom_tables.by_palette(path, samples, facts)
        rgb, scaled = pixels.colour(path, coloured, reading)
        scaled["palette_bits"] = bits_of_palette
    elif kind in (*COLOUR, *of_stream) and samples.ndim == 3:
        rgb, scaled = pixels.colour(path, samples, reading, bits=bits)
    else:
        raise UnreadableImageError(
            f"{path}: DICOM of a photometric interpretation that is not read; save it as "
            "MONOCHROME2 or RGB"
        )
    stated_um = _pixel_um(facts)
    if stated_um is not None:
        record["pixel_um"] = list(stated_um)
    return rgb, {**record, "photometric": kind, **scaled}


def _pixel_um(facts: Dataset) -> tuple[float, float] | None:
    """Return the microns that a pixel is wide and high; None if not stated.

    PixelSpacing alone says it of the body, in millimetres, rows first. Others are of the detector
    or of a scanned film.
    """
    try:
        height, width = (1000 * float(each) for each in facts.get("PixelSpacing") or (0, 0))
    except (TypeError, ValueError, ArithmeticError):
        return None
    return tiff_stated.positive(width, height)


def _update_from_groups(facts: Dataset, frame: int) -> None:
    """Take rescaling and window of a frame from where enhanced DICOM keeps them."""
    shared = facts.get("SharedFunctionalGroupsSequence") or []
    of_frames = facts.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *of_frames[frame : frame + 1]):
        for name in (
            "PixelValueTransformationSequence",
            "FrameVOILUTSequence",
            "PixelMeasuresSequence",
        ):
            for item in (group.get(name) or [])[:1]:
                facts.update({each.tag: each for each in item if each.keyword in READ})
