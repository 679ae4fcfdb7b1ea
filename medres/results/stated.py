"""The confidence that answers state, taken from the stored log-probabilities of their options.

Confidence needs options to compare, so only closed questions have one: those with two options or
more. It is the share of probability that the chosen option has among the options offered.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medres import coded
from medres.results.grids import CELL, rank
from medres.results.numbers import percent
from medres.statistics import temperature

ARM = CELL[:4]
KINDS = ("", "to open questions", "with a single option", "scored without log-probabilities")
"""Why an answer has no stated confidence."""
READS = ["option_log_probabilities", "reference"]
"""Columns of answers that are read beside `stored.COUNTED`."""


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
    n_used = int((kinds == 0).sum())
    said = (
        f"{n_used:,} of {len(answers):,} answers ({percent(n_used / max(1, len(answers)))} %) have "
        "a stated confidence: they are to closed questions with two options or more."
    )
    counts = pd.Series(kinds[kinds > 0]).value_counts()
    left_out = [f"{n:,} {KINDS[kind]}" for kind, n in counts.items()]
    return f"{said} Left out: {', '.join(left_out)}." if left_out else said


def arms(answers: pd.DataFrame) -> Iterator[Arm]:
    """Yield the arms with their closed questions, in the usual order."""
    has_none = _kinds(answers) > 0
    rows = coded.rows_of(answers, ARM)
    keys = pd.DataFrame(list(rows), columns=ARM).sort_values(ARM, key=rank, kind="stable")
    used = answers[["seed", "correct", "question_id", "group", "options", "visual_tokens", *READS]]
    for key in keys.itertuples(index=False, name=None):
        part = used.iloc[rows[key]]
        ids = coded.codes(part["question_id"])
        lacking = pd.unique(ids[has_none[rows[key]]])
        part = part[~np.isin(ids, lacking)]
        part = part.sort_values(["seed", "question_id"])
        if part.empty:
            continue
        seeds = part["seed"].unique().tolist()
        n_first = int(part["seed"].eq(seeds[0]).sum())
        first = part.iloc[:n_first]
        asked = coded.codes(part["question_id"])
        if (
            len(part) != n_first * len(seeds)
            or (asked.reshape(len(seeds), -1) != asked[:n_first]).any()
        ):
            raise ValueError(
                f"trainings of {dict(zip(ARM, key, strict=True))} answered different questions; "
                "evaluate them again on the same data"
            )
        values, n_options = coded.flat(part["option_log_probabilities"])
        padded = np.full((len(part), n_options.max()), -np.inf)
        padded[np.arange(padded.shape[1]) < n_options[:, None]] = values
        yield Arm(
            key={name: str(value) for name, value in zip(ARM, key, strict=True)},
            seeds=seeds,
            log_probabilities=padded.reshape(len(seeds), n_first, -1),
            right=np.array(
                [
                    list(options).index(reference)
                    for options, reference in zip(first["options"], first["reference"], strict=True)
                ]
            ),
            correct=part["correct"].to_numpy(dtype=float).reshape(len(seeds), -1),
            groups=coded.codes(first["group"]),
            question_ids=asked[:n_first],
            visual_tokens=first["visual_tokens"].to_numpy(dtype=float),
            n_left_out=len(lacking),
        )


def confidence(log_probabilities: np.ndarray, at: float = 1.0) -> np.ndarray:
    """Return the largest probability among each question's options, at a temperature."""
    probabilities = temperature.option_probabilities(log_probabilities, temperature=at)
    return np.asarray(probabilities.max(axis=1))


def _kinds(answers: pd.DataFrame) -> np.ndarray:
    """Return why each answer has no stated confidence, as a place in `KINDS`; 0 if it has one."""
    n_options = coded.n_options(answers).to_numpy()
    values, counts = coded.flat(answers["option_log_probabilities"])
    # Sums of the values before each row's first one, and before the next row's.
    ends = np.concatenate([[0], np.cumsum(counts)])
    known = np.concatenate([[0], np.cumsum(np.isfinite(values))])[ends]
    n_known = np.diff(known)
    return np.select([n_options == 0, n_options == 1, n_known != n_options], [1, 2, 3], 0)
