"""Synthetic data sets whose answers depend on detail of known size, for studies without data.

The two `phantom-` sets are the demo study's. A `twin-` set stands in for one of the paper's
seven: similar look, kind of question, number of options, questions per image and relative
native size. Every structure is a density of emitters (or of attenuation) on the pixel grid,
blurred by the optics, then counted in photons; brightness never gives an answer away.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medres.datasets import bars
from medres.datasets.phantoms import (
    cell_lines,
    cells,
    cytology,
    radiographs,
    radiology,
    screening,
    slides,
    textbook,
)
from medres.datasets.phantoms.optics import Drawing


@dataclass(frozen=True)
class Phantom:
    """One synthetic data set."""

    stream: int
    """Its own stream of random numbers; never reused for another."""
    draw_group: Callable[[int, np.random.Generator], Iterator[Drawing]]
    """Yields the images of one group; its first argument counts the groups of a split."""
    images_per_group: int
    group: str
    """What a group is: well, patient, slide."""
    twin_of: str = ""
    """The data set of the paper that it stands in for."""


PHANTOMS = {
    "phantom-subcellular": Phantom(0, cells.draw_well, cells.IMAGES_PER_WELL, "well"),
    "phantom-radiology": Phantom(
        1, radiographs.draw_patient, radiographs.IMAGES_PER_PATIENT, "patient"
    ),
    "twin-subcellular": Phantom(
        2, cell_lines.draw_well, cell_lines.FIELDS_PER_WELL, "well", "subcellular"
    ),
    "twin-compound": Phantom(
        3, screening.draw_compound, screening.FIELDS_PER_COMPOUND, "compound", "compound"
    ),
    "twin-cervical": Phantom(
        4, cytology.draw_smear, cytology.IMAGES_PER_SMEAR, "smear", "cervical"
    ),
    "twin-wsi": Phantom(5, slides.draw_case, slides.SLIDES_PER_CASE, "case", "wsi"),
    "twin-vqa-rad": Phantom(
        6, radiology.draw_vqa_rad, radiology.IMAGES_PER_GROUP, "image", "vqa-rad"
    ),
    "twin-path-vqa": Phantom(
        7, textbook.draw_figure, textbook.IMAGES_PER_FIGURE, "figure", "path-vqa"
    ),
    "twin-slake": Phantom(8, radiology.draw_slake, radiology.IMAGES_PER_GROUP, "image", "slake"),
}


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
    phantom = PHANTOMS[name]
    n_images = {"train": n_train_images, "test": n_test_images}
    for split, count in n_images.items():
        if count < 1:
            raise ValueError(f"n_{split}_images is {count}; draw at least one image per split")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    split_rngs = np.random.default_rng([seed, phantom.stream]).spawn(len(n_images))
    for (split, count), split_rng in zip(n_images.items(), split_rngs, strict=True):
        n_groups = math.ceil(count / phantom.images_per_group)
        groups = bars.over(split_rng.spawn(n_groups), f"drawing {name} for {split}")
        for index, rng in enumerate(groups):
            first = index * phantom.images_per_group
            for number, drawing in enumerate(phantom.draw_group(index, rng), start=first):
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
                        "question": asked.question,
                        "reference": asked.reference,
                        "options": list(asked.options),
                        "modality": drawing.modality,
                        "split": split,
                        "group": f"{name}-{split}-{phantom.group}-{index:04d}",
                    }
                    for position, asked in enumerate(drawing.asked)
                ]
    return pd.DataFrame(rows)
