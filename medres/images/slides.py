"""Read whole slides within a pixel budget, in bounded memory.

The smallest stored level that is not below the wanted size is read in blocks of whole tiles, and
every block is added to the result at once: each pixel of the result is the mean of exactly the
area of the level that it covers, edges weighted by their share (a box filter, no resampling of a
resampled image). No level is ever in memory whole, and a slide is never enlarged.

Only the main image is read: label and macro images show the patient's label, and of a slide's
properties only vendor, magnification and pixel size leave this reader. A JPEG tile that is damaged
within, its size and end in place, is decoded as libjpeg does, without a word.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import openslide
import tifffile
from openslide import OpenSlide, OpenSlideError
from pydicom import dcmread
from pydicom.multival import MultiValue

from medres.images import pixels, slide_tiles, tiff_stated
from medres.images.area_mean import area_mean
from medres.images.named import Box, require_inside, written
from medres.images.reading import (
    DECODER_ERRORS,
    Reading,
    UnreadableImageError,
    corrupt,
    require_sane_size,
)
from medres.images.slide_regions import on_level
from medres.images.tiff_layout import require_sound_directories
from medres.resolution import fit_within

SUFFIXES = (".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GENERIC = "generic-tiff"
"""Where OpenSlide leaves out sub-directories and, without a word, 8 of 16 bits: not asked."""
MAX_LEVEL_PIXELS = 40_000_000_000
MAX_PIXELS_PER_BYTE = 1000
"""Of a TIFF: tissue takes about a byte for 5 pixels, blank tiles one for 100."""
MAX_SHIFT_PX = 1 / 512
"""OpenSlide addresses a level by pixels of level 0, and interpolates where these fall between."""


def is_slide(head: bytes, path: Path) -> bool:
    """Return whether a file is a whole slide: of a vendor that OpenSlide knows, or a tiled TIFF.

    Such a TIFF has reduced levels beside its one image, or is too large to be read whole. A file
    that is not a TIFF but is named like a slide counts too, so that its error speaks of a slide.
    """
    if OpenSlide.detect_format(path) not in (None, GENERIC):
        return True
    if head[:4] in TIFF:
        return slide_tiles.is_pyramid(path)
    return path.suffix.lower() in SUFFIXES


def read(path: Path, reading: Reading, box: Box | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Return RGB of shape (height, width, 3) within the budget, and the record of how it was read.

    A slide of a vendor is opened by OpenSlide; a tiled TIFF of none by tifffile, which also reads
    the levels of a vendor's TIFF that OpenSlide would interpolate.

    Args:
        path: File.
        reading: Its `slide_max_pixels` is the budget, width x height; scaling and channels are
            applied after the reduction.
        box: Region to read, in pixels of the largest level; none is the whole. Within the budget
            it is what that level stores.

    Raises:
        ValueError: If the budget is below one pixel.
        UnreadableImageError: If the slide is damaged, of an unknown kind, or too large, or the
            region is not whole within it.
    """
    if reading.slide_max_pixels < 1:
        raise ValueError(f"slide_max_pixels is {reading.slide_max_pixels}; it must be at least 1")
    try:
        with path.open("rb") as file, ExitStack() as opened:
            return _read(path, file, opened, reading, box)
    except UnreadableImageError as error:
        message = str(error)
    except (OpenSlideError, *DECODER_ERRORS) as error:
        message = f"{path}: slide truncated or corrupt ({type(error).__name__}); fetch it again"
    # Not in the handler: an error's context may quote what describes the slide and its patient.
    raise UnreadableImageError(message)


