"""Twin of the compound set: breast cancer cells under drugs of twelve mechanisms.

DAPI is blue, tubulin green, actin red. Number, size and shape of cells and nuclei are seen in a
low image; the grain of tubulin, actin and chromatin, which splits what looks alike there, only
in a native one. After what is known of each mechanism, much exaggerated.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from medres.datasets.phantoms import cells, fields, optics
from medres.datasets.phantoms.fields import Field
from medres.datasets.phantoms.optics import Asked, Drawing, Floats

WELLS_PER_COMPOUND = 2
FIELDS_PER_WELL = 4
FIELDS_PER_COMPOUND = WELLS_PER_COMPOUND * FIELDS_PER_WELL
SHAPE = (134, 168)
QUESTION = "which mechanism of action does the compound have?"


class Look(NamedTuple):
    """What a mechanism does to cells."""

    layout: dict[str, Any]
    """Arguments of `fields.lay_out`."""
    tubulin: str
    actin: str
    chromatin: str
    """smooth, grainy or speckled."""


_USUAL: dict[str, Any] = {
    "n_cells": 14, "radius_px": 19, "elongation": 1.2, "nucleus_share": 0.5, "apart": 1.5
}  # fmt: skip
_SPREAD = _USUAL | {"n_cells": 7, "radius_px": 28, "nucleus_share": 0.55}
_ROUND = _USUAL | {
    "n_cells": 9, "radius_px": 13, "elongation": 1.0, "apart": 2.3, "rough_px": 0.4
}  # fmt: skip
_SPLIT = _USUAL | {"n_cells": 10, "radius_px": 22, "n_nuclei": 3}
_LONG = _USUAL | {"n_cells": 9, "radius_px": 20, "elongation": 3.2, "nucleus_share": 0.42}
_PACKED = _USUAL | {"n_cells": 24, "apart": 1.2}
LOOKS = {
    "Microtubule stabilizers": Look(_SPLIT, "bundles", "diffuse", "smooth"),
    "Microtubule destabilizers": Look(_SPLIT, "dots", "diffuse", "smooth"),
    "Aurora kinase inhibitors": Look(_SPREAD, "curly", "diffuse", "smooth"),
    "Eg5 inhibitors": Look(_ROUND, "radial", "cortex", "smooth"),
    "DNA damage": Look(_SPREAD, "radial", "parallel", "smooth"),
    "DNA replication": Look(_SPREAD, "mesh", "parallel", "speckled"),
    "Protein synthesis": Look(_USUAL, "radial", "diffuse", "speckled"),
    "Epithelial": Look(_PACKED, "mesh", "cortex", "smooth"),
    "Protein degradation": Look(_ROUND, "dots", "dots", "grainy"),
    "Cholesterol-lowering": Look(_LONG, "parallel", "diffuse", "smooth"),
    "Actin disruptors": Look(_USUAL, "mesh", "dots", "smooth"),
    "Kinase inhibitors": Look(_LONG, "mesh", "cortex", "grainy"),
}
N_FIELDS = {
    "Microtubule stabilizers": 620,
    "Microtubule destabilizers": 168,
    "Aurora kinase inhibitors": 144,
    "Eg5 inhibitors": 144,
    "DNA damage": 108,
    "DNA replication": 96,
    "Protein synthesis": 96,
    "Epithelial": 88,
    "Protein degradation": 84,
    "Cholesterol-lowering": 72,
    "Actin disruptors": 60,
    "Kinase inhibitors": 40,
}
"""Fields of each mechanism in BBBC021; of the 1,428 with stabilizers, nearly all one positive
control, fewer than half, so that 36 % are of the commonest mechanism."""
MECHANISMS = tuple(N_FIELDS)


def draw_compound(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the fields of one compound, from wells of differing exposure and confluence."""
    mechanism = cells.share_out(index, N_FIELDS)
    look = LOOKS[mechanism]
    radius_px = look.layout["radius_px"] * rng.uniform(0.92, 1.08)
    for _ in range(WELLS_PER_COMPOUND):
        mean_grey = np.array([20, 22, 16]) * rng.uniform(0.75, 1.25, 3)
        n_cells = round(look.layout["n_cells"] * rng.uniform(0.85, 1.15))
        for _ in range(FIELDS_PER_WELL):
            layout = look.layout | {"radius_px": radius_px, "n_cells": n_cells}
            field = fields.lay_out(SHAPE, rng, **layout)
            pixels = fields.photograph(
                fields.stain(field, look.actin, rng),
                fields.stain(field, look.tubulin, rng),
                _chromatin(field, look.chromatin, rng),
                mean_grey,
                rng,
            )
            yield Drawing(
                pixels, "fluorescence microscopy", (Asked(QUESTION, mechanism, MECHANISMS),)
            )


def _chromatin(field: Field, grain: str, rng: np.random.Generator) -> Floats:
    if grain == "smooth":
        return field.nuclei
    scale_px, contrast = {"grainy": (1.5, 1.2), "speckled": (0.8, 2.0)}[grain]
    return np.asarray(field.nuclei * np.exp(contrast * optics.lumps(SHAPE, scale_px, rng)))
