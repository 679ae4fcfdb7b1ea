"""Read the tiles of a slide's level with OpenSlide or tifffile."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from openslide import OpenSlide
from PIL import Image

from medres.images.area_mean import Block
from medres.images.named import Box
from medres.images.reading import DECODER_ERRORS, MAX_PIXELS, UnreadableImageError, corrupt
from medres.images.tiff_layout import (
    JPEG,
    JPEG_2000,
    SIZED_BY_US,
    WEBP,
    require_sound_directories,
    require_sound_segment,
)

BLOCK_PIXELS = 1 << 20
MAX_TILE_PIXELS = 1 << 25
DECODED = (*SIZED_BY_US, *JPEG, *JPEG_2000, *WEBP)
MIN_IS_WHITE, MIN_IS_BLACK, RGB, YCBCR = 0, 1, 2, 6
ASSOCIATED, UNASSOCIATED = 1, 2


def openslide_blocks(slide: OpenSlide, level: int, box: Box) -> Iterator[Block]:
    """Yield a box of a level as RGB over the slide's background, in blocks of whole tiles."""
    downsample = slide.level_downsamples[level]
    background = "#" + slide.properties.get("openslide.background-color", "FFFFFF")
    for left, top, right, bottom in _boxes(box, openslide_tile_px(slide, level)):
        at = round(left * downsample), round(top * downsample)
        block = slide.read_region(at, level, (right - left, bottom - top))
        if block.getchannel("A").getextrema() != (255, 255):
            over = Image.new("RGBA", block.size, background)
            block = Image.alpha_composite(over, block)
        yield left - box[0], top - box[1], np.asarray(block)[..., :3]


def openslide_tile_px(slide: OpenSlide, level: int) -> tuple[int, int]:
    """Return width and height of a level's tiles; 256 where the format has none."""
    sides = (
        slide.properties.get(f"openslide.level[{level}].tile-{side}", "256")
        for side in ("width", "height")
    )
    return int(next(sides)), int(next(sides))


def openslide_shift_px(slide: OpenSlide, level: int, box: Box) -> float:
    """Return how far, in pixels of the level, blocks lie at most beside where they should."""
    downsample = slide.level_downsamples[level]
    boxes = _boxes(box, openslide_tile_px(slide, level))
    sides = {side for left, top, _, _ in boxes for side in (left, top)}
    return max(abs(round(side * downsample) / downsample - side) for side in sides)


