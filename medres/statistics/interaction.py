"""Do parts of the questions differ in what a resolution changes?"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medres.statistics import groups as of_groups


def equal_differences(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, parts: ArrayLike
) -> float:
    """Return the p-value of the hypothesis that all parts have the same paired difference.

    A Wald test of the parts' differences, averaged over trainings, with their cluster-robust
    covariance and Hotelling's F on G_eff - 1 degrees of freedom: the same groups hold questions of
    several parts. It covers questions, for these trainings. NaN where there are too few groups
    for the number of parts, or a part never differs between groups.

    Args:
        first: Right (1) or wrong (0), shape (n_trainings, n_questions), or (n_questions,).
        second: The same of the second arm.
        groups: Group each question belongs to, shape (n_questions,).
        parts: Kind, text or modality of each question, shape (n_questions,).
    """
    gains = np.atleast_2d(np.asarray(second, float)) - np.atleast_2d(np.asarray(first, float))
    gain = gains.mean(axis=0)
    names, part = np.unique(np.asarray(parts), return_inverse=True)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    n_groups, n_parts = codes.max() + 1, len(names)
    counts = np.bincount(part)
    differences = np.bincount(part, weights=gain) / counts
    influence = np.zeros((n_groups, n_parts))
    np.add.at(influence, (codes, part), (gain - differences[part]) / counts[part])
    degrees = of_groups.effective(np.bincount(codes)) - 1
    n_contrasts = n_parts - 1
    free = degrees - n_contrasts + 1
    if n_contrasts < 1 or free < 1:
        return math.nan
    covariance = n_groups / (n_groups - 1) * influence.T @ influence
    contrasts = np.hstack([-np.ones((n_contrasts, 1)), np.eye(n_contrasts)])
    of_contrasts = contrasts @ covariance @ contrasts.T
    if np.linalg.matrix_rank(of_contrasts) < n_contrasts:
        return math.nan
    gap = contrasts @ differences
    statistic = float(gap @ np.linalg.solve(of_contrasts, gap)) * free / (degrees * n_contrasts)
    return float(stats.f.sf(statistic, n_contrasts, free))
