"""Whole slides at a pixel budget: the nearest level of the pyramid, strip by strip.

OpenSlide reads what it knows, tifffile the tiled TIFFs that it does not. The smallest level that
is not smaller than the target is read in strips and averaged by area, so that memory holds the
target and one strip, never a level. Label and macro images, which show patients' names, are
never opened, and of a slide's properties only vendor and pixel size are read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import openslide
import tifffile
from PIL import Image

from medres.images.reading import (
    DECODER_ERRORS,
    MAX_ASPECT,
    MAX_PIXELS,
    Reading,
    UnreadableImageError,
    corrupt,
)

STRIP_PIXELS = 8_000_000
"""Pixels of a level that are read at once."""
MAX_SIDE_PX = 1_000_000
"""A scanner's largest slides have a quarter of it."""
WHITE = "ffffff"
ERRORS = (*DECODER_ERRORS, openslide.OpenSlideError)


class Levels(Protocol):
    """A pyramid whose levels are read in strips."""

    sizes_px: list[tuple[int, int]]
    """Width and height of each level, the largest first."""
    facts: dict[str, Any]
    """What is recorded of the file."""

    def strips(self, level: int) -> Iterator[np.ndarray]:
        """Yield a level from top to bottom, each (rows, width, 3) uint8."""


def is_slide(head: bytes, path: Path) -> bool:
    """Return whether a file is a scanner's slide, or a tiled TIFF too large for a plain image."""
    try:
        vendor = openslide.OpenSlide.detect_format(path)
    except ERRORS:
        vendor = None
    if vendor not in (None, "generic-tiff"):
        return True
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return bool(page.is_tiled) and page.imagewidth * page.imagelength > MAX_PIXELS
    except (*ERRORS, MemoryError):  # of a damaged tag that claims a length no file has
        return False


