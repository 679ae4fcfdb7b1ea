"""Odds ratios of alignment: how much matching training and inference resolution helps.

A percentage point means more near 95 % than near 50 %. On the log-odds scale the effect of
alignment, the interaction of train_resolution and eval_resolution, can be compared between data
sets. Two logistic models of single answers estimate it. The marginal one is over all answers,
whatever their group, as in a generalised estimating equation with working independence. The
conditional one has a random intercept by group: it describes a single group, and is further from
1, because averaging over groups of different difficulty shrinks an odds ratio. Standard errors of
both are cluster-robust (sandwich) over groups: several questions on an image, and the same
question in four arms, are not independent answers.
"""

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

from medres.results.numbers import p_text
from medres.statistics import mixed_model

ARMS = ("low", "native")
MARGINAL = "all answers"
CONDITIONAL = "one group"
CAPTION = (
    "Odds ratio of alignment: odds of a right answer at low→low times native→native, over "
    "low→native times native→low, with 95 % confidence interval, clustered by group. All answers: "
    "marginal, a logistic model with errors clustered by group. One group: conditional, a "
    "mixed-effects logistic model with a random intercept by group; further from 1 the more "
    "groups differ. A dash: not fitted; the note says why."
)
COLUMNS = (
    "dataset model odds_of n_answers n_groups log_odds_ratio standard_error odds_ratio "
    "ratio_lower ratio_upper p_value group_deviation note"
).split()
SHOWN = ("dataset model odds_of n_answers n_groups odds_ratio ratio_lower ratio_upper note").split()
"""Columns shown on a page; the CSV holds all."""
KEY = ["train_resolution", "eval_resolution"]


def odds_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Return the odds ratio of alignment for each data set and model.

    The ratio is (odds of a right answer low/low x native/native) / (low/native x native/low):
    1 if matching training and inference resolution does not matter.

    Args:
        table: Answers with the columns dataset, model, train_resolution, eval_resolution,
            seed, group, correct; only low and native are used.

    Returns:
        Two rows per data set and model, odds_of `all answers` (marginal) and `one group`
        (conditional). Columns dataset, model, odds_of, n_answers, n_groups, log_odds_ratio,
        standard_error, odds_ratio, ratio_lower, ratio_upper, p_value, group_deviation (standard
        deviation of the random intercept, in log-odds) and note: why numbers are NaN, else empty.
        A data set without all four arms gives no row.

    Raises:
        ValueError: If a verdict or a group is missing.
    """
    rows = []
    for (dataset, model), part in _four_arms(table).groupby(["dataset", "model"], sort=False):
        for odds_of, found in ((MARGINAL, _marginal(part)), (CONDITIONAL, _conditional(part))):
            estimate, error, deviation, note = found
            if not note and not error > 1e-6:  # zero up to rounding: not real certainty
                error, note = np.nan, "no group distinguishes the arms"
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
    """Return Cochran's Q of the log odds ratios: does the effect differ between data sets?

    Args:
        ratios: Marginal rows of `odds_ratios` of one model; rows without an error are left out.

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
    """Return whether the odds ratio differs between data sets, in words, one line per model."""
    if ratios.empty:
        return "The study lacks the four arms that the odds ratio needs."
    lines = []
    marginal = ratios[ratios["odds_of"] == MARGINAL]
    for model, rows in marginal.groupby("model", sort=False):
        found = heterogeneity(rows)
        if found["degrees_of_freedom"]:
            differ = "differ" if found["p_value"] <= 0.05 else "do not differ beyond chance"
            lines.append(
                f"* {model}: the odds ratios of {found['n_datasets']} data sets {differ} "
                f"(Cochran's Q {found['q']:.1f}, df = {found['degrees_of_freedom']}, p "
                f"{p_text(found['p_value'])})."
            )
    return "\n".join(lines) or "Fewer than two data sets have an odds ratio; none are compared."


def _four_arms(table: pd.DataFrame) -> pd.DataFrame:
    used = table[table["train_resolution"].isin(ARMS) & table["eval_resolution"].isin(ARMS)]
    if n_missing := int(used[["correct", "group"]].isna().any(axis=1).sum()):
        raise ValueError(f"{n_missing} answers have no verdict or no group; score or repair them")
    arms = used.drop_duplicates(["dataset", "model", *KEY])
    counts = arms.groupby(["dataset", "model"], as_index=False).size()
    whole = counts.loc[counts["size"] == len(ARMS) ** 2, ["dataset", "model"]]
    return used.merge(whole, on=["dataset", "model"])


def _marginal(part: pd.DataFrame) -> tuple[float, float, float, str]:
    """Return the marginal log odds ratio, its cluster-robust error, NaN, and a note."""
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
    """Return the same from the mixed-effects model, with the standard deviation of groups."""
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
