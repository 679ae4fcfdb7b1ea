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

import math

import numpy as np
import pandas as pd

from medres import coded
from medres.results import paired
from medres.results.numbers import p_text
from medres.statistics import groups as of_groups
from medres.statistics import mixed_model, odds, pooled, variation
from medres.statistics.odds import LogOddsRatio
from medres.texts import in_markdown

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
    "dataset model odds_of n_answers n_groups n_effective_groups n_seeds log_odds_ratio "
    "standard_error degrees_of_freedom odds_ratio ratio_lower ratio_upper p_value "
    "group_deviation note"
).split()
SHOWN = (
    "dataset model odds_of odds_ratio ratio_lower ratio_upper n_answers n_groups "
    "n_effective_groups n_seeds note"
).split()
"""Columns shown on a page; the CSV holds all."""
KEY = ["train_resolution", "eval_resolution"]


def odds_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Return the odds ratio of alignment for each data set and model.

    The ratio is (odds of a right answer low/low x native/native) / (low/native x native/low):
    1 if matching training and inference resolution does not matter.

    Args:
        table: Answers with the columns dataset, model, train_resolution, eval_resolution,
            seed, question_id, group, correct; only low and native are used.

    Returns:
        Two rows per data set and model, odds_of `all answers` (marginal) and `one group`
        (conditional). `COLUMNS`; n_answers counts those of all arms and trainings, group_deviation
        is the standard deviation of the random intercept, in log-odds, and note says why numbers
        are NaN, else it is empty. Errors cover trainings if there are several. A data set without
        all four arms gives no row.

    Raises:
        ValueError: If a verdict or a group is missing, or arms have different questions.
    """
    rows = []
    used = table[table["train_resolution"].isin(ARMS) & table["eval_resolution"].isin(ARMS)]
    if n_missing := int(used[["correct", "group"]].isna().any(axis=1).sum()):
        raise ValueError(f"{n_missing} answers have no verdict or no group; score or repair them")
    arms = paired.arms_of(used)
    for dataset, model in coded.rows_of(used, ["dataset", "model"]):
        keys = [(dataset, model, trained, asked) for trained in ARMS for asked in ARMS]
        if not all(key in arms for key in keys):
            continue
        correct, groups = paired.stacked([arms[key] for key in keys])
        sizes = pd.Series(groups).value_counts()
        too_few = of_groups.shortage(sizes)
        conditional, deviation = _conditional(correct, groups)
        for odds_of, found, spread in (
            (MARGINAL, odds.marginal(correct, groups), np.nan),
            (CONDITIONAL, conditional, deviation),
        ):
            if too_few and not found.note:
                found = odds.undefined(f"too few groups: {too_few}")
            lower, upper = found.limits()
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "odds_of": odds_of,
                    "n_answers": sum(len(arms[key]) for key in keys),
                    "n_groups": len(sizes),
                    "n_effective_groups": of_groups.effective(sizes),
                    "n_seeds": len(correct),
                    "log_odds_ratio": found.estimate,
                    "standard_error": found.standard_error,
                    "degrees_of_freedom": found.degrees_of_freedom,
                    "odds_ratio": np.exp(found.estimate),
                    "ratio_lower": np.exp(lower),
                    "ratio_upper": np.exp(upper),
                    "p_value": found.p_value,
                    "group_deviation": spread,
                    "note": found.note,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def sentence(ratios: pd.DataFrame) -> str:
    """Return whether the odds ratio differs between data sets, in words, one line per model.

    The conditional ratio is compared: it does not depend on how much the groups of a data set
    differ, as the marginal one does. Where a model has it on fewer than two data sets, the
    marginal one is. With one training each, the data sets may differ by their trainings alone.
    """
    if ratios.empty:
        return "The study lacks the four arms that the odds ratio needs."
    lines = []
    for model, of_model in ratios.groupby("model", sort=False):
        for odds_of in (CONDITIONAL, MARGINAL):
            rows = of_model[of_model["odds_of"] == odds_of]
            rows = rows[np.isfinite(rows["standard_error"])]
            if len(rows) > 1:
                break
        if len(rows) < 2:
            continue
        p_value = pooled.equal_effects(
            rows["log_odds_ratio"], rows["standard_error"], rows["degrees_of_freedom"]
        )
        differ = "differ" if p_value <= 0.05 else "do not differ beyond chance"
        scope = "" if rows["n_seeds"].min() > 1 else "; for these weights"
        lines.append(
            f"* {in_markdown(model)}: the odds ratios of {len(rows)} data sets (for {odds_of}) "
            f"{differ} (Welch's test, p {p_text(p_value)}{scope})."
        )
    return "\n".join(lines) or "Fewer than two data sets have an odds ratio; none are compared."


def _conditional(correct: np.ndarray, groups: np.ndarray) -> tuple[LogOddsRatio, float]:
    """Return the same from the mixed-effects model, with the standard deviation of groups.

    One model per training; their mean covers what the questions and the trainings vary.
    """
    codes, _ = pd.factorize(np.asarray(groups))
    sizes = np.bincount(codes)
    asked = np.repeat(sizes[:, None], len(odds.SIGNS), axis=1)
    estimates, variances, deviations = [], [], []
    for training in correct:
        right = np.stack([np.bincount(codes, weights=arm) for arm in training], axis=1)
        found = mixed_model.fit(right, asked)
        if found.note:
            return odds.undefined(found.note), np.nan
        estimates.append(float(odds.SIGNS @ found.log_odds))
        variances.append(found.variance_of(odds.SIGNS))
        deviations.append(found.deviation)
    of_questions, n_trainings = float(np.mean(variances)), len(estimates)
    degrees = max(of_groups.effective(sizes) - 1, 1.0)
    variance = of_questions
    if n_trainings > 1:
        between = float(np.var(estimates, ddof=1)) / n_trainings
        variance += between
        degrees = variation.degrees_of_sum((of_questions, degrees), (between, n_trainings - 1))
    ratio = LogOddsRatio(float(np.mean(estimates)), math.sqrt(variance), degrees)
    return ratio, float(np.mean(deviations))
