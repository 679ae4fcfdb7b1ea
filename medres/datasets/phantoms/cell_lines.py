"""Twin of the subcellular set: 37 cell lines under immunofluorescence.

A cell line is a habit of growth, which is seen in a low image, and a grain of its
microtubules, which only a native image shows. Habits are roughly those of the real lines, grains
are made up. The green protein is another in every well, as in the Human Protein Atlas, and
says nothing about the line.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from medres.datasets.phantoms import cells, fields
from medres.datasets.phantoms.optics import Asked, Drawing

FIELDS_PER_WELL = 2
SHAPE = (196, 196)
QUESTION = "which cell line is shown?"
HABITS: dict[str, dict[str, Any]] = {
    "suspension": {"n_cells": 26, "radius_px": 14, "elongation": 1.0, "nucleus_share": 0.72},
    "epithelial": {"n_cells": 26, "radius_px": 27, "elongation": 1.1, "nucleus_share": 0.42},
    "flat": {"n_cells": 5, "radius_px": 46, "elongation": 1.2, "nucleus_share": 0.36},
    "spindle": {"n_cells": 9, "radius_px": 25, "elongation": 4.5, "nucleus_share": 0.4},
    "branched": {"n_cells": 9, "radius_px": 17, "elongation": 1.2, "nucleus_share": 0.6},
    "oval": {"n_cells": 8, "radius_px": 26, "elongation": 1.9, "nucleus_share": 0.5},
}
_LAYOUT: dict[str, dict[str, Any]] = {
    "suspension": {"apart": 2.0, "rough_px": 0.4},
    "epithelial": {"apart": 1.25},
    "spindle": {"apart": 1.3},
    "branched": {"apart": 2.4, "n_arms": 4},
    "oval": {"apart": 1.9},
}
GRAINS = ("radial", "dots", "mesh", "bundles", "cortex", "diffuse", "curly")
LINES = {
    "suspension": ("THP-1", "REH", "HEL", "JURKAT", "K-562", "NB4", "HDLM-2"),
    "epithelial": ("MCF-7", "A-431", "CACO-2", "Hep-G2", "RT4", "HaCaT"),
    "flat": ("U2OS", "HeLa", "A-549", "SK-MEL-30", "RPTEC/TERT1", "hTERT-RPE1"),
    "spindle": ("Rh30", "BJ", "ASC52telo", "U-251MG", "LHCN-M2", "GAMG"),
    "branched": ("PC-3", "SiHa", "SH-SY5Y", "AF22", "SuSa", "HEK293"),
    "oval": ("EFO-21", "OE19", "HAP1", "HUVEC/TERT2", "hTCEpi", "hTERT-HME1"),
}
"""Lines of each habit, in the order of `GRAINS`."""
_ABUNDANCE = (
    "U2OS A-431 U-251MG MCF-7 HEK293 Rh30 A-549 PC-3 HeLa CACO-2 SH-SY5Y SiHa Hep-G2 RT4 "
    "SK-MEL-30 HaCaT HEL REH BJ AF22 EFO-21 THP-1 HAP1 SuSa ASC52telo JURKAT OE19 HUVEC/TERT2 "
    "RPTEC/TERT1 hTCEpi K-562 hTERT-HME1 GAMG LHCN-M2 NB4 HDLM-2 hTERT-RPE1"
).split()
N_IMAGES = dict(
    zip(
        _ABUNDANCE,
        (1930, 1900, 1775, 1205, *(round(900 * 0.905**rank) for rank in range(33))),
        strict=True,
    )
)
"""Images of each line in the paper's training set: its histogram for the first four, then
about a tenth fewer from line to line, which gives its total of some 15,900."""
OPTIONS = tuple(sorted(N_IMAGES))
_PROTEINS = ("diffuse", "dots", "mesh", "cortex", "nuclei")


def draw_well(index: int, rng: np.random.Generator) -> Iterator[Drawing]:
    """Yield the fields of one well: one cell line, one stained protein, one exposure."""
    line = cells.share_out(index, N_IMAGES)
    habit = next(habit for habit, lines in LINES.items() if line in lines)
    grain = GRAINS[LINES[habit].index(line)]
    protein = str(rng.choice(_PROTEINS))
    mean_grey = np.array([22, 14, 14]) * rng.uniform(0.7, 1.3, 3)
    layout = HABITS[habit] | _LAYOUT.get(habit, {})
    layout["radius_px"] *= rng.uniform(0.92, 1.08)
    for _ in range(FIELDS_PER_WELL):
        field = fields.lay_out(SHAPE, rng, **layout)
        green = field.nuclei if protein == "nuclei" else fields.stain(field, protein, rng)
        pixels = fields.photograph(
            fields.stain(field, grain, rng), green, field.nuclei, mean_grey, rng
        )
        yield Drawing(pixels, "fluorescence microscopy", (Asked(QUESTION, line, OPTIONS),))
