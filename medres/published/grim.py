"""Which percentages a count of right answers can give: exact integer arithmetic.

The GRIM test (Brown and Heathers 2017, Social Psychological and Personality Science 8, 363-369):
k right answers of n give only n + 1 percentages. If none of them is printed as a given percentage,
that percentage is not a count of n under that rounding rule. It may be a mean of several runs, an
interpolation, a score other than right or wrong, or a count of another n: the arithmetic does not
say which.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RULES = ("half up", "half even", "cut off")
"""How digits after the last printed one are dropped; the first two differ only in ties."""
AT_ONCE = 512
"""Numbers of questions that are tried together, a multiple of 64."""
MOST_DECIMALS, MOST_QUESTIONS = 4, 1_000_000_000  # products stay within 64 bits
_PRINTED = re.compile(r"([0-9]{1,3})(?:\.([0-9]+))?")

Counts = NDArray[np.int64]


class Percentage(NamedTuple):
    """A percentage as printed: 96.30 is 9,630 units with 2 decimals, and 96.3 is another."""

    units: int
    decimals: int


def parse(text: str) -> Percentage:
    """Return a percentage from its printed text, which must keep its trailing zeros.

    Raises:
        ValueError: If it is not a plain decimal number from 0 to 100.

    >>> parse("96.30")
    Percentage(units=9630, decimals=2)
    """
    found = _PRINTED.fullmatch(text.strip())
    decimals = found[2] or "" if found else ""
    if not found or len(decimals) > MOST_DECIMALS or not 0 <= float(text) <= 100:
        raise ValueError(
            f"{text!r} is not a percentage; write it as printed: 0 to 100, with a decimal point "
            f"and at most {MOST_DECIMALS} decimals"
        )
    return Percentage(int(found[1] + decimals), len(decimals))


def printed(counts: Counts, n_questions: int, decimals: int, rule: str) -> Counts:
    """Return what counts of right answers are printed as, in units of the last decimal.

    Args:
        counts: Right answers, shape (n_counts,).
        n_questions: Number of questions.
        decimals: Decimals printed.
        rule: One of `RULES`.

    >>> printed(np.array([1, 2]), 3, 2, "half up"), printed(np.array([1, 2]), 3, 2, "cut off")
    (array([3333, 6667]), array([3333, 6666]))
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known rules are {', '.join(RULES)}")
    if not 1 <= n_questions <= MOST_QUESTIONS:
        raise ValueError(f"n_questions is {n_questions}; it must be 1 to {MOST_QUESTIONS:,}")
    shifted = counts * 10 ** (decimals + 2)
    whole = shifted // n_questions  # and what is left: faster than divmod
    rest = shifted - whole * n_questions
    if rule == "half up":
        return np.asarray(whole + (2 * rest >= n_questions))
    if rule == "half even":
        is_tie = 2 * rest == n_questions
        return np.asarray(whole + ((2 * rest > n_questions) | (is_tie & (whole % 2 == 1))))
    return np.asarray(whole)