def read(path: Path, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a slide as uint8 RGB (height, width, 3) within a budget, and how it was read.

    Args:
        path: Slide file.
        reading: Its `slide_max_pixels` is the budget; the slide is never enlarged.

    Raises:
        UnreadableImageError: If neither reader knows the file, or a part of it is damaged.
    """
    budget = reading.slide_max_pixels
    if budget < 1:
        raise UnreadableImageError(
            f"{path}: slide_max_pixels is {budget}; it must be at least one pixel"
        )
    try:
        slide: Levels = _OpenSlide.of(path)
    except ERRORS as unknown:
        try:
            slide = _TiledTiff.of(path)
        except ERRORS:
            raise corrupt(path, unknown) from unknown
    width, height = slide.sizes_px[0]
    if max(width, height) > min(MAX_SIDE_PX, MAX_ASPECT * min(width, height)):
        raise UnreadableImageError(
            f"{path}: a slide of {width} x {height} px is longer than {MAX_SIDE_PX:,} px or "
            f"thinner than {MAX_ASPECT}:1; check that the file is whole"
        )
    scale = min(1.0, math.sqrt(budget / (width * height)))
    target_px = max(1, int(width * scale)), max(1, int(height * scale))
    level = max(
        index
        for index, size in enumerate(slide.sizes_px)
        if size[0] >= target_px[0] and size[1] >= target_px[1]
    )
    try:
        pixels = _average(slide.strips(level), slide.sizes_px[level], target_px)
    except ERRORS as error:
        raise corrupt(path, error) from error
    return pixels, {
        **slide.facts,
        "stored_px": [width, height],
        "level": level,
        "level_px": list(slide.sizes_px[level]),
        "n_levels": len(slide.sizes_px),
        "reduction": "none" if target_px == slide.sizes_px[level] else "area average",
    }


@dataclass
class _OpenSlide:
    slide: openslide.OpenSlide
    sizes_px: list[tuple[int, int]]
    facts: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> "_OpenSlide":
        slide = openslide.OpenSlide(path)
        facts: dict[str, Any] = {"format": f"slide, {slide.properties['openslide.vendor']}"}
        size_um = slide.properties.get(openslide.PROPERTY_NAME_MPP_X, "")
        try:
            facts["micrometres_per_px"] = float(size_um)
        except ValueError:
            pass  # Not every scanner states it.
        return cls(slide, [(int(w), int(h)) for w, h in slide.level_dimensions], facts)

    def strips(self, level: int) -> Iterator[np.ndarray]:
        width, height = self.sizes_px[level]
        down = self.sizes_px[0][1] / height
        colour = self.slide.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, WHITE)
        n_rows = max(1, min(height, STRIP_PIXELS // width))
        with self.slide:
            for top in range(0, height, n_rows):
                rows = min(n_rows, height - top)
                part = self.slide.read_region((0, round(top * down)), level, (width, rows))
                ground = Image.new("RGBA", part.size, f"#{colour}")
                yield np.asarray(Image.alpha_composite(ground, part).convert("RGB"))


@dataclass
class _TiledTiff:
    file: tifffile.TiffFile
    pages: list[Any]
    sizes_px: list[tuple[int, int]]
    facts: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> "_TiledTiff":
        file = tifffile.TiffFile(path)
        pages = [series.keyframe for series in file.series[0].levels]
        for page in pages:
            if not page.is_tiled or page.dtype != np.uint8 or page.samplesperpixel not in (1, 3):
                raise ValueError("a slide must be tiled, of 8 bits, grey or RGB")
            if page.samplesperpixel > 1 and page.planarconfig != 1:
                raise ValueError("the colours of a slide must be stored together")
            across, down = (
                -(-page.imagewidth // page.tilewidth),
                -(-page.imagelength // page.tilelength),
            )
            if across * down != len(page.dataoffsets):
                raise ValueError(f"{len(page.dataoffsets)} tiles for {across} x {down}")
            if page.imagewidth * page.tilelength > MAX_PIXELS:
                raise ValueError(f"a row of tiles {page.tilelength} px high is too large")
        sizes = [(int(page.imagewidth), int(page.imagelength)) for page in pages]
        return cls(file, pages, sizes, {"format": "slide, tiled TIFF"})

    def strips(self, level: int) -> Iterator[np.ndarray]:
        page = self.pages[level]
        width, height = self.sizes_px[level]
        across = -(-width // page.tilewidth)
        with self.file:
            for first in range(0, len(page.dataoffsets), across):
                top = first // across * page.tilelength
                strip = np.zeros((min(page.tilelength, height - top), width, 3), dtype=np.uint8)
                places = range(first, first + across)
                for data, index in self.file.filehandle.read_segments(
                    [page.dataoffsets[place] for place in places],
                    [page.databytecounts[place] for place in places],
                    indices=list(places),
                    sort=True,
                ):
                    tile, position, _ = page.decode(data, index, jpegtables=page.jpegtables)
                    left = position[-2]
                    if tile is None:  # A tile that is not stored shows the ground.
                        strip[:, left : left + page.tilewidth] = 255
                        continue
                    part = tile.reshape(tile.shape[-3:])[: len(strip), : width - left]
                    strip[: len(part), left : left + part.shape[1]] = part
                yield strip


def _average(
    strips: Iterator[np.ndarray], size_px: tuple[int, int], target_px: tuple[int, int]
) -> np.ndarray:
    """Return strips of an image averaged by area to a size that is nowhere larger."""
    (width, height), (target_width, target_height) = size_px, target_px
    total = np.zeros((target_height, target_width, 3), dtype=np.float32)
    top = 0
    for strip in strips:
        narrow = _across(strip, width, target_width)
        edges = np.arange(top, top + len(strip) + 1) * (target_height / height)
        first, last = int(edges[0]), min(target_height, math.ceil(edges[-1] - 1e-9))
        rows = np.arange(first, last)
        # Share of each target row that each row of the strip covers.
        low = np.maximum(rows[:, None], edges[None, :-1])
        high = np.minimum(rows[:, None] + 1, edges[None, 1:])
        shares = np.clip(high - low, 0, None).astype(np.float32)
        total[first:last] += np.tensordot(shares, narrow, axes=1)
        top += len(strip)
    if top != height:
        raise ValueError(f"{top} of its {height} rows could be read")
    return np.clip(np.round(total), 0, 255).astype(np.uint8)


def _across(strip: np.ndarray, width: int, target_width: int) -> np.ndarray:
    """Return each row averaged by area to the target's width, as 32-bit floats."""
    if width == target_width:
        return strip.astype(np.float32)
    edges = np.arange(target_width + 1) * (width / target_width)
    whole = np.minimum(edges.astype(np.int64), width)
    part = (edges - whole).astype(np.float64)[None, :, None]
    narrow = np.empty((len(strip), target_width, 3), dtype=np.float32)
    for start in range(0, len(strip), 16):  # Bounds the memory of the sums.
        rows = strip[start : start + 16]
        sums = np.zeros((len(rows), width + 1, 3), dtype=np.uint32)
        np.cumsum(rows, axis=1, dtype=np.uint32, out=sums[:, 1:])
        beyond = rows[:, np.minimum(whole, width - 1)]
        upto = sums[:, whole] + part * beyond
        narrow[start : start + 16] = np.diff(upto, axis=1) * (target_width / width)
    return narrow