def _read(
    path: Path, file: BinaryIO, opened: ExitStack, reading: Reading, box: Box | None
) -> tuple[np.ndarray, dict[str, Any]]:
    vendor = OpenSlide.detect_format(path)
    if vendor == "dicom" and (part := _part_of_dicom(file)):
        raise UnreadableImageError(
            f"{path}: the {part} of a slide, on which the patient may be named; name the file of "
            "its tissue instead"
        )
    slide = None if vendor in (None, GENERIC) else _by_openslide(path, opened)
    tiff = _by_tifffile(path, file, opened, is_needed=slide is None)
    if slide is None and tiff is None:
        raise UnreadableImageError(
            f"{path}: {vendor or 'by its name, a'} slide that OpenSlide cannot open; check that it "
            "is whole and its other files lie beside it, or export it as OME-TIFF"
        )
    sizes_px = _sizes_px(path, slide, tiff)
    left, top, right, bottom = shown = box or (0, 0, *sizes_px[0])
    require_inside(path, shown, sizes_px[0])
    stored_px = right - left, bottom - top
    size_px = fit_within(stored_px, max_pixels=reading.slide_max_pixels, multiple_px=1)
    require_sane_size(path, size_px)
    boxes = [on_level(shown, sizes_px[0], each) for each in sizes_px]
    boxes_px = [(each[2] - each[0], each[3] - each[1]) for each in boxes]
    is_enough = [size[0] >= size_px[0] and size[1] >= size_px[1] for size in boxes_px]
    level = min(np.flatnonzero(is_enough).tolist(), key=lambda k: sizes_px[k])
    level_px, level_box, box_px = sizes_px[level], boxes[level], boxes_px[level]
    _require_sane_level(path, level_px, None if tiff is None else file.seek(0, 2))
    record: dict[str, Any] = {
        "format": "slide",
        "vendor": vendor or "unknown",
        "stored_px": list(sizes_px[0]),
        "level_count": len(sizes_px),
        "level": level,
        "level_px": list(level_px),
        "reduction": "area mean",
        "reduction_factor": round(box_px[0] / size_px[0], 4),
        "mpp": _number(slide, openslide.PROPERTY_NAME_MPP_X),
        "objective_power": _number(slide, openslide.PROPERTY_NAME_OBJECTIVE_POWER),
    }
    if box is not None:
        record |= {"region": written(box), "level_region": written(level_box)}
    stated_um = _pixel_um(slide, tiff)
    if stated_um is not None:
        pairs = zip(stated_um, stored_px, size_px, strict=True)
        record["pixel_um"] = [um * (stored / given) for um, stored, given in pairs]
    page: Any = None
    if slide is not None:
        slide_tiles.require_sane_tile(path, slide_tiles.openslide_tile_px(slide, level))
        shift_px = slide_tiles.openslide_shift_px(slide, level, level_box)
        if shift_px > MAX_SHIFT_PX:
            page = None if tiff is None else slide_tiles.page_of_size(tiff, level_px)
            record |= {} if page is not None else {"max_shift_px": round(shift_px, 3)}
    elif tiff is not None:
        page = slide_tiles.tiff_levels(tiff)[level]
    if slide is not None and page is None:
        record["reader"] = f"openslide {openslide.__library_version__}"
        blocks = slide_tiles.openslide_blocks(slide, level, level_box)
        n_channels, bits = 3, 8
    else:
        record["reader"] = f"tifffile {tifffile.__version__}"
        blocks = slide_tiles.tiff_blocks(path, page, file.seek(0, 2), level_box)
        n_channels, bits = slide_tiles.n_channels(page), int(page.bitspersample)
        tiles = slide_tiles.tiles_within(page, level_box)
        n_missing = sum(page.databytecounts[each] == 0 for each in tiles)
        record |= {"n_missing_tiles": n_missing} if n_missing else {}
    mean = area_mean(blocks, box_px, size_px, n_channels)
    values = np.rint(mean, out=mean).astype(np.uint8 if bits == 8 else np.uint16)
    values = values[..., 0] if n_channels == 1 else values
    stated = None if page is None else tiff_stated.of_page(page, tiff_stated.significant_bits(tiff))
    rgb, scaled = pixels.colour(path, values, reading, stated=stated, bits=bits)
    return rgb, {**record, "bits": bits, **scaled}


def _part_of_dicom(file: BinaryIO) -> str:
    """Return what a file of a DICOM slide shows if it is not the tissue: label or overview."""
    file.seek(0)
    kinds = dcmread(file, stop_before_pixels=True, specific_tags=["ImageType"]).get("ImageType")
    kind = str(kinds[2]) if isinstance(kinds, MultiValue) and len(kinds) > 2 else ""
    file.seek(0)
    return {"LABEL": "label", "OVERVIEW": "overview"}.get(kind, "")


def _by_openslide(path: Path, opened: ExitStack) -> OpenSlide | None:
    try:
        return opened.enter_context(OpenSlide(path))
    except OpenSlideError:
        return None


def _by_tifffile(
    path: Path, file: BinaryIO, opened: ExitStack, *, is_needed: bool
) -> tifffile.TiffFile | None:
    if file.read(4) not in TIFF:
        return None
    try:
        require_sound_directories(path, file)
        file.seek(0)
        return opened.enter_context(slide_tiles.open_tiff(path, file))
    except (UnreadableImageError, *DECODER_ERRORS):
        if is_needed:
            raise
        return None


def _sizes_px(
    path: Path, slide: OpenSlide | None, tiff: tifffile.TiffFile | None
) -> list[tuple[int, int]]:
    """Return width and height of every level, the largest first."""
    if slide is not None:
        return list(slide.level_dimensions)
    assert tiff is not None
    if why := slide_tiles.unread(tiff):
        raise UnreadableImageError(f"{path}: a slide of {why}")
    return [(page.imagewidth, page.imagelength) for page in slide_tiles.tiff_levels(tiff)]


def _require_sane_level(path: Path, level_px: tuple[int, int], n_bytes: int | None) -> None:
    n_pixels = level_px[0] * level_px[1]
    if n_pixels > MAX_LEVEL_PIXELS:
        raise UnreadableImageError(
            f"{path}: its level of {level_px[0]} x {level_px[1]} px is above "
            f"{MAX_LEVEL_PIXELS:,} pixels; save it with reduced levels"
        )
    if n_bytes is not None and n_pixels > MAX_PIXELS_PER_BYTE * n_bytes:
        raise corrupt(path, f"{level_px[0]} x {level_px[1]} px in {n_bytes:,} bytes")


def _pixel_um(
    slide: OpenSlide | None, tiff: tifffile.TiffFile | None
) -> tuple[float, float] | None:
    """Return the microns that a pixel of the largest level is wide and high; None if not stated."""
    if slide is None:
        return tiff_stated.pixel_um(tiff)
    width, height = (
        _number(slide, name)
        for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
    )
    return tiff_stated.positive(width, height)


def _number(slide: OpenSlide | None, name: str) -> float | None:
    try:
        return None if slide is None else float(slide.properties[name])
    except (KeyError, ValueError):
        return None