def _boxes(box: Box, tile_px: tuple[int, int]) -> Iterator[Box]:
    """Yield left, top, right and bottom of blocks of whole tiles that cover a box, row by row.

    Blocks at its edges end there.
    """
    n_tiles = max(1, math.isqrt(BLOCK_PIXELS // (tile_px[0] * tile_px[1])))
    width, height = tile_px[0] * n_tiles, tile_px[1] * n_tiles
    first_top, first_left = (box[axis] // tile_px[axis] * tile_px[axis] for axis in (1, 0))
    for top in range(first_top, box[3], height):
        for left in range(first_left, box[2], width):
            right, bottom = min(left + width, box[2]), min(top + height, box[3])
            yield max(left, box[0]), max(top, box[1]), right, bottom


def tiff_levels(tiff: tifffile.TiffFile) -> list[Any]:
    """Return the first page and the reduced ones of it, largest first."""
    first, *beside = _pages(tiff)
    if first.subifds:
        beside = [each.keyframe for each in first.pages]
    levels = [first]
    for page in sorted(beside, key=lambda each: -int(each.imagewidth)):
        is_reduced = first.subifds or int(page.subfiletype) & 1
        is_same_kind = all(
            getattr(page, name) == getattr(first, name)
            for name in ("dtype", "samplesperpixel", "photometric", "planarconfig", "is_tiled")
        )
        sides = page.imagewidth / first.imagewidth, page.imagelength / first.imagelength
        if is_reduced and is_same_kind and max(sides) < 1 and abs(sides[0] / sides[1] - 1) < 0.02:
            levels.append(page)
    return levels


def is_pyramid(path: Path) -> bool:
    """Say whether a TIFF is tiled, and either has reduced levels or is too large otherwise."""
    try:
        with path.open("rb") as file:
            require_sound_directories(path, file)
            file.seek(0)
            with open_tiff(path, file) as tiff:
                first = _pages(tiff)[0]
                if not first.is_tiled:
                    return False
                if first.imagewidth * first.imagelength > MAX_PIXELS:
                    return True
                return not unread(tiff) and len(tiff_levels(tiff)) > 1
    except (UnreadableImageError, MemoryError, *DECODER_ERRORS):
        return False  # the reader of TIFF says what is wrong


def open_tiff(path: Path, file: Any) -> tifffile.TiffFile:
    """Open a TIFF, and no other file that its metadata name."""
    return tifffile.TiffFile(
        file, name=path.name, _multifile=False, is_mmstack=False, is_ndtiff=False
    )


def unread(tiff: tifffile.TiffFile) -> str:
    """Return what of a TIFF is not read as a slide, and what to do; empty if it is."""
    pages = _pages(tiff)
    size_px = pages[0].imagewidth, pages[0].imagelength
    n_full = sum((page.imagewidth, page.imagelength) == size_px for page in pages)
    if n_full > 1:
        return f"{n_full} pages of full size (channels or planes); save one as a file of its own"
    return _unread_page(pages[0])


def _unread_page(page: Any) -> str:
    n_samples, extra = page.samplesperpixel, tuple(int(each) for each in page.extrasamples)
    has_opacity = n_samples == 4 and extra in ((ASSOCIATED,), (UNASSOCIATED,))
    n_colours = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, YCBCR: 3}.get(page.photometric, 0)
    if n_samples - has_opacity != n_colours or page.planarconfig != 1 or page.imagedepth != 1:
        return f"{n_samples} samples a pixel that are neither grey nor RGB; save it as RGB"
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        return f"samples of {page.bitspersample} bits; save it with 8 or 16"
    if page.compression not in DECODED or (page.photometric == YCBCR and not _is_jpeg(page)):
        return f"compression {int(page.compression)}; save it with JPEG tiles"
    return "" if page.is_tiled else "strips; save it with tiles"


def _is_jpeg(page: Any) -> bool:
    return page.compression in JPEG or page.compression in JPEG_2000


def page_of_size(tiff: tifffile.TiffFile, size_px: tuple[int, int]) -> Any:
    """Return the one tiled page of this size; None if there is not one that can be read."""
    found = [
        page
        for page in _pages(tiff)
        if (page.imagewidth, page.imagelength) == size_px and not _unread_page(page)
    ]
    return found[0] if len(found) == 1 else None


def _pages(tiff: tifffile.TiffFile) -> list[Any]:
    return [each.keyframe for each in tiff.pages]


def n_channels(page: Any) -> int:
    """Return how many channels the blocks of a page have: 1 for grey, else 3."""
    return 3 if page.photometric in (RGB, YCBCR) else 1


def tiff_blocks(path: Path, page: Any, n_bytes: int, box: Box) -> Iterator[Block]:
    """Yield the tiles that cover a box of a page as grey or RGB over white; white if missing.

    Raises:
        UnreadableImageError: If tiles end beyond the file, are cut or of another size.
    """
    offsets, byte_counts = require_sound_tiles(path, page, n_bytes)
    file, white = page.parent.filehandle, np.iinfo(page.dtype).max
    n_across = math.ceil(page.imagewidth / page.tilewidth)
    for index in tiles_within(page, box):
        top, left = index // n_across * page.tilelength, index % n_across * page.tilewidth
        shape = (
            min(page.tilelength, page.imagelength - top),
            min(page.tilewidth, page.imagewidth - left),
        )
        inside = (
            slice(max(0, box[1] - top), min(shape[0], box[3] - top)),
            slice(max(0, box[0] - left), min(shape[1], box[2] - left)),
        )
        at = left + inside[1].start - box[0], top + inside[0].start - box[1]
        if byte_counts[index] == 0:
            yield *at, np.full((*shape, n_channels(page)), white, page.dtype)[inside]
            continue
        file.seek(offsets[index])
        content = file.read(byte_counts[index])
        require_sound_segment(path, page, content)
        tile = page.decode(content, index, jpegtables=page.jpegtables)[0][0]
        if tile.shape[:2] < shape or tile.shape[2] != page.samplesperpixel:
            raise corrupt(path, f"a tile of {tile.shape} instead of {shape}")
        tile = tile[: shape[0], : shape[1]][inside]
        if page.samplesperpixel == 4:
            tile = _over_white(tile, page, white)
        yield *at, white - tile if page.photometric == MIN_IS_WHITE else tile


def tiles_within(page: Any, box: Box) -> list[int]:
    """Return the numbers of the tiles that cover a box of a page, row by row."""
    n_across = math.ceil(page.imagewidth / page.tilewidth)
    rows = range(box[1] // page.tilelength, math.ceil(box[3] / page.tilelength))
    columns = range(box[0] // page.tilewidth, math.ceil(box[2] / page.tilewidth))
    return [row * n_across + column for row in rows for column in columns]


def require_sound_tiles(path: Path, page: Any, n_bytes: int) -> tuple[Any, Any]:
    """Return where the tiles of a page lie and how long they are, all within the file.

    Raises:
        UnreadableImageError: If their size or number cannot be, or they lie elsewhere.
    """
    require_sane_tile(path, (page.tilewidth, page.tilelength))
    if (page.tiledepth or 1) != 1:
        raise corrupt(path, f"tiles {page.tiledepth} deep")
    n_across = math.ceil(page.imagewidth / page.tilewidth)
    n_tiles = n_across * math.ceil(page.imagelength / page.tilelength)
    offsets, byte_counts = page.dataoffsets, page.databytecounts
    if not len(offsets) == len(byte_counts) == n_tiles:
        raise corrupt(path, f"{len(offsets):,} tiles, {n_tiles:,} expected")
    if any(at + n > n_bytes for at, n in zip(offsets, byte_counts, strict=True)):
        raise corrupt(path, "tiles end beyond the file")
    return offsets, byte_counts


def require_sane_tile(path: Path, tile_px: tuple[int, int]) -> None:
    """Refuse tiles of no size, or too large to be decoded one by one.

    Raises:
        UnreadableImageError: Saying their size.
    """
    if min(tile_px) < 1 or tile_px[0] * tile_px[1] > MAX_TILE_PIXELS:
        raise UnreadableImageError(
            f"{path}: tiles of {tile_px[0]} x {tile_px[1]} px, not of 1 to {MAX_TILE_PIXELS:,} "
            "pixels; save it with tiles of 256 x 256"
        )


def _over_white(tile: np.ndarray, page: Any, white: int) -> np.ndarray:
    colour, opacity = tile[..., :3].astype(np.float32), tile[..., 3:].astype(np.float32) / white
    if int(page.extrasamples[0]) == UNASSOCIATED:
        colour *= opacity
    return np.minimum(colour + white * (1 - opacity), white)
