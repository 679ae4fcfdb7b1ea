"""Several comparisons tested together: adjusted p-values, and intervals that agree with them."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from medres.statistics.comparison import Interval


class Tested(Protocol):
    """An estimate with one test for all values: its p-values and intervals agree."""

    @property
    def difference(self) -> float:
        """The estimate."""

    def interval(self, level: float = 0.95) -> Interval:
        """Return the two-sided interval."""

    def p_value(self, null: float = 0.0) -> float:
        """Return the two-sided p-value that the true value is `null`."""


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return Holm-adjusted p-values in the order given, shape (n_tests,).

    Raises:
        ValueError: If there is no p-value, or one is missing or outside [0, 1]: it would count as
            one more test.
    """
    values = np.asarray(p_values, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"p_values has shape {values.shape}; it must be a list of one or more")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if wrong.size:
        raise ValueError(f"p_values[{wrong[0]}] is {values[wrong[0]]}; it must be in [0, 1]")
    # statsmodels has it too, but collects all garbage of the process at every call.
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return adjusted


def simultaneous(
    compared: Sequence[Tested], nulls: Sequence[float], *, alpha: float = 0.05
) -> tuple[np.ndarray, list[Interval]]:
    """Return Holm-adjusted p-values of a family, and the simultaneous intervals that match them.

    All intervals of a family hold together with probability 1 - alpha, and one excludes its null
    exactly if the adjusted p-value is at most alpha (Guilbaud 2008, Biometrical Journal 50,
    678-692; Strassburger and Bretz 2008, Statistics in Medicine 27, 4914-4927). A row that is
    rejected has the Bonferroni interval, cut off at the null; one that is not has the interval at
    alpha over the number of rows that are not rejected.

    Args:
        compared: The comparisons of the family.
        nulls: True difference that each is tested against, a fraction; 0 for no difference.
        alpha: Probability of one or more false rejections.
    """
    adjusted = holm([each.p_value(null) for each, null in zip(compared, nulls, strict=True)])
    rejected = adjusted <= alpha
    n_left = int((~rejected).sum())
    intervals = []
    for each, null, is_rejected in zip(compared, nulls, rejected, strict=True):
        if not is_rejected:
            intervals.append(each.interval(1 - alpha / n_left))
            continue
        found = each.interval(1 - alpha / len(compared))
        lower, upper = found.lower, found.upper
        if each.difference > null:
            lower = max(lower, null)
        else:
            upper = min(upper, null)
        intervals.append(Interval(found.estimate, lower, upper))
    return adjusted, intervals
