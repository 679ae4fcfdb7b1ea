"""Answers of made-up arms, for tests of what is made of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd


def arm(
    train_resolution: str,
    eval_resolution: str,
    correct: Iterable[int],
    *,
    dataset: str = "drawn",
    seed: int = 0,
    per_group: int = 1,
) -> pd.DataFrame:
    """Return answers of one arm, each question of its own group unless said."""
    correct = [bool(each) for each in correct]
    number = np.arange(len(correct))
    return pd.DataFrame(
        {
            "question_id": [f"{dataset}-{index:03d}" for index in number],
            "question": [f"text {index % 2}?" for index in number],
            "group": [f"group-{index // per_group}" for index in number],
            "dataset": dataset,
            "model": "tiny",
            "train_resolution": train_resolution,
            "eval_resolution": eval_resolution,
            "seed": seed,
            "correct": correct,
            "parsed_answer": [None if index == 1 else "yes" for index in number],
            "options": [["no", "yes"]] * len(correct),
            "modality": "drawing",
            "visual_tokens": [4 if index % 2 else 6 for index in number],
        }
    )


def trainings(
    train_resolution: str, eval_resolution: str, *corrects: Iterable[int], **of_arm: Any
) -> pd.DataFrame:
    """Return answers of several trainings of one arm, seeds 0, 1, ...; `of_arm` as for `arm`."""
    parts = [
        arm(train_resolution, eval_resolution, correct, seed=seed, **of_arm)
        for seed, correct in enumerate(corrects)
    ]
    return pd.concat(parts, ignore_index=True)


def first_right(n_right: int, n_questions: int) -> list[int]:
    """Return right answers to the first questions and wrong ones to the others."""
    return [1] * n_right + [0] * (n_questions - n_right)
