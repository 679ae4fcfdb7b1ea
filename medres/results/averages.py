"""Each claim over all data sets: the paper's headline numbers are averages."""

from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS
from medres.results import paired
from medres.statistics import families, pooled
from medres.statistics.pooled import Average

LEAST_DATASETS = 3
"""A mean of two data sets has one degree of freedom and decides nothing."""
TOO_FEW = f"fewer than {LEAST_DATASETS} data sets"
CAPTION = (
    "Mean difference over data sets, each counted once, with 95 % confidence interval (Student's t "
    "between data sets) and prediction interval of one more data set; p-values adjusted by Holm "
    "over all rows."
)
COLUMNS = (
    "claim statement verdict model n_datasets difference lower upper prediction_lower "
    "prediction_upper p_value p_adjusted between p_heterogeneity"
).split()


def over_datasets(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each claim's difference over the data sets of a model.

    Data sets may truly differ, and their trainings do: what decides is how much the differences
    vary from data set to data set. Each counts once, as in the paper's averages. The confidence
    interval is of the mean over such data sets, the prediction interval of one more of them.

    Args:
        compared: As from `paired.comparisons`.

    Returns:
        `COLUMNS`, a row per claim and model that has the claim on two or more data sets with
        enough groups, without limits and p-value where there are fewer than `LEAST_DATASETS`;
        between is the standard deviation of true differences between data sets, p_heterogeneity
        the p-value that it is 0 (both NaN if fewer than two data sets have an error). p-values are
        adjusted by Holm over all rows with enough data sets, whose intervals hold together and
        exclude the tested value exactly if the adjusted p-value is at most 0.05.
    """
    rows: list[dict[str, Any]] = []
    means: list[Average] = []
    nulls: list[float] = []
    signs = {each.name: (each.sign, each.margin) for each in CLAIMS}
    groups = compared.groupby(["claim", "model"], sort=False) if len(compared) else ()
    for (claim, model), part in groups:
        # What decides nothing by itself is no part of a mean that decides.
        if "verdict" in part:
            part = part[part["verdict"] != paired.TOO_FEW]
        if len(part) < 2 or claim not in signs:
            continue
        sign, margin = signs[claim]
        mean = pooled.average(part["difference"])
        means.append(mean)
        nulls.append(-margin)
        between, p_heterogeneity = _heterogeneity(part)
        prediction = mean.prediction(between)
        rows.append(
            {
                "claim": claim,
                "statement": part["statement"].iloc[0],
                "model": model,
                "n_datasets": mean.n_datasets,
                "difference": mean.difference,
                "lower": np.nan,
                "upper": np.nan,
                "prediction_lower": prediction.lower,
                "prediction_upper": prediction.upper,
                "p_value": mean.p_value(-margin) if mean.n_datasets >= LEAST_DATASETS else np.nan,
                "p_adjusted": np.nan,
                "between": between,
                "p_heterogeneity": p_heterogeneity,
                "verdict": TOO_FEW,
                "sign": sign if mean.difference > -margin else -sign,
            }
        )
    result = pd.DataFrame(rows, columns=[*COLUMNS, "sign"])
    tested = result["n_datasets"].ge(LEAST_DATASETS)
    if tested.any():
        adjusted, intervals = families.simultaneous(
            [means[index] for index in result.index[tested]],
            [nulls[index] for index in result.index[tested]],
        )
        result.loc[tested, "p_adjusted"] = adjusted
        result.loc[tested, "lower"] = [each.lower for each in intervals]
        result.loc[tested, "upper"] = [each.upper for each in intervals]
        is_decided = result["p_adjusted"] <= 0.05
        agrees = np.where(result["sign"] > 0, paired.SUPPORTED, paired.CONTRADICTED)
        result.loc[tested, "verdict"] = np.where(is_decided, agrees, paired.NOT_DECIDED)[tested]
    return result[COLUMNS]


def _heterogeneity(part: pd.DataFrame) -> tuple[float, float]:
    """Return how much data sets truly differ, and the p-value that they do not."""
    errors = pd.Series(list(map(paired.error_of, part.to_dict("records"))), index=part.index)
    known = np.isfinite(errors) & (errors > 0)
    if known.sum() < 2:
        return np.nan, np.nan
    effects, errors = part.loc[known, "difference"], errors[known]
    between = pooled.mean_effect(effects, errors).between
    return between, pooled.equal_effects(effects, errors, part.loc[known, "degrees_of_freedom"])
