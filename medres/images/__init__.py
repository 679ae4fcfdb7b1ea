"""Read any image file as RGB pixels, without silent loss."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medres.files import sha256
from medres.images import formats, named, raster
from medres.images.named import Box
from medres.images.reading import (
    DECODING,
    DEFAULT_READING,
    MAX_PIXELS,
    Reading,
    UnreadableImageError,
)
from medres.images.several_files import is_of_several as is_of_several
from medres.images.several_files import others_of

__all__ = ["DECODING", "DEFAULT_READING", "MAX_PIXELS", "Reading", "UnreadableImageError"]

HEAD_BYTES = 4096


def read(
    folder: Path, image: str, reading: Reading = DEFAULT_READING
) -> tuple[Image.Image, dict[str, Any]]:
    """Return the pixels of an image in a question table, and how they were read.

    Args:
        folder: What the image's paths are relative to.
        image: A path; with `#page=3` one page or frame, counted from 0; with `#x,y,width,height`
            a region of it in pixels, of a slide in those of its largest level; or three grey images
            joined by |, which become red, green and blue, - for none. A file that has such a name
            itself is taken as it is.
        reading: Choices that the file leaves open.

    Returns:
        RGB image, and a record for JSON: format, stored size, bits, scaling with its limits,
        page, region, level, and of a file that states it pixel_um, the microns that a returned
        pixel is wide and high. Nothing about a patient is ever in it.

    Raises:
        UnreadableImageError: As `open_rgb`; if a page has to be said; or if the three images
            differ in size or have colours.
    """
    rgb, record = read_array(folder, image, reading)
    return Image.fromarray(rgb), record


def read_array(
    folder: Path, image: str, reading: Reading = DEFAULT_READING
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return what `read` returns, the pixels as a writable uint8 array (height, width, 3)."""
    is_joined = "|" in image and not _is_file(folder / image)
    rgb, record = (_joined if is_joined else _one)(folder, image, reading)
    return np.require(rgb, np.uint8, ["C", "W"]), record


