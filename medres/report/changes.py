"""Questions whose answers change between two sizes, with the picture at both."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import HTML

from medres.datasets import QuestionSet
from medres.report import examples as cards
from medres.results import changes
from medres.results.ladder import label


def show(
    found: pd.DataFrame,
    answers: pd.DataFrame,
    question_sets: Mapping[str, QuestionSet],
    *,
    crop_px: int,
) -> HTML:
    """Return the questions for a page, by data set, model and kind.

    Args:
        found: As from `changes.drawn`.
        answers: As from `ladder.rungs`.
        question_sets: The data sets.
        crop_px: Most pixels of a side of the larger image that are shown, from its middle.
    """
    if found.empty:
        return HTML("")
    parts, said = cards.template(), []
    several = len(found[["dataset", "model"]].drop_duplicates()) > 1
    for (dataset, model), part in found.groupby(["dataset", "model"], sort=False):
        embedded: set[str] = set()
        known = answers[(answers["dataset"] == dataset) & (answers["model"] == model)]
        if several:
            said.append(cards.heading("h3", f"{dataset} ({model})"))
        for kind in changes.KINDS:
            rows = part[part["kind"] == kind]
            if rows.empty:
                continue
            sizes = [str(rows[name].iloc[0]) for name in ("cheaper", "dearer")]
            named = f"{label(sizes[0])} and {label(sizes[1])}"
            said.append(cards.heading("h4", f"{kind.capitalize()} ({named})"))
            arms = [(str(rows["train_resolution"].iloc[0]), size) for size in sizes]
            for question_id in rows["question_id"]:
                question = known[known["question_id"] == question_id]
                shown = cards.card(question, question_sets, arms, crop_px, embedded, sizes)
                said.append(parts.card(shown))
    return HTML(cards.wrapped(said))
