"""What a TIFF states of its pixels: their size, and which values are black and white.

Values count where the file says that its type's range is wrong: a camera of 12 bits fills a
sixteenth of 16 bits. OME says so by SignificantBits, other writers by
the greatest sample value.
"""

import math
from collections.abc import Mapping
from typing import Any

import tifffile
from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

from medres.images.reading import Stated

ENDS = {"": "", "Unit": "\N{MICRO SIGN}m"}
"""Of the attributes of a pixel's size, with what is meant where one is absent."""
UM = {
    "nm": 1e-3,
    "\N{MICRO SIGN}m": 1.0,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
"""Microns in a unit of OME's."""
SIGNED_ENDS, PLAIN_ENDS = (340, 341), (280, 281)
"""SMinSampleValue and SMaxSampleValue, which have the type of the pixels; and those without S."""


def of_page(page: Any, significant_bits: int | None) -> Stated | None:
    """Return what a page says of its values; None if that is no more than its type.

    Eight unsigned bits stay as they are, and so does what a tag says of them.

    Args:
        page: tifffile.TiffPage.
        significant_bits: As `significant_bits` found them.
    """
    bits, kind = int(page.bitspersample), page.dtype.kind
    if page.dtype.itemsize == 1 or kind not in "uif":
        return None
    if significant_bits is not None and kind in "ui" and 1 <= significant_bits < bits:
        half = 1 << significant_bits - 1
        limits = (-half, half - 1) if kind == "i" else (0, 2 * half - 1)
        return Stated(limits, "SignificantBits")
    for (low_tag, high_tag), prefix in ((SIGNED_ENDS, "S"), (PLAIN_ENDS, "")):
        low, high = (_number(page, tag) for tag in (low_tag, high_tag))
        if low is None and kind == "u":
            low = 0.0
        if low is not None and high is not None and math.isfinite(high - low) and low < high:
            is_type = kind == "u" and (low, high) == (0, (1 << bits) - 1)
            return None if is_type else Stated((low, high), f"{prefix}MaxSampleValue")
    return None


def significant_bits(tiff: tifffile.TiffFile | None) -> int | None:
    """Return the bits that an OME-TIFF says its values have; None if its images differ in them."""
    (said,) = _of_pixels(tiff, {"SignificantBits": ""}) or ("",)
    return int(said) if said.isascii() and said.isdigit() and len(said) < 4 else None


def pixel_um(tiff: tifffile.TiffFile | None) -> tuple[float, float] | None:
    """Return the microns that a pixel of an OME-TIFF is wide and high; None if not stated.

    The resolution of other TIFFs is one of print, or what a program writes that knows none.
    """
    names = {f"PhysicalSize{axis}{end}": said for axis in "XY" for end, said in ENDS.items()}
    said = _of_pixels(tiff, names)
    if said is None or not {said[1], said[3]} <= set(UM):
        return None
    try:
        return positive(float(said[0]) * UM[said[1]], float(said[2]) * UM[said[3]])
    except ValueError:
        return None


def positive(width: float | None, height: float | None) -> tuple[float, float] | None:
    """Return a size that can be one; None if a side is unknown or no positive number."""
    if width is None or height is None:
        return None
    return (width, height) if all(0 < each < math.inf for each in (width, height)) else None


def _of_pixels(tiff: tifffile.TiffFile | None, names: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return what OME says of all its images alike, by attribute with what is meant without it."""
    description = (tiff.ome_metadata if tiff is not None else None) or ""
    if not any(name in description for name in names):
        return None
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, DefusedXmlException):
        return None
    found = {
        tuple(element.attrib.get(name, absent) for name, absent in names.items())
        for element in root.iter()
        if element.tag.rpartition("}")[2] == "Pixels"
    }
    return found.pop() if len(found) == 1 else None


def _number(page: Any, tag: int) -> float | None:
    """Return the one number that all samples of a page have in a tag."""
    value = page.tags[tag].value if tag in page.tags else None
    values = set(value) if isinstance(value, tuple) else {value}
    (only,) = values if len(values) == 1 else (None,)
    return float(only) if isinstance(only, int | float) else None
