"""What a study says beyond single claims: averages, greatest gain, the rule, training's worth."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medres.datasets import QuestionSet
from medres.results import gains, headlines, rule, worth

HEADLINES: dict[str, Any] = {"columns": headlines.SHOWN, "caption": headlines.CAPTION}
"""How a page shows the headline numbers."""


def headline_numbers(
    compared: pd.DataFrame, answers: pd.DataFrame, question_sets: Mapping[str, QuestionSet]
) -> pd.DataFrame:
    """Return the averages that the paper states beside the same averages of a study.

    Args:
        compared: As from `paired.comparisons`.
        answers: Those it was made of, as from `grids.answers`.
        question_sets: The data sets by their name in the study.

    Returns:
        As `headlines.table`.
    """
    named = headlines.stands_for(question_sets)
    return headlines.table(compared, headlines.shares(answers), named)


def sentences(compared: pd.DataFrame, answers: pd.DataFrame) -> str:
    """Return a line each of `gains`, `rule` and `worth`; empty where the study lacks their arms.

    Args:
        compared: As from `paired.comparisons`.
        answers: Those it was made of, as from `grids.answers`.
    """
    said = (
        gains.summary(gains.pairs(compared)),
        rule.summary(rule.table(answers)),
        worth.summary(worth.table(answers)),
    )
    return "\n".join(filter(None, said))
