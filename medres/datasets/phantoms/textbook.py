"""Figures of pathology textbooks: micrographs of stained tissue and photographs of organs.

Necrosis, haemorrhage and nodules are coarse; inflammation, enlarged nuclei and granules are
told by dots of one to three pixels.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics, stains
from medres.datasets.phantoms.optics import Asked, Drawing, Floats, Pixels

IMAGES_PER_FIGURE = 1
_LIGHT = {
    "colon": {"h&e": (0.74, 0.41), "trichrome": (0.58, 0.45)},
    "liver": {"h&e": (0.74, 0.41), "trichrome": (0.66, 0.43)},
    "lung": {"h&e": (0.74, 0.58), "trichrome": (0.58, 0.60)},
}
"""Share of the red and the green light that passes at most; lungs are mostly air."""
_YES_NO = ("yes", "no")
_MICROSCOPIC = {
    "necrosis": "is necrosis present?",
    "inflammation": "is inflammation present?",
    "atypia": "are the nuclei enlarged?",
}
_GROSS = {
    "haemorrhage": "is haemorrhage present?",
    "nodules": "are nodules present?",
    "granules": "is the surface granular?",
}
_GROSS_ORGANS = ("liver", "lung", "kidney")
_SIDES = {-1: "left", 1: "right"}
_COLOURS = {"liver": (0.40, 0.17, 0.10), "lung": (0.55, 0.33, 0.32), "kidney": (0.45, 0.20, 0.20)}
_PHOTONS = 1200.0
# Optical density of red, green and blue; scarlet's is what it adds to eosin's.
_ANILINE_BLUE = np.array([1.1, 0.5, 0.1], dtype=np.float32)
_SCARLET = np.array([0.0, 0.0, 0.6], dtype=np.float32)


def draw_figure(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield a figure: mostly micrographs, some photographs of whole organs."""
    shape = (int(rng.integers(84, 98)), int(rng.integers(140, 168)))
    is_gross = rng.random() < 0.35
    questions = _GROSS if is_gross else _MICROSCOPIC
    organ = str(rng.choice(_GROSS_ORGANS if is_gross else list(_LIGHT)))
    found = {finding: bool(rng.integers(2)) for finding in questions}
    side = int(rng.choice([-1, 1]))
    is_trichrome = rng.random() < 0.25
    asked = [
        Asked(questions[finding], "yes" if there else "no", _YES_NO)
        for finding, there in found.items()
    ]
    asked.append(Asked("what organ is shown?", organ))
    asked.append(Asked("what kind of image is this?", "gross" if is_gross else "microscopic"))
    if not is_gross:
        asked.append(Asked("what stain is used?", "trichrome" if is_trichrome else "h&e"))
    elif found["haemorrhage"]:
        asked.append(Asked("where is the haemorrhage?", _SIDES[side]))
    present = {finding for finding, there in found.items() if there}
    if is_gross:
        pixels = _photograph(shape, organ, present, side, rng)
    else:
        pixels = _micrograph(shape, organ, present, is_trichrome, rng)
    yield Drawing(pixels, "photograph" if is_gross else "histopathology", tuple(asked))


def _micrograph(
    shape: tuple[int, int],
    organ: str,
    present: set[str],
    is_trichrome: bool,
    rng: np.random.Generator,
) -> Pixels:
    nuclei, cytoplasm, stroma = _tissue(shape, organ, rng)
    if "necrosis" in present:
        height, width = shape
        rows, columns = np.indices(shape, dtype=np.float32)
        reach = np.hypot((columns - width / 2) / 1.5, rows - height / 2)
        dead = optics.edge(rng.uniform(27, 33) - reach + 4 * stains.clouds(shape, 10, rng), 2.0)
        nuclei = nuclei * (1 - dead)
        cytoplasm = cytoplasm * (1 - dead) + 1.6 * dead
        stroma = stroma * (1 - dead)
    sigma_px = 2.2 if "atypia" in present else 0.95
    blue = _dots(nuclei, round(0.035 * nuclei.size / sigma_px**2), sigma_px, rng)
    if "inflammation" in present:
        clumps = np.exp(stains.clouds(shape, 16, rng))
        blue = 0.4 * blue + 0.6 * _dots(clumps, 900, 0.55, rng)
    collagen, flesh = stains.EOSIN, stains.EOSIN
    if is_trichrome:
        collagen, flesh = _ANILINE_BLUE, stains.EOSIN + _SCARLET
    red, green = _LIGHT[organ]["trichrome" if is_trichrome else "h&e"]
    density = stains.balance(
        blue[..., None] * (0.3 * stains.HEMATOXYLIN),
        cytoplasm[..., None] * flesh + stroma[..., None] * collagen,
        red_light=red - rng.uniform(0, 0.08),
        green_light=green - rng.uniform(0, 0.08),
    )
    # Plates of many books, each with its own white balance.
    tint = rng.uniform(-0.04, 0.04, 3).astype(np.float32)
    return stains.bright_field(density + tint, rng)


