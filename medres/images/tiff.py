"""Read TIFF: any bit depth, planar or tiled, many pages or channels, ImageJ and OME."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from medres.images import pixels, scaling, tiff_stated
from medres.images.reading import (
    DECODER_ERRORS,
    Reading,
    Stated,
    UnreadableImageError,
    choose_page,
    corrupt,
)
from medres.images.tiff_layout import (
    JPEG,
    require_sound_directories,
    require_sound_page,
    require_sound_segment,
    require_sound_segments,
)
from medres.images.tiff_pages import Page, Plane, planes_of

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)
ASSOCIATED, UNASSOCIATED = 1, 2
ORIENTATION = 274


def read(path: Path, page: int | None, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    """Return upright RGB of shape (height, width, 3), and the record of how it was read.

    Args:
        path: File.
        page: Which one, counted from 0: directories of the file, or of an ImageJ or OME stack
            its planes but for channels, in stored order.
        reading: Choices that the file leaves open.

    Raises:
        UnreadableImageError: If it is damaged, too large, of a kind that has no defined colours,
            or a choice is missing.
    """
    try:
        with path.open("rb") as file:
            require_sound_directories(path, file)
            n_bytes = file.seek(0, 2)
            file.seek(0)
            # No other file that metadata name is opened.
            with tifffile.TiffFile(
                file, name=path.name, _multifile=False, is_mmstack=False, is_ndtiff=False
            ) as tiff:
                planes = planes_of(path, tiff)
                chosen = choose_page(path, len(planes), page)
                rgb, record = _shown(path, planes[chosen](), reading, n_bytes)
                if len(planes) > 1:
                    record["page"] = chosen
                stated_um = tiff_stated.pixel_um(tiff)
                if stated_um is not None:
                    is_turned = rgb.shape[1::-1] != tuple(record["stored_px"])
                    record["pixel_um"] = list(stated_um[::-1] if is_turned else stated_um)
                return rgb, record
    except UnreadableImageError:
        raise
    except DECODER_ERRORS as error:
        raise corrupt(path, error) from error


def _shown(
    path: Path, plane: Plane, reading: Reading, n_bytes: int
) -> tuple[np.ndarray, dict[str, Any]]:
    page = plane.pages[0].keyframe
    require_sound_page(path, page)
    bits = int(page.bitspersample)
    record: dict[str, Any] = {
        "format": "TIFF",
        "stored_px": [page.imagewidth, page.imagelength],
        "bits": bits,
    }
    n_samples, n_pages = page.samplesperpixel, plane.n_behind or len(plane.pages)
    n_colours = {RGB: 3, YCBCR: 3, CMYK: 4}.get(page.photometric, 1)
    extra = tuple(int(each) for each in page.extrasamples)
    has_opacity = n_samples == n_colours + 1 and extra in ((ASSOCIATED,), (UNASSOCIATED,))
    if 262 not in page.tags or page.photometric not in (0, 1, 2, 3, 5, 6):
        raise UnreadableImageError(
            f"{path}: TIFF of photometric interpretation {page.photometric!r} is not read; save "
            "it as grey or RGB"
        )
    if page.photometric == YCBCR and page.compression not in JPEG:
        raise UnreadableImageError(f"{path}: TIFF of uncompressed YCbCr; save it as RGB")
    if n_pages * (n_samples - has_opacity) == n_colours:
        is_of_8_bits = page.photometric in (PALETTE, CMYK)
        own = None if is_of_8_bits else plane.stated[0]
        stored_samples = _samples(path, plane, 0, n_bytes)
        samples = _coloured(path, page, stored_samples, extra, own, record)
        depth = 8 if is_of_8_bits else bits
        rgb, scaled = pixels.colour(path, samples, reading, stated=own, bits=depth)
    elif page.photometric in (PALETTE, CMYK, YCBCR):
        raise corrupt(path, f"{n_samples} samples a pixel for {page.photometric!r}")
    else:
        stored: dict[int, np.ndarray] = {}
        stated = [each for each in plane.stated for _ in range(n_samples)]

        def channel(number: int) -> np.ndarray:
            at, sample = divmod(number, n_samples)
            if at not in stored:
                stored[at] = _samples(path, plane, at, n_bytes)
            values = stored[at] if stored[at].ndim == 2 else stored[at][..., sample]
            is_white_0 = page.photometric == MIN_IS_WHITE
            return _inverted(values, bits, stated[number]) if is_white_0 else values

        rgb, scaled = pixels.composite(
            path, channel, n_pages * n_samples, reading, stated=stated, bits=bits
        )
    tag = page.tags.get(ORIENTATION)
    orientation = tag.value if tag is not None and isinstance(tag.value, int) else 1
    return pixels.upright(rgb, int(orientation)), {**record, **scaled}


def _coloured(
    path: Path,
    page: Page,
    samples: np.ndarray,
    extra: tuple[int, ...],
    stated: Stated | None,
    record: dict[str, Any],
) -> np.ndarray:
    """Return grey (height, width) or RGB (height, width, 3) of what is stored, over white."""
    n_colours = {RGB: 3, YCBCR: 3, CMYK: 4}.get(page.photometric, 1)
    if samples.ndim == 2 or samples.shape[2] == n_colours:
        return _opaque(path, page, samples, stated, record)
    colour, opacity = samples[..., :-1], samples[..., -1]
    colour = _opaque(path, page, colour if n_colours > 1 else colour[..., 0], None, record)
    if opacity.dtype.kind == "f" and (opacity == 1).all():
        return colour
    if opacity.dtype.kind != "u" or page.bitspersample not in (8, 16):
        raise UnreadableImageError(
            f"{path}: opacity of {page.bitspersample} bits, type {opacity.dtype}; save it as RGB"
        )
    if extra != (ASSOCIATED,):
        if colour.dtype.itemsize < opacity.dtype.itemsize:  # of a palette
            opacity = (opacity >> 8).astype(colour.dtype)
        return pixels.over_white(np.dstack([colour, opacity]), record)
    # What is multiplied by its opacity lacks white. An index never is, and less ink or less black
    # lets the white through already.
    record["opacity"] = pixels.OVER_WHITE
    if page.photometric in (PALETTE, CMYK, MIN_IS_WHITE):
        return colour
    lacking = np.iinfo(opacity.dtype).max - opacity
    lacking = lacking if colour.ndim == 2 else lacking[..., None]
    over: np.ndarray = colour + np.minimum(lacking, np.iinfo(colour.dtype).max - colour)
    return over


def _opaque(
    path: Path, page: Page, samples: np.ndarray, stated: Stated | None, record: dict[str, Any]
) -> np.ndarray:
    """Return samples without opacity as grey (height, width) or RGB (height, width, 3)."""
    if page.photometric == MIN_IS_WHITE:
        return _inverted(samples, int(page.bitspersample), stated)
    if page.photometric == PALETTE:
        record["mode"] = "palette"
        table = page.colormap
        if table is None or table.shape[0] != 3 or samples.dtype.kind not in "ub":
            raise corrupt(path, "a palette without its table of colours")
        # Some writers fill the 16-bit table with 8-bit values.
        table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
        return np.ascontiguousarray(table.T)[samples.astype(np.intp)]
    if page.photometric == CMYK:
        record["mode"] = "CMYK"
        if samples.dtype != np.uint8:
            raise UnreadableImageError(f"{path}: CMYK of type {samples.dtype}; save it as RGB")
        ink = Image.frombytes("CMYK", samples.shape[1::-1], samples.tobytes())
        return np.asarray(ink.convert("RGB"))
    return samples


def _inverted(samples: np.ndarray, bits: int, stated: Stated | None) -> np.ndarray:
    """Return samples of which 0 is white with white at the top of their range, or of that stated.

    A statement that they do not keep does not count.
    """
    if samples.dtype.kind == "b":
        return ~samples
    if samples.dtype.kind == "u":
        top = (1 << bits) - 1
        if stated is not None and scaling.lies_within(samples, *stated.limits):
            top = int(sum(stated.limits))
        return (top - samples.astype(np.uint64)).astype(samples.dtype)
    return -1 - samples if samples.dtype.kind == "i" else -samples


def _samples(path: Path, plane: Plane, number: int, n_bytes: int) -> np.ndarray:
    """Return the samples of one stored page, shape (height, width[, samples])."""
    page = plane.pages[0 if plane.n_behind else number]
    keyframe = page.keyframe
    require_sound_page(path, keyframe)
    require_sound_segments(path, page.dataoffsets, page.databytecounts, n_bytes)
    file = keyframe.parent.filehandle
    if plane.n_behind:
        n_values = math.prod(keyframe.shaped)
        dtype = np.dtype(keyframe.parent.byteorder + keyframe.dtype.char)
        begin = page.dataoffsets[0] + (plane.first + number) * n_values * dtype.itemsize
        if begin + n_values * dtype.itemsize > n_bytes:
            raise corrupt(path, "planes of the stack end beyond the file")
        file.seek(begin)
        decoded = file.read_array(dtype, n_values)
    elif keyframe.is_contiguous:
        decoded = page.asarray(maxworkers=1)
    else:
        decoded = np.empty(keyframe.shaped, keyframe.dtype)
        tables = keyframe.jpegtables
        for content, index in file.read_segments(page.dataoffsets, page.databytecounts):
            require_sound_segment(path, keyframe, content)
            part, (s, _, top, left, _), shape = keyframe.decode(content, index, jpegtables=tables)
            into = decoded[s, 0, top : top + shape[1], left : left + shape[2]]
            if into.dtype == np.bool_:  # fax codecs give 0 and 1 as bytes
                part = part.astype(np.bool_)
            part = part[0, : into.shape[0], : into.shape[1]]
            if part.shape != into.shape or part.dtype != into.dtype:
                raise corrupt(
                    path,
                    f"a strip or tile of {part.shape} {part.dtype} instead of "
                    f"{into.shape} {into.dtype}",
                )
            into[...] = part
    stack: np.ndarray = decoded.reshape(keyframe.shaped)[:, 0]  # (planes, height, width, samples)
    samples: np.ndarray = stack[0] if stack.shape[0] == 1 else np.moveaxis(stack[..., 0], 0, -1)
    return samples[..., 0] if samples.shape[-1] == 1 else samples
