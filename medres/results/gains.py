"""Does one data set gain more than another, and is the greatest gain known?"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medres.published.claims import CLAIMS
from medres.results import paired
from medres.results.numbers import p_text, percent, points
from medres.statistics import families, independent, pooled
from medres.texts import in_markdown, listed

GAINS: Mapping[str, str] = {
    "C1-C4": "native over low, trained and evaluated alike",
    "C11": "native over low inference, without fine-tuning",
    "C14, gain": "Lanczos enlarging over leaving images low",
}
"""Claims whose gain is compared between data sets, with what the gain is of."""
CLAIMED = tuple(each for each in CLAIMS if each.name in GAINS)
SECOND, FIRST = "second gains more", "first gains more"
GREATEST, SMALLEST, OPEN = "greatest", "smallest", "not decided"
PAIR_COLUMNS = (
    "claim gain_of model first_dataset second_dataset gain_first gain_second difference lower "
    "upper p_value p_adjusted n_family p_equal covers verdict reason"
).split()
COLUMNS = "gain_of model dataset verdict gain n_behind n_ahead n_others p_equal".split()
PAIRS_SHOWN = (
    "gain_of verdict model first_dataset second_dataset gain_first gain_second difference lower "
    "upper p_adjusted covers reason"
).split()
PLACES = (
    "Each data set's gain as observed, in points, the largest first; how many of the others are "
    "shown to gain less, and more. Greatest and smallest: shown against every other."
)
CAPTION = (
    "Difference: the gain on the second data set minus the gain on the first. 95 % confidence "
    "intervals that hold together for all pairs of data sets of one gain."
)


def pairs(compared: pd.DataFrame) -> pd.DataFrame:
    """Return for every two data sets of a gain and model by how much their gains differ.

    Data sets share no question and no training, so that their errors add up. The pairs of one gain
    are one family. The gain of one training says nothing of the next, so that with one training on
    each data set no pair is decided.

    Args:
        compared: As from `paired.comparisons`.

    Returns:
        `PAIR_COLUMNS`: gain_first and gain_second, difference (second minus first) with limits
        that hold together, p_equal (hypothesis that all data sets of a model gain alike),
        covers, verdict (`SECOND`, `FIRST` or one of `paired.VERDICTS`) with its reason. No row
        of a gain that fewer than two data sets with enough groups have.
    """
    rows: list[dict[str, Any]] = []
    sums: list[independent.Sum] = []
    for claim, gain_of in GAINS.items():
        of_claim = compared[(compared["claim"] == claim) & (compared["verdict"] != paired.TOO_FEW)]
        for model, part in of_claim.groupby("model", sort=False):
            p_equal = _p_equal(part)
            for first, second in combinations(part.to_dict("records"), 2):
                both = [first, second]
                found = independent.weighted(
                    [each["difference"] for each in both],
                    [paired.error_of(each) for each in both],
                    [each["degrees_of_freedom"] for each in both],
                    [-1, 1],
                )
                sums.append(found)
                rows.append(
                    {
                        "claim": claim,
                        "gain_of": gain_of,
                        "model": model,
                        "first_dataset": first["dataset"],
                        "second_dataset": second["dataset"],
                        "gain_first": first["difference"],
                        "gain_second": second["difference"],
                        "difference": found.difference,
                        "p_value": found.p_value(),
                        "p_equal": p_equal,
                        "covers": _covers_pair([each["covers"] for each in both]),
                        "reason": next(filter(None, (each["reason"] for each in both)), ""),
                    }
                )
    result = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    for _, family in result.groupby("claim", sort=False):
        adjusted, intervals = families.simultaneous(
            [sums[index] for index in family.index], [0.0] * len(family)
        )
        result.loc[family.index, "p_adjusted"] = adjusted
        result.loc[family.index, "lower"] = [each.lower for each in intervals]
        result.loc[family.index, "upper"] = [each.upper for each in intervals]
        result.loc[family.index, "n_family"] = len(family)
    result["verdict"] = [_verdict(row) for row in result.itertuples()]
    return result.astype({name: float for name in ("p_adjusted", "lower", "upper")})


def _p_equal(part: pd.DataFrame) -> float:
    errors = np.array([paired.error_of(row) for row in part.to_dict("records")])
    if len(part) < 2 or not (errors > 0).all():
        return float("nan")
    return pooled.equal_effects(part["difference"], errors, part["degrees_of_freedom"])


def covers_of(of_parts: list[str]) -> str:
    """Return what a sum of several comparisons covers: no more than the least of them."""
    order = [
        paired.THESE_TRAININGS,
        paired.THIS_TRAINING,
        paired.BETWEEN_TRAININGS,
        paired.UNTRAINED,
    ]
    return min(of_parts, key=order.index)


def _covers_pair(of_parts: list[str]) -> str:
    """Return what a difference between data sets covers: its parts are different trainings."""
    covered = covers_of(of_parts)
    return paired.THESE_TRAININGS if covered == paired.THIS_TRAINING else covered


def _verdict(row: Any) -> str:
    if row.covers == paired.THESE_TRAININGS:
        return paired.ONLY_THESE_WEIGHTS
    if row.reason or not row.p_adjusted <= 0.05:
        return paired.NOT_DECIDED
    return SECOND if row.difference > 0 else FIRST


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return each data set's place among the gains, the largest gain first.

    Args:
        found: As from `pairs`.

    Returns:
        `COLUMNS`: gain as observed, n_behind and n_ahead (data sets whose gain is shown to be
        smaller, and larger), verdict: `GREATEST` if it is shown to gain more than every other,
        `SMALLEST` if less, else `OPEN`.
    """
    rows = []
    for (gain_of, model), part in found.groupby(["gain_of", "model"], sort=False):
        gains = dict(zip(part["first_dataset"], part["gain_first"], strict=True))
        gains |= dict(zip(part["second_dataset"], part["gain_second"], strict=True))
        for dataset, gain in sorted(gains.items(), key=lambda each: -each[1]):
            is_first, is_second = (
                part["first_dataset"] == dataset,
                part["second_dataset"] == dataset,
            )
            by_second, by_first = part["verdict"] == SECOND, part["verdict"] == FIRST
            n_behind = int((is_second & by_second | is_first & by_first).sum())
            n_ahead = int((is_first & by_second | is_second & by_first).sum())
            n_others = len(gains) - 1
            verdict = SMALLEST if n_ahead == n_others else OPEN
            rows.append(
                {
                    "gain_of": gain_of,
                    "model": model,
                    "dataset": dataset,
                    "verdict": GREATEST if n_behind == n_others else verdict,
                    "gain": gain,
                    "n_behind": n_behind,
                    "n_ahead": n_ahead,
                    "n_others": n_others,
                    "p_equal": part["p_equal"].iloc[0],
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _ends(places: pd.DataFrame) -> tuple[str, ...]:
    """Return the ends of an order of data sets that are said; of two the first says both."""
    return (GREATEST, SMALLEST) if len(places) > 2 else (GREATEST,)


def _least(of: pd.DataFrame, dataset: str) -> float:
    """Return by how much the gain on a data set surely differs from the nearest other, a size."""
    own = of[(of["first_dataset"] == dataset) | (of["second_dataset"] == dataset)]
    nearest = own[["lower", "upper"]].abs().min(axis=1)
    return float(nearest.min())


def sentence(found: pd.DataFrame) -> str:
    """Return which data set gains most and least, one line per gain and model; empty without.

    Args:
        found: As from `pairs`.
    """
    lines = []
    places = table(found)
    several = places["model"].nunique() > 1
    for (gain_of, model), part in places.groupby(["gain_of", "model"], sort=False):
        of = found[(found["gain_of"] == gain_of) & (found["model"] == model)]
        said, open_ = [], []
        for end in _ends(part):
            at = part[part["verdict"] == end]
            said += [
                f"**{end}** on {in_markdown(row.dataset)}, by "
                f"{percent(_least(of, row.dataset))} points or more against "
                f"{'every' if row.n_others > 1 else 'the'} other"
                for row in at.itertuples()
            ]
            open_ += [end] * at.empty
        if open_:
            said.append(f"where it is {listed(open_, 'or')} is **{OPEN}**")
        if paired.ONLY_THESE_WEIGHTS in set(of["verdict"]):
            said.append("one training each: another may come out differently")
        order = ", ".join(
            f"{in_markdown(row.dataset)} {points(row.gain)}" for row in part.itertuples()
        )
        named = f" ({in_markdown(model)})" if several else ""
        lines.append(
            f"* The gain of {gain_of}{named}: {'; '.join(said)}. As seen, in points: {order} "
            f"(all data sets alike: p {p_text(part['p_equal'].iloc[0])})."
        )
    return "\n".join(lines)


def summary(found: pd.DataFrame) -> str:
    """Return which data set gains most and least, in one line; empty without comparisons.

    Args:
        found: As from `pairs`.
    """
    places = table(found)
    several = places["model"].nunique() > 1
    said = []
    for (gain_of, model), part in places.groupby(["gain_of", "model"], sort=False):
        ends = [
            f"**{row.verdict}** on {in_markdown(row.dataset)}"
            for row in part[part["verdict"].isin(_ends(part))].itertuples()
        ]
        named = f" ({in_markdown(model)})" if several else ""
        said.append(f"{gain_of}{named}: {', '.join(ends) or f'**{OPEN}**'}")
    return f"* Where is the gain greatest? Of {'; of '.join(said)}." if said else ""
