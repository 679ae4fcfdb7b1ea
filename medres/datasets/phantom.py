"""Two drawn data sets whose answers lie at known scales: the demo study's images.

Every structure is a density of emitters (or of attenuation) on the pixel grid, blurred by
the optics, then counted in photons. Nothing in an image tells its answer by brightness:
the energy of a protein pattern and the exposure of a radiograph are set after drawing.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy import ndimage

PHANTOMS = ("phantom-subcellular", "phantom-radiology")
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
FINDINGS = {
    "heart": "is the heart enlarged?",
    "fluid": "is there fluid at a lung base?",
    "nodules": "are there small round nodules in the lungs?",
    "miliary": "are there fine miliary dots in the lungs?",
}
IMAGES_PER_GROUP = 2
CELL_IMAGE_PX = 168
CELL_PHOTONS = 220.0
"""Photons of a pixel at full scale (255) of the microscope's camera."""
XRAY_PHOTONS = 2000.0
"""Photons of an unattenuated pixel of the radiograph."""

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]


def draw(
    name: str, folder: Path, *, n_train_images: int, n_test_images: int, seed: int
) -> pd.DataFrame:
    """Draw a phantom data set as PNG files and return its question table.

    Each group (a well or a patient) has its own generator, so asking for more images
    leaves the earlier ones as they were.

    Args:
        name: One of `PHANTOMS`.
        folder: Where `images/` is made; paths in the table are relative to it.
        n_train_images: Images of the train split.
        n_test_images: Images of the test split; its groups are never in train.
        seed: Not negative; the same arguments give the same bytes.

    Returns:
        One row per question: question_id, dataset, image, question, reference, options,
        modality, split, group.

    Raises:
        ValueError: If the name is unknown or a count is not positive.
    """
    if name not in PHANTOMS:
        raise ValueError(f"unknown phantom {name!r}; known phantoms are {', '.join(PHANTOMS)}")
    n_images = {"train": n_train_images, "test": n_test_images}
    for split, count in n_images.items():
        if count < 1:
            raise ValueError(f"n_{split}_images is {count}; draw at least one image a split")
    is_cell = name == "phantom-subcellular"
    draw_group: Callable[[int, np.random.Generator], Iterator[_Drawing]]
    draw_group = _draw_well if is_cell else _draw_patient
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    split_rngs = np.random.default_rng([seed, PHANTOMS.index(name)]).spawn(len(n_images))
    for (split, count), split_rng in zip(n_images.items(), split_rngs, strict=True):
        for index, rng in enumerate(split_rng.spawn(math.ceil(count / IMAGES_PER_GROUP))):
            first = index * IMAGES_PER_GROUP
            for number, drawing in enumerate(draw_group(index, rng), start=first):
                if number >= count:
                    break
                image_id = f"{name}-{split}-{number:04d}"
                path = f"images/{image_id}.png"
                # Noise hardly compresses; level 1 is as small and four times faster.
                Image.fromarray(drawing.pixels).save(folder / path, compress_level=1)
                rows += [
                    {
                        "question_id": f"{image_id}-q{position}",
                        "dataset": name,
                        "image": path,
                        "question": question,
                        "reference": reference,
                        "options": list(ORGANELLES) if is_cell else ["yes", "no"],
                        "modality": "fluorescence microscopy" if is_cell else "radiograph",
                        "split": split,
                        "group": f"{name}-{split}-{'well' if is_cell else 'patient'}-{index:04d}",
                    }
                    for position, (question, reference) in enumerate(drawing.answers.items())
                ]
    return pd.DataFrame(rows)


class _Drawing(NamedTuple):
    pixels: Pixels
    answers: dict[str, str]


def _draw_well(index: int, rng: np.random.Generator) -> Iterator[_Drawing]:
    """Yield the fields of one well: one stained protein, one microscope setting."""
    organelle = ORGANELLES[index % len(ORGANELLES)]
    radius_px = rng.uniform(50, 62)
    blur_px = rng.uniform(0.6, 0.8)
    stain = rng.uniform(0.7, 1.3, size=3)
    background = rng.uniform(0.005, 0.03, size=3)
    for _ in range(IMAGES_PER_GROUP):
        channels = _cell(organelle, radius_px * rng.uniform(0.9, 1.1), rng)
        light = ndimage.gaussian_filter(channels, sigma=(0, blur_px, blur_px), truncate=3)
        light = light * stain[:, None, None] + background[:, None, None]
        counts = rng.poisson(light * CELL_PHOTONS) + rng.standard_normal(
            light.shape, dtype=np.float32
        )
        pixels = np.clip(counts * (255 / CELL_PHOTONS), 0, 255).astype(np.uint8)
        question = "which organelle does the green protein label?"
        yield _Drawing(np.ascontiguousarray(pixels.transpose(1, 2, 0)), {question: organelle})


