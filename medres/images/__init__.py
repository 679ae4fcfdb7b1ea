"""Any image file to RGB pixels, without silent loss."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medres.images.reading import (
    DEFAULT_READING,
    MAX_PIXELS,
    Reading,
    UnreadableImageError,
    require_sane_size,
)

__all__ = ["DEFAULT_READING", "MAX_PIXELS", "Reading", "UnreadableImageError"]


def read(
    folder: Path, image: str, reading: Reading = DEFAULT_READING
) -> tuple[Image.Image, dict[str, Any]]:
    """Return the pixels of an image of a question table, and how they were read.

    Args:
        folder: What the image's paths are relative to.
        image: A path; a path with `#page=3` for one page or frame, counted from 0; or three
            grey images joined by |, which become red, green and blue.
        reading: Choices that the file leaves open.

    Returns:
        RGB image, and a record for JSON: format, stored size, bits, scaling with its limits,
        page, level. Nothing about a patient is ever in it.

    Raises:
        UnreadableImageError: As `open_rgb`.
    """
    pixels = open_rgb(folder / image)
    return pixels, {"stored_px": list(pixels.size)}


def files_of(image: str) -> list[str]:
    """Return the paths that an image of a question table is read from.

    >>> files_of("red.tif|green.tif#page=1|blue.tif")
    ['red.tif', 'green.tif', 'blue.tif']
    """
    return [part.partition("#page=")[0] for part in image.split("|")]


def open_rgb(path: Path) -> Image.Image:
    """Return an image file as 8-bit RGB pixels, upright.

    Grey becomes three equal channels; palettes and CMYK (Adobe-inverted too) are converted;
    EXIF orientation is applied; transparency is composited over black; 16-bit grey is scaled
    from its full data-type range, 0 to 65,535, never clipped. JPEG is decoded in full, never
    in draft mode.

    Args:
        path: File that Pillow can read.

    Returns:
        Image of mode RGB, loaded into memory.

    Raises:
        UnreadableImageError: If the file is missing, empty, truncated, not an image, of a
            pixel type that has no stated scaling, too large, or too thin.
    """
    if not path.is_file():
        raise UnreadableImageError(f"{path}: no such image; check the path in the table")
    if path.stat().st_size == 0:
        raise UnreadableImageError(f"{path}: the file is empty; fetch it again")
    try:
        with Image.open(path) as image:
            require_sane_size(path, image.size)
            image.load()
            return _to_rgb(path, ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"{path}: not an image that Pillow can identify") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(
            f"{path}: above {MAX_PIXELS:,} pixels; shrink it or read it as a slide"
        ) from error
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise UnreadableImageError(f"{path}: truncated or corrupt ({error})") from error


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.round(grey).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"{path}: {'32-bit integer' if image.mode == 'I' else 'floating-point'} pixels have no "
            "stated range; save it as 8- or 16-bit first"
        )
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, opaque).convert("RGB")
    return image.convert("RGB")


def pixel_sha256(image: Image.Image) -> str:
    """Return the hash of an RGB image's size and pixels, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
