"""Fields of many fluorescent cells: where they lie, and the grain of what they are stained for."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics
from medres.datasets.phantoms.optics import Floats, Pixels

TEXTURES = ("radial", "mesh", "dots", "bundles", "curly", "cortex", "diffuse", "parallel")
"""Grains of a stained channel: alike in total light, told apart by detail of a few pixels."""
FULL_SCALE_PHOTONS = 260.0
"""Photons of a pixel at full scale (255) of the camera."""


class Field(NamedTuple):
    """Cells side by side; arrays are of the image's shape unless said otherwise."""

    centres: Floats
    """Row and column of each cell, shape (n_cells, 2)."""
    angles: Floats
    """Long axis of each cell in radians, shape (n_cells,)."""
    owner: np.ndarray
    """Number of the cell that each pixel lies deepest in."""
    depth_px: Floats
    """How many pixels inside that cell's outline (positive) a pixel lies."""
    cytoplasm: Floats
    """Share of each pixel that is cell but not nucleus."""
    nuclei: Floats
    """Share of each pixel that is nucleus."""


def scatter(
    shape: tuple[int, int], count: int, apart_px: float, rng: np.random.Generator
) -> Floats:
    """Return up to `count` places (row, column) at least `apart_px` from each other."""
    tried = rng.uniform(-0.02, 1.02, (14 * count, 2)) * shape
    free = np.ones(len(tried), dtype=bool)
    kept: list[int] = []
    while len(kept) < count and free.any():
        chosen = int(free.argmax())
        kept.append(chosen)
        free &= ((tried - tried[chosen]) ** 2).sum(axis=1) > apart_px**2
    places: Floats = tried[kept]
    return places


def outline(
    centres: Floats,
    radii_px: Floats,
    angles: Floats,
    elongation: float,
    shape: tuple[int, int],
) -> Floats:
    """Return how deep each pixel lies in each ellipse, shape (n_ellipses, height, width)."""
    rows = np.arange(shape[0], dtype=np.float32)[None, :, None] - _each(centres[:, 0])
    columns = np.arange(shape[1], dtype=np.float32)[None, None, :] - _each(centres[:, 1])
    sine, cosine, stretch = _each(np.sin(angles)), _each(np.cos(angles)), np.sqrt(elongation)
    along = (cosine * columns + sine * rows) * np.float32(1 / stretch)
    across = (cosine * rows - sine * columns) * np.float32(stretch)
    along *= along
    across *= across
    along += across
    np.sqrt(along, out=along)
    return np.asarray(_each(radii_px) - along)


def _each(values: Floats) -> Floats:
    return np.asarray(values, dtype=np.float32)[:, None, None]


def lay_out(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    n_cells: int,
    radius_px: float,
    elongation: float,
    nucleus_share: float,
    n_nuclei: int = 1,
    apart: float = 1.5,
    n_arms: int = 0,
    rough_px: float = 1.5,
) -> Field:
    """Return a field of like cells.

    Args:
        shape: Height and width in pixels.
        rng: Draws places, sizes and outlines.
        n_cells: At most so many.
        radius_px: Mean over the directions of the cell.
        elongation: Length over width.
        nucleus_share: Radius of the nucleus, or of all nuclei of a cell put together, over
            that of the cell.
        n_nuclei: Nuclei of a cell.
        apart: Least distance of cells in radii.
        n_arms: Thin processes of a cell.
        rough_px: Deviation of the outline.
    """
    centres = scatter(shape, n_cells, apart * radius_px, rng)
    angles = rng.uniform(0, np.pi) + rng.normal(0, 0.5, len(centres))
    radii_px = radius_px * rng.uniform(0.88, 1.12, len(centres))
    waves = rough_px * optics.lumps(shape, 6, rng)
    depths = outline(centres, radii_px, angles, elongation, shape)
    owner = depths.argmax(axis=0)
    depth_px = depths.max(axis=0) + waves
    if n_arms:
        # Arms bend away from the body; a pixel of one is as deep as its distance to the rim.
        turns = rng.uniform(0, 2 * np.pi, len(centres) * n_arms)
        paths = optics.walk(
            np.repeat(centres, n_arms, axis=0), turns, round(4.2 * radius_px), bend=0.08, rng=rng
        )
        arms = ndimage.gaussian_filter(optics.splat(paths, shape), 1.5, truncate=3)
        depth_px = np.maximum(depth_px, 12 * arms - 1.2)
    spread = 0.0 if n_nuclei == 1 else 0.42 * radius_px
    places = np.repeat(centres, n_nuclei, axis=0)
    places = places + rng.normal(0, 0.08 * radius_px + spread, places.shape)
    nucleus_px = np.repeat(radii_px, n_nuclei) * nucleus_share / np.sqrt(n_nuclei)
    stretch = min(elongation, 1.5)
    nuclei = optics.inside(
        outline(places, nucleus_px, np.repeat(angles, n_nuclei), stretch, shape).max(axis=0)
        + 0.4 * waves
    )
    cytoplasm = optics.inside(depth_px) * (1 - nuclei)
    return Field(centres, angles, owner, depth_px, cytoplasm, nuclei)


