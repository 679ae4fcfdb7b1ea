"""A test image as a model gets it at low resolution, enlarged, and at native resolution."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from IPython.display import HTML
from PIL import Image

from medres import resolution
from medres.datasets import QuestionSet
from medres.report import figures, page
from medres.resolution import Treatment

CROP = 0.25
"""Share of the width, and of the height, that is shown magnified."""


def versions(
    question_set: QuestionSet, treatment: Treatment, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the first test image that is smaller at low than at native, at each resolution.

    Args:
        question_set: Data set to look at.
        treatment: Says what the resolutions are.
        names: Resolutions, such as low, upsampled-lanczos and native.

    Returns:
        Pixels of each resolution, (height, width, 3) uint8; of the first test image if none is
        smaller at low.
    """
    test = question_set.split("test").drop_duplicates("image")
    sizes_px = zip(test["width_px"].astype(int), test["height_px"].astype(int), strict=True)
    is_shrunk = [
        resolution.plan(size, "low", treatment).given_px
        != resolution.plan(size, "native", treatment).given_px
        for size in sizes_px
    ]
    stored = question_set.read(str(test["image"].iloc[int(np.argmax(is_shrunk))]))
    return {
        name: np.asarray(
            resolution.apply(stored, resolution.plan(stored.shape[1::-1], name, treatment))
        )
        for name in names
    }


def most_lost(images: Mapping[str, np.ndarray]) -> tuple[float, float, float, float]:
    """Return the part of an image in which low differs most from native.

    Args:
        images: As from `versions`, with low and native.

    Returns:
        Left, top, width and height, as shares of the field of view; one of 49 parts that overlap
        by half.
    """
    height, width = images["native"].shape[:2]
    low = Image.fromarray(images["low"]).resize((width, height), Image.Resampling.NEAREST)
    lost = (images["native"].astype(float) - np.asarray(low)) ** 2
    starts = np.linspace(0, 1 - CROP, 7).tolist()
    side_px = max(1, round(CROP * width)), max(1, round(CROP * height))

    def loss(corner: tuple[float, float]) -> float:
        left, top = int(corner[0] * width), int(corner[1] * height)
        return float(lost[top : top + side_px[1], left : left + side_px[0]].mean())

    left, top = max(itertools.product(starts, starts), key=loss)
    return left, top, CROP, CROP


def show(study: str, question_set: QuestionSet, treatment: Treatment, names: Sequence[str]) -> HTML:
    """Return the figure of `versions` for a page.

    Args:
        study: Name of the study.
        question_set: Data set to look at.
        treatment: Says what the resolutions are.
        names: Resolutions in the order drawn, low and native among them.
    """
    images = versions(question_set, treatment, names)
    return page.show_figure(
        study,
        f"enlarged-{question_set.name}",
        figures.enlarged_images(images, most_lost(images)),
        alt=f"A test image of {question_set.label} at {', '.join(names)}, each above a crop.",
        caption=f"{question_set.label}: the first test image that is smaller at low than at "
        "native, at one field of view; below, magnified, the part where low differs most from "
        "native.",
    )
