"""DICOM: pixels and what scales them, never a tag about a person.

The values of a frame go through the modality transform (rescale or table) and then, under the
scaling `file`, through the window that the file states first, else from the least to the largest
value of the frame: the range of 16 bits would leave a CT of 12 a handful of greys. Only the tags
named here are parsed, and no message of the library, which may quote others, leaves this module.
Text that is burned into the pixels stays in them.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from medres.images import scaling
from medres.images.reading import (
    DECODER_ERRORS,
    Reading,
    UnreadableImageError,
    choose_page,
    require_sane_size,
)

MARK = b"DICM"
TAGS: list[str] = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PixelPaddingValue"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
"""All that is read besides the pixels."""
OF_A_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
ERRORS = (
    *DECODER_ERRORS,
    MemoryError,  # of a length that no file has: the size of the pixels is checked before
    pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)


def is_dicom(head: bytes, path: Path) -> bool:
    """Return whether a file that begins with `head` has the mark of DICOM."""
    return head[128:132] == MARK


def read(path: Path, page: int | None, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    """Return one frame as uint8 RGB (height, width, 3), and how it was read.

    Args:
        path: File in the DICOM format, of any transfer syntax that pydicom, Pillow or GDCM decode.
        page: Frame, counted from 0; may be left out where there is one.
        reading: Scaling of the values.

    Raises:
        UnreadableImageError: If a frame must be stated, or the pixels are missing, damaged, too
            many, or compressed in a way that is not read. Never with a value of a tag.
    """
    with _quiet():
        try:
            known = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
            size_px = int(known.Columns), int(known.Rows)
            n_frames = int(known.get("NumberOfFrames") or 1)
            syntax = known.file_meta.TransferSyntaxUID.name
        except ERRORS as error:
            raise _unreadable(path, "damaged, or holds no image", error) from None
        require_sane_size(path, size_px)
        frame = choose_page(path, n_frames, page)
        try:
            # Decodes this frame alone; colours come as RGB whatever they are stored as.
            values = pixel_array(path, index=frame)
            _take_groups(known, frame)
            rgb, record = _to_rgb(known, values, reading)
        except ERRORS as error:
            what = f"its pixels ({syntax}) are missing, damaged or of a kind that is not decoded"
            raise _unreadable(path, what, error) from None
    return rgb, {
        "format": "DICOM",
        "stored_px": list(size_px),
        "bits": int(known.BitsStored),
        "photometric": str(known.PhotometricInterpretation),
        "transfer_syntax": syntax,
        "page": frame,
        "n_pages": n_frames,
        **record,
    }


def _unreadable(path: Path, what: str, error: BaseException) -> UnreadableImageError:
    # The kind of the error alone: its text may quote a tag.
    kind = type(error).__name__
    return UnreadableImageError(f"{path}: DICOM, but {what} ({kind}); export it again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pydicom from warning or logging: both quote values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _take_groups(known: pydicom.Dataset, frame: int) -> None:
    """Bring rescale and window of an enhanced multi-frame image to where others have them."""
    shared = known.get("SharedFunctionalGroupsSequence") or []
    each = known.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*shared[:1], *each[frame : frame + 1]]:
        for name in OF_A_FRAME:
            for element in [element for item in group.get(name) or [] for element in item]:
                if element.keyword in TAGS:
                    known[element.tag] = element


def _to_rgb(
    known: pydicom.Dataset, values: np.ndarray, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    photometric = str(known.PhotometricInterpretation)
    bits = int(known.BitsStored)
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, known)
        bits = 8 * values.dtype.itemsize
    if values.ndim == 3:
        return scaling.to_uint8(values, reading.scaling, stated=None, bits=bits)
    is_padding = np.zeros(values.shape, dtype=bool)
    if known.get("PixelPaddingValue") is not None:
        is_padding = values == int(known.PixelPaddingValue)
    stored = (
        (0, 2**bits - 1)
        if not known.PixelRepresentation
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    values = apply_modality_lut(values, known)
    values, stated, how = _windowed(known, values, stored, reading)
    if how == "none" and reading.scaling == "file":
        shown = values[~is_padding] if not is_padding.all() else values
        stated, how = (
            (float(shown.min()), float(max(shown.max(), shown.min() + 1))),
            "of its values",
        )
    rule = "file" if reading.scaling == "range" else reading.scaling
    if is_padding.any():
        values = np.where(is_padding, np.nan, values.astype(np.float64))
    grey, record = scaling.to_uint8(values, rule, stated=stated, bits=bits)
    if photometric == "MONOCHROME1":
        grey = np.where(is_padding, 0, 255 - grey).astype(np.uint8)
    record |= {"scaling": reading.scaling, "window": how}
    return np.repeat(grey[..., None], 3, axis=2), record


def _windowed(
    known: pydicom.Dataset, values: np.ndarray, stored: tuple[int, int], reading: Reading
) -> tuple[np.ndarray, tuple[float, float], str]:
    """Return the values, the limits that become black and white, and what set these limits."""
    if reading.scaling == "file" and known.get("VOILUTSequence"):
        descriptor = known.VOILUTSequence[0].LUTDescriptor
        return apply_voi(values, known, index=0), (0, 2 ** int(descriptor[2]) - 1), "first table"
    if reading.scaling == "file" and known.get("WindowCenter") is not None:
        centre, width = (_first(known[name].value) for name in ("WindowCenter", "WindowWidth"))
        function = str(known.get("VOILUTFunction") or "LINEAR").upper()
        if function == "SIGMOID":
            values = 1 / (1 + np.exp(-4 * (values - centre) / width))
            return values, (0, 1), "first, sigmoid"
        # PS3.3 C.11.2.1.2: a linear window of width w spans w - 1 steps about centre - 0.5.
        exact = function == "LINEAR_EXACT"
        middle, half = (centre, width / 2) if exact else (centre - 0.5, (width - 1) / 2)
        if half == 0:
            half = 0.5
        return values, (middle - half, middle + half), "first"
    if known.get("ModalityLUTSequence"):
        bits = int(known.ModalityLUTSequence[0].LUTDescriptor[2])
        return values, (0, 2**bits - 1), "none"
    slope = float(known.get("RescaleSlope") or 1)
    intercept = float(known.get("RescaleIntercept") or 0)
    low, high = sorted(slope * limit + intercept for limit in stored)
    return values, (low, high), "none"


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
