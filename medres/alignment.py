"""How much it matters that training and inference agree: a logistic model of single answers.

Differences of accuracy mean something else at 50 % than at 95 %. Log-odds do not, so that what
alignment is worth can be compared between data sets: the interaction of train_resolution and
eval_resolution. Standard errors are cluster-robust (sandwich) over groups, as in a generalised
estimating equation with working independence: several questions on an image, and the same
question in four arms, are no independent answers.
"""

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from medres import findings

ARMS = ("low", "native")
COLUMNS = (
    "dataset model n_answers n_groups log_odds_ratio standard_error odds_ratio ratio_lower "
    "ratio_upper p_value"
).split()
SHOWN = "dataset model n_answers n_groups odds_ratio ratio_lower ratio_upper".split()
"""Columns that a page shows; the CSV holds all."""
KEY = ["train_resolution", "eval_resolution"]


def odds_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each data set and model what alignment is worth, as a ratio of odds.

    The ratio is (odds of a right answer low/low x native/native) / (low/native x native/low):
    1 where agreement of training and inference does not matter.

    Args:
        table: Answers with the columns dataset, model, train_resolution, eval_resolution,
            seed, group, correct; only low and native are used.

    Returns:
        Columns dataset, model, n_answers, n_groups, log_odds_ratio, standard_error, odds_ratio,
        ratio_lower, ratio_upper, p_value; the last six are NaN where an arm has no right or no
        wrong answer, or there is one group. A data set without all four arms gives no row.
    """
    rows = []
    for (dataset, model), part in _four_arms(table).groupby(["dataset", "model"], sort=False):
        estimate, error = _interaction(part)
        n_groups = part["group"].nunique()
        half = stats.norm.ppf(0.975) * error
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "n_answers": len(part),
                "n_groups": n_groups,
                "log_odds_ratio": estimate,
                "standard_error": error,
                "odds_ratio": np.exp(estimate),
                "ratio_lower": np.exp(estimate - half),
                "ratio_upper": np.exp(estimate + half),
                "p_value": 2 * stats.norm.sf(abs(estimate) / error),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def heterogeneity(ratios: pd.DataFrame) -> dict[str, Any]:
    """Return Cochran's Q of the log odds ratios: do data sets differ in what alignment is worth?

    Args:
        ratios: Rows of `odds_ratios` of one model; rows without an error are left out.

    Returns:
        n_datasets, q, degrees_of_freedom and p_value, NaN for fewer than two data sets.
    """
    known = ratios[np.isfinite(ratios["standard_error"])]
    weights = 1 / known["standard_error"] ** 2
    degrees = len(known) - 1
    if degrees < 1:
        return {"n_datasets": len(known), "q": np.nan, "degrees_of_freedom": 0, "p_value": np.nan}
    mean = float((weights * known["log_odds_ratio"]).sum() / weights.sum())
    q = float((weights * (known["log_odds_ratio"] - mean) ** 2).sum())
    return {
        "n_datasets": len(known),
        "q": q,
        "degrees_of_freedom": degrees,
        "p_value": float(stats.chi2.sf(q, degrees)),
    }


def sentence(ratios: pd.DataFrame) -> str:
    """Return whether data sets differ in what alignment is worth, in words, a model a line."""
    if ratios.empty:
        return "The study does not have the four arms that the ratio is made of."
    lines = []
    for model, rows in ratios.groupby("model", sort=False):
        found = heterogeneity(rows)
        if found["degrees_of_freedom"]:
            differ = "differ" if found["p_value"] <= 0.05 else "do not differ beyond chance"
            lines.append(
                f"* {model}: the ratios of {found['n_datasets']} data sets {differ} (Cochran's Q "
                f"{found['q']:.1f} on {found['degrees_of_freedom']} degrees of freedom, p "
                f"{findings.p_text(found['p_value'])})."
            )
    return "\n".join(lines) or "There are no two data sets whose ratios could be compared."


def _four_arms(table: pd.DataFrame) -> pd.DataFrame:
    used = table[table["train_resolution"].isin(ARMS) & table["eval_resolution"].isin(ARMS)]
    arms = used.drop_duplicates(["dataset", "model", *KEY])
    counts = arms.groupby(["dataset", "model"], as_index=False).size()
    whole = counts.loc[counts["size"] == len(ARMS) ** 2, ["dataset", "model"]]
    return used.merge(whole, on=["dataset", "model"])


def _interaction(part: pd.DataFrame) -> tuple[float, float]:
    """Return the log odds ratio of alignment and its cluster-robust standard error."""
    cells = part.groupby(KEY)["correct"].mean()
    if cells.isin([0, 1]).any() or part["group"].nunique() < 2:
        return np.nan, np.nan
    trained, asked = (part[name].eq("native").to_numpy(dtype=float) for name in KEY)
    design = np.column_stack([np.ones(len(part)), trained, asked, trained * asked])
    codes = pd.factorize(part["group"])[0]
    model = sm.GLM(part["correct"].to_numpy(dtype=float), design, sm.families.Binomial())
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": codes})
    return float(fitted.params[3]), float(fitted.bse[3])
