"""Each claim over all data sets: the paper's headline numbers are averages."""

from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS
from medres.results import paired
from medres.statistics import families, pooled

LEAST_DATASETS = 3
"""A mean of two data sets has one degree of freedom and decides nothing."""
TOO_FEW = f"fewer than {LEAST_DATASETS} data sets"
CAPTION = (
    "Mean difference over data sets, with 95 % confidence interval of the mean (Hartung and Knapp) "
    "and prediction interval of one more data set; p-values adjusted by Holm over all rows."
)
NOTHING = "No comparison was made on several data sets."
COLUMNS = (
    "claim statement verdict model n_datasets difference lower upper prediction_lower "
    "prediction_upper p_value p_adjusted between p_heterogeneity"
).split()


def over_datasets(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each claim's difference over the data sets of a model.

    A random-effects mean: data sets may truly differ, and their trainings do. The confidence
    interval is of the mean over such data sets, the prediction interval of one more of them.

    Args:
        compared: As from `paired.comparisons`.

    Returns:
        `COLUMNS`, a row per claim and model that has the claim on two or more data sets; between
        is the standard deviation of true differences between data sets. Verdicts by p-values
        adjusted by Holm over all rows with enough data sets.
    """
    rows: list[dict[str, Any]] = []
    signs = {each.name: (each.sign, each.margin) for each in CLAIMS}
    groups = compared.groupby(["claim", "model"], sort=False) if len(compared) else ()
    for (claim, model), part in groups:
        if len(part) < 2 or claim not in signs:
            continue
        # Where no pair differs the error is undefined: the interval says what it could be.
        widths = (part["alone_upper"] - part["alone_lower"]) / (2 * 1.96)
        errors = part["standard_error"].fillna(widths)
        known = np.isfinite(errors) & (errors > 0)
        if known.sum() < 2:
            continue
        sign, margin = signs[claim]
        found = pooled.mean_effect(part.loc[known, "difference"] + margin, errors[known])
        rows.append(
            {
                "claim": claim,
                "statement": part["statement"].iloc[0],
                "model": model,
                "n_datasets": int(known.sum()),
                "difference": found.mean - margin,
                "lower": found.lower - margin,
                "upper": found.upper - margin,
                "prediction_lower": found.prediction_lower - margin,
                "prediction_upper": found.prediction_upper - margin,
                "p_value": found.p_value,
                "p_adjusted": np.nan,
                "between": found.between,
                "p_heterogeneity": found.p_heterogeneity,
                "verdict": TOO_FEW,
                "sign": sign if found.mean > 0 else -sign,
            }
        )
    result = pd.DataFrame(rows, columns=[*COLUMNS, "sign"])
    tested = result["n_datasets"].ge(LEAST_DATASETS) & result["p_value"].notna()
    if tested.any():
        result.loc[tested, "p_adjusted"] = families.holm(
            result.loc[tested, "p_value"].astype(float)
        )
        is_decided = result["p_adjusted"] <= 0.05
        agrees = np.where(result["sign"] > 0, paired.SUPPORTED, paired.CONTRADICTED)
        result.loc[tested, "verdict"] = np.where(is_decided, agrees, paired.NOT_DECIDED)[tested]
    return result[COLUMNS]
