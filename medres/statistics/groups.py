"""Groups of questions: how many there are, in effect, and whether they can decide anything.

All functions take the number of questions of each group, whole numbers of at least 1, of any
shape that flattens to (n_groups,), and raise ValueError for anything else.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics import power

LEAST_GROUPS = 6
"""With G groups the smallest possible two-sided p-value of a paired test that flips their signs is
2 / 2^G: 0.0625 for five, 0.031 for six."""
LEAST_EFFECTIVE = 5.0
"""Where one group holds half of the questions there are at most four, and intervals that hold for
any likeness within that group no longer tell anything."""
WANTED = 0.1
"""Difference that a plan is made for, a fraction: ten points."""
DISCORDANCE, CORRELATION = 0.3, 0.1
"""Assumed of a comparison that is not made yet: the share of questions that only one arm answers
correctly, and the correlation of gains within a group. In the demo study 0.22 to 0.55, and 0 to
0.4."""
ASSUMED = (
    f"80 % power, if only one arm is right on {100 * DISCORDANCE:.0f} % of the questions and gains "
    f"within a group correlate by {CORRELATION}"
)


def effective(counts: ArrayLike) -> float:
    """Return the number of equally large groups that would tell as much: (sum n)^2 / sum n^2.

    >>> effective([5, 5, 5, 5]), round(effective([17, 1, 1, 1]), 2)
    (4.0, 1.37)
    """
    values = _checked(counts)
    return float(values.sum() ** 2 / (values @ values))


def largest_share(counts: ArrayLike) -> float:
    """Return the share of all questions that the largest group holds, a fraction."""
    values = _checked(counts)
    return float(values.max() / values.sum())


def shortage(counts: ArrayLike) -> str:
    """Return why these test groups can decide nothing, whatever comes out; empty if they can.

    >>> shortage([4] * 5)
    'an exact test of 5 groups cannot reach p < 0.0625, whatever the answers; 6 are the least'
    """
    values = _checked(counts)
    n_groups, in_effect = len(values), effective(values)
    if n_groups < LEAST_GROUPS:
        least = 2 / 2**n_groups
        return (
            f"an exact test of {_counted(n_groups, 'group')} cannot reach p < {least:.3g}, "
            f"whatever the answers; {LEAST_GROUPS} are the least"
        )
    if in_effect < LEAST_EFFECTIVE:
        return (
            f"the largest group holds {_percent(values)} of the test questions, so that {n_groups} "
            f"groups count as {in_effect:.1f} of equal size; {LEAST_EFFECTIVE:.0f} are the least"
        )
    return ""


def few_differ(n_differing: int, n_groups: int) -> str:
    """Return the sentence for arms that differ in fewer groups than a verdict needs."""
    return (
        f"the arms differ in {n_differing} of {n_groups} groups; "
        f"at least {LEAST_GROUPS} must differ"
    )


def too_few(counts: ArrayLike) -> str:
    """Return why these test groups can decide nothing, and what it would take; empty if they can.

    >>> too_few([4] * 100)
    ''
    """
    values = _checked(counts)
    reason = shortage(values)
    if not reason:
        return ""
    each = max(1, round(float(values.mean())))
    return (
        f"too few groups to decide anything: {reason}. A difference of {100 * WANTED:.0f} points "
        f"would take about {needed(each):,} test groups of {_counted(each, 'question')} each "
        f"({ASSUMED})"
    )


def needed(questions_each: int, *, difference: float = WANTED) -> int:
    """Return how many groups of equal size it takes to detect a difference with 80 % power.

    Args:
        questions_each: Questions of each group, at least 1.
        difference: True difference of two arms, a fraction.

    Raises:
        ValueError: If the difference is not in (0, 1).
    """
    if not 0 < difference < 1:
        raise ValueError(f"difference is {difference}; it must be between 0 and 1")
    least, most = LEAST_GROUPS - 1, LEAST_GROUPS
    while not _detectable(questions_each * most, most) <= difference:
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        if _detectable(questions_each * middle, middle) <= difference:
            most = middle
        else:
            least = middle
    return most


def sentence(counts: ArrayLike) -> str:
    """Return how many test questions and groups there are, and what they can decide."""
    values = _checked(counts)
    return (
        f"{_counted(int(values.sum()), 'test question')} in {_counted(len(values), 'group')} "
        f"(effective number {effective(values):,.1f}, the largest holds "
        f"{_percent(values)}): {decided(values)}"
    )


def decided(counts: ArrayLike) -> str:
    """Return which difference these test groups can show, or that they can decide nothing."""
    values = _checked(counts)
    if few := too_few(values):
        return few
    found = _detectable(int(values.sum()), round(effective(values)))
    if not found <= DISCORDANCE:
        return f"even a large difference may be missed ({ASSUMED})"
    return (
        f"a difference of about {100 * found:.0f} points between two resolutions of one training "
        f"would be found ({ASSUMED}); between trainings it takes more, by how much they vary"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number > 1 else ''}"


def _percent(counts: NDArray[np.float64]) -> str:
    share = 100 * largest_share(counts)
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"


def _detectable(n_questions: int, n_groups: int) -> float:
    error = power.planned_standard_error(
        n_questions, n_groups, discordance=DISCORDANCE, correlation=CORRELATION
    )
    return power.detectable_difference(error, n_groups - 1)


def _checked(counts: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(counts, dtype=float).ravel()
    if not values.size or not (values >= 1).all() or (values % 1).any():
        raise ValueError(
            f"counts are {values.tolist()}; give each group's questions, at least 1 each"
        )
    return values
