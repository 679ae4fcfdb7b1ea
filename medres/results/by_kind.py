"""Comparisons by kind of question: a mean can hide parts that point in opposite directions."""

from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS, OF_STUDY, Claim
from medres.results import paired
from medres.results.grids import place
from medres.results.numbers import p_text, points
from medres.statistics import comparison, contrast, interaction
from medres.texts import in_markdown

PARTS = ("question", "answer_type", "modality")
"""Columns of the answers that divide questions into kinds, where they repeat."""
MOST_PARTS = 20
"""With more different texts, questions are not of a few kinds."""
COLUMNS = (
    "claim statement dataset model by part n_questions n_groups difference lower upper covers "
    "is_clear p_interaction disagree these_lower these_upper is_clear_here disagree_here"
).split()
SHOWN = "statement dataset model part n_questions n_groups difference lower upper covers".split()
CAPTION = (
    "Paired difference for each kind of question: second arm minus first, with 95 % confidence "
    "intervals that hold together for all kinds of a comparison."
)
NOTHING = "No comparison is shown to have kinds of questions that point in opposite directions."
LOOKS: dict[str, Any] = {"columns": SHOWN, "empty": NOTHING, "caption": CAPTION}
"""How a page shows these tables."""


def differences(table: pd.DataFrame, claims: tuple[Claim, ...] = CLAIMS) -> pd.DataFrame:
    """Return the paired difference of each claim for each kind of question.

    Args:
        table: Answers as from `grids.answers`.
        claims: What to compare; those of more than two arms, with a margin, or that the paper does
            not make (`OF_STUDY`) are left out.

    Returns:
        `COLUMNS`: difference with limits that hold together for all parts of a row's claim
        (Bonferroni), covers (what they cover), is_clear (whether they exclude 0, and a verdict may
        rest on the part), p_interaction (hypothesis that all parts have the same difference; covers
        questions, for these weights), disagree (whether one part is clearly above 0 and another
        below); these_lower, these_upper, is_clear_here and disagree_here are the same over
        questions alone, for the mean of these trainings. No row where questions cannot be divided,
        or only one part has enough groups.
    """
    rows: list[dict[str, Any]] = []
    parts = [name for name in PARTS if name in table]
    arms = paired.arms_of(table, compared_by=claims, also=parts)
    for dataset, model in table[["dataset", "model"]].drop_duplicates().itertuples(index=False):
        for claim in claims:
            keys = [(dataset, model, *claim.first), (dataset, model, *claim.second)]
            is_left_out = claim.others or claim.margin or claim.family in OF_STUDY
            if is_left_out or not all(key in arms for key in keys):
                continue
            correct, groups = paired.stacked([arms[key] for key in keys])
            asked = arms[keys[0]].drop_duplicates("question_id")
            for by in parts:
                if _divides(asked[by]):
                    named = {
                        "claim": claim.name,
                        "statement": claim.statement,
                        "dataset": dataset,
                        "model": model,
                        "by": by,
                        "covers": paired.covers(claim, [arms[key] for key in keys]),
                    }
                    rows += [
                        named | row
                        for row in _of_parts(correct, np.asarray(groups), asked[by].to_numpy(str))
                    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _divides(values: pd.Series) -> bool:
    return bool(1 < values.nunique() <= min(MOST_PARTS, len(values) // 2))


def _of_parts(correct: np.ndarray, groups: np.ndarray, parts: np.ndarray) -> list[dict[str, Any]]:
    of_part = {}
    for part in dict.fromkeys(parts.tolist()):
        here = parts == part
        compared = comparison.compare(correct[:, 0, here], correct[:, 1, here], groups[here])
        if not compared.too_few:
            of_part[part] = compared
    if len(of_part) < 2:
        return []
    kept = np.isin(parts, list(of_part))
    p_interaction = interaction.equal_differences(
        correct[:, 0, kept], correct[:, 1, kept], groups[kept], parts[kept]
    )
    limits = {part: each.interval(1 - 0.05 / len(of_part)) for part, each in of_part.items()}
    weights = correct.mean(axis=0)[None]  # the trainings' mean, as if it were one training
    here = {}
    for part in of_part:
        of_these = contrast.contrast(weights[:, :, parts == part], [-1, 1], groups[parts == part])
        here[part] = of_these.interval(1 - 0.05 / len(of_part))
    signs, signs_here = (
        {
            part: 0 if of_part[part].refusal() else (each.lower > 0) - (each.upper < 0)
            for part, each in intervals.items()
        }
        for intervals in (limits, here)
    )
    return [
        {
            "part": part,
            "n_questions": each.n_questions,
            "n_groups": each.n_groups,
            "difference": each.difference,
            "lower": limits[part].lower,
            "upper": limits[part].upper,
            "is_clear": signs[part] != 0,
            "p_interaction": p_interaction,
            "disagree": {1, -1} <= set(signs.values()),
            "these_lower": here[part].lower,
            "these_upper": here[part].upper,
            "is_clear_here": signs_here[part] != 0,
            "disagree_here": {1, -1} <= set(signs_here.values()),
        }
        for part, each in of_part.items()
    ]


def opposite(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the comparisons whose parts point in opposite directions.

    Surely, or at least for these weights.
    """
    chosen = found["disagree"].astype(bool) | found["disagree_here"].astype(bool)
    return found[chosen].reset_index(drop=True)


def sentence(found: pd.DataFrame) -> str:
    """Return where parts of the questions disagree, one line per comparison; empty if nowhere."""
    if found.empty:
        return ""
    rows = opposite(found.assign(dataset=place(found).map(in_markdown)))
    lines = []
    for (statement, dataset, _), parts in rows.groupby(["statement", "dataset", "by"], sort=False):
        is_sure = bool(parts["disagree"].iloc[0])
        clear = parts[parts["is_clear" if is_sure else "is_clear_here"].astype(bool)]
        said = ", ".join(
            f"{in_markdown(row.part)} {points(row.difference)}"
            for row in clear.sort_values("difference").itertuples(index=False)
        )
        scope = (
            f"intervals cover {parts['covers'].iloc[0]}"
            if is_sure
            else "for these weights: other trainings may divide otherwise"
        )
        lines.append(
            f"* {statement} ({dataset}): the mean hides opposite parts, in points: {said} "
            f"({scope}; all parts equal, for these weights: p "
            f"{p_text(parts['p_interaction'].iloc[0])})."
        )
    return "\n".join(lines)
