"""Read JPEG, faster than Pillow but with the same pixels; damaged scans are refused."""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from medres.images.reading import UnreadableImageError, corrupt, require_sane_size

MAX_SCANS = 100
"""A progressive JPEG is decoded once for every scan; encoders write about ten."""
MAX_PADDING_BYTES = 16
"""Some encoders pad before the end marker; more left-over bytes are a scan that went astray."""
ORIENTATION = 0x0112
APP0, APP14 = 0xE0, 0xEE


def read(path: Path, content: bytes) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Return samples, grey (height, width) or RGB (height, width, 3), orientation and record.

    Raises:
        UnreadableImageError: If it is damaged, too large or not of 8 bits.
    """
    n_scans = content.count(b"\xff\xda")
    if n_scans > MAX_SCANS:
        raise corrupt(path, f"{n_scans} scans, more than {MAX_SCANS}")
    frame = frame_header(content)
    if frame is not None and frame[0] != 8:
        raise UnreadableImageError(
            f"{path}: JPEG of {frame[0]} bits; save it as 16-bit PNG or TIFF without loss"
        )
    with Image.open(BytesIO(content), formats=["JPEG"]) as image:
        require_sane_size(path, image.size)
        orientation = int(image.getexif().get(ORIENTATION, 1))
        record: dict[str, Any] = {"stored_px": list(image.size), "bits": 8, "mode": image.mode}
        if image.mode in ("L", "RGB"):
            # Pillow ignores libjpeg's warnings, and with them grey or shifted blocks.
            try:
                samples = simplejpeg.decode_jpeg(
                    content, "GRAY" if image.mode == "L" else "RGB", strict=True
                )
            except ValueError as error:
                if not _is_harmless(str(error)):
                    raise
                record["warning"] = str(error)
                samples = np.asarray(image)
            samples = samples[..., 0] if samples.ndim == 3 and image.mode == "L" else samples
            if samples.shape[1::-1] != image.size:
                raise corrupt(path, f"{samples.shape[1::-1]} px decoded, {image.size} declared")
        else:
            samples = np.asarray(image.convert("RGB"))
    return samples, orientation, record


def _is_harmless(warning: str) -> bool:
    """Say whether a warning is about padding, or sampling factors that TurboJPEG does not know."""
    found = re.search(r"(\d+) extraneous bytes before marker 0xd9", warning)
    is_padding = found is not None and int(found[1]) <= MAX_PADDING_BYTES
    return is_padding or "Could not determine subsampling" in warning


def frame_header(content: bytes) -> tuple[int, int, int, int] | None:
    """Return bits, width, height and components as the frame header says; None without one.

    Of JPEG and of JPEG-LS (0xF7).
    """
    for marker, at, _ in _segments(content):
        if _is_frame(marker):
            bits, height, width, n_components = struct.unpack_from(">BHHB", content, at + 4)
            return bits, width, height, n_components
    return None


def stated_colours(content: bytes) -> str:
    """Return RGB or YCbCr as a JPEG of three components says itself.

    The marker of JFIF or of Adobe says it, or numbers of the components that spell RGB. Without
    either, chroma that is subsampled, or has a quantisation table of its own, is none of red, green
    and blue. Empty where nothing says it, or one contradicts another.
    """
    said: set[str] = set()
    for marker, at, end in _segments(content):
        body = content[at + 4 : end]
        if marker == APP0 and body.startswith(b"JFIF\0"):
            said.add("YCbCr")
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            said.add("YCbCr" if body[11] else "RGB")
        elif _is_frame(marker):
            numbers, samplings, tables = (body[first:15:3] for first in (6, 7, 8))
            if numbers == b"RGB":
                said.add("RGB")
            elif not said and max(len(set(samplings)), len(set(tables))) > 1:
                said.add("YCbCr")
    return said.pop() if len(said) == 1 else ""


def marked(content: bytes, colours: str) -> bytes:
    """Return a JPEG of three components that says by Adobe's marker alone what its colours are.

    Args:
        content: Of the JPEG.
        colours: RGB or YCbCr.
    """
    kept, position = [], 2
    for marker, at, end in _segments(content):
        if marker in (APP0, APP14):
            kept.append(content[position:at])
            position = end
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([colours == "YCbCr"])
    return b"".join([content[:2], adobe, *kept, content[position:]])


def _is_frame(marker: int) -> bool:
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of each segment up to the frame header."""
    position = 2
    while position + 9 < len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill, or no length
            position += 1 if marker == 0xFF else 2
            continue
        n_bytes = int.from_bytes(content[position + 2 : position + 4], "big")
        end = position + 2 + max(n_bytes, 2)
        yield marker, position, end
        if _is_frame(marker):
            return
        position = end
