"""Questions whose answers change between two sizes: which ones are shown as examples."""

from typing import Any

import numpy as np
import pandas as pd

from medres.results import choice
from medres.results.ladder import PLACE, label
from medres.texts import in_markdown

COLUMNS = (*PLACE, "question_id", "cheaper", "dearer", "kind")
PREFERRED = ("native", "none")
"""Trainings of which examples are shown, where a data set has several."""
DEARER_ONLY, CHEAPER_ONLY = "right at the larger size only", "right at the smaller size only"
KINDS = (DEARER_ONLY, CHEAPER_ONLY)


def drawn(
    answers: pd.DataFrame,
    ladder: pd.DataFrame,
    choices: pd.DataFrame,
    *,
    n_examples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return questions drawn at random among those that are right at one of two sizes only.

    The sizes are the chosen one, or else the one that would be, and the most accurate other; of a
    chosen one that is the most accurate itself, the next cheaper, or else the next dearer. Right
    means right in more than half of the trainings, wrong in fewer.

    Args:
        answers: As from `ladder.rungs`.
        ladder: As from `ladder.table`.
        choices: As from `choice.table`.
        n_examples: Questions per data set, model and kind; fewer if there are not as many.
        rng: Source of randomness; the caller seeds it and owns it.

    Returns:
        `COLUMNS`, of one training of each data set and model: cheaper and dearer are the eval
        resolutions, kind one of `KINDS`.

    Raises:
        ValueError: If n_examples is negative.
    """
    if n_examples < 0:
        raise ValueError(f"n_examples is {n_examples}; it must be 0 or more")
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    for _, part in choices.groupby(["dataset", "model"], sort=False):
        trained = list(part["train_resolution"])
        shown = next((name for name in PREFERRED if name in trained), trained[0])
        row = part[part["train_resolution"] == shown].iloc[0]
        rungs = ladder[(ladder[PLACE] == list(row[PLACE])).all(axis=1)].reset_index(drop=True)
        pair = pair_of(rungs, row)
        if pair is None:
            continue
        is_here = (answers[PLACE] == list(row[PLACE])).all(axis=1)
        shares = answers[is_here & answers["eval_resolution"].isin(pair)].pivot_table(
            "correct", "question_id", "eval_resolution", aggfunc="mean"
        )
        cheaper, dearer = (shares[name] for name in pair)
        kinds = {
            DEARER_ONLY: (cheaper < 0.5) & (dearer > 0.5),
            CHEAPER_ONLY: (cheaper > 0.5) & (dearer < 0.5),
        }
        for kind, is_kind in kinds.items():
            ids = np.sort(shares.index[is_kind].to_numpy(dtype=str))
            taken = ids[rng.permutation(len(ids))[:n_examples]]
            named = {**row[PLACE], "cheaper": pair[0], "dearer": pair[1], "kind": kind}
            parts.append(pd.DataFrame({"question_id": taken}).assign(**named)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True)


def pair_of(rungs: pd.DataFrame, row: Any) -> tuple[str, str] | None:
    """Return the two sizes whose answers are compared, the cheaper first; None of one size.

    Args:
        rungs: One ladder, the cheapest first.
        row: Of `choice.table`.
    """
    names = [str(name) for name in rungs["eval_resolution"]]
    if len(names) < 2:
        return None
    accuracies = rungs["accuracy"].to_numpy(float)
    picked = row["chosen"] or row["would_choose"] or names[0]
    at = names.index(picked)
    best = int(accuracies.argmax())
    other = best if best != at else at - 1 if at > 0 else at + 1
    first, second = sorted((at, other))
    return names[first], names[second]


def describe(found: pd.DataFrame, choices: pd.DataFrame, *, draw_seed: int) -> str:
    """Return how the examples were chosen, in words.

    Args:
        found: As from `drawn`.
        choices: As from `choice.table`.
        draw_seed: Seed of the draw.
    """
    if found.empty:
        return "No answer changes between the sizes compared, or none was to be shown."
    pairs = found.drop_duplicates([*PLACE, "cheaper"])
    named = "; ".join(
        in_markdown(f"{place}: {sizes}" if place else sizes)
        for place, sizes in (
            (
                choice.named_place(row, choices),
                f"{label(row['cheaper'])} and {label(row['dearer'])}",
            )
            for row in pairs.to_dict("records")
        )
    )
    return (
        f"Compared: {named}. Drawn at random (seed {draw_seed}) among the questions that are right "
        "at one of the two only; they illustrate, and prove nothing."
    )