def _one(folder: Path, image: str, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    if _is_file(folder / image):
        return _read_file(folder / image, None, None, reading)
    found = named.parse(image)
    path = folder / found.path
    page, box = named.page_number(path, found.page), named.box_of(path, found.region)
    return _read_file(path, page, box, reading)


def _joined(folder: Path, image: str, reading: Reading) -> tuple[np.ndarray, dict[str, Any]]:
    parts = image.split("|")
    if len(parts) != 3 or parts == ["-"] * 3:
        raise UnreadableImageError(
            f"{folder / image}: joins {len(parts)} images by |; give those of red, green and "
            "blue, - for none"
        )
    channels: list[np.ndarray | None] = []
    records: list[dict[str, Any] | None] = []
    for part in parts:
        if part == "-":
            channels.append(None)
            records.append(None)
            continue
        rgb, record = _one(folder, part, reading)
        if (rgb != rgb[..., :1]).any():
            raise UnreadableImageError(
                f"{folder / part}: has colours, so that it cannot be one channel of {image}"
            )
        channels.append(rgb[..., 0])
        records.append(record)
    sizes = {channel.shape[::-1] for channel in channels if channel is not None}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UnreadableImageError(
            f"{folder / image}: its images differ in size ({shown} px); crop them alike"
        )
    (size_px,) = sizes
    blank = np.zeros(size_px[::-1], np.uint8)
    rgb = np.stack([blank if each is None else each for each in channels], axis=-1)
    record = {"format": "three images", "stored_px": list(size_px), "of_channels": records}
    stated = [each.get("pixel_um") for each in records if each]
    if stated[0] and all(each == stated[0] for each in stated):
        record["pixel_um"] = stated[0]
    return rgb, record


def open_rgb(path: Path, reading: Reading = DEFAULT_READING) -> Image.Image:
    """Return one image file as 8-bit RGB pixels, upright.

    Grey becomes three equal channels; palettes and CMYK (Adobe-inverted too) are converted;
    EXIF orientation is applied; transparency is laid over white; more than 8 bits are
    scaled as `reading` says, by default from the full range of the data type, never clipped. JPEG
    is decoded in full, never in draft mode.

    Args:
        path: JPEG, JPEG 2000, PNG, TIFF, GIF, BMP, WebP, AVIF, PGM, PPM, DICOM or whole slide.
        reading: Choices that the file leaves open.

    Returns:
        Image of mode RGB, loaded into memory.

    Raises:
        UnreadableImageError: If the file is missing, empty, truncated, not an image, of a
            pixel type that has no stated scaling, too large, or too thin.
    """
    return Image.fromarray(_read_file(path, None, None, reading)[0])


def _read_file(
    path: Path, page: int | None, box: Box | None, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        if not path.is_file():
            what = "no such image" if not path.exists() else "not a file but a folder or device"
            before, mark, behind = str(path).rpartition("#")
            if mark and _is_file(Path(before)):
                raise UnreadableImageError(
                    f"{before}: {mark}{behind} is neither a page, #page=0, nor a region; "
                    f"{named.HOW}"
                )
            raise UnreadableImageError(f"{path}: {what}; check the path in the table")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            raise UnreadableImageError(f"{path}: the file is empty; fetch it again")
        return _read_kind(path, head, page, box, reading)
    except MemoryError as error:
        raise UnreadableImageError(
            f"{path}: needs more memory than is available; shrink it first"
        ) from error
    except OSError as error:
        raise UnreadableImageError(
            f"{path}: cannot be opened ({error.strerror or error}); check its path and permissions"
        ) from error


def _read_kind(
    path: Path, head: bytes, page: int | None, box: Box | None, reading: Reading
) -> tuple[np.ndarray, dict[str, Any]]:
    kind = formats.kind_of(head)
    # A slide of MIRAX is a JPEG beside a folder of its name.
    is_raster = kind not in ("", "TIFF") and not (kind == "JPEG" and path.with_suffix("").is_dir())
    if not is_raster:
        from medres.images import dicom, slides, tiff

        if dicom.is_dicom(head, path):
            return _cut(path, *dicom.read(path, page, reading), box)
        if slides.is_slide(head, path):
            if page is not None:
                raise UnreadableImageError(f"{path}: a whole slide has no pages; remove #page=")
            return slides.read(path, reading, box)
        if kind == "TIFF":
            return _cut(path, *tiff.read(path, page, reading), box)
    if kind:
        return _cut(path, *raster.read(path, kind, page, reading), box)
    what = formats.why_unread(head) or (
        "no image of a known format; check that the file is what it says"
    )
    raise UnreadableImageError(f"{path}: {what}")


def _cut(
    path: Path, rgb: np.ndarray, record: dict[str, Any], box: Box | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the region of an image that was read whole."""
    if box is None:
        return rgb, record
    return named.cut(path, rgb, box), record | {"region": named.written(box)}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for a file, as three joined ones may be
        return False


def files_of(image: str, folder: Path | None = None) -> list[str]:
    """Return the paths that an image of a question table is read from.

    >>> files_of("red.tif|-|blue.tif#page=1")
    ['red.tif', 'blue.tif']

    Args:
        image: As the table names it.
        folder: What its paths are relative to, so that a file of this very name is found.
    """
    if folder is not None and _is_file(folder / image):
        return [image]
    parts = [part for part in image.split("|") if part != "-"] if "|" in image else [image]
    is_whole = [folder is not None and _is_file(folder / part) for part in parts]
    return [
        part if is_file else named.parse(part).path
        for part, is_file in zip(parts, is_whole, strict=True)
    ]


def origin_of(image: str, folder: Path | None = None) -> str:
    """Return the image that a region is cut from; of what is no region, its own name.

    Args:
        image: As the table names it.
        folder: What its paths are relative to, so that a file of this very name is found.
    """
    return named.origin(image, lambda name: folder is not None and _is_file(folder / name))


def sources_of(folder: Path, image: str) -> list[Path]:
    """Return every file that an image of a question table is read from, named there or not.

    Args:
        folder: What the table's paths are relative to.
        image: As the table names it.
    """
    own = [folder / name for name in files_of(image, folder)]
    return own + [other for path in own if _is_file(path) for other in others_of(path)]


def source_sha256(folder: Path, image: str, sha256_of: Callable[[Path], str] = sha256) -> str:
    """Return the hash of the files that an image of a question table is read from.

    That of its bytes for one plain file; pages, regions, joined files and those that make a slide
    together with the named one enter with their place.

    Args:
        folder: What the table's paths are relative to.
        image: As the table names it.
        sha256_of: Gives the hash of a file; of many regions of one it may be remembered.

    Raises:
        UnreadableImageError: If one of them is missing.
    """
    sources = sources_of(folder, image)
    for path in sources:
        if not _is_file(path):
            raise UnreadableImageError(f"{path}: no such image; check the path in the table")
    return combined_sha256(folder, image, {str(path): sha256_of(path) for path in sources})


def origin_sha256(folder: Path, image: str, sha256_of: Callable[[Path], str] = sha256) -> str:
    """Return the hash of what an image is cut from, the same for all regions of it.

    No name of a file enters, so that a slide is known again in another folder.

    Args:
        folder: What the table's paths are relative to.
        image: As the table names it.
        sha256_of: As in `source_sha256`.
    """
    origin = origin_of(image, folder)
    hashes = [sha256_of(path) for path in sources_of(folder, image)]
    is_named = _is_file(folder / origin) or "|" not in origin
    parts = [origin] if is_named else origin.split("|")
    pages = ["" if _is_file(folder / part) else named.parse(part).end for part in parts]
    if len(hashes) == 1 and pages == [""]:
        return hashes[0]
    return hashlib.sha256(" ".join(["|".join(pages), *hashes]).encode()).hexdigest()


def combined_sha256(folder: Path, image: str, hashes: Mapping[str, str]) -> str:
    """Return the hash of an image from those of its files, as `source_sha256` gives it.

    Args:
        folder: What the table's paths are relative to.
        image: As the table names it.
        hashes: By path, in the order of `sources_of`.
    """
    if list(hashes) == [str(folder / image)]:
        return hashes[str(folder / image)]
    return hashlib.sha256(" ".join([image, *hashes.values()]).encode()).hexdigest()


def pixel_sha256(image: Image.Image) -> str:
    """Return the hash of an RGB image's size and pixels, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
