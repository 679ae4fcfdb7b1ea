"""A weighted sum of estimates that share no question and no training, one of each data set."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medres.statistics import comparison, variation
from medres.statistics.comparison import Interval


@dataclass(frozen=True)
class Sum:
    """A weighted sum of independent estimates, with Student's t for its certainty."""

    difference: float
    """The sum."""
    standard_error: float
    """NaN if one of the estimates has none."""
    degrees_of_freedom: float

    def interval(self, level: float = 0.95) -> Interval:
        """Return the sum with its two-sided interval; NaN limits without a standard error."""
        return comparison.student_interval(
            self.difference, self.standard_error, self.degrees_of_freedom, level
        )

    def p_value(self, null: float = 0.0) -> float:
        """Return the two-sided p-value that the true sum is `null`; 1 if it cannot be told."""
        gap = self.difference - null
        return comparison.student_p_value(gap, self.standard_error, self.degrees_of_freedom)


def weighted(
    estimates: ArrayLike,
    standard_errors: ArrayLike,
    degrees_of_freedom: ArrayLike,
    weights: ArrayLike,
) -> Sum:
    """Return the weighted sum of several independent estimates.

    Its degrees of freedom are those of `variation.degrees_of_sum`.

    Args:
        estimates: Shape (n,); n is 1 or more.
        standard_errors: Of the estimates, shape (n,); NaN for one that has none.
        degrees_of_freedom: Of the standard errors, shape (n,).
        weights: Shape (n,): 1 over n each for a mean, -1 and 1 for a difference.

    Raises:
        ValueError: If shapes differ or there is no estimate.
    """
    values, errors, degrees, factors = (
        np.asarray(each, dtype=float)
        for each in (estimates, standard_errors, degrees_of_freedom, weights)
    )
    shapes = {each.shape for each in (values, errors, degrees, factors)}
    if len(shapes) > 1 or values.ndim != 1 or not values.size:
        raise ValueError(
            f"estimates, errors, degrees of freedom and weights have the shapes {sorted(shapes)}; "
            "give lists of one length"
        )
    total = float(factors @ values)
    variances = (factors * errors) ** 2
    if not variances.sum() > 0:  # NaN too
        return Sum(total, math.nan, math.nan)
    parts = zip(variances.tolist(), degrees.tolist(), strict=True)
    found = variation.degrees_of_sum(*parts)
    return Sum(total, math.sqrt(variances.sum()), found)
