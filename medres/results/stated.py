"""The confidence that answers state, taken from the stored log-probabilities of their options.

Confidence needs options to compare, so only closed questions have one: those with two options or
more. It is the share of probability that the chosen option has among the options offered.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medres.results.grids import CELL, rank
from medres.results.numbers import percent
from medres.statistics import temperature

ARM = CELL[:4]


@dataclass(frozen=True)
class Arm:
    """Answers of one arm to its closed questions, one row per training."""

    key: dict[str, str]
    seeds: list[int]
    log_probabilities: np.ndarray
    """Shape (n_trainings, n_questions, n_options), -inf where a question has fewer options."""
    right: np.ndarray
    """Place of the right option, shape (n_questions,)."""
    correct: np.ndarray
    groups: np.ndarray
    question_ids: np.ndarray
    visual_tokens: np.ndarray
    """Of each question's image, shape (n_questions,)."""
    n_left_out: int
    """Questions that are open, have a single option, or lack log-probabilities."""


def describe(answers: pd.DataFrame) -> str:
    """Return how many answers have a stated confidence, and why the others have none.

    Args:
        answers: As from `grids.answers`.
    """
    kinds = _kinds(answers)
    n_used = int((kinds == "").sum())
    said = (
        f"{n_used:,} of {len(answers):,} answers ({percent(n_used / max(1, len(answers)))} %) have "
        "a stated confidence: they are to closed questions with two options or more."
    )
    left_out = [f"{n:,} {kind}" for kind, n in kinds[kinds != ""].value_counts().items()]
    return f"{said} Left out: {', '.join(left_out)}." if left_out else said


def arms(answers: pd.DataFrame) -> Iterator[Arm]:
    """Yield the arms with their closed questions, in the usual order."""
    # Few columns, and texts as Python's own: those of pandas take ten times as long to pick.
    texts = ["question_id", "reference", "group"]
    others = ["seed", "correct", "options", "option_log_probabilities", "visual_tokens"]
    used = answers[[*ARM, *others, *texts]].astype(dict.fromkeys(texts, object))
    ordered = used.assign(kind=_kinds(answers)).sort_values(ARM, key=rank, kind="stable")
    for key, part in ordered.groupby(ARM, sort=False):
        lacking = part.loc[part["kind"] != "", "question_id"].unique()
        used = part[~part["question_id"].isin(lacking)].sort_values(["seed", "question_id"])
        if used.empty:
            continue
        seeds = used["seed"].unique().tolist()
        first = used[used["seed"] == seeds[0]]
        asked = used["question_id"].to_numpy()
        if (
            len(used) != len(first) * len(seeds)
            or (asked.reshape(len(seeds), -1) != first["question_id"].to_numpy()).any()
        ):
            raise ValueError(
                f"trainings of {dict(zip(ARM, key, strict=True))} answered different questions; "
                "evaluate them again on the same data"
            )
        n_options = used["options"].map(len).to_numpy()
        padded = np.full((len(used), n_options.max()), -np.inf)
        is_option = np.arange(padded.shape[1]) < n_options[:, None]
        padded[is_option] = np.concatenate(used["option_log_probabilities"].tolist())
        yield Arm(
            key={name: str(value) for name, value in zip(ARM, key, strict=True)},
            seeds=seeds,
            log_probabilities=padded.reshape(len(seeds), len(first), -1),
            right=np.array(
                [
                    list(options).index(reference)
                    for options, reference in zip(first["options"], first["reference"], strict=True)
                ]
            ),
            correct=used["correct"].to_numpy(dtype=float).reshape(len(seeds), -1),
            groups=first["group"].to_numpy(),
            question_ids=first["question_id"].to_numpy(),
            visual_tokens=first["visual_tokens"].to_numpy(dtype=float),
            n_left_out=len(lacking),
        )


def confidence(log_probabilities: np.ndarray, at: float = 1.0) -> np.ndarray:
    """Return the largest probability among each question's options, at a temperature."""
    probabilities = temperature.option_probabilities(log_probabilities, temperature=at)
    return np.asarray(probabilities.max(axis=1))


def _kinds(answers: pd.DataFrame) -> pd.Series:
    """Return why each answer has no stated confidence; empty if it has one."""
    n_options = answers["options"].map(len).to_numpy()
    values = [() if np.ndim(each) == 0 else each for each in answers["option_log_probabilities"]]
    rows = np.repeat(np.arange(len(values)), list(map(len, values)))
    is_known = np.isfinite(np.concatenate([[], *values]).astype(float))
    n_known = np.bincount(rows, weights=is_known, minlength=len(values))
    return pd.Series(
        np.select(
            [n_options == 0, n_options == 1, n_known != n_options],
            ["to open questions", "with a single option", "scored without log-probabilities"],
            "",
        ),
        index=answers.index,
    )
