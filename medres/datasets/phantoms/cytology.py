"""Twin of the cervical set: Pap-stained cells in the four classes of the Bethesda System.

Size of cells and nuclei is seen in a low image; chromatin, fine in healthy nuclei and coarse in
lesions, only in a native one. The lamp is dim, as for all stained phantoms (`stains.GLASS_GREY`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import cells, fields, optics, stains
from medres.datasets.phantoms.optics import Asked, Drawing, Floats, Pixels

IMAGES_PER_SMEAR = 1
SHAPE = (147, 196)
QUESTION = "which class of the Bethesda system is shown?"
N_IMAGES = {"NILM": 613, "LSIL": 163, "HSIL": 113, "SCC": 74}
"""Images of each class in the article on the real set."""
CLASSES = tuple(N_IMAGES)
_LIGHT_GREEN = np.array([0.80, 0.30, 0.20], dtype=np.float32)
"""Optical density (decadic) of red, green and blue of some cytoplasm; the rest takes eosin."""
_MEAN_GREY = 38.0


class Smear(NamedTuple):
    """Cells of one class."""

    n_cells: int
    radius_px: float
    nucleus_px: float
    pleomorphism: float
    """Deviation of the logarithm of a nucleus's radius."""
    clumping: float
    """Contrast of the chromatin."""
    clump_px: float
    stain: float
    """Density of the nuclei in haematoxylin."""


SMEARS = {
    "NILM": Smear(7, 36, 5.0, 0.08, 0.15, 0.8, 1.0),
    "LSIL": Smear(6, 36, 11.0, 0.12, 0.6, 0.8, 1.3),
    "HSIL": Smear(14, 15, 9.5, 0.12, 0.9, 1.0, 1.7),
    "SCC": Smear(11, 18, 10.0, 0.4, 1.2, 2.0, 2.0),
}
_METAPLASTIC = Smear(14, 15, 8.0, 0.08, 0.15, 0.8, 1.1)
"""Healthy, but small cells with large nuclei: only their chromatin tells them from HSIL."""


def draw_smear(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the one field of a smear."""
    name = cells.share_out(index, N_IMAGES)
    smear = SMEARS[name]
    if name == "NILM" and rng.random() < 0.15:
        smear = _METAPLASTIC
    asked = Asked(QUESTION, name, CLASSES)
    yield Drawing(_expose(_density(smear, name == "SCC", rng), rng), "cytology", (asked,))


def _density(smear: Smear, is_dirty: bool, rng: np.random.Generator) -> Floats:
    """Return the optical density of a smear, shape (height, width, 3)."""
    n_cells = max(2, round(smear.n_cells * rng.uniform(0.6, 1.1)))
    scale = rng.uniform(0.93, 1.07)
    centres = fields.scatter(SHAPE, n_cells, 1.3 * smear.radius_px, rng)
    angles = rng.uniform(0, np.pi, len(centres))
    radii_px = scale * smear.radius_px * rng.uniform(0.85, 1.15, len(centres))
    waves = optics.lumps(SHAPE, 6.0, rng)
    depths = fields.outline(centres, radii_px, angles, 1.25, SHAPE) + 2.0 * waves
    # Squamous cells are thin sheets that show through each other.
    sheets = 0.22 * optics.inside(0.5 * depths)
    is_pink = rng.random(len(centres)) < rng.uniform(0.1, 0.6)
    # A fold of pattern in the cytoplasm, alike in all classes.
    folds = 1 + 0.15 * optics.lumps(SHAPE, 2.0, rng)
    density = (sheets[is_pink].sum(axis=0) * folds)[..., None] * stains.EOSIN
    density += (sheets[~is_pink].sum(axis=0) * folds)[..., None] * _LIGHT_GREEN

    nucleus_px = scale * smear.nucleus_px * np.exp(rng.normal(0, smear.pleomorphism, len(centres)))
    elongation = 1.1 + 2 * smear.pleomorphism
    nuclei = optics.inside(
        fields.outline(centres, nucleus_px, angles, elongation, SHAPE).max(axis=0)
        + (0.5 + 2 * smear.pleomorphism) * waves
    )
    chromatin = np.exp(smear.clumping * optics.lumps(SHAPE, smear.clump_px, rng))
    density += (smear.stain * nuclei * chromatin / chromatin.mean())[..., None] * stains.HEMATOXYLIN
    if is_dirty:
        debris = optics.splat(rng.uniform(0, 1, (500, 2)) * SHAPE, SHAPE)
        density += (1.2 * debris)[..., None] * stains.HEMATOXYLIN
    return np.asarray(density, dtype=np.float32)


def _expose(density: Floats, rng: np.random.Generator) -> Pixels:
    """Return the photograph: absorption, blur, photons, automatic exposure and white balance."""
    blur_px = rng.uniform(0.5, 0.65)
    light = ndimage.gaussian_filter(10**-density, sigma=(blur_px, blur_px, 0), truncate=3)
    counts = rng.poisson(light * stains.LAMP_PHOTONS)
    mean_grey = _MEAN_GREY * rng.uniform(0.9, 1.1) * rng.uniform(0.93, 1.07, 3)
    return np.asarray(np.clip(counts * (mean_grey / counts.mean(axis=(0, 1))), 0, 255), np.uint8)
