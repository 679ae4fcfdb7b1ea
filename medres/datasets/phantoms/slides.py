"""Overviews of breast slides: pieces of tissue on bright glass, and a report's questions.

Specimen and stage are told by large shapes, margin and type by smaller ones, the grade by
glands and nuclei of a few pixels. Receptors follow the grade, but not strictly; the vital
status is asked for as in the real data, and as there cannot be read off a slide.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medres.datasets.phantoms import optics, stains
from medres.datasets.phantoms.optics import Asked, Drawing, Floats

SPECIMENS = ("core biopsy", "lumpectomy", "mastectomy", "lymph nodes")
STAGES = ("t1", "t2", "t3", "t4")
MARGINS = ("free", "close", "involved", "not inked")
# No tumour is of grade 4: many choices of the real set hold such a lure.
GRADES = ("grade 1", "grade 2", "grade 3", "grade 4")
TYPES = ("ductal", "lobular", "mucinous")
SLIDES_PER_CASE = 1
SLIDE_PX = (210, 280)
"""Height and width."""
_TUMOUR_PX = (2_000, 4_500, 8_500, 14_500)
"""Area by stage, in pixels."""
_CLEARANCE_PX = {"free": 11.0, "close": 3.5, "involved": -2.0, "not inked": -2.0}
_INK = np.array([0.9, 0.7, 0.5], dtype=np.float32)
"""Optical density of red, green and blue."""
_NUCLEUS_PX = (0.6, 1.0, 1.6)


class _Case(NamedTuple):
    specimen: str
    stage: int
    margin: str
    grade: int
    """1 to 3."""
    type: str


def draw_case(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the slide of one case."""
    specimen = SPECIMENS[index % len(SPECIMENS)]
    is_inked = specimen in ("lumpectomy", "mastectomy")
    case = _Case(
        specimen=specimen,
        stage=int(rng.integers(4)),
        margin=str(rng.choice(MARGINS[:3])) if is_inked else "not inked",
        grade=int(rng.integers(1, 4)),
        type=str(rng.choice(TYPES)),
    )
    progesterone = rng.random() < (0.95, 0.7, 0.15)[case.grade - 1]
    her2 = rng.random() < (0.05, 0.25, 0.6)[case.grade - 1]
    asked = [
        Asked("what is the specimen?", case.specimen, SPECIMENS),
        Asked("what is the tumour stage?", STAGES[case.stage], STAGES),
        Asked("what is the margin status?", case.margin, MARGINS),
        Asked("what is the histologic grade?", GRADES[case.grade - 1], GRADES),
        Asked("what is the histological type?", case.type),
        Asked("what is the progesterone receptor?", "positive" if progesterone else "negative"),
        Asked("what is the vital status?", "alive" if rng.random() < 0.7 else "dead"),
    ]
    if index // len(SPECIMENS) % 2:
        asked.append(Asked("what is the her2 status?", "positive" if her2 else "negative"))
    yield Drawing(_slide(case, rng), "histopathology", tuple(asked))


def _slide(case: _Case, rng: np.random.Generator) -> optics.Pixels:
    depth_px = _pieces(case.specimen, rng)
    tissue = optics.inside(depth_px)
    tumour = _tumour(case, depth_px, rng)
    hematoxylin, eosin = _normal(case.specimen, rng)
    nuclei, cytoplasm = _nests(case, tumour, rng)
    hematoxylin = hematoxylin * (1 - tumour) + nuclei
    eosin = eosin * (1 - tumour) + cytoplasm * tumour
    ink = np.exp(-((depth_px / 1.4) ** 2)) * (case.margin != "not inked")
    blue, pink = rng.uniform(0.85, 1.15, size=2).astype(np.float32)
    density = (
        (blue * hematoxylin * tissue)[..., None] * stains.HEMATOXYLIN
        + (pink * eosin * tissue)[..., None] * stains.EOSIN
        + ink[..., None] * _INK
    )
    return stains.bright_field(density, rng)


