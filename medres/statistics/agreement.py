"""How well two readings of the same replies agree, and the mean of scores between 0 and 1."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medres.statistics import comparison
from medres.statistics import groups as of_groups
from medres.statistics.comparison import Interval
from medres.statistics.variation import Floats


@dataclass(frozen=True)
class Agreement:
    """How often two readings of yes or no are the same."""

    share: Interval
    """Of the replies, a fraction."""
    kappa: Interval
    """Cohen's kappa: the same beyond what chance gives; NaN if both readings never vary."""
    n_first_only: int
    """Replies that are right by the first reading alone."""
    n_second_only: int
    n_replies: int


def agreement(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, *, level: float = 0.95
) -> Agreement:
    """Return how well two readings agree, with intervals that are clustered by group.

    Kappa's interval is that of the jackknife, which leaves out one group at a time, with Student's
    t at the effective number of groups. Its limits are NaN where leaving out a group leaves no
    kappa.

    Args:
        first: Right (1) or wrong (0), shape (n_replies,).
        second: The same by the other reading.
        groups: Group of each reply, such as its question, shape (n_replies,).
        level: Coverage of the intervals, in (0, 1).

    Raises:
        ValueError: If shapes differ, there are no replies, a reading is neither 0 nor 1, or a
            group is missing.
    """
    readings = [np.asarray(each, dtype=float) for each in (first, second)]
    for name, values in zip(("first", "second"), readings, strict=True):
        if values.shape != readings[0].shape or not np.isin(values, (0, 1)).all():
            raise ValueError(f"{name} must hold a 0 or 1 for each of {readings[0].size} replies")
    same = (readings[0] == readings[1]).astype(float)
    share = comparison.accuracy_interval(same, groups, level=level)
    codes, _ = pd.factorize(np.asarray(groups), sort=True)
    counts = [np.bincount(codes, weights=each) for each in (*readings, same)]
    sizes = np.bincount(codes).astype(float)
    parts = np.stack([sizes, *counts])  # sums are all that kappa needs
    whole = _kappa(parts.sum(axis=1, keepdims=True))[0]
    without = _kappa(parts.sum(axis=1, keepdims=True) - parts)
    n_groups = len(sizes)
    error = float(np.sqrt((n_groups - 1) * np.var(without)))
    degrees = max(of_groups.effective(sizes) - 1, 1.0)
    return Agreement(
        share=share,
        kappa=comparison.student_interval(float(whole), error, degrees, level)
        if n_groups > 1
        else Interval(float(whole), np.nan, np.nan),
        n_first_only=int((readings[0] > readings[1]).sum()),
        n_second_only=int((readings[0] < readings[1]).sum()),
        n_replies=same.size,
    )


def of_rules(verdicts: pd.DataFrame, reading: ArrayLike, groups: ArrayLike) -> pd.DataFrame:
    """Return how well each of several rules agrees with one reading, one row per rule.

    Args:
        verdicts: Right or wrong by each rule, a column each, shape (n_replies, n_rules).
        reading: Right or wrong as read, shape (n_replies,).
        groups: Group of each reply, shape (n_replies,).

    Returns:
        Columns rule, n_replies, same (a share), same_lower, same_upper, kappa, kappa_lower,
        kappa_upper, n_wrongly_right and n_wrongly_wrong (by the rule, against the reading).
    """
    rows = []
    for rule in verdicts:
        found = agreement(verdicts[rule], reading, groups)
        rows.append(
            {
                "rule": rule,
                "n_replies": found.n_replies,
                "same": found.share.estimate,
                "same_lower": found.share.lower,
                "same_upper": found.share.upper,
                "kappa": found.kappa.estimate,
                "kappa_lower": found.kappa.lower,
                "kappa_upper": found.kappa.upper,
                "n_wrongly_right": found.n_first_only,
                "n_wrongly_wrong": found.n_second_only,
            }
        )
    return pd.DataFrame(rows)


def in_markdown(rules: pd.DataFrame) -> str:
    """Return the table of `of_rules` as Markdown."""
    heads = ["rule", "agree", "kappa", "right, but read as wrong", "wrong, but read as right"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rules.itertuples():
        same = f"{100 * row.same:.0f} % ({100 * row.same_lower:.0f} to {100 * row.same_upper:.0f})"
        kappa = f"{row.kappa:.2f} ({row.kappa_lower:.2f} to {row.kappa_upper:.2f})"
        cells = [row.rule, same, kappa, str(row.n_wrongly_right), str(row.n_wrongly_wrong)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kappa(sums: Floats) -> NDArray[np.float64]:
    """Return kappa of each column of numbers: replies, right by first, by second, the same."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n_replies, first, second, same = sums
        first, second, same = first / n_replies, second / n_replies, same / n_replies
        chance = first * second + (1 - first) * (1 - second)
        found = np.where(chance < 1 - 1e-12, (same - chance) / (1 - chance), np.nan)
    return np.asarray(found, dtype=float)


def score_interval(scores: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean of scores between 0 and 1 with an interval clustered by group.

    As `comparison.accuracy_interval`, whose binomial variance no such score exceeds: where scores
    vary less the interval is as wide as if they were right or wrong, never narrower than theirs.

    Args:
        scores: Each in [0, 1], shape (n_questions,).
        groups: Group each question belongs to, shape (n_questions,).
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: If shapes differ, there are no scores, one is outside [0, 1], or a group is
            missing.
    """
    values = np.atleast_2d(np.asarray(scores, dtype=float))
    codes, _ = pd.factorize(np.asarray(groups), sort=True)
    if values.shape != (1, len(codes)) or not values.size:
        raise ValueError(f"there are {values.size} scores and {len(codes)} groups; give as many")
    wrong = np.flatnonzero(~((values[0] >= 0) & (values[0] <= 1)))
    if len(wrong):
        raise ValueError(f"scores[{wrong[0]}] is {values[0, wrong[0]]}; it must be 0 to 1")
    if (codes < 0).any():
        raise ValueError(f"groups[{np.flatnonzero(codes < 0)[0]}] is missing; give it a group")
    sizes = np.bincount(codes).astype(float)
    return comparison.interval_of(values, codes, sizes, level=level)
