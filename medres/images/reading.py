"""What every reader of images shares: the reader's choices, the limits, and the one error."""

from dataclasses import dataclass
from pathlib import Path

MAX_PIXELS = 100_000_000
"""Larger files are refused as likely decompression bombs; slides are read another way."""
MIN_SIDE_PX = 2
MAX_ASPECT = 200
"""Qwen2-VL's own limit; beyond it a resized image says nothing."""


@dataclass(frozen=True)
class Reading:
    """How a stored image becomes 8-bit RGB where its file does not say."""

    scaling: str = "file"
    """From more than 8 bits to 8: `file` (the window that the file states, else the range of its
    data type), `range`, `percentiles:<low>:<high>` or `window:<low>:<high>`."""
    channels: str = ""
    """Stored channels shown as red, green and blue, counted from 0, - for none: `2,1,0`."""
    slide_max_pixels: int = 12_000_000
    """Budget at which a whole slide is read, width x height in pixels."""


DEFAULT_READING = Reading()


class UnreadableImageError(ValueError):
    """An image file that cannot become pixels; the message names the file and the reason."""


def require_sane_size(path: Path, size_px: tuple[int, int]) -> None:
    """Refuse a declared (width, height) before anything of that size is allocated.

    Raises:
        UnreadableImageError: If it is above `MAX_PIXELS`, below `MIN_SIDE_PX` or thinner than
            `MAX_ASPECT`.
    """
    width, height = size_px
    shown = f"{path}: {width} x {height} px"
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{shown} is above {MAX_PIXELS:,} pixels; shrink it or read it as a slide"
        )
    if min(size_px) < MIN_SIDE_PX:
        raise UnreadableImageError(f"{shown} is too small to be a picture; leave its row out")
    if max(size_px) > MAX_ASPECT * min(size_px):
        raise UnreadableImageError(f"{shown} is thinner than {MAX_ASPECT}:1; crop it first")
