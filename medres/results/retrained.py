"""Trainings on enlarged images, on low ones by another filter, and at one resolution after another.

Each is compared with training and inference at low, and at native, on the same questions.
"""

import pandas as pd

from medres import trained_at
from medres.published import claims
from medres.published.claims import Claim
from medres.results import findings, paired

INTRODUCTION = (
    "## Trained and evaluated at the same resolution\n\n"
    "The paper does not say whether its models were trained on enlarged images or only evaluated "
    "on them. Above, a model is trained at another resolution than it is evaluated at; here each "
    "is trained at its own: on enlarged images, on low images shrunk by Lanczos, which the "
    "paper prefers, or at one resolution and then on at another for a few passes. Intervals and "
    "p-values as above, adjusted together within each family."
)


def of(answers: pd.DataFrame) -> tuple[Claim, ...]:
    """Return the comparisons that a study's trainings allow: those of the project and its own.

    Args:
        answers: As from `grids.answers`.
    """
    own = [
        claim
        for name in map(str, answers["train_resolution"].unique())
        if (before := trained_at.earlier(name))
        for claim in claims.gone_on(before, trained_at.last(name))
    ]
    return tuple(dict.fromkeys([*claims.of_families(*claims.RETRAINED), *own]))


def table(answers: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Return each comparison whose arms the study has, as from `paired.comparisons`.

    Args:
        answers: As from `grids.answers`.
        margin: Loss that would not matter, a fraction.
    """
    return paired.comparisons(answers, of(answers), margin=margin)


def sentence(found: pd.DataFrame) -> str:
    """Return what is decided in words, one line each, and the rest in one; empty without any.

    Args:
        found: As from `table`.
    """
    return "" if found.empty else f"\n{findings.brief(found)}"
