"""Read JPEG, JPEG 2000, PNG, GIF, BMP, WebP, AVIF, PGM and PPM."""

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from medres.images import jpeg, jpeg_2000, pixels, png
from medres.images.reading import (
    DECODER_ERRORS,
    REMEDY,
    Reading,
    Stated,
    UnreadableImageError,
    choose_page,
    corrupt,
    require_sane_file,
    require_sane_size,
)

MAX_ANIMATED_PIXELS = 2_000_000_000
"""Of all frames up to the one asked for: each has to be decoded to come to it."""
AVIF_DEPTH, DEEP_AVIF = re.compile(rb"av1C\x81.(.)", re.DOTALL), 0x40
"""What an AVIF says of each of its streams, and the bit in it that stands for 10 or 12 bits."""
MAX_FRAMES, MAX_STRANGE_BYTES = 100_000, 1_000_000
"""Of a GIF: Pillow goes through both one by one."""
GIF_BLOCK = re.compile(rb"[!,;]")
PGM_HEADER = re.compile(rb"P([56])" + 3 * rb"\s+(?:#[^\n]*\n\s*)*(\d{1,10})" + rb"\s")


def read(
    path: Path, kind: str, page: int | None, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return upright RGB of shape (height, width, 3), and the record of how it was read.

    Args:
        path: File.
        kind: JPEG, JPEG 2000, PNG, GIF, BMP, WEBP, AVIF or PGM, as its content says.
        page: Frame of an animation, counted from 0.
        reading: Choices that the file leaves open.

    Raises:
        UnreadableImageError: If it is damaged, too large, or a choice is missing.
    """
    require_sane_file(path)
    content = path.read_bytes()
    orientation, stated, bits = 1, None, None
    try:
        if kind == "PNG":
            samples, orientation, record = png.read(path, content, page)
        elif kind in ("GIF", "WEBP", "AVIF"):
            samples, orientation, record = _animation(path, content, kind, page)
        else:
            choose_page(path, 1, page)
            if kind == "JPEG":
                samples, orientation, record = jpeg.read(path, content)
            elif kind == "JPEG 2000":
                samples, record = jpeg_2000.read(path, content)
                bits = record["bits"]
            elif kind == "BMP":
                samples, record = _bitmap(path, content)
            else:
                samples, record, stated = _pgm(path, content)
                bits = record["bits"]
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{path}: far too many pixels ({error}); {REMEDY}") from error
    except UnidentifiedImageError as error:  # which names a buffer's address
        raise corrupt(path, f"the header of a {kind} file is damaged") from error
    except DECODER_ERRORS as error:
        raise corrupt(path, error) from error
    rgb, scaled = pixels.colour(path, samples, reading, stated=stated, bits=bits)
    return pixels.upright(rgb, orientation), {"format": kind, **record, **scaled}


def _animation(
    path: Path, content: bytes, kind: str, page: int | None
) -> tuple[np.ndarray, int, dict[str, Any]]:
    # libwebp allocates the canvas when it opens a file, Pillow grows it for a later frame of a GIF.
    size_px = webp_size(content) if kind == "WEBP" else None
    size_px = _gif_extent(path, content) if kind == "GIF" else size_px
    if size_px is not None:
        require_sane_size(path, size_px)
    if kind == "AVIF" and any(each[0] & DEEP_AVIF for each in AVIF_DEPTH.findall(content)):
        raise UnreadableImageError(
            f"{path}: AVIF of more than 8 bits; save it as 16-bit PNG or TIFF without loss"
        )
    with Image.open(BytesIO(content), formats=[kind]) as image:
        require_sane_size(path, image.size)
        n_pages = int(getattr(image, "n_frames", 1))
        chosen = choose_page(path, n_pages, page)
        if (chosen + 1) * image.width * image.height > MAX_ANIMATED_PIXELS:
            raise UnreadableImageError(
                f"{path}: frame {chosen} comes after more than {MAX_ANIMATED_PIXELS:,} pixels of "
                "other frames; save it as a file of its own"
            )
        orientation = int(image.getexif().get(jpeg.ORIENTATION, 1)) if kind != "GIF" else 1
        image.seek(chosen)
        record: dict[str, Any] = {"stored_px": list(image.size), "bits": 8}
        if n_pages > 1:
            record["page"] = chosen
        return _samples(image, record), orientation, record


def _bitmap(path: Path, content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    with Image.open(BytesIO(content), formats=["BMP"]) as image:
        require_sane_size(path, image.size)
        record: dict[str, Any] = {"stored_px": list(image.size), "bits": 8}
        return _samples(image, record), record


def _samples(image: Image.Image, record: dict[str, Any]) -> np.ndarray:
    """Return grey or colour without transparency, of which the record says what became."""
    image.load()
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return pixels.over_white(np.asarray(image.convert("RGBA")), record)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _gif_extent(path: Path, content: bytes) -> tuple[int, int]:
    """Return the width and height that hold the screen and all frames, walking all blocks."""
    right, bottom, flags = struct.unpack_from("<HHB", content.ljust(13, b"\0"), 6)
    at, n_frames, n_strange_bytes = 13 + _gif_table_bytes(flags), 0, 0
    while (found := GIF_BLOCK.search(content, at)) is not None and found[0] != b";":
        n_strange_bytes += found.start() - at
        at = found.end()
        if found[0] == b"!":
            at += 1
        else:
            left, top, width, height, flags = struct.unpack_from("<HHHHB", content, at)
            right, bottom = max(right, left + width), max(bottom, top + height)
            at += 10 + _gif_table_bytes(flags)
            n_frames += 1
        if n_frames > MAX_FRAMES or n_strange_bytes > MAX_STRANGE_BYTES:
            raise corrupt(path, f"{n_frames:,} frames, {n_strange_bytes:,} bytes of no block")
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return right, bottom


def _gif_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def webp_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height as the header says; None if it is no WebP header."""
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        sides = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return next(sides), next(sides)
    return None


def _pgm(path: Path, content: bytes) -> tuple[np.ndarray, dict[str, Any], Stated]:
    """Read a binary PGM or PPM: Pillow would silently reduce a 16-bit PPM to 8 bits."""
    header = PGM_HEADER.match(content)
    if header is None:
        raise corrupt(path, "its header is not that of a binary PGM or PPM")
    width, height, highest = (int(header[group]) for group in (2, 3, 4))
    require_sane_size(path, (width, height))
    if not 0 < highest < 65_536:
        raise corrupt(path, f"its largest value is {highest}, not 1 to 65,535")
    shape = (height, width) if header[1] == b"5" else (height, width, 3)
    dtype = np.dtype(np.uint8 if highest < 256 else ">u2")
    samples = np.frombuffer(content, dtype, int(np.prod(shape)), header.end()).reshape(shape)
    bits = highest.bit_length()
    return samples, {"stored_px": [width, height], "bits": bits}, Stated((0, highest), "PGM")
