"""Stained tissue in transmitted light: amounts of stain in, the camera's colours out."""

import numpy as np
from PIL import Image
from scipy import ndimage

from medres.datasets.phantoms.optics import Floats, Pixels

# Optical density (decadic) of red, green and blue for a unit of stain (Ruifrok and Johnston 2001).
HEMATOXYLIN = np.array([0.650, 0.704, 0.286], dtype=np.float32)
EOSIN = np.array([0.072, 0.990, 0.105], dtype=np.float32)
LAMP_PHOTONS = 900.0
"""Photons of a pixel of empty glass."""
GLASS_GREY = 70.0
"""Empty glass under a dim lamp: the tiny model, made for dark images, then sees glass, tissue
and nuclei as far from its mean as Qwen2-VL sees those of a bright scan. See LOG.md."""


def bright_field(
    hematoxylin: Floats,
    eosin: Floats,
    rng: np.random.Generator,
    *,
    other: Floats | float = 0.0,
) -> Pixels:
    """Return the photograph of stained tissue: absorption, blur, photon noise, exposure.

    Args:
        hematoxylin: Amount of the blue stain of nuclei, shape (height, width).
        eosin: Amount of the pink stain of everything else, same shape.
        rng: Draws the strength of the stains, the focus and the photons.
        other: Optical density of what is neither (ink, blood), shape (height, width, 3).
    """
    blue, pink = rng.uniform(0.85, 1.15, size=2).astype(np.float32)
    density = (
        (blue * hematoxylin)[..., None] * HEMATOXYLIN + (pink * eosin)[..., None] * EOSIN + other
    )
    blur_px = rng.uniform(0.45, 0.6)
    light = ndimage.gaussian_filter(10**-density, sigma=(blur_px, blur_px, 0), truncate=3)
    counts = rng.poisson(light * LAMP_PHOTONS)
    return np.asarray(np.clip(counts * (GLASS_GREY / LAMP_PHOTONS), 0, 255), dtype=np.uint8)


def clouds(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise of mean 0 and deviation 1 whose lumps are some `scale_px` wide."""
    height, width = shape
    coarse = rng.standard_normal(
        (max(3, round(height / scale_px) + 2), max(3, round(width / scale_px) + 2)),
        dtype=np.float32,
    )
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def tiles(
    shape: tuple[int, int], spacing_px: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return a tissue of round cells or glands side by side.

    Returns:
        Of each pixel its distance to the nearest centre, and that centre's number, both of
        `shape`; and the centres (row, column).
    """
    height, width = shape
    lines = np.arange(0, height + spacing_px, 0.87 * spacing_px)
    columns = np.arange(0, width + spacing_px, spacing_px)
    centres = np.stack(np.meshgrid(lines, columns, indexing="ij"), axis=-1)
    centres[1::2, :, 1] += spacing_px / 2
    centres = centres.reshape(-1, 2) + rng.normal(0, 0.12 * spacing_px, (centres.size // 2, 2))
    centres = np.round(centres).astype(np.int64)
    inside = (centres >= 0).all(axis=1) & (centres < (height, width)).all(axis=1)
    centres = np.unique(centres[inside], axis=0)
    numbers = np.zeros(shape, dtype=np.int64)
    numbers[centres[:, 0], centres[:, 1]] = np.arange(len(centres))
    empty = np.ones(shape, dtype=bool)
    empty[centres[:, 0], centres[:, 1]] = False
    distance_px, nearest = ndimage.distance_transform_edt(empty, return_indices=True)
    return distance_px.astype(np.float32), numbers[tuple(nearest)], centres
