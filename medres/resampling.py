"""Pixels of one size from those of another, by the same library for every filter and arm."""

import functools

import numpy as np
import PIL
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
STRIP_BYTES = 2**20
"""Pillow's pixels are copied in strips of this size: one piece would take three times as long."""


@functools.cache
def resampler() -> str:
    """Return the name and version of the library that resamples, the same for all filters and arms.

    It is torch if torch has every filter for 8-bit pixels, and Pillow if not (torch 2.11 has no
    lanczos). torch is several times faster and as close to the exact result; its weights have 16
    bits, so fewer than one value in a hundred differ from Pillow's by a level.
    """
    import torch

    try:
        for name in FILTERS.keys() - {"nearest"}:
            _interpolated(np.zeros((3, 3, 3), dtype=np.uint8), (2, 2), name)
    except (ValueError, RuntimeError):
        return f"Pillow {PIL.__version__}"
    return f"torch {torch.__version__.partition('+')[0]}"


def resized(
    image: Image.Image | np.ndarray, size_px: tuple[int, int], name: str
) -> Image.Image | np.ndarray:
    """Return an image, or its pixels, at another size.

    Args:
        image: RGB, or 8-bit of shape (height, width, 3).
        size_px: Width and height.
        name: One of `FILTERS`.
    """
    pillow_filter = filter_of(name)
    # Not torch's nearest-exact: its 32-bit coordinates take the wrong one of two pixels where
    # the right one hangs by a tie, in 1 column of 63 between 1280 and 252 px.
    if name == "nearest" or not resampler().startswith("torch"):
        return as_image(image).resize(size_px, pillow_filter)
    return _interpolated(_as_array(image), size_px, name)


def as_image(image: Image.Image | np.ndarray) -> Image.Image:
    """Return an image that may be given as its pixels."""
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def _as_array(image: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return np.require(image, np.uint8, ["C", "W"])
    width, height = image.size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    n_rows = max(1, STRIP_BYTES // pixels[0].nbytes)
    for top in range(0, height, n_rows):
        bottom = min(height, top + n_rows)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _interpolated(pixels: np.ndarray, size_px: tuple[int, int], name: str) -> np.ndarray:
    import torch  # takes seconds, and whoever only plans sizes does without

    # The batch axis first: added after the permutation its stride hides that channels are last,
    # and torch then goes the way of separate planes, three times slower.
    channels_last = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    made = torch.nn.functional.interpolate(
        channels_last, size=size_px[::-1], mode=name, antialias=True
    )
    array: np.ndarray = made[0].permute(1, 2, 0).numpy()
    return array


def filter_of(name: str) -> Image.Resampling:
    """Return Pillow's filter by name.

    Raises:
        ValueError: If there is none, with those there are.
    """
    if name not in FILTERS:
        raise ValueError(f"unknown filter {name!r}; known filters are {', '.join(FILTERS)}")
    return FILTERS[name]
