"""Power of a comparison: which difference it can detect, and with what probability.

A verdict of not decided speaks for no difference only if a difference that matters would have been
detected. The functions here use the t-test of a mean over groups, whose power has a formula; the
reported test (`comparison.paired_group_test`) has nearly the same power.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from medres.statistics import comparison


def standard_error(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> tuple[float, int]:
    """Return the cluster-robust standard error of a paired difference, and its degrees of freedom.

    Linearised (ratio estimator): the square root of G / (G - 1) x sum over groups of (gain of the
    group - difference x its questions)^2 / n^2, with G - 1 degrees of freedom.

    Args:
        first: Scores of the first arm, shape (n_questions,), each in [0, 1].
        second: Scores of the second arm on the same questions, same shape.
        groups: Group each question belongs to, shape (n_questions,).

    Returns:
        The error as a fraction (NaN for one group) and the number of groups minus one.

    Raises:
        ValueError: If shapes differ, or a value or group is missing or out of range.
    """
    gains, codes, n_groups = comparison.gains(first, second, groups)
    if n_groups == 1:
        return math.nan, 0
    residuals = np.bincount(codes, weights=gains - gains.mean())
    variance = n_groups / (n_groups - 1) * float(residuals @ residuals) / len(gains) ** 2
    return math.sqrt(variance), n_groups - 1


def planned_standard_error(
    n_questions: int, n_groups: int, *, discordance: float, correlation: float
) -> float:
    """Return the standard error that a comparison with groups of equal size will have.

    Args:
        n_questions: Questions answered in both arms.
        n_groups: Groups they come from.
        discordance: Share of questions that only one arm answers correctly, in (0, 1].
        correlation: Correlation of the gains of two questions of a group, in [0, 1].

    Raises:
        ValueError: If a number is out of its range.
    """
    if not 1 <= n_groups <= n_questions:
        raise ValueError(f"{n_groups} groups of {n_questions} questions: give 1 to {n_questions}")
    for name, value in (("discordance", discordance), ("correlation", correlation)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be between 0 and 1")
    design_effect = 1 + (n_questions / n_groups - 1) * correlation
    return math.sqrt(discordance * design_effect / n_questions)


def power(
    difference: float, standard_error: float, degrees_of_freedom: int, *, alpha: float = 0.05
) -> float:
    """Return the probability that a two-sided test at `alpha` detects a true difference.

    >>> round(power(0.05, 0.0178, 199), 2)
    0.8
    """
    limit = stats.t.ppf(1 - alpha / 2, degrees_of_freedom)
    found = stats.nct(degrees_of_freedom, abs(difference) / standard_error)
    # The tail of the wrong sign is NaN in scipy if it is too small for its algorithm.
    return float(found.sf(limit) + np.nan_to_num(found.cdf(-limit)))


def detectable_difference(
    standard_error: float,
    degrees_of_freedom: int,
    *,
    power_wanted: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Return the smallest true difference that is detected with the wanted power, a fraction.

    NaN if it cannot be known: one group, or arms that never differ.
    """
    if not 0 < alpha < power_wanted < 1:
        raise ValueError(
            f"alpha {alpha} and power_wanted {power_wanted} must be 0 < alpha < power < 1"
        )
    if degrees_of_freedom < 1 or not standard_error > 0:
        return math.nan
    # In units of the standard error; ten times the sum of both quantiles is surely detected.
    furthest = 10 * (
        stats.t.ppf(1 - alpha / 2, degrees_of_freedom)
        + stats.t.ppf(power_wanted, degrees_of_freedom)
    )
    found = optimize.brentq(
        lambda units: power(units, 1.0, degrees_of_freedom, alpha=alpha) - power_wanted,
        0.0,
        furthest,
        xtol=1e-10,
    )
    return float(found) * standard_error