def _dots(weights: Floats, count: int, sigma_px: float, rng: np.random.Generator) -> Floats:
    dots = optics.splat(optics.sample(weights + 1e-9, count, rng), weights.shape)
    dots = ndimage.gaussian_filter(dots, sigma_px, truncate=3)
    return np.asarray(dots / dots.mean())


def _tissue(
    shape: tuple[int, int], organ: str, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return where nuclei may lie, and the amounts of cytoplasm and of stroma."""
    fibres = 0.4 + 0.1 * stains.clouds(shape, 3, rng)
    if organ == "colon":
        distance_px, _, _ = stains.tiles(shape, 21, rng)
        gland = optics.inside(9 - distance_px)
        epithelium = gland * optics.inside(distance_px - 3.5)
        ring = np.exp(-(((distance_px - 7.5) / 1.0) ** 2))
        return ring + 0.06 * (1 - gland), 0.5 * epithelium, fibres * (1 - gland)
    if organ == "liver":
        distance_px, _, _ = stains.tiles(shape, 9, rng)
        gaps = np.exp(-((stains.clouds(shape, 9, rng) / 0.15) ** 2))
        nuclei = optics.inside(1.5 - distance_px) * (1 - gaps)
        tract = optics.edge(stains.clouds(shape, 25, rng) - 1.2, 0.15)
        plates = 0.65 * (1 - gaps) * optics.inside(4.6 - distance_px)
        return nuclei * (1 - tract), plates * (1 - tract), fibres * np.maximum(tract, 0.1)
    distance_px, _, _ = stains.tiles(shape, 20, rng)
    wall = optics.inside(distance_px - 7.3 + 0.8 * stains.clouds(shape, 8, rng))
    return wall, 0.2 * wall, fibres * wall


def _photograph(
    shape: tuple[int, int],
    organ: str,
    present: set[str],
    side: int,
    rng: np.random.Generator,
) -> Pixels:
    """Return an organ on a dark table, its light and white balance set by the camera."""
    height, width = shape
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    wobble = 0.03 * stains.clouds(shape, 25, rng)
    if organ == "liver":
        flank = 0.75 - 0.35 * (u + 1) / 2
        depth = 1 - np.hypot(u / 0.9, v / flank)
    elif organ == "lung":
        lobes = [np.hypot((u - 0.4 * half) / 0.36, v / 0.85) for half in (-1, 1)]
        depth = 1 - np.minimum(*lobes)
    else:
        depth = 1 - np.hypot(u / 0.7, (v - 0.25 * (u / 0.7) ** 2 + 0.1) / 0.62)
        depth = np.minimum(depth, np.hypot(u / 0.28, (v - 0.75) / 0.45) - 1)
    depth = depth + wobble
    body = optics.edge(depth, 0.03)
    shade = 0.55 + 0.45 * np.sqrt(np.clip(depth, 0, 1))
    grain = stains.clouds(shape, 3.2, rng)
    relief = 1 + (0.5 if "granules" in present else 0.05) * np.clip(grain, -1.5, 1.5)
    colour = np.array(_COLOURS[organ], dtype=np.float32)
    light = np.ones((height, width, 3), dtype=np.float32) * colour
    inner = np.clip(depth / 0.25, 0, 1) * body
    if "haemorrhage" in present:
        rows, columns = np.indices(shape, dtype=np.float32)
        reach = np.hypot(
            columns - width * (0.5 + 0.2 * side), rows - height * rng.uniform(0.4, 0.55)
        )
        bled = optics.edge(rng.uniform(19, 24) - reach + 3 * stains.clouds(shape, 9, rng), 1.5)
        light += bled[..., None] * (np.array([0.12, 0.01, 0.02], dtype=np.float32) - light)
    if "nodules" in present:
        lumps = np.zeros(shape, dtype=np.float32)
        rows, columns = np.indices(shape, dtype=np.float32)
        for row, column in optics.sample(inner + 1e-9, int(rng.integers(6, 10)), rng):
            radius_px = rng.uniform(4.5, 6.5)
            lumps = np.maximum(
                lumps, optics.inside(radius_px - np.hypot(rows - row, columns - column))
            )
        light += lumps[..., None] * (np.array([0.8, 0.7, 0.55], dtype=np.float32) - light)
    light = light * (shade * relief * body)[..., None]
    light = ndimage.gaussian_filter(light, (0.6, 0.6, 0), truncate=3) + 0.02
    light = light / light.mean(axis=(0, 1)) * colour * (0.14 / colour.mean())
    counts = rng.poisson(light * rng.uniform(0.85, 1.15) * _PHOTONS)
    return np.asarray(np.clip(counts * (255 / _PHOTONS), 0, 255), dtype=np.uint8)