def _cell(organelle: str, radius_px: float, rng: np.random.Generator) -> Floats:
    """Return cytoskeleton, protein and nucleus of one cell, shape (3, height, width)."""
    centre = CELL_IMAGE_PX / 2 + rng.normal(0, 6, size=2)
    cell_px = _depth(centre, radius_px, rng)
    nucleus_centre = centre + rng.normal(0, 0.12 * radius_px, size=2)
    nucleus_px = _depth(nucleus_centre, radius_px * rng.uniform(0.42, 0.5), rng)
    nucleus = _inside(nucleus_px)
    cytoplasm = _inside(cell_px) * (1 - nucleus)
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
    starts = _sample(_inside(nucleus_px - 6), int(rng.integers(4, 7)), rng)
    rows, columns = np.indices(nucleus_px.shape, dtype=np.float32)
    bodies = np.zeros_like(nucleus_px)
    for row, column in starts:
        distance_px = np.hypot(rows - row, columns - column)
        bodies = np.maximum(bodies, _inside(rng.uniform(4.5, 6.5) - distance_px))
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
        points = _walk(nucleus_centre + rim, angles, n_steps, bend=0.04, rng=rng)
    elif organelle == "mitochondria":
        n_mitochondria = 120
        starts = _sample(profile, n_mitochondria, rng)
        angles = rng.uniform(0, 2 * np.pi, n_mitochondria)
        points = _walk(starts, angles, 14, bend=0.2, rng=rng)
        points = np.concatenate([points + rng.normal(0, 0.7, points.shape) for _ in range(2)])
    else:
        n_vesicles = 300
        starts = _sample(profile, n_vesicles, rng)
        size_px = rng.uniform(0.5, 0.9, (n_vesicles, 1))
        points = np.concatenate(
            [starts + size_px * rng.standard_normal(starts.shape) for _ in range(14)]
        )
    return _splat(points, profile.shape)


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


def _inside(depth_px: Floats) -> Floats:
    """Return the share of each pixel inside an outline, from its depth in pixels."""
    return np.asarray(np.clip(depth_px + 0.5, 0, 1))


