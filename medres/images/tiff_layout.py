"""Whether a TIFF file is sound, checked before anything is allocated or decoded.

tifffile goes on where it can: it follows chains of directories that bite their tail, leaves out
tags it cannot read, fills missing strips with zeros, and lets codecs decide how large a tile is.
A page is a tifffile.TiffPage, whose annotations let nearly everything be None: hence Any.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from medres.images import reading
from medres.images.jpeg import frame_header
from medres.images.raster import webp_size
from medres.images.reading import UnreadableImageError, corrupt, require_sane_size

MAX_DIRECTORIES = 100_000
MAX_TAGS = 4096
MAX_SEGMENTS = 250_000
JPEG, JPEG_2000, WEBP = (7,), (33003, 33004, 33005, 34712), (50001,)
SIZED_BY_US = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""No compression, CCITT, LZW, deflate, PackBits, LZMA, Zstandard: told how much to give."""
SUB_IFDS = 330


def require_sound_directories(path: Path, file: BinaryIO) -> None:
    """Refuse directories that loop, lie outside the file or are too many.

    Raises:
        UnreadableImageError: Saying which, and where.
    """
    n_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    offset_format, entry_format = order + ("Q" if is_big else "I"), order + "HH"
    count_format = order + ("Q" if is_big else "H")
    count_size, entry_size, offset_size = (8, 20, 8) if is_big else (2, 12, 4)
    offset_at = 8 if is_big else 4
    starts = [struct.unpack_from(offset_format, head.ljust(16, b"\0"), offset_at)[0]]
    sound: set[int] = set()
    while starts:
        offset, chain = starts.pop(), set[int]()
        while offset and offset not in sound:
            if offset in chain:
                raise corrupt(path, f"its directories form a loop at byte {offset:,}")
            chain.add(offset)
            if len(sound) + len(chain) + len(starts) > MAX_DIRECTORIES:
                raise corrupt(path, f"more than {MAX_DIRECTORIES:,} directories")
            if offset + count_size > n_bytes:
                raise corrupt(path, f"a directory at byte {offset:,} of {n_bytes:,}")
            file.seek(offset)
            (n_tags,) = struct.unpack(count_format, file.read(count_size))
            table = file.read(n_tags * entry_size + offset_size) if n_tags <= MAX_TAGS else b""
            if len(table) < n_tags * entry_size + offset_size:
                raise corrupt(path, f"a directory of {n_tags:,} tags at byte {offset:,}")
            (offset,) = struct.unpack(offset_format, table[-offset_size:])
            for at in range(0, n_tags * entry_size, entry_size):
                tag, kind = struct.unpack_from(entry_format, table, at)
                if tag == SUB_IFDS:
                    entry = table[at + 4 : at + entry_size]
                    starts += _sub_directories(path, file, entry, kind, offset_format, n_bytes)
        sound |= chain


def _sub_directories(
    path: Path, file: BinaryIO, entry: bytes, kind: int, offset_format: str, n_bytes: int
) -> list[int]:
    """Return the offsets that a SubIFDs tag holds, in its entry or elsewhere in the file."""
    offset_size = struct.calcsize(offset_format)
    (n_values,) = struct.unpack_from(offset_format, entry)
    values = entry[offset_size:]
    value_format = offset_format[0] + ("Q" if kind in (16, 18) else "I")
    size = struct.calcsize(value_format) * n_values
    if size > offset_size:
        (value_at,) = struct.unpack(offset_format, values)
        if value_at + size > n_bytes or n_values > MAX_DIRECTORIES:
            raise corrupt(path, f"{n_values:,} sub-directories at byte {value_at:,}")
        file.seek(value_at)
        values = file.read(size)
    return [each[0] for each in struct.iter_unpack(value_format, values[:size])]