def compatible_counts(percentage: Percentage, n_questions: int, rule: str) -> Counts:
    """Return the counts of right answers that are printed as this percentage, ascending.

    >>> compatible_counts(parse("96.37"), 193, "half up")
    array([186])
    >>> compatible_counts(parse("2.86"), 2000, "half up")
    array([], dtype=int64)
    """
    scale = 10 ** (percentage.decimals + 2)
    first = max(0, (percentage.units - 1) * n_questions // scale)
    last = min(n_questions, (percentage.units + 1) * n_questions // scale + 1)
    counts = np.arange(first, last + 1)
    is_same = printed(counts, n_questions, percentage.decimals, rule) == percentage.units
    return np.asarray(counts[is_same])


def span(counts: Sequence[int] | Counts) -> str:
    """Return ascending counts as text: empty, one number, or first to last."""
    if len(counts) == 0:
        return ""
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def possible(n_questions: int, decimals: int, rule: str) -> NDArray[np.bool_]:
    """Return, for each number of units from 0 to 100 %, whether a count of n is printed so."""
    is_possible = np.zeros(10 ** (decimals + 2) + 1, dtype=bool)
    is_possible[printed(np.arange(n_questions + 1), n_questions, decimals, rule)] = True
    return is_possible


def chance(percentages: Sequence[Percentage], n_questions: int, rule: str) -> NDArray[np.float64]:
    """Return how many percentages would be counts of n if their decimals were random.

    Each keeps its whole percent, and all its possible decimals are equally likely.

    Returns:
        Probability that exactly 0, 1, ... of them are counts of n, shape (n_percentages + 1,).
    """
    probability = np.ones(1)
    for percentage in percentages:
        size = 10**percentage.decimals
        start = percentage.units // size * size
        if start == 100 * size:
            share = 1.0  # 100 % has no other decimals, and every n reaches it
        else:
            counts = np.arange(
                start * n_questions // (100 * size),
                min(n_questions, (start + size) * n_questions // (100 * size) + 1) + 1,
            )
            reached = np.unique(printed(counts, n_questions, percentage.decimals, rule))
            share = float(((reached >= start) & (reached < start + size)).sum() / size)
        probability = np.convolve(probability, [1 - share, share])
    return probability


def fits(column: Sequence[Percentage], n_questions: int, rule: str) -> dict[str, float]:
    """Return n_fitting, expected_by_chance and p_fitting of a column for one n; NaN for n 0."""
    if not n_questions:
        return {"n_fitting": np.nan, "expected_by_chance": np.nan, "p_fitting": np.nan}
    n_fitting = sum(compatible_counts(each, n_questions, rule).size > 0 for each in column)
    probability = chance(column, n_questions, rule)
    return {
        "n_fitting": n_fitting,
        "expected_by_chance": float(np.arange(len(probability)) @ probability),
        "p_fitting": min(1.0, float(probability[n_fitting:].sum())),
    }


def smallest_n(columns: Sequence[Sequence[Percentage]], rule: str, *, most: int = 10_000) -> Counts:
    """Return the smallest number of questions for which all percentages of a column are counts.

    Args:
        columns: Percentages on the same number of questions, any number of them per column.
        rule: One of `RULES`.
        most: Largest number tried. From 10,000 questions on, every percentage with two decimals
            is a count of every n.

    Returns:
        Shape (n_columns,); 0 if no number up to `most` fits.
    """
    units = [np.array([[each.units for each in column]], dtype=np.int64) for column in columns]
    return smallest_n_of_units(units, columns, rule, most=most).ravel()


def smallest_n_of_units(
    units: Sequence[Counts],
    columns: Sequence[Sequence[Percentage]],
    rule: str,
    *,
    most: int = 10_000,
) -> Counts:
    """Return `smallest_n` of columns that have the decimals of given ones, and other units.

    Args:
        units: Of each column, shape (n_draws, n_percentages), as from `with_other_decimals`.
        columns: Percentages with as many decimals.
        rule: As in `smallest_n`.
        most: As in `smallest_n`.

    Returns:
        Shape (n_columns, n_draws).
    """
    decimals = sorted({each.decimals for column in columns for each in column})
    starts = np.cumsum([0] + [10 ** (d + 2) + 1 for d in decimals])
    start_of = dict(zip(decimals, starts.tolist(), strict=False))
    n_draws = len(units[0]) if len(units) else 1
    # Shorter columns are padded with a place that always fits.
    places = np.full((len(columns), n_draws, max([1, *map(len, columns)])), starts[-1])
    for rows, drawn, column in zip(places, units, columns, strict=True):
        rows[:, : len(column)] = drawn + [start_of[each.decimals] for each in column]
    # Of a million places of four decimals only those that columns hold.
    held, place_of = np.unique(places, return_inverse=True)
    place_of = place_of.reshape(len(columns) * n_draws, places.shape[2])
    found = np.zeros(len(place_of), dtype=np.int64)
    open_rows = np.arange(len(place_of))
    can_be = np.zeros(starts[-1] + 1, dtype=bool)
    can_be[-1] = True
    for first in range(1, most + 1, AT_ONCE):
        sizes = range(first, min(first + AT_ONCE, most + 1))
        fits = np.zeros((AT_ONCE, len(held)), dtype=bool)
        for number, n_questions in enumerate(sizes):
            counts = np.arange(n_questions + 1)
            each = [start_of[d] + printed(counts, n_questions, d, rule) for d in decimals]
            here = np.concatenate([counts[:0], *each])
            can_be[here] = True
            fits[number] = can_be[held]
            can_be[here] = False
        # One bit for each number of questions: a column fits where all its places do.
        bits = np.ascontiguousarray(np.packbits(fits, axis=0).T).view(np.uint64)
        common = bits[place_of[open_rows, 0]]
        for place in place_of.T[1:]:
            common &= bits[place[open_rows]]
        is_found = common.any(axis=1)
        numbers = np.unpackbits(common[is_found].view(np.uint8), axis=1)
        found[open_rows[is_found]] = first + numbers.argmax(axis=1)
        open_rows = open_rows[~is_found]
        if not open_rows.size:
            break
    return found.reshape(len(columns), n_draws)


def with_other_decimals(
    column: Sequence[Percentage], *, rng: np.random.Generator, n_draws: int
) -> Counts:
    """Return the units of columns with the same whole percents and decimals drawn at random.

    This gives the null distribution of `smallest_n`: columns that are not counts of anything.
    100 % stays, because it has no other decimals.

    Returns:
        Shape (n_draws, n_percentages); each percentage keeps its number of decimals.
    """
    whole = np.array([each.units // 10**each.decimals for each in column])
    sizes = np.array([10**each.decimals for each in column])
    sizes_drawn = np.where(whole == 100, 1, sizes)
    return np.asarray(
        whole * sizes + rng.integers(0, sizes_drawn, size=(n_draws, len(column))), dtype=np.int64
    )