def stain(field: Field, texture: str, rng: np.random.Generator) -> Floats:
    """Return a stain of the cytoplasm of one grain, as a density that adds up to one."""
    body = field.cytoplasm
    shape = body.shape
    area_px = float(body.sum())
    if texture == "diffuse":
        grain = body
    elif texture == "cortex":
        grain = border(field) * body
    elif texture == "mesh":
        grain = np.exp(-((optics.lumps(shape, 1.7, rng) / 0.3) ** 2)) * body
    elif texture == "dots":
        starts = optics.sample(body, round(area_px / 26), rng)
        grain = optics.splat(
            np.concatenate([starts + rng.normal(0, 0.7, starts.shape) for _ in range(8)]), shape
        )
    elif texture == "curly":
        starts = optics.sample(body, round(area_px / 90), rng)
        turns = rng.uniform(0, 2 * np.pi, len(starts))
        grain = optics.splat(optics.walk(starts, turns, 36, bend=0.4, rng=rng), shape)
    elif texture == "bundles":
        starts = optics.sample(body, round(area_px / 260), rng)
        turns = rng.uniform(0, 2 * np.pi, len(starts))
        core = optics.walk(starts, turns, 30, bend=0.05, rng=rng)
        grain = optics.splat(
            np.concatenate([core + rng.normal(0, 0.9, core.shape) for _ in range(4)]), shape
        )
    else:
        starts = optics.sample(body, round(area_px / 60), rng)
        inner = np.clip(np.round(starts).astype(np.int64), 0, np.array(shape) - 1)
        cell = field.owner[inner[:, 0], inner[:, 1]]
        if texture == "radial":
            outward = starts - field.centres[cell]
            turns = np.arctan2(outward[:, 0], outward[:, 1])
        else:
            turns = field.angles[cell]
        turns = turns + rng.normal(0, 0.08, len(starts))
        grain = optics.splat(optics.walk(starts, turns, 26, bend=0.03, rng=rng), shape)
    grain = grain * body
    return np.asarray(0.9 * grain / grain.sum() + 0.1 * body / area_px)


def border(field: Field) -> Floats:
    """Return the rims of the cells, also where two touch."""
    seams = np.zeros_like(field.depth_px)
    seams[:-1] += field.owner[:-1] != field.owner[1:]
    seams[:, :-1] += field.owner[:, :-1] != field.owner[:, 1:]
    rims = np.exp(-(((field.depth_px - 1.0) / 1.2) ** 2))
    return np.asarray(np.maximum(np.minimum(seams, 1), rims))


def photograph(
    red: Floats, green: Floats, blue: Floats, mean_grey: Floats, rng: np.random.Generator
) -> Pixels:
    """Return the picture of three stains: blur, camera offset, photon and read noise.

    The exposure of each channel is set so that its mean is the same whatever is shown.

    Args:
        red: Density of emitters, shape (height, width), any total.
        green: The same of the second channel.
        blue: The same of the third.
        mean_grey: Wanted means of the three channels, of 255.
        rng: Draws focus and photons.
    """
    light = np.stack([red, green, blue]).astype(np.float32)
    blur_px = rng.uniform(0.55, 0.75)
    light = ndimage.gaussian_filter(light, sigma=(0, blur_px, blur_px), truncate=3)
    wanted = np.asarray(mean_grey, dtype=np.float32) * (FULL_SCALE_PHOTONS / 255)
    light *= (wanted / light.mean(axis=(1, 2)))[:, None, None]
    light += rng.uniform(1.0, 3.0)
    counts = rng.poisson(light) + rng.standard_normal(light.shape, dtype=np.float32)
    pixels = np.clip(counts * (255 / FULL_SCALE_PHOTONS), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
