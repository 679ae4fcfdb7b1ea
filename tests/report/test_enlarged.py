from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.report import enlarged
from medres.resolution import Treatment

TREATMENT = Treatment(56 * 56, 112 * 112, "bicubic", 28)
NAMES = ("low", "upsampled-nearest", "upsampled-lanczos", "native")


class Drawn(QuestionSet):
    """A data set of noise; the name of an image is its side and a seed."""

    def read(self, image: str) -> np.ndarray:
        """Return pixels that depend on the name alone."""
        side_px, seed = map(int, image.split("-"))
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def drawn(*names: str) -> Drawn:
    rows = [(name, "train" if name.endswith("-0") else "test") for name in names]
    sides_px = [int(name.partition("-")[0]) for name in names]
    table = pd.DataFrame(rows, columns=["image", "split"])
    return Drawn("drawn", table.assign(width_px=sides_px, height_px=sides_px), Path(), "")


def test_the_first_test_image_that_low_makes_smaller_is_shown() -> None:
    question_set = drawn("112-0", "28-1", "112-2", "112-3")
    images = enlarged.versions(question_set, TREATMENT, NAMES)
    assert {name: image.shape for name, image in images.items()} == {
        "low": (56, 56, 3), "upsampled-nearest": (112, 112, 3),
        "upsampled-lanczos": (112, 112, 3), "native": (112, 112, 3),
    }  # fmt: skip
    assert np.array_equal(images["native"], question_set.read("112-2"))
    doubled = images["low"].repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(images["upsampled-nearest"], doubled)


def test_where_no_image_gets_smaller_the_first_is_shown() -> None:
    question_set = drawn("28-1", "28-2")
    images = enlarged.versions(question_set, TREATMENT, NAMES)
    assert all(np.array_equal(image, question_set.read("28-1")) for image in images.values())


def test_the_part_shown_is_where_low_differs_most() -> None:
    native = np.zeros((160, 240, 3), np.uint8)
    native[125:155, 65:85] = np.random.default_rng(0).integers(0, 256, (30, 20, 3))
    images = {"low": np.zeros((20, 30, 3), np.uint8), "native": native}
    left, top, width, height = enlarged.most_lost(images)
    assert (width, height) == (0.25, 0.25)
    assert left <= 65 / 240 < 85 / 240 <= left + width
    assert top <= 125 / 160 < 155 / 160 <= top + height


@pytest.mark.parametrize("side_px", [1, 2, 3, 5])
def test_a_part_stays_within_the_smallest_image(side_px: int) -> None:
    images = dict.fromkeys(("low", "native"), np.zeros((side_px, side_px, 3), np.uint8))
    left, top, width, height = enlarged.most_lost(images)
    assert 0 <= left <= left + width <= 1
    assert 0 <= top <= top + height <= 1
