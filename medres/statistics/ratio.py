"""The share of one arm's accuracy that another arm reaches, from paired answers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from medres.statistics import contrast, tails
from medres.statistics.comparison import Interval
from medres.statistics.contrast import Contrast

LARGEST = 1e3
"""A limit beyond it is said to be infinite."""


@dataclass(frozen=True)
class Ratio:
    """Accuracy of the second arm over that of the first, with the intervals of Fieller.

    A ratio r is tested as the contrast second - r x first against 0 (Fieller 1954, Journal of the
    Royal Statistical Society B 16, 175-185), so that p-value and interval never disagree.
    """

    first: NDArray[np.float64]
    """Right (1) or wrong (0), shape (n_trainings, n_questions)."""
    second: NDArray[np.float64]
    groups: NDArray[np.intp]
    """Number of each question's group, shape (n_questions,)."""

    @property
    def difference(self) -> float:
        """The ratio itself; NaN if the first arm is never right."""
        below = float(self.first.mean())
        return float(self.second.mean()) / below if below > 0 else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error near the estimate; NaN if it cannot be told."""
        if not self.difference > 0:
            return math.nan
        return float(self.at(self.difference).standard_error / self.first.mean())

    @property
    def degrees_of_freedom(self) -> float:
        """Of the standard error."""
        return self.at(self.difference if self.difference > 0 else 1.0).degrees_of_freedom

    def at(self, null: float) -> Contrast:
        """Return second - null x first, which is 0 if the true ratio is `null`."""
        return contrast.of_gains(
            self.second - null * self.first,
            self.groups,
            differs=self.second != self.first,
            accuracies=[self.first.mean(), self.second.mean()],
        )

    def p_value(self, null: float = 1.0) -> float:
        """Return the two-sided p-value that the true ratio is `null`; 1 if it cannot be told."""
        found = self.at(null)
        if found.n_differing_groups == 0 and self.first.any():
            # As for two arms: what differs in a share of groups could have been missed.
            missed = min(1.0, abs(null - 1) * float(self.first.mean()))
            return float(min(1.0, 2 * (1 - missed) ** found.n_effective_groups))
        return found.p_value()

    def refusal(self) -> str:
        """Return why no verdict may rest on it, as `contrast.Contrast.refusal`."""
        return self.at(1.0).refusal()

    def interval(self, level: float = 0.95) -> Interval:
        """Return the ratio with its two-sided interval: all values that are not rejected.

        NaN limits for one group or a first arm that is never right; an upper limit of infinity if
        the first arm's accuracy is not shown to be above 0.
        """
        ratio = self.difference
        tail = (1 - level) / 2
        found = self.at(ratio if ratio > 0 else 1.0)
        if math.isnan(ratio) or found.n_groups < 2:
            return Interval(ratio, math.nan, math.nan)
        if found.n_differing_groups == 0:
            share = 1 - tail ** (1 / found.n_effective_groups)
            half = share / float(self.first.mean())
            return Interval(ratio, max(0.0, ratio - half), ratio + half)

        def excess(null: float) -> float:
            """Return by how much a ratio is rejected: above 0 outside the interval."""
            tested = self.at(null)
            if not tested.standard_error > 0:
                return -1.0
            quantile = tails.student_quantile(tail, tested.degrees_of_freedom)
            return abs(tested.difference) / tested.standard_error - quantile

        lower = optimize.brentq(excess, 0.0, ratio, xtol=1e-9) if excess(0.0) > 0 < ratio else 0.0
        beyond = max(2 * ratio, 1.0)
        while excess(beyond) <= 0 and beyond < LARGEST:
            beyond *= 2
        upper = optimize.brentq(excess, ratio, beyond, xtol=1e-9) if beyond < LARGEST else math.inf
        return Interval(ratio, float(lower), float(upper))


def ratio(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> Ratio:
    """Return the accuracy of the second arm over that of the first on the same questions.

    Args:
        first: Right (1) or wrong (0), shape (n_trainings, n_questions), or (n_questions,).
        second: The same of the second arm.
        groups: Group each question belongs to, shape (n_questions,).

    Raises:
        ValueError: If shapes differ.
    """
    below, above = (np.atleast_2d(np.asarray(each, dtype=float)) for each in (first, second))
    labels = np.asarray(groups, dtype=object)
    if below.shape != above.shape or labels.shape != below.shape[-1:]:
        raise ValueError(
            f"arms must answer the same questions: shapes are {below.shape}, {above.shape} and "
            f"groups {labels.shape}"
        )
    return Ratio(below, above, np.unique(labels, return_inverse=True)[1])
