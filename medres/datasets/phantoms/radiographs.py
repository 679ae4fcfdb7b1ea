"""Chest radiographs: findings of coarse and of fine scale, at equal exposure."""

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics
from medres.datasets.phantoms.optics import Asked, Drawing, Floats, Pixels

FINDINGS = {
    "heart": "is the heart enlarged?",
    "fluid": "is there fluid at a lung base?",
    "nodules": "are there small round nodules in the lungs?",
    "miliary": "are there fine miliary dots in the lungs?",
}
IMAGES_PER_PATIENT = 2
XRAY_PHOTONS = 2000.0
"""Photons of an unattenuated pixel of the radiograph."""


def draw_patient(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the radiographs of one patient: same anatomy and size, findings that come and go."""
    area_px = rng.uniform(24_000, 46_000)
    aspect = rng.uniform(0.75, 1.35)
    shape = (round(math.sqrt(area_px / aspect)), round(math.sqrt(area_px * aspect)))
    anatomy_rng, *visit_rngs = rng.spawn(1 + IMAGES_PER_PATIENT)
    anatomy_state = anatomy_rng.bit_generator.state
    for visit_rng in visit_rngs:
        anatomy_rng.bit_generator.state = anatomy_state
        findings = {finding: bool(visit_rng.integers(2)) for finding in FINDINGS}
        attenuation = thorax(shape, findings, anatomy_rng, visit_rng)
        asked = tuple(
            Asked(FINDINGS[key], "yes" if found else "no", ("yes", "no"))
            for key, found in findings.items()
        )
        yield Drawing(expose(attenuation, visit_rng), "radiograph", asked)


def thorax(
    shape: tuple[int, int],
    findings: dict[str, bool],
    anatomy_rng: np.random.Generator,
    visit_rng: np.random.Generator,
    *,
    fluid_side: int = 0,
) -> Floats:
    """Return the attenuation of a chest, with the findings that are present.

    Args:
        shape: Height and width.
        findings: Whether each of `FINDINGS` is present.
        anatomy_rng: Of what a patient keeps.
        visit_rng: Of what changes.
        fluid_side: -1 for the left of the image, 1 for its right, 0 to draw it.
    """
    height, width = shape
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lung_u, lung_width = anatomy_rng.uniform(0.4, 0.48), anatomy_rng.uniform(0.3, 0.36)
    lung_height = anatomy_rng.uniform(0.68, 0.8)
    lungs = np.zeros(shape, dtype=np.float32)
    for side in (-1, 1):
        # The outline narrows upwards, as lungs do.
        across = (u - side * lung_u) / (lung_width * (1 + 0.25 * v))
        lungs += optics.edge(1 - np.hypot(across, (v + 0.05) / lung_height), 0.05)
    lungs = np.minimum(lungs, 1)
    body = 1.1 - 0.35 * u**2 + 0.15 * anatomy_rng.normal() * u + 0.1 * anatomy_rng.normal() * v
    inspiration = visit_rng.uniform(0.55, 0.9)
    chest = body - inspiration * lungs + 0.35 * np.exp(-((u / 0.12) ** 2))

    spacing, phase = anatomy_rng.uniform(0.22, 0.3), anatomy_rng.uniform(0, 1)
    ribs = np.cos(2 * np.pi * ((v + 0.35 * u**2) / spacing + phase))
    chest = chest + 0.09 * optics.edge(ribs - 0.45, 0.2) * (np.abs(u) > 0.1)

    half_width = visit_rng.uniform(0.52, 0.62) if findings["heart"] else visit_rng.uniform(0.3, 0.4)
    heart_u, heart_v = anatomy_rng.uniform(0.02, 0.12), anatomy_rng.uniform(0.25, 0.35)
    heart = optics.edge(1 - np.hypot((u - heart_u) / half_width, (v - heart_v) / 0.36), 0.06)
    chest = chest + 0.6 * heart * lungs

    hilum = np.array([0.45 * height, 0.5 * width])
    angles = anatomy_rng.uniform(0, 2 * np.pi, 24)
    vessels = optics.walk(np.tile(hilum, (24, 1)), angles, width // 2, bend=0.06, rng=anatomy_rng)
    chest = chest + 0.06 * ndimage.gaussian_filter(optics.splat(vessels, shape), 1.2) * lungs

    if findings["fluid"]:
        side = fluid_side or visit_rng.choice([-1, 1])
        level = visit_rng.uniform(0.1, 0.36)
        surface = level - 0.5 * np.clip(side * u - lung_u, 0, None)
        chest = chest + 0.6 * optics.edge(v - surface, 0.05) * (side * u > 0) * lungs
    clear = lungs * (1 - heart)
    if findings["nodules"]:
        rows, columns = np.indices(shape, dtype=np.float32)
        n_nodules = int(visit_rng.integers(10, 16))
        for row, column in optics.sample(optics.edge(clear - 0.9, 0.02), n_nodules, visit_rng):
            depth = (
                1 - ((rows - row) ** 2 + (columns - column) ** 2) / visit_rng.uniform(2.5, 4) ** 2
            )
            chest = chest + 1.0 * np.sqrt(np.clip(depth, 0, None))
    # The same attenuation as dots or spread evenly, as haze: only the texture tells.
    dots = optics.sample(clear, round(clear.sum() / visit_rng.uniform(40, 60)), visit_rng)
    dots = np.concatenate([dots + visit_rng.normal(0, 0.5, dots.shape) for _ in range(8)])
    haze = clear * (len(dots) / clear.sum())
    chest = chest + 0.7 * (optics.splat(dots, shape) if findings["miliary"] else haze)
    return np.asarray(chest, dtype=np.float32)


def expose(attenuation: Floats, rng: np.random.Generator, *, contrast: float = 1.0) -> Pixels:
    """Return the radiograph: scatter, blur, photon noise, automatic exposure.

    Args:
        attenuation: Of the chest.
        rng: Draws focus, photons and exposure.
        contrast: How steep the film is.
    """
    beam = np.exp(-attenuation)
    scatter = ndimage.uniform_filter(beam, size=min(beam.shape) // 4)
    beam = ndimage.gaussian_filter(beam, sigma=rng.uniform(0.5, 0.7), truncate=3) + 0.3 * scatter
    counts = rng.poisson(beam * XRAY_PHOTONS)
    film = -np.log((counts + 1) / XRAY_PHOTONS)
    film = (film - film.mean()) * (contrast * rng.uniform(80, 100)) + rng.uniform(38, 50)
    return np.asarray(np.clip(film, 0, 255), dtype=np.uint8)