def require_sound_page(path: Path, page: Any) -> None:
    """Refuse a page whose size, strips or tiles cannot be, or whose decoder is not trusted.

    Raises:
        UnreadableImageError: Saying which.
    """
    require_sane_size(path, (page.imagewidth, page.imagelength))
    if page.dtype is None or isinstance(page.bitspersample, tuple):
        raise UnreadableImageError(
            f"{path}: TIFF samples of {page.bitspersample} bits in format {page.sampleformat} are "
            "not read; save it with 8 or 16 bits"
        )
    if page.compression not in (*SIZED_BY_US, *JPEG, *JPEG_2000, *WEBP):
        raise UnreadableImageError(
            f"{path}: TIFF compression {int(page.compression)} is not read; save it with LZW or "
            "deflate"
        )
    if page.imagedepth != 1 or page.samplesperpixel < 1 or page.planarconfig not in (1, 2):
        raise corrupt(path, f"depth {page.imagedepth}, {page.samplesperpixel} samples a pixel")
    if math.prod(page.shaped) * page.dtype.itemsize > reading.MAX_DECODED_BYTES:
        raise UnreadableImageError(
            f"{path}: {page.samplesperpixel} samples for each of {page.imagewidth} x "
            f"{page.imagelength} px are above {reading.MAX_DECODED_BYTES:,} bytes; save channels "
            "as pages"
        )
    width, height = segment_size(page)
    n_planes = page.samplesperpixel if page.planarconfig == 2 else 1
    if width < 1 or height < 1 or width * height > max(reading.MAX_PIXELS, 1 << 16):
        raise corrupt(path, f"strips or tiles of {width} x {height} px")
    if (page.tiledepth or 1) != 1:
        raise corrupt(path, f"tiles {page.tiledepth} deep")
    expected = math.ceil(page.imagewidth / width) * math.ceil(page.imagelength / height) * n_planes
    if expected > MAX_SEGMENTS:
        raise corrupt(path, f"{expected:,} strips or tiles")
    if len(page.dataoffsets) != expected or len(page.databytecounts) != expected:
        raise corrupt(
            path,
            f"{len(page.dataoffsets)} strips or tiles, {len(page.databytecounts)} lengths, "
            f"{expected} expected",
        )


def require_sound_segments(
    path: Path, offsets: tuple[int, ...], byte_counts: tuple[int, ...], n_bytes: int
) -> None:
    """Refuse strips or tiles that are missing, end beyond the file or are read over and over.

    Raises:
        UnreadableImageError: Saying how many.
    """
    n_missing = sum(not (at > 0 and n > 0) for at, n in zip(offsets, byte_counts, strict=True))
    if n_missing:
        raise corrupt(path, f"{n_missing} of {len(offsets)} strips or tiles are missing")
    n_behind = sum(at + n > n_bytes for at, n in zip(offsets, byte_counts, strict=True))
    if n_behind:
        raise corrupt(path, f"{n_behind} of {len(offsets)} strips or tiles end beyond the file")
    if sum(byte_counts) > 2 * n_bytes + (1 << 24):  # some writers store blank tiles once
        raise corrupt(path, f"strips or tiles of {sum(byte_counts):,} bytes in {n_bytes:,}")


def require_sound_segment(path: Path, page: Any, content: bytes) -> None:
    """Refuse a strip or tile that would decode to another size than its page says, or is cut.

    Raises:
        UnreadableImageError: Saying which.
    """
    width, height = segment_size(page)
    size_px: tuple[int, int] | None = (width, height)
    if page.compression in JPEG:
        frame = frame_header(content)
        size_px = None if frame is None else frame[1:3]
        if b"\xff\xd9" not in content[-4:]:
            raise corrupt(path, "a JPEG strip or tile without its end")
    elif page.compression in JPEG_2000:
        size_px = jpeg_2000_size(content, page.samplesperpixel)
    elif page.compression in WEBP:
        size_px = webp_size(content)
    if size_px is None or size_px[0] > width or size_px[1] > height:
        raise corrupt(path, f"a strip or tile of {size_px} px where {width, height} is stated")


def segment_size(page: Any) -> tuple[int, int]:
    """Return width and height of a page's strips or tiles."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, page.rowsperstrip


def jpeg_2000_size(content: bytes, max_components: int) -> tuple[int, int] | None:
    """Return the size that the SIZ segment, first in every codestream, says.

    A codestream may have 16,384 components, each of that size: None above `max_components`.
    """
    at = content.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if at < 0 or len(content) < at + 42:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", content, at + 8)
    (n_components,) = struct.unpack_from(">H", content, at + 40)
    return (right - left, bottom - top) if n_components <= max_components else None
