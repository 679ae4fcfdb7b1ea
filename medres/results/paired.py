"""The claims tested on a study's answers: paired comparisons of two arms, with verdicts."""

from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS, Claim
from medres.results.grids import CELL, place
from medres.statistics import comparison, power

BOOTSTRAP_SEED = 20_260_101
"""Seed of every interval, so that a report is the same each time it is rendered."""
SHOWN = (
    "statement dataset model first second n_questions difference lower upper detectable_difference "
    "p_mcnemar p_adjusted family verdict"
).split()
"""Columns of the comparisons that are shown on a page; the CSV holds all."""
SHOWN_BY_ARMS = [name for name in SHOWN if name != "statement"]
SHOWN_BY_STATEMENT = [name for name in SHOWN if name not in ("first", "second")]


def comparisons(
    table: pd.DataFrame, claims: tuple[Claim, ...] = CLAIMS, *, n_resamples: int = 10_000
) -> pd.DataFrame:
    """Return every claim on every data set and model: difference, interval, test, verdict.

    Pairs are the same question (and seed) in both arms. The bootstrap resamples whole groups, and
    the sign-flip test flips whole groups. p-values are adjusted by Holm within a claim's family,
    over all its data sets and models. A claim with a margin is judged by its interval alone.

    Args:
        table: Answers as from `answers`.
        claims: What to compare.
        n_resamples: Bootstrap replicates of each interval.

    Returns:
        Columns claim, statement, dataset, model, first, second (train→eval), family,
        n_questions, n_groups, n_seeds, accuracy_first, accuracy_second, difference, lower,
        upper (they cover questions), detectable_difference (80 % power at the 5 % level, before
        any adjustment), training_lower, training_upper (they cover trainings, for several seeds),
        n_first_only, n_second_only, p_mcnemar, p_value, p_adjusted, n_family, verdict.
        A claim whose arms the study does not have gives no row.
    """
    rows: list[dict[str, Any]] = []
    intervals: list[comparison.Interval] = []
    arms = {key: part for key, part in table.groupby(CELL[:4], sort=False)}
    for claim in claims:
        for dataset, model in table[["dataset", "model"]].drop_duplicates().itertuples(index=False):
            keys = [(dataset, model, *claim.first), (dataset, model, *claim.second)]
            if not all(key in arms for key in keys):
                continue
            joined = comparison.join_arms(*(_by_seed(arms[key]) for key in keys))
            first, second = joined["correct_first"], joined["correct_second"]
            interval = _difference(first, second, joined["group"], n_resamples)
            intervals.append(interval)
            n_seeds = arms[keys[0]]["seed"].nunique()
            of_seed = joined["question_id"].str.rpartition("#")[2]
            gain = second.astype(int) - first.astype(int)
            of_training = comparison.training_interval(gain.groupby(of_seed).mean())
            tested = claim.margin == 0
            rows.append(
                {
                    "claim": claim.name,
                    "statement": claim.statement,
                    "dataset": dataset,
                    "model": model,
                    "first": "→".join(claim.first),
                    "second": "→".join(claim.second),
                    "family": claim.family,
                    "n_questions": len(joined) // n_seeds,
                    "n_groups": joined["group"].nunique(),
                    "n_seeds": n_seeds,
                    "accuracy_first": first.mean(),
                    "accuracy_second": second.mean(),
                    "difference": interval.estimate,
                    "lower": interval.lower,
                    "upper": interval.upper,
                    "detectable_difference": power.detectable_difference(
                        *power.standard_error(first, second, joined["group"])
                    ),
                    "training_lower": of_training.lower,
                    "training_upper": of_training.upper,
                    "n_first_only": int((first & ~second).sum()),
                    "n_second_only": int((~first & second).sum()),
                    # McNemar treats every pair as independent: given only if that can hold.
                    "p_mcnemar": comparison.mcnemar_exact(first, second)
                    if n_seeds == 1
                    else np.nan,
                    "p_value": comparison.paired_group_test(first, second, joined["group"])
                    if tested
                    else np.nan,
                    "margin": claim.margin,
                    "sign": claim.sign,
                }
            )
    result = pd.DataFrame(rows)
    if result.empty:
        return result
    result["p_adjusted"] = np.nan
    result["n_family"] = 0
    for _, family in result[result["margin"] == 0].groupby("family"):
        result.loc[family.index, "p_adjusted"] = comparison.holm(family["p_value"])
        result.loc[family.index, "n_family"] = len(family)
    result["verdict"] = [
        _within_margin(interval, row.margin)
        if row.margin
        else comparison.verdict(interval, row.p_adjusted, claimed_sign=row.sign)
        for interval, row in zip(intervals, result.itertuples(), strict=True)
    ]
    return result.drop(columns="sign")


def _difference(
    first: pd.Series, second: pd.Series, groups: pd.Series, n_resamples: int
) -> comparison.Interval:
    if groups.nunique() == 1:  # nothing to resample: the uncertainty is unknown
        return comparison.Interval(float(second.mean() - first.mean()), np.nan, np.nan)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return comparison.paired_difference(first, second, groups, rng=rng, n_resamples=n_resamples)


def _by_seed(arm: pd.DataFrame) -> pd.DataFrame:
    """Give a question its own id in each training; its group stays the same."""
    return arm.assign(question_id=arm["question_id"] + "#" + arm["seed"].astype(str))


def _within_margin(interval: comparison.Interval, margin: float) -> str:
    if interval.lower > -margin:
        return "supported"
    return "contradicted" if interval.upper < -margin else "not decided"


def labelled(compared: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons labelled for a forest plot by what is subtracted from what.

    The model is named if there are several.
    """
    label = [
        f"{second} minus {first}"
        for first, second in zip(compared["first"], compared["second"], strict=True)
    ]
    return compared.assign(comparison=label, dataset=place(compared))