def _pieces(specimen: str, rng: np.random.Generator) -> Floats:
    """Return how many pixels inside (positive) the specimen's tissue each pixel lies."""
    height, width = SLIDE_PX
    rows, columns = np.indices(SLIDE_PX, dtype=np.float32)
    depth_px = np.full(SLIDE_PX, -1e3, dtype=np.float32)
    if specimen == "core biopsy":
        for line in range(3):
            middle = height * (line + 0.5) / 3 + rng.normal(0, 5)
            bend, phase = rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
            row = middle + bend * np.sin(columns / rng.uniform(25, 45) + phase)
            ends = np.minimum(columns - rng.uniform(8, 45), width - rng.uniform(8, 45) - columns)
            depth_px = np.maximum(
                depth_px, np.minimum(rng.uniform(11, 15) - np.abs(rows - row), ends)
            )
    elif specimen == "lymph nodes":
        for number in range(6):
            if number == 5 and rng.random() < 0.5:
                continue
            row = height * (0.27 + 0.46 * (number % 2)) + rng.normal(0, 6)
            column = width * (1 + 2 * (number // 2)) / 6 + rng.normal(0, 7)
            radius_px, flat = rng.uniform(27, 37), rng.uniform(0.8, 1.1)
            depth_px = np.maximum(
                depth_px, radius_px - np.hypot((rows - row) * flat, (columns - column) / flat)
            )
    elif specimen == "lumpectomy":
        row, column = height / 2 + rng.normal(0, 5), width / 2 + rng.normal(0, 20)
        half_height, half_width = rng.uniform(72, 88), rng.uniform(80, 100)
        reach = np.hypot((rows - row) / half_height, (columns - column) / half_width)
        depth_px = (1 - reach) * half_height
    else:
        gap = width * rng.uniform(0.42, 0.58)
        sides = [(rng.uniform(8, 16), gap - 7), (gap + 7, width - rng.uniform(8, 16))]
        for left, right in sides:
            top, bottom = rng.uniform(8, 28), height - rng.uniform(8, 28)
            across = np.minimum(columns - left, right - columns)
            down = np.minimum(rows - top, bottom - rows)
            depth_px = np.maximum(depth_px, np.minimum(across, down))
    rough = 2.2 * stains.clouds(SLIDE_PX, 14, rng) + 0.7 * stains.clouds(SLIDE_PX, 4, rng)
    return depth_px + rough


def _tumour(case: _Case, depth_px: Floats, rng: np.random.Generator) -> Floats:
    """Return where the tumour is: as large as its stage, off the edge by margin."""
    allowed = depth_px > _CLEARANCE_PX[case.margin]
    if case.margin in ("free", "not inked"):
        start = optics.sample(np.clip(depth_px, 0, None) ** 2, 1, rng)[0]
    else:
        # It grows from the edge that it reaches, or nearly.
        rim = np.abs(depth_px - _CLEARANCE_PX[case.margin] - 2) < 1
        start = optics.sample(rim.astype(np.float32), 1, rng)[0]
    rows, columns = np.indices(SLIDE_PX, dtype=np.float32)
    far = np.hypot(rows - start[0], columns - start[1]) + 9 * stains.clouds(SLIDE_PX, 22, rng)
    wanted_px = round(_TUMOUR_PX[case.stage] * rng.uniform(0.85, 1.15))
    reach = np.sort(far[allowed])[:wanted_px][-1]
    return optics.edge(reach - far, 2.0) * allowed


def _normal(specimen: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the stains of tissue without tumour: lymphocytes, or fat in fibrous stroma."""
    if specimen == "lymph nodes":
        dots = optics.splat(rng.uniform(0, SLIDE_PX, (9000, 2)), SLIDE_PX)
        return 1.1 * ndimage.gaussian_filter(dots, 0.6, truncate=3) + 0.1, np.full(
            SLIDE_PX, 0.25, dtype=np.float32
        )
    distance_px, _, _ = stains.tiles(SLIDE_PX, 8, rng)
    fibres = 0.45 + 0.08 * stains.clouds(SLIDE_PX, 3, rng)
    fat = optics.edge(stains.clouds(SLIDE_PX, 30, rng) - 0.6, 0.2)
    eosin = fibres * (1 - fat * optics.inside(4.2 - distance_px))
    dots = optics.splat(rng.uniform(0, SLIDE_PX, (900, 2)), SLIDE_PX)
    return ndimage.gaussian_filter(dots, 0.7, truncate=3) * (1 - fat), np.clip(eosin, 0.04, None)


def _nests(case: _Case, tumour: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return nuclei (within the tumour) and cytoplasm of its cells, by type and grade.

    The nuclei of every type and grade hold the same stain, so that colour tells neither.
    """
    distance_px, number, centres = stains.tiles(SLIDE_PX, 13, rng)
    is_hollow = (rng.random(len(centres)) < (0.95, 0.5, 0.05)[case.grade - 1])[number]
    lumen = is_hollow * optics.inside(3.2 - distance_px)
    nest = optics.inside(5.6 - distance_px)
    if case.type == "ductal":
        weights = nest * (1 - lumen)
        cytoplasm = 0.45 * nest * (1 - lumen) + 0.55 * (1 - nest)
    elif case.type == "lobular":
        starts = optics.sample(tumour, 260, rng)
        tilt = rng.uniform(0, np.pi)
        angles = tilt + rng.normal(0, 0.25, len(starts))
        files = optics.splat(optics.walk(starts, angles, 45, bend=0.05, rng=rng), SLIDE_PX)
        weights = ndimage.gaussian_filter(files, 0.5, truncate=3)
        cytoplasm = np.full(SLIDE_PX, 0.55, dtype=np.float32)
    else:
        is_island = (rng.random(len(centres)) < 0.4)[number]
        weights = nest * is_island * (1 - lumen)
        cytoplasm = 0.45 * weights + 0.05
    weights = weights * tumour
    amount = 0.4 * tumour.sum()
    sigma_px = _NUCLEUS_PX[case.grade - 1]
    points = optics.sample(weights + 1e-9, int(amount / (3.2 * sigma_px**2)) + 1, rng)
    nuclei = ndimage.gaussian_filter(optics.splat(points, SLIDE_PX), sigma_px, truncate=3)
    return nuclei * (amount / nuclei.sum()), np.asarray(cytoplasm, dtype=np.float32)
