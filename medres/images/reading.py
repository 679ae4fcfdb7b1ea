"""What all image readers share: reading options, size limits and the error."""

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from medres.images import scaling as scalings

MAX_PIXELS = 100_000_000
"""Larger images are refused as likely decompression bombs; slides are read another way."""
MAX_DECODED_BYTES = 16 * MAX_PIXELS
"""Four 32-bit samples for each of them."""
MAX_FILE_BYTES = 1 << 29
"""Of a file that has to be in memory whole to be decoded: JPEG, PNG, GIF, BMP, WebP, PGM."""
REMEDY = "save it as a tiled TIFF, which is read as a slide is, or shrink it"
DECODING = 2
"""Raised when the same file becomes other pixels, so that what was made of them is made again."""
MIN_SIDE_PX = 2
MAX_ASPECT = 200
"""Qwen2-VL's own limit; beyond it a resized image shows nothing useful."""

DECODER_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow, simplejpeg, imagecodecs and tifffile raise about damaged files: a parser in Python
stumbles over a damaged field wherever it comes to use it. (20,000 of them raised 14 kinds.)"""


@dataclass(frozen=True)
class Reading:
    """How a stored image becomes 8-bit RGB where its file does not say."""

    scaling: str = "file"
    """From stored values to 8 bits: `file`, `range` (that of the data type),
    `percentiles:<low>:<high>` or `window:<low>:<high>`. `file` is the window that a DICOM file
    states, the frame's least to greatest value where it states none and has more than 8 bits;
    the display range that ImageJ wrote for 32-bit pixels; SignificantBits of OME or the greatest
    sample value that a TIFF states; for all others the range of the data type. Eight unsigned bits
    of other formats than DICOM stay as they are under the first two."""
    channels: str = ""
    """Stored channels shown as red, green and blue, counted from 0, - for none: `2,1,0`."""
    slide_max_pixels: int = 12_000_000
    """Budget at which a whole slide is read, width x height in pixels."""

    def __post_init__(self) -> None:
        """Refuse options that no image could be read with."""
        scalings.parse(self.scaling)
        parse_channels(self.channels)


@dataclass(frozen=True)
class Stated:
    """The values that a file says are black and white."""

    limits: tuple[float, float]
    source: str
    """What says it: ImageJ, PGM, SignificantBits, MaxSampleValue or SMaxSampleValue."""

    @property
    def is_display(self) -> bool:
        """Whether what lies outside is meant to be cut off; else the statement is wrong then."""
        return self.source in ("ImageJ", "PGM")

    @property
    def is_of_image(self) -> bool:
        """Whether it may be the greatest value of this one image, not of its camera."""
        high = float(self.limits[1])
        is_all_ones = high > 0 and high.is_integer() and int(high) & (int(high) + 1) == 0
        return self.source.endswith("MaxSampleValue") and not is_all_ones


class UnreadableImageError(ValueError):
    """An image file cannot be read; the message names the file and the reason."""


def parse_channels(channels: str) -> tuple[int | None, ...]:
    """Return the stored channels of red, green and blue; nothing if none are stated.

    >>> parse_channels("2,-,0")
    (2, None, 0)

    Raises:
        ValueError: If these are not three counts or dashes.
    """
    if not channels:
        return ()
    parts = [part.strip() for part in channels.split(",")]
    if len(parts) != 3 or not all(re.fullmatch("-|[0-9]{1,9}", part) for part in parts):
        raise ValueError(
            f"channels {channels!r} are not three numbers counted from 0, or - for none: 2,1,0"
        )
    if parts == ["-"] * 3:
        raise ValueError(f"channels {channels!r} show nothing")
    return tuple(None if part == "-" else int(part) for part in parts)


def require_sane_size(path: Path, size_px: tuple[int, int]) -> None:
    """Refuse a declared (width, height) before anything of that size is allocated.

    Raises:
        UnreadableImageError: If it is above `MAX_PIXELS`, below `MIN_SIDE_PX` or thinner than
            `MAX_ASPECT`.
    """
    width, height = size_px
    shown = f"{path}: {width} x {height} px"
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{shown} is above {MAX_PIXELS:,} pixels; {REMEDY}")
    if min(size_px) < MIN_SIDE_PX:
        raise UnreadableImageError(f"{shown} is too small to be a picture; remove its row")
    if max(size_px) > MAX_ASPECT * min(size_px):
        raise UnreadableImageError(f"{shown} is thinner than {MAX_ASPECT}:1; crop it first")


def require_sane_file(path: Path) -> None:
    """Refuse a file too large to be read into memory whole.

    Raises:
        UnreadableImageError: If it is above `MAX_FILE_BYTES`.
    """
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise UnreadableImageError(
            f"{path}: {n_bytes:,} bytes are above {MAX_FILE_BYTES:,}; {REMEDY}"
        )


def choose_page(path: Path, n_pages: int, page: int | None) -> int:
    """Return the page to read, counted from 0: the only one, or the one that was asked for.

    Raises:
        UnreadableImageError: If there are several and none was asked for, or not that many.
    """
    if page is None and n_pages > 1:
        raise UnreadableImageError(
            f"{path}: has {n_pages} pages; choose one by adding #page=0 to #page={n_pages - 1} "
            "to its name"
        )
    if page is not None and not 0 <= page < n_pages:
        raise UnreadableImageError(f"{path}: has no page {page}; its {n_pages} are counted from 0")
    return page or 0


def corrupt(path: Path, reason: object) -> UnreadableImageError:
    """Return the error about a file of a known format whose content is damaged."""
    said = " ".join(str(reason).split())[:200] or type(reason).__name__
    return UnreadableImageError(f"{path}: truncated or corrupt ({said}); fetch it again")


DEFAULT_READING = Reading()
