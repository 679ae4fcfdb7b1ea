"""Which pages a TIFF file has, and which stored planes are the channels of each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from medres.images import tiff_stated
from medres.images.reading import Stated, UnreadableImageError, corrupt
from medres.images.tiff_stated import significant_bits

MAX_PLANES = 1_000_000

Page = Any
"""tifffile.TiffPage or TiffFrame: their annotations let nearly everything be None."""


@dataclass(frozen=True)
class Plane:
    """What one page of a file shows: the stored pages of its channels."""

    pages: tuple[Page, ...]
    stated: tuple[Stated | None, ...]
    """What the file says are black and white of each channel."""
    first: int = 0
    """Planes of an ImageJ stack lie behind one directory: the number of the first of these."""
    n_behind: int = 0
    """How many do; 0 if every plane has its directory."""


def planes_of(path: Path, tiff: tifffile.TiffFile) -> list[Callable[[], Plane]]:
    """Return what gives each page of the file."""
    if not tiff.pages:
        raise corrupt(path, "it has no page")
    if all(series.kind in ("generic", "uniform") for series in tiff.series):
        stored = range(len(tiff.pages))
        whole = [k for k in stored if not _is_reduced(tiff.pages[k])]
        # One image with thumbnails or pyramid levels behind it needs no page.
        chosen = whole if len(whole) == 1 else stored
        return [partial(_single, tiff, number) for number in chosen]
    return [plane for series in tiff.series for plane in _series_planes(path, tiff, series)]


def _single(tiff: tifffile.TiffFile, number: int) -> Plane:
    page = tiff.pages[number]
    return Plane((page,), (tiff_stated.of_page(page.keyframe, significant_bits(tiff)),))


def _is_reduced(page: Page) -> bool:
    return bool(int(page.keyframe.subfiletype) & 0b101)


def _series_planes(
    path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> list[Callable[[], Plane]]:
    keyframe = series.keyframe
    n_inner = len(keyframe.shape)
    outer_axes, outer_shape = series.axes[:-n_inner], series.shape[:-n_inner]
    if series.shape[-n_inner:] != keyframe.shape:
        raise corrupt(path, f"pages of {keyframe.shape} in a stack of {series.shape}")
    n_planes = math.prod(outer_shape)
    if n_planes > MAX_PLANES:
        raise corrupt(path, f"{n_planes:,} planes")
    is_behind = series.dataoffset is not None and len(series.pages) == 1 and n_planes > 1
    if not is_behind and len(series.pages) != n_planes:
        raise corrupt(path, f"{len(series.pages)} pages in a stack of {n_planes}")
    numbers = np.arange(n_planes).reshape(outer_shape)
    if "C" in outer_axes:
        numbers = np.moveaxis(numbers, outer_axes.index("C"), -1)
        numbers = numbers.reshape(-1, numbers.shape[-1])
    else:
        numbers = numbers.reshape(-1, 1)
    own = tiff_stated.of_page(keyframe, significant_bits(tiff))
    stated = _imagej_ranges(tiff, keyframe, numbers.shape[-1]) or (own,) * numbers.shape[-1]

    def plane(row: np.ndarray) -> Plane:
        if is_behind:
            steps = set(np.diff(row).tolist())
            if len(steps) > 1 or (steps and steps != {1}):
                raise UnreadableImageError(
                    f"{path}: its channels do not lie together; save it again as OME-TIFF"
                )
            return Plane((series.pages[0],), stated, int(row[0]), len(row))
        pages = tuple(series.pages[int(number)] for number in row)
        if any(each is None for each in pages):
            raise corrupt(path, "planes of the stack are in another file or missing")
        return Plane(pages, stated)

    return [partial(plane, row) for row in numbers]


def _imagej_ranges(
    tiff: tifffile.TiffFile, keyframe: Page, n_channels: int
) -> tuple[Stated | None, ...]:
    """Return the display range of each channel of 32 bits, which has no other; else nothing."""
    # Up to 16 bits have the range of their type: what somebody last looked at may clip all the
    # rest.
    found: dict[str, Any] = tiff.imagej_metadata or {} if keyframe.dtype.itemsize == 4 else {}
    limits: Any = found.get("Ranges") or (found.get("min"), found.get("max"))
    if len(limits) != 2 * n_channels or not all(isinstance(x, int | float) for x in limits):
        return ()
    pairs = [(float(limits[2 * k]), float(limits[2 * k + 1])) for k in range(n_channels)]
    return tuple(Stated(pair, "ImageJ") if pair[0] < pair[1] else None for pair in pairs)
