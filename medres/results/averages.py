"""Each claim over all data sets: the paper's headline numbers are averages."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from medres.published.claims import CLAIMS
from medres.results import paired
from medres.statistics import families, pooled
from medres.statistics.comparison import Interval
from medres.statistics.pooled import Pooled

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


@dataclass(frozen=True)
class _Mean:
    """A mean over data sets, as `families.simultaneous` takes it."""

    found: Pooled
    n_datasets: int
    null: float

    @property
    def difference(self) -> float:
        return self.found.mean

    def interval(self, level: float = 0.95) -> Interval:
        half = float(stats.t.isf((1 - level) / 2, self.n_datasets - 1)) * self.found.standard_error
        return Interval(self.difference, self.difference - half, self.difference + half)

    def p_value(self, null: float = 0.0) -> float:
        error = self.found.standard_error
        if math.isnan(error):
            return 1.0
        return float(2 * stats.t.sf(abs(self.difference - null) / error, self.n_datasets - 1))


def over_datasets(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each claim's difference over the data sets of a model.

    A random-effects mean: data sets may truly differ, and their trainings do. The confidence
    interval is of the mean over such data sets, the prediction interval of one more of them.

    Args:
        compared: As from `paired.comparisons`.

    Returns:
        `COLUMNS`, a row per claim and model that has the claim on two or more data sets, without
        limits and p-value where there are fewer than `LEAST_DATASETS`; between is the standard
        deviation of true differences between data sets. p-values are adjusted by Holm over all
        rows with enough data sets, whose intervals hold together and exclude the tested value
        exactly if the adjusted p-value is at most 0.05.
    """
    rows: list[dict[str, Any]] = []
    means: list[_Mean] = []
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
        found = pooled.mean_effect(part.loc[known, "difference"], errors[known])
        mean = _Mean(found, int(known.sum()), -margin)
        means.append(mean)
        rows.append(
            {
                "claim": claim,
                "statement": part["statement"].iloc[0],
                "model": model,
                "n_datasets": mean.n_datasets,
                "difference": found.mean,
                "lower": np.nan,
                "upper": np.nan,
                "prediction_lower": found.prediction_lower,
                "prediction_upper": found.prediction_upper,
                "p_value": mean.p_value(mean.null) if mean.n_datasets >= LEAST_DATASETS else np.nan,
                "p_adjusted": np.nan,
                "between": found.between,
                "p_heterogeneity": found.p_heterogeneity,
                "verdict": TOO_FEW,
                "sign": sign if found.mean > mean.null else -sign,
            }
        )
    result = pd.DataFrame(rows, columns=[*COLUMNS, "sign"])
    tested = result["n_datasets"].ge(LEAST_DATASETS)
    if tested.any():
        family = [means[index] for index in result.index[tested]]
        adjusted, intervals = families.simultaneous(family, [each.null for each in family])
        result.loc[tested, "p_adjusted"] = adjusted
        result.loc[tested, "lower"] = [each.lower for each in intervals]
        result.loc[tested, "upper"] = [each.upper for each in intervals]
        is_decided = result["p_adjusted"] <= 0.05
        agrees = np.where(result["sign"] > 0, paired.SUPPORTED, paired.CONTRADICTED)
        result.loc[tested, "verdict"] = np.where(is_decided, agrees, paired.NOT_DECIDED)[tested]
    return result[COLUMNS]
