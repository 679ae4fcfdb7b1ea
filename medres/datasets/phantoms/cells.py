"""Fluorescent cells: a protein's organelle is told by the grain of its pattern alone."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics
from medres.datasets.phantoms.optics import Asked, Drawing, Floats

ORGANELLES = (
    "nucleoplasm",
    "nucleoli",
    "membrane",
    "cytosol",
    "reticulum",
    "mitochondria",
    "microtubules",
    "vesicles",
)
IMAGES_PER_WELL = 2
CELL_IMAGE_PX = 168
CELL_PHOTONS = 220.0
"""Photons of a pixel at full scale (255) of the microscope's camera."""
GOLDEN = (math.sqrt(5) - 1) / 2


def draw_well(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the fields of one well: one stained protein, one microscope setting."""
    organelle = ORGANELLES[index % len(ORGANELLES)]
    radius_px = rng.uniform(50, 62)
    blur_px = rng.uniform(0.6, 0.8)
    stain = rng.uniform(0.7, 1.3, size=3)
    background = rng.uniform(0.005, 0.03, size=3)
    for _ in range(IMAGES_PER_WELL):
        channels = _cell(organelle, radius_px * rng.uniform(0.9, 1.1), rng)
        light = ndimage.gaussian_filter(channels, sigma=(0, blur_px, blur_px), truncate=3)
        light = light * stain[:, None, None] + background[:, None, None]
        counts = rng.poisson(light * CELL_PHOTONS) + rng.standard_normal(
            light.shape, dtype=np.float32
        )
        pixels = np.clip(counts * (255 / CELL_PHOTONS), 0, 255).astype(np.uint8)
        question = "which organelle does the green protein label?"
        yield Drawing(
            np.ascontiguousarray(pixels.transpose(1, 2, 0)),
            "fluorescence microscopy",
            (Asked(question, organelle, ORGANELLES),),
        )


def share_out(index: int, weights: Mapping[str, float]) -> str:
    """Return the class of the group with this number.

    Steps of the golden ratio fill an interval evenly, so that any stretch of groups has its
    classes in proportion to their weights.
    """
    edges = np.cumsum(list(weights.values()))
    place = (0.5 + index * GOLDEN) % 1 * edges[-1]
    return list(weights)[int(np.searchsorted(edges, place, side="right"))]


def _cell(organelle: str, radius_px: float, rng: np.random.Generator) -> Floats:
    """Return cytoskeleton, protein and nucleus of one cell, shape (3, height, width)."""
    centre = CELL_IMAGE_PX / 2 + rng.normal(0, 6, size=2)
    cell_px = _depth(centre, radius_px, rng)
    nucleus_centre = centre + rng.normal(0, 0.12 * radius_px, size=2)
    nucleus_px = _depth(nucleus_centre, radius_px * rng.uniform(0.42, 0.5), rng)
    nucleus = optics.inside(nucleus_px)
    cytoplasm = optics.inside(cell_px) * (1 - nucleus)
    # All textures share this profile, so that only their grain tells them apart.
    profile = cytoplasm * np.exp(nucleus_px / (0.5 * radius_px))
    if organelle == "nucleoplasm":
        protein = nucleus
    elif organelle == "nucleoli":
        protein = _nucleoli(nucleus_px, rng) * nucleus
    elif organelle == "membrane":
        protein = np.exp(-((cell_px / 1.5) ** 2))
    elif organelle == "cytosol":
        protein = profile
    elif organelle == "reticulum":
        grain = ndimage.gaussian_filter(
            rng.standard_normal(cell_px.shape, dtype=np.float32), sigma=2.0, truncate=3
        )
        protein = np.exp(-((grain / (0.35 * grain.std())) ** 2)) * profile
    else:
        protein = _emitters(organelle, profile, nucleus_centre, radius_px, rng) * cytoplasm
    pool = 0.15 * profile / profile.sum()
    energy = 600.0 * rng.uniform(0.85, 1.15)
    green = energy * (0.85 * protein / protein.sum() + pool)
    filaments = _emitters("microtubules", profile, nucleus_centre, radius_px, rng) * cytoplasm
    red = 0.05 * cytoplasm + 400.0 * filaments / filaments.sum()
    blue = nucleus * rng.uniform(0.3, 0.5)
    return np.stack([red, green, blue]).astype(np.float32)


def _nucleoli(nucleus_px: Floats, rng: np.random.Generator) -> Floats:
    """Return four to six round bodies inside a nucleus."""
    starts = optics.sample(optics.inside(nucleus_px - 6), int(rng.integers(4, 7)), rng)
    rows, columns = np.indices(nucleus_px.shape, dtype=np.float32)
    bodies = np.zeros_like(nucleus_px)
    for row, column in starts:
        distance_px = np.hypot(rows - row, columns - column)
        bodies = np.maximum(bodies, optics.inside(rng.uniform(4.5, 6.5) - distance_px))
    return bodies


def _emitters(
    organelle: str,
    profile: Floats,
    nucleus_centre: Floats,
    radius_px: float,
    rng: np.random.Generator,
) -> Floats:
    """Return mitochondria, microtubules or vesicles as a density of point emitters."""
    if organelle == "microtubules":
        n_filaments = 44
        angles = rng.uniform(0, 2 * np.pi, n_filaments)
        rim = 0.4 * radius_px * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        n_steps = int(2 * radius_px)
        points = optics.walk(nucleus_centre + rim, angles, n_steps, bend=0.04, rng=rng)
    elif organelle == "mitochondria":
        n_mitochondria = 120
        starts = optics.sample(profile, n_mitochondria, rng)
        angles = rng.uniform(0, 2 * np.pi, n_mitochondria)
        points = optics.walk(starts, angles, 14, bend=0.2, rng=rng)
        points = np.concatenate([points + rng.normal(0, 0.7, points.shape) for _ in range(2)])
    else:
        n_vesicles = 300
        starts = optics.sample(profile, n_vesicles, rng)
        size_px = rng.uniform(0.5, 0.9, (n_vesicles, 1))
        points = np.concatenate(
            [starts + size_px * rng.standard_normal(starts.shape) for _ in range(14)]
        )
    return optics.splat(points, profile.shape)


def _depth(centre: Floats, radius_px: float, rng: np.random.Generator) -> Floats:
    """Return how many pixels inside (positive) a wavy ellipse each pixel lies."""
    side = np.arange(CELL_IMAGE_PX)
    offset = (side[:, None] - centre[0]) * 1j + (side[None, :] - centre[1])
    offset = offset.astype(np.complex64)
    distance_px = np.abs(offset)
    direction = offset / np.maximum(distance_px, 1e-3)
    # The k-th power of the direction turns k times around the cell: waves of the outline.
    two, three, four = (
        np.complex64(rng.uniform(0, 0.14 / wave) * np.exp(1j * rng.uniform(0, 2 * np.pi)))
        for wave in (2, 3, 4)
    )
    waves = direction**2 * (two + direction * (three + direction * four))
    return np.asarray(radius_px * (1 + waves.real) - distance_px, dtype=np.float32)
