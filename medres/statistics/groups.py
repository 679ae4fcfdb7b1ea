"""Groups of questions: how many there are, in effect, and whether they can decide anything.

A group is what is never split: a patient, a slide, an image. Questions of one group share its
difficulty, so what counts for certainty is the number of groups, and how equal they are.
"""

import numpy as np
from numpy.typing import ArrayLike

LEAST_GROUPS = 6
"""With G groups the smallest p-value of a paired test is 2 / 2^G: above 0.05 for fewer."""
LEAST_EFFECTIVE_GROUPS = 5.0
"""Where one group holds half of the questions there are at most four, and intervals that hold for
any likeness within a group no longer tell anything."""


def effective(sizes: ArrayLike) -> float:
    """Return (sum n)^2 / sum n^2: the number of equal groups that would tell as much.

    Args:
        sizes: Questions of each group, shape (n_groups,).

    >>> effective([10, 10, 10])
    3.0
    >>> effective([30, 10, 10, 10])
    3.0
    """
    counts = np.asarray(sizes, dtype=float)
    return float(counts.sum() ** 2 / (counts @ counts))


def largest_share(sizes: ArrayLike) -> float:
    """Return the share of the questions that the largest group holds, a fraction.

    Args:
        sizes: Questions of each group, shape (n_groups,).
    """
    counts = np.asarray(sizes, dtype=float)
    return float(counts.max() / counts.sum())


def too_few(sizes: ArrayLike) -> str:
    """Return why groups of these sizes can decide nothing, whatever comes out; empty if they can.

    Args:
        sizes: Questions of each group, shape (n_groups,).
    """
    n_groups, n_effective = len(np.asarray(sizes)), effective(sizes)
    if n_groups < LEAST_GROUPS:
        groups = "1 group" if n_groups == 1 else f"{n_groups} groups"
        return f"{groups} of test questions; at least {LEAST_GROUPS} are needed"
    if n_effective < LEAST_EFFECTIVE_GROUPS:
        share = 100 * largest_share(sizes)
        return (
            f"the largest of {n_groups} groups holds {share:.1f} % of the test questions: together "
            f"they tell as much as {n_effective:.1f} equal groups, and at least "
            f"{LEAST_EFFECTIVE_GROUPS:.0f} are needed"
        )
    return ""


def few_differ(n_differing: int, n_groups: int) -> str:
    """Return the sentence for arms that differ in fewer groups than a verdict needs."""
    return (
        f"the arms differ in {n_differing} of {n_groups} groups; "
        f"at least {LEAST_GROUPS} must differ"
    )
