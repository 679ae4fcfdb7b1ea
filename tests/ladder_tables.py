"""Answers of made-up models at several sizes, for tests of what is made of ladders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medres.datasets import QuestionSet
from tests.answer_tables import arm

PIXELS = {"low": 3136, "pixels-7056": 6272, "pixels-12544": 12544, "native": 28224}
"""Pixels of an image at each size; a visual token is 784 of them."""


def at(
    name: str,
    correct: Sequence[int],
    *,
    train_resolution: str = "none",
    seed: int = 0,
    dataset: str = "drawn",
    per_group: int = 1,
    side_px: int = 0,
) -> pd.DataFrame:
    """Return the answers at one size, each question about an image of its own.

    Args:
        name: Eval resolution.
        correct: Of each question, in the order of questions.
        train_resolution: Of the model.
        seed: Of the training.
        dataset: Name of the data set.
        per_group: Questions of a group.
        side_px: Width and height that the model was given; by default such that `PIXELS` fit.
    """
    table = arm(train_resolution, name, correct, seed=seed, dataset=dataset, per_group=per_group)
    pixels = side_px**2 or PIXELS.get(name, 28224)
    right = table["correct"].to_numpy()
    return table.assign(
        image=[f"{index}.png" for index in range(len(table))],
        parsed_answer="yes",
        reference="yes",
        reply=np.where(right, "yes", "no"),
        split="test",
        width_px=168,
        height_px=168,
        given_width_px=round(pixels**0.5),
        given_height_px=round(pixels**0.5),
        resampling=f"to {pixels}" if pixels < 28224 else "",
        visual_tokens=pixels // 784,
        is_enlarged_by_model=False,
        is_cut=False,
        option_log_probabilities=[[-2.0, -0.5] if each else [-0.5, -2.0] for each in right],
    )


def answers(
    rights: Mapping[str, Sequence[int]], *, blank: Sequence[int] | None = None, **of_arm: object
) -> pd.DataFrame:
    """Return the answers at several sizes, and those without an image.

    Args:
        rights: Right (1) or wrong (0) of each question, by eval resolution.
        blank: The same without an image; by default all wrong.
        of_arm: As for `at`.
    """
    n_questions = len(next(iter(rights.values())))
    every = {**rights, "blank": [0] * n_questions if blank is None else blank}
    parts = [at(name, right, **of_arm) for name, right in every.items()]  # type: ignore[arg-type]
    return pd.concat(parts, ignore_index=True)


def question_set(
    table: pd.DataFrame, *, label: str = "drawn", notes: Sequence[str] = (), train: bool = False
) -> QuestionSet:
    """Return the data set that answers are about."""
    asked = table.drop_duplicates("question_id").assign(dataset=label)
    if train:
        again = asked.assign(split="train", question_id="train-" + asked["question_id"])
        asked = pd.concat([asked, again])
    return QuestionSet(
        label, asked.reset_index(drop=True), Path(), fingerprint="", notes=tuple(notes)
    )