def _sample(weights: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` positions (row, column) drawn in proportion to the weights."""
    total = np.cumsum(weights.ravel(), dtype=np.float64)
    flat = np.searchsorted(total, rng.uniform(0, total[-1], count), side="right")
    rows, columns = np.unravel_index(flat, weights.shape)
    points: Floats = np.stack([rows, columns], axis=1) + rng.uniform(-0.5, 0.5, (count, 2))
    return points


def _walk(
    starts: Floats,
    angles: Floats,
    n_steps: int,
    *,
    bend: float,
    rng: np.random.Generator,
) -> Floats:
    """Return points along curves that turn by `bend` radians (one deviation) a 0.7 px step."""
    turns = angles[:, None] + np.cumsum(rng.normal(0, bend, (len(angles), n_steps)), axis=1)
    steps = 0.7 * np.stack([np.sin(turns), np.cos(turns)], axis=2)
    points: Floats = starts[:, None] + np.cumsum(steps, axis=1)
    return points.reshape(-1, 2)


def _splat(points: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the density of point emitters, each shared by its four nearest pixels."""
    height, width = shape
    corner = np.floor(points).astype(np.int64)
    share = points - corner
    density = np.zeros(height * width)
    for down in (0, 1):
        for right in (0, 1):
            row, column = corner[:, 0] + down, corner[:, 1] + right
            weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
            kept = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            density += np.bincount(
                (row * width + column)[kept], weight[kept], minlength=height * width
            )
    return density.reshape(height, width).astype(np.float32)


def _draw_patient(index: int, rng: np.random.Generator) -> Iterator[_Drawing]:
    """Yield the radiographs of one patient: same anatomy and size, findings that come and go."""
    area_px = rng.uniform(24_000, 46_000)
    aspect = rng.uniform(0.75, 1.35)
    shape = (round(math.sqrt(area_px / aspect)), round(math.sqrt(area_px * aspect)))
    anatomy_rng, *visit_rngs = rng.spawn(1 + IMAGES_PER_GROUP)
    anatomy_state = anatomy_rng.bit_generator.state
    for visit_rng in visit_rngs:
        anatomy_rng.bit_generator.state = anatomy_state
        findings = {finding: bool(visit_rng.integers(2)) for finding in FINDINGS}
        attenuation = _thorax(shape, findings, anatomy_rng, visit_rng)
        answers = {FINDINGS[key]: "yes" if found else "no" for key, found in findings.items()}
        yield _Drawing(_expose(attenuation, visit_rng), answers)


def _thorax(
    shape: tuple[int, int],
    findings: dict[str, bool],
    anatomy_rng: np.random.Generator,
    visit_rng: np.random.Generator,
) -> Floats:
    """Return the attenuation of a chest, with the findings that are present."""
    height, width = shape
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lung_u, lung_width = anatomy_rng.uniform(0.4, 0.48), anatomy_rng.uniform(0.3, 0.36)
    lung_height = anatomy_rng.uniform(0.68, 0.8)
    lungs = np.zeros(shape, dtype=np.float32)
    for side in (-1, 1):
        # The outline narrows upwards, as lungs do.
        across = (u - side * lung_u) / (lung_width * (1 + 0.25 * v))
        lungs += _edge(1 - np.hypot(across, (v + 0.05) / lung_height), 0.05)
    lungs = np.minimum(lungs, 1)
    body = 1.1 - 0.35 * u**2 + 0.15 * anatomy_rng.normal() * u + 0.1 * anatomy_rng.normal() * v
    inspiration = visit_rng.uniform(0.55, 0.9)
    chest = body - inspiration * lungs + 0.35 * np.exp(-((u / 0.12) ** 2))

    spacing, phase = anatomy_rng.uniform(0.22, 0.3), anatomy_rng.uniform(0, 1)
    ribs = np.cos(2 * np.pi * ((v + 0.35 * u**2) / spacing + phase))
    chest = chest + 0.09 * _edge(ribs - 0.45, 0.2) * (np.abs(u) > 0.1)

    half_width = visit_rng.uniform(0.52, 0.62) if findings["heart"] else visit_rng.uniform(0.3, 0.4)
    heart_u, heart_v = anatomy_rng.uniform(0.02, 0.12), anatomy_rng.uniform(0.25, 0.35)
    heart = _edge(1 - np.hypot((u - heart_u) / half_width, (v - heart_v) / 0.36), 0.06)
    chest = chest + 0.6 * heart * lungs

    hilum = np.array([0.45 * height, 0.5 * width])
    angles = anatomy_rng.uniform(0, 2 * np.pi, 24)
    vessels = _walk(np.tile(hilum, (24, 1)), angles, width // 2, bend=0.06, rng=anatomy_rng)
    chest = chest + 0.06 * ndimage.gaussian_filter(_splat(vessels, shape), 1.2) * lungs

    if findings["fluid"]:
        side, level = visit_rng.choice([-1, 1]), visit_rng.uniform(0.1, 0.36)
        surface = level - 0.5 * np.clip(side * u - lung_u, 0, None)
        chest = chest + 0.6 * _edge(v - surface, 0.05) * (side * u > 0) * lungs
    clear = lungs * (1 - heart)
    if findings["nodules"]:
        rows, columns = np.indices(shape, dtype=np.float32)
        n_nodules = int(visit_rng.integers(10, 16))
        for row, column in _sample(_edge(clear - 0.9, 0.02), n_nodules, visit_rng):
            depth = (
                1 - ((rows - row) ** 2 + (columns - column) ** 2) / visit_rng.uniform(2.5, 4) ** 2
            )
            chest = chest + 1.0 * np.sqrt(np.clip(depth, 0, None))
    # The same attenuation as dots or spread evenly, as haze: only the texture tells.
    dots = _sample(clear, round(clear.sum() / visit_rng.uniform(40, 60)), visit_rng)
    dots = np.concatenate([dots + visit_rng.normal(0, 0.5, dots.shape) for _ in range(8)])
    haze = clear * (len(dots) / clear.sum())
    chest = chest + 0.7 * (_splat(dots, shape) if findings["miliary"] else haze)
    return np.asarray(chest, dtype=np.float32)


def _edge(signed: Floats, softness: float) -> Floats:
    """Return a smooth step from 0 to 1 where `signed` crosses zero."""
    return np.asarray(0.5 + 0.5 * np.tanh(signed / softness), dtype=np.float32)


def _expose(attenuation: Floats, rng: np.random.Generator) -> Pixels:
    """Return the radiograph: scatter, blur, photon noise, automatic exposure."""
    beam = np.exp(-attenuation)
    scatter = ndimage.uniform_filter(beam, size=min(beam.shape) // 4)
    beam = ndimage.gaussian_filter(beam, sigma=rng.uniform(0.5, 0.7), truncate=3) + 0.3 * scatter
    counts = rng.poisson(beam * XRAY_PHOTONS)
    film = -np.log((counts + 1) / XRAY_PHOTONS)
    film = (film - film.mean()) * rng.uniform(80, 100) + rng.uniform(38, 50)
    return np.asarray(np.clip(film, 0, 255), dtype=np.uint8)
