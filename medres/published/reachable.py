"""Which p-values are possible for two published percentages on the same questions.

McNemar's exact test needs the number of questions that each arm alone has right. Two accuracies
determine only the difference of these numbers; every possible overlap gives its own p-value.
"""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from medres.published import grim

STATED_P = re.compile(r"(<?)\s*(0?\.([0-9]+)|[01])")
"""A p-value as stated: <0.001, or 0.03."""
MOST_TABLES = 5_000_000
"""Largest number of pairs of counts times questions that is enumerated; about 100 MB."""


def counts_by_any_rule(text: str, n_questions: int) -> list[int]:
    """Return the counts printed as this text by at least one of `grim.RULES`, ascending."""
    percentage = grim.parse(text)
    found = [grim.compatible_counts(percentage, n_questions, rule) for rule in grim.RULES]
    return [int(count) for count in np.unique(np.concatenate(found))]


def p_values(
    first_counts: Iterable[int], second_counts: Iterable[int], n_questions: int
) -> pd.DataFrame:
    """Return McNemar's exact p-value of every 2x2 table that two published counts allow.

    The counts determine how many more questions one arm has right. How many each arm alone has
    right is not published: it can be any number that the two counts leave room for.

    Args:
        first_counts: Right answers that the first arm may have had.
        second_counts: The same for the second arm.
        n_questions: Questions answered in both arms.

    Returns:
        One row per 2x2 table, with first_count, second_count, n_discordant and p_value.
    """
    tables = []
    for first in first_counts:
        for second in second_counts:
            only_first = np.arange(
                max(0, first - second), min(first, n_questions - second) + 1, dtype=np.int64
            )
            n_discordant = 2 * only_first + second - first
            fewer = np.minimum(only_first, n_discordant - only_first)
            p_values = np.minimum(1.0, 2 * stats.binom.cdf(fewer, n_discordant, 0.5))
            table = {"n_discordant": n_discordant, "p_value": p_values}
            tables.append(pd.DataFrame(table).assign(first_count=first, second_count=second))
    names = ["first_count", "second_count", "n_discordant", "p_value"]
    return pd.concat(tables, ignore_index=True)[names] if tables else pd.DataFrame(columns=names)


def reach(first: str, second: str, n_questions: int, stated_p: str) -> dict[str, object]:
    """Return the p-values that two percentages on the same questions allow, and a verdict.

    Args:
        first: Percentage of the first arm, as printed.
        second: Percentage of the second arm.
        n_questions: Questions answered in both arms.
        stated_p: The p-value stated, such as <0.001 or 0.03; empty if none is.

    Returns:
        first_count and second_count (text; by any rule), differ_least and differ_most,
        p_least and p_most (McNemar's exact), p_unpaired (Fisher's exact, the smallest over all
        counts, as if the arms had different questions), differ_reaching (the most differing
        answers that reach the stated p-value) and verdict: *always reached* however many answers
        differ, *reached if at most* so many differ, *not reachable*. NaN if there are no counts.
    """
    counts = [counts_by_any_rule(text, n_questions) for text in (first, second)]
    is_too_many = len(counts[0]) * len(counts[1]) * n_questions > MOST_TABLES
    tables = p_values([] if is_too_many else counts[0], counts[1], n_questions)
    row: dict[str, object] = {
        name: grim.span(each)
        for name, each in zip(("first_count", "second_count"), counts, strict=True)
    }
    reached, n_discordant = tables["p_value"].astype(float), tables["n_discordant"].astype(float)
    row |= {"differ_least": n_discordant.min(), "differ_most": n_discordant.max()}
    row |= {"p_least": reached.min(), "p_most": reached.max()}
    pairs = tables[["first_count", "second_count"]].drop_duplicates()
    unpaired = [
        float(stats.fisher_exact([[a, n_questions - a], [b, n_questions - b]])[1])
        for a, b in pairs.itertuples(index=False)
    ]
    row["p_unpaired"] = min(unpaired, default=np.nan)
    is_reached = _reaches(reached, stated_p)
    row["differ_reaching"] = n_discordant[is_reached].max() if stated_p else np.nan
    if is_too_many:
        verdict = "too many tables to enumerate"
    elif tables.empty:
        verdict = f"not counts of {n_questions}"
    elif not stated_p:
        verdict = "no p-value stated"
    elif not is_reached.any():
        verdict = "not reachable"
    elif is_reached.all():
        verdict = "always reached"
    elif stated_p.startswith("<"):
        verdict = f"reached if at most {row['differ_reaching']:.0f} differ"
    else:
        verdict = "reached by some tables"
    return row | {"verdict": verdict}


def _reaches(p_values: pd.Series, stated_p: str) -> pd.Series:
    found = STATED_P.fullmatch(stated_p)
    if not found:
        return pd.Series(False, index=p_values.index)
    if found[1]:
        return p_values < float(found[2])
    unit = 10.0 ** -len(found[3] or "")
    return (p_values - float(found[2])).abs() <= 0.5 * unit * (1 + 1e-9)
