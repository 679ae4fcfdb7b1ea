"""What a study says beyond single claims: the greatest gain, the paper's rule, training's worth."""

import pandas as pd

from medres.results import gains, rule, worth


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
