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


def bright_field(density: Floats, rng: np.random.Generator) -> Pixels:
    """Return the photograph of stained tissue: absorption, blur, photon noise, exposure.

    Args:
        density: Decadic optical density of red, green and blue, shape (height, width, 3).
        rng: Draws the focus and the photons.
    """
    blur_px = rng.uniform(0.45, 0.6)
    light = ndimage.gaussian_filter(10**-density, sigma=(blur_px, blur_px, 0), truncate=3)
    counts = rng.poisson(light * LAMP_PHOTONS)
    return np.asarray(np.clip(counts * (GLASS_GREY / LAMP_PHOTONS), 0, 255), dtype=np.uint8)


def balance(blue: Floats, pink: Floats, *, red_light: float, green_light: float) -> Floats:
    """Return the density of two stains, each so strong that the light passed is as wanted.

    Compact nuclei take away less light than the same stain spread out: with equal light
    instead of equal stain, the mean colour does not tell what was found.

    Args:
        blue: Density of the stain that decides the red light, shape (height, width, 3).
        pink: Density of the stain that then decides the green light, same shape.
        red_light: Share of the lamp's red light that passes, on average.
        green_light: The same of green.
    """
    # Stains absorb alike all over, so that a ninth of the pixels is enough to go by.
    some_blue, some_pink = blue[::3, ::3], pink[::3, ::3]
    strengths = np.linspace(0.1, 5, 50, dtype=np.float32)
    blue_strength = pink_strength = 1.0
    for _ in range(3):
        for channel, wanted in ((0, red_light), (1, green_light)):
            first, second = some_blue[..., channel], some_pink[..., channel]
            if channel == 0:
                fixed, varied = pink_strength * second, first
            else:
                fixed, varied = blue_strength * first, second
            passed = (10 ** -(fixed + strengths[:, None, None] * varied)).mean((1, 2))
            strength = float(np.interp(wanted, passed[::-1], strengths[::-1]))
            if channel == 0:
                blue_strength = strength
            else:
                pink_strength = strength
    return np.asarray(blue_strength * blue + pink_strength * pink)


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
