"""The same answers scored by each rule and by each metric, one row per cell."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medres import coded, datasets, scoring
from medres.results.grids import CELL, rank
from medres.statistics import agreement

SHOWN = [
    *CELL,
    *(name for name in scoring.RULE_COLUMNS if name not in ("n_generated", "note")),
]
"""Columns of `by_rule` that are shown on a page; its caption says the rest."""
READS = ("reference reply generated_reply option_log_probabilities_per_token answer_type").split()
"""Columns of answers that are read beside `stored.COUNTED`."""
OPEN = {
    "open_named": "names",
    "open_equal": "exact",
    "open_plain_recall": "recall",
    "open_plain_f1": "f1",
}
"""Columns of open answers written in one form, and the value of `scoring.open_score` of each."""

OPEN_CAPTION = (
    "An open answer is written in one form (numbers, units, plurals, articles, spelling). It names "
    "the reference if it says all of it and nothing against it; it is equal if it says nothing "
    "more; recall and F1 count words in common. 95 % confidence intervals, clustered by group."
)


def by_rule(table: pd.DataFrame, question_sets: Mapping[str, datasets.QuestionSet]) -> pd.DataFrame:
    """Return one row per cell with closed questions: accuracy by each scoring rule.

    Args:
        table: Answers as from `answers`; generated replies to closed questions, if there are any,
            in the column generated_reply.
        question_sets: The data sets, for what the paper's authors do with each.

    Returns:
        Columns of `CELL` and those of `scoring.rule_metrics`; NaN if a rule is not computed.
    """
    source_of = {each.label: each.source for each in question_sets.values()}
    scored = "reference options correct option_log_probabilities_per_token generated_reply".split()
    used = [*CELL, *(name for name in scored if name in table)]
    rows = []
    for key, places in coded.rows_of(table, CELL).items():
        part = table[used].iloc[places]
        closed = part[coded.n_options(part) > 0]
        if len(closed):
            found = scoring.rule_metrics(closed, source=source_of[key[0]])
            rows.append({**dict(zip(CELL, key, strict=True)), **found})
    result = pd.DataFrame(rows, columns=[*CELL, *scoring.RULE_COLUMNS])
    return result.sort_values(CELL, key=rank, kind="stable", ignore_index=True)


def describe_rules(rules: pd.DataFrame) -> str:
    """Return what the table of `by_rule` says, and which of its rules could not be computed."""
    if rules.empty:
        return "The study has no closed questions."
    lacking = rules[rules["note"] != ""]
    said = (
        f"Closed questions in {len(rules)} cells, scored by the most probable option (its summed "
        "log-probability, and per token) and by the rules strict and paper on a generated reply. "
        "Verdicts that differ: questions that are right by one rule and wrong by the other."
    )
    if len(lacking):
        n_missing = int((lacking["n_questions"] - lacking["n_generated"]).sum())
        said += (
            f" Cells without strict and paper: {len(lacking)}; {n_missing:,} of their answers "
            "were scored by log-probability alone, without a generated reply."
        )
    known = rules[rules["note"] == ""]
    if len(known):
        n_changed = int(known["n_paper_strict"].sum())
        n_questions = int(known["n_questions"].sum())
        said += (
            f" Of {n_questions:,} generated replies, {int(known['n_unparsable'].sum()):,} are "
            f"unparsable, and {n_changed:,} have different verdicts by strict and paper."
        )
    return said


def vqa_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell of the data sets that have yes/no or open questions.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL` and those of `scoring.vqa_metrics`, fractions; NaN if a cell has no
        question of the kind.
    """
    rows = []
    names = ("options", "correct", "reply", "reference", "answer_type")
    used = [name for name in names if name in table]
    of_dataset: dict[str, list[tuple[tuple[Any, ...], np.ndarray]]] = {}
    for key, places in coded.rows_of(table, CELL).items():
        of_dataset.setdefault(key[0], []).append((key, places))
    for arms in of_dataset.values():
        cells = {key: table[used].iloc[places] for key, places in arms}
        if any(map(_asks, cells.values())):
            rows += [
                {**dict(zip(CELL, key, strict=True)), **scoring.vqa_metrics(cell)}
                for key, cell in cells.items()
            ]
    if not rows:
        return pd.DataFrame(columns=CELL)
    return pd.DataFrame(rows).sort_values(CELL, key=rank, kind="stable", ignore_index=True)


def _asks(cell: pd.DataFrame) -> bool:
    """Return whether a cell has open questions or some of yes or no."""
    is_yes_no = coded.each(cell["reference"], lambda text: text.lower() in scoring.YES_NO)
    return bool((is_yes_no | coded.n_options(cell).eq(0)).any())


def open_answers(table: pd.DataFrame) -> pd.DataFrame:
    """Return how open questions are answered, one row per cell that has some.

    Args:
        table: Answers as from `answers`.

    Returns:
        Columns of `CELL`, n_open, n_groups, and each of `OPEN` with its 95 % interval, clustered
        by group (`<name>_lower`, `<name>_upper`), fractions.
    """
    opened = table.loc[coded.n_options(table) == 0, [*CELL, "group", "reply", "reference"]]
    firsts, of_row = coded.combinations([opened["reply"], opened["reference"]])
    different = opened[["reply", "reference"]].iloc[firsts].itertuples(index=False, name=None)
    scores = [scoring.open_score(*each) for each in different]
    values = {
        name: np.array([float(getattr(score, value)) for score in scores])[of_row]
        for name, value in OPEN.items()
    }
    rows = []
    for key, places in coded.rows_of(opened, CELL).items():
        cell = opened.iloc[places]
        row = {**dict(zip(CELL, key, strict=True)), "n_open": len(cell)}
        row["n_groups"] = cell["group"].nunique()
        for name in OPEN:
            interval = agreement.score_interval(values[name][places], coded.codes(cell["group"]))
            row |= {name: interval.estimate, f"{name}_lower": interval.lower}
            row[f"{name}_upper"] = interval.upper
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=CELL)
    return pd.DataFrame(rows).sort_values(CELL, key=rank, kind="stable", ignore_index=True)
