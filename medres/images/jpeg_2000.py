"""Read JPEG 2000 that stands alone, at its own bits: most tools reduce it to 8 without a word."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from medres.images import pixels
from medres.images.reading import UnreadableImageError, corrupt, require_sane_size

START = b"\xff\x4f\xff\x51"
MAX_BOXES = 10_000
CMYK = 12
OPACITY, MULTIPLIED_OPACITY = 1, 2


@dataclass(frozen=True)
class Boxes:
    """What the file around a codestream says of its components."""

    colours: int = 0
    """Number of the colour space, 0 if none is stated by number."""
    has_palette: bool = False
    kinds: tuple[int, ...] = ()
    """What each component is that is defined: 0 colour, 1 opacity, 2 opacity multiplied in."""


def read(path: Path, content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """Return samples, grey (height, width) or RGB (height, width, 3), and the record.

    Raises:
        UnreadableImageError: If it is damaged, too large, or its components are not grey or RGB
            of the same bits.
    """
    at = content.find(START)
    if at < 0 or len(content) < at + 45:
        raise corrupt(path, "no codestream of JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">IIII", content, at + 8)
    size_px = max(right - left, 0), max(bottom - top, 0)
    require_sane_size(path, size_px)
    (n_components,) = struct.unpack_from(">H", content, at + 40)
    boxes = _boxes(content[:at])
    parts = [content[at + 42 + 3 * k : at + 45 + 3 * k] for k in range(min(n_components, 5))]
    if not 1 <= n_components <= 4 or boxes.has_palette or boxes.colours == CMYK:
        raise UnreadableImageError(
            f"{path}: JPEG 2000 of {n_components} components that are neither grey nor RGB; save "
            "it as PNG or TIFF without loss"
        )
    if len(set(parts)) > 1 or parts[0][1:] != b"\1\1":
        raise UnreadableImageError(
            f"{path}: JPEG 2000 whose components differ in size or bits; save it as PNG or TIFF "
            "without loss"
        )
    bits = (parts[0][0] & 0x7F) + 1
    samples: np.ndarray = imagecodecs.jpeg2k_decode(content)
    expected = (size_px[1], size_px[0]) + ((n_components,) if n_components > 1 else ())
    if samples.shape != expected:
        raise corrupt(path, f"{samples.shape} decoded, {expected} declared")
    record: dict[str, Any] = {"stored_px": list(size_px), "bits": bits}
    if n_components in (2, 4):
        if MULTIPLIED_OPACITY in boxes.kinds or bits not in (8, 16) or samples.dtype.kind != "u":
            raise UnreadableImageError(
                f"{path}: JPEG 2000 with opacity of {bits} bits, or multiplied in; save it as RGB"
            )
        samples = pixels.over_white(samples, record)
    return samples, record


def _boxes(head: bytes) -> Boxes:
    """Read what stands before the codestream; a codestream alone says nothing."""
    colours, has_palette, position = 0, False, 0
    kinds: tuple[int, ...] = ()
    for _ in range(MAX_BOXES):
        if position + 8 > len(head):
            break
        n_bytes, name = struct.unpack_from(">I4s", head, position)
        body = head[position + 8 : position + max(n_bytes, 8)]
        if name == b"jp2h":  # holds the others
            position += 8
            continue
        if name == b"colr" and body[:1] == b"\1" and len(body) >= 7:
            colours = colours or int.from_bytes(body[3:7], "big")
        has_palette |= name == b"pclr"
        if name == b"cdef":
            kinds = tuple(int.from_bytes(body[k : k + 2], "big") for k in range(4, len(body), 6))
        position += max(n_bytes, 8)
    return Boxes(colours, has_palette, kinds)
