"""Power of a comparison: which difference it can detect, and with what probability.

A verdict of not decided speaks for no difference only if a difference that matters would have been
detected. The functions here use Student's t over groups, whose power has a formula; the reported
test (`comparison.Comparison.p_value`) has nearly the same power.
"""

import math

import numpy as np
from scipy import optimize, stats

from medres.statistics import tails
from medres.statistics.variation import Floats

_N_QUANTILES = 15
"""Of the errors that may be true, where one is estimated."""
_MANY_DEGREES = 100
"""From here on an estimated error is as good as the true one."""


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
    difference: float, standard_error: float, degrees_of_freedom: float, *, alpha: float = 0.05
) -> float:
    """Return the probability that a two-sided test at `alpha` detects a true difference.

    >>> round(power(0.05, 0.0178, 199), 2)
    0.8
    """
    return float(_powers(np.array([difference]), standard_error, degrees_of_freedom, alpha)[0])


def detectable_difference(
    standard_error: float,
    degrees_of_freedom: float,
    *,
    power_wanted: float = 0.8,
    alpha: float = 0.05,
    is_estimated: bool = False,
) -> float:
    """Return the smallest true difference that is detected with the wanted power, a fraction.

    NaN if there is none up to 1, or it cannot be known: one group, or arms that never differ.

    Args:
        standard_error: Of the difference, a fraction.
        degrees_of_freedom: Of its estimate, or of the one that will be made.
        power_wanted: Probability of detection, above alpha and below 1.
        alpha: Level of the two-sided test; that over the size of a family, for Holm's worst case.
        is_estimated: Whether the error comes from the same few groups. The power at a difference
            is then its mean over the errors that may be true; without that a difference computed
            from a few groups has less power than it says.

    Raises:
        ValueError: If alpha and the wanted power are not 0 < alpha < power < 1.
    """
    if not 0 < alpha < power_wanted < 1:
        raise ValueError(
            f"alpha {alpha} and power_wanted {power_wanted} must be 0 < alpha < power < 1"
        )
    if not degrees_of_freedom >= 1 or not standard_error > 0:
        return math.nan
    ratios = np.ones(1)
    if is_estimated and degrees_of_freedom < _MANY_DEGREES:
        middles = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
        squares = tails.chi_square_quantiles(middles, degrees_of_freedom)
        ratios = np.sqrt(squares / degrees_of_freedom)

    def lack(difference: float) -> float:
        found = _powers(difference * ratios, standard_error, degrees_of_freedom, alpha)
        return float(found.mean()) - power_wanted

    if lack(1.0) < 0:
        return math.nan
    return float(optimize.brentq(lack, 0.0, 1.0, xtol=1e-5))


def _powers(
    differences: Floats, standard_error: float, degrees_of_freedom: float, alpha: float
) -> Floats:
    limit = tails.student_quantile(alpha / 2, degrees_of_freedom)
    shape = degrees_of_freedom, np.abs(differences) / standard_error
    # The tail of the wrong sign is NaN in scipy if it is too small for its algorithm.
    return np.asarray(stats.nct.sf(limit, *shape) + np.nan_to_num(stats.nct.cdf(-limit, *shape)))
