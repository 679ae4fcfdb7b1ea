"""Answers of made-up ladders of resolutions, for tests of what is chosen from them."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from tests.answer_tables import arm

SIDES_PX = {"low": 28, "pixels-4000": 56, "native": 112, "blank": 112}
"""Side of a given image at each rung."""
TOKENS = {"low": 1, "pixels-4000": 4, "native": 16, "blank": 16}


def rung(name: str, correct: Iterable[int], *, trained: str = "none", **of_arm: Any):
    """Return answers at a rung, each question about an image of its own."""
    side = SIDES_PX.get(name, 112)
    table = arm(trained, name, correct, **of_arm)
    return table.assign(
        image=[f"{number}.png" for number in range(len(table))],
        given_width_px=side,
        given_height_px=side,
        resampling="bicubic",
        n_crops=1,
        visual_tokens=TOKENS.get(name, 16),
        reference="yes",
        source_resolution=name,
    )


def answers(rights: Mapping[str, Iterable[int]], **of_arm: Any) -> pd.DataFrame:
    """Return answers of one training at several rungs, in the order given."""
    return pd.concat(
        [rung(name, correct, **of_arm) for name, correct in rights.items()], ignore_index=True
    )
