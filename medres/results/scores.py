"""The same answers scored by each rule and by each metric, one row per cell."""

from collections.abc import Mapping

import pandas as pd

from medres import datasets, scoring
from medres.results.grids import CELL, rank

SHOWN = [
    *CELL,
    *(name for name in scoring.RULE_COLUMNS if name not in ("n_generated", "note")),
]
"""Columns of `by_rule` that are shown on a page; its caption says the rest."""


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
    rows = [
        {
            **dict(zip(CELL, key, strict=True)),
            **scoring.rule_metrics(part, source=source_of[str(key[0])]),
        }
        for key, part in table.loc[table["options"].map(len) > 0, used].groupby(CELL, sort=False)
    ]
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
    for _, part in table.groupby("dataset", sort=False):
        is_asked = (part["options"].map(len) == 0) | part["reference"].str.lower().isin(
            scoring.YES_NO
        )
        if is_asked.any():
            rows += [
                {**dict(zip(CELL, key, strict=True)), **scoring.vqa_metrics(cell)}
                for key, cell in part.groupby(CELL, sort=False)
            ]
    if not rows:
        return pd.DataFrame(columns=CELL)
    return pd.DataFrame(rows).sort_values(CELL, key=rank, kind="stable", ignore_index=True)
