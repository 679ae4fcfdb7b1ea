"""How much it matters that training and inference agree: a logistic model of single answers.

Differences of accuracy mean something else at 50 % than at 95 %. Log-odds do not, so that what
alignment is worth can be compared between data sets: the interaction of train_resolution and
eval_resolution. Two models say it of two things. The marginal one is of all answers, whatever
their group, as in a generalised estimating equation with working independence. The conditional
one has a random intercept by group: it is of one group, and further from 1, because odds of
groups that differ in difficulty average to less than the odds of each. Standard errors of both
are cluster-robust (sandwich) over groups: several questions on an image, and the same question
in four arms, are no independent answers.
"""

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from medres.results import findings
from medres.statistics import mixed_model

ARMS = ("low", "native")
MARGINAL = "all answers"
CONDITIONAL = "one group"
CAPTION = (
    "What alignment multiplies the odds of a right answer by; 95 % interval over groups. Of all "
    "answers: marginal, a logistic model whose errors are clustered by group. Of one group: "
    "conditional, a mixed-effects logistic model with a random intercept by group; further from 1 "
    "the more groups differ. A dash: not fitted, the note says why."
)
COLUMNS = (
    "dataset model odds_of n_answers n_groups log_odds_ratio standard_error odds_ratio "
    "ratio_lower ratio_upper p_value group_deviation note"
).split()
SHOWN = ("dataset model odds_of n_answers n_groups odds_ratio ratio_lower ratio_upper note").split()
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
        Two rows a data set and model, odds_of `all answers` (marginal) and `one group`
        (conditional). Columns dataset, model, odds_of, n_answers, n_groups, log_odds_ratio,
        standard_error, odds_ratio, ratio_lower, ratio_upper, p_value, group_deviation (of the
        random intercept, in log-odds) and note: why numbers are NaN, else empty. A data set
        without all four arms gives no row.

    Raises:
        ValueError: If a verdict or a group is missing.
    """
    rows = []
    for (dataset, model), part in _four_arms(table).groupby(["dataset", "model"], sort=False):
        for odds_of, found in ((MARGINAL, _marginal(part)), (CONDITIONAL, _conditional(part))):
            estimate, error, deviation, note = found
            if not note and not error > 1e-6:  # zero up to rounding: certainty that is none
                error, note = np.nan, "no group tells the arms apart"
            half = stats.norm.ppf(0.975) * error
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "odds_of": odds_of,
                    "n_answers": len(part),
                    "n_groups": part["group"].nunique(),
                    "log_odds_ratio": estimate,
                    "standard_error": error,
                    "odds_ratio": np.exp(estimate),
                    "ratio_lower": np.exp(estimate - half),
                    "ratio_upper": np.exp(estimate + half),
                    "p_value": 2 * stats.norm.sf(abs(estimate) / error),
                    "group_deviation": deviation,
                    "note": note,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def heterogeneity(ratios: pd.DataFrame) -> dict[str, Any]:
    """Return Cochran's Q of the log odds ratios: do data sets differ in what alignment is worth?

    Args:
        ratios: Marginal rows of `odds_ratios` of one model; those without an error are left out.

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
    marginal = ratios[ratios["odds_of"] == MARGINAL]
    for model, rows in marginal.groupby("model", sort=False):
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
    if n_missing := int(used[["correct", "group"]].isna().any(axis=1).sum()):
        raise ValueError(f"{n_missing} answers lack a verdict or a group; score or repair them")
    arms = used.drop_duplicates(["dataset", "model", *KEY])
    counts = arms.groupby(["dataset", "model"], as_index=False).size()
    whole = counts.loc[counts["size"] == len(ARMS) ** 2, ["dataset", "model"]]
    return used.merge(whole, on=["dataset", "model"])


def _marginal(part: pd.DataFrame) -> tuple[float, float, float, str]:
    """Return the log odds ratio of alignment, its cluster-robust error, NaN, and a note."""
    if part["group"].nunique() < 2:
        return np.nan, np.nan, np.nan, "one group"
    if part.groupby(KEY)["correct"].mean().isin([0, 1]).any():
        return np.nan, np.nan, np.nan, "an arm has no right or no wrong answer"
    trained, asked = (part[name].eq("native").to_numpy(dtype=float) for name in KEY)
    design = np.column_stack([np.ones(len(part)), trained, asked, trained * asked])
    codes = pd.factorize(part["group"])[0]
    model = sm.GLM(part["correct"].to_numpy(dtype=float), design, sm.families.Binomial())
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": codes})
    return float(fitted.params[3]), float(fitted.bse[3]), np.nan, ""


def _conditional(part: pd.DataFrame) -> tuple[float, float, float, str]:
    """Return the same of the mixed model, with the standard deviation of groups."""
    arms = pd.MultiIndex.from_product([ARMS, ARMS])
    cells = part.astype({"correct": float}).groupby(["group", *KEY])["correct"]
    right, asked = (
        counts.unstack(KEY, fill_value=0).reindex(columns=arms).to_numpy()
        for counts in (cells.sum(), cells.size())
    )
    found = mixed_model.fit(right, asked)
    contrast = np.array([1, -1, -1, 1])  # arms low/low, low/native, native/low, native/native
    error = float(np.sqrt(np.maximum(contrast @ found.covariance @ contrast, 0)))
    return float(contrast @ found.log_odds), error, found.deviation, found.note
