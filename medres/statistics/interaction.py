"""Do parts of the questions differ in what a resolution changes?"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def equal_differences(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, parts: ArrayLike
) -> float:
    """Return the p-value of the hypothesis that all parts have the same paired difference.

    A Wald test of the parts' differences, averaged over trainings, with their cluster-robust
    covariance and Hotelling's F. Its degrees of freedom are those of Krishnamoorthy and Yu (2004,
    Statistics & Probability Letters 66, 161-169) with every group a sample of its own: G - 1 for
    G equal groups that hold all parts alike, those of Welch's test for two parts that share no
    group. It covers questions, for these trainings. NaN where there are too few groups for the
    number of parts, or parts do not differ between groups.

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
    asked = np.zeros((n_groups, n_parts))
    np.add.at(asked, (codes, part), 1)
    n_held = (asked > 0).sum(axis=0)
    n_contrasts = n_parts - 1
    if n_contrasts < 1 or n_held.min() < 2:
        return math.nan
    scaled = influence / np.sqrt(1 - asked / counts)
    covariance = scaled.T @ scaled
    contrasts = np.hstack([-np.ones((n_contrasts, 1)), np.eye(n_contrasts)])
    of_contrasts = contrasts @ covariance @ contrasts.T
    if np.linalg.matrix_rank(of_contrasts) < n_contrasts:
        return math.nan
    # Each group's share of the covariance, if answers varied alike in all groups.
    expected = (asked / counts) * np.diag(covariance)
    whole = contrasts @ np.diag(np.diag(covariance)) @ contrasts.T
    shares = np.einsum("cp,gp,dp->gcd", contrasts, expected, contrasts) @ np.linalg.inv(whole)
    squares = np.einsum("gcd,gdc->g", shares, shares) + np.einsum("gcc->g", shares) ** 2
    of_sum = squares @ np.where(asked > 0, n_held / (n_held - 1), 1).max(axis=1)
    degrees = n_contrasts * (n_contrasts + 1) / of_sum
    free = degrees - n_contrasts + 1
    if free < 1:
        return math.nan
    gap = contrasts @ differences
    statistic = float(gap @ np.linalg.solve(of_contrasts, gap)) * free / (degrees * n_contrasts)
    return float(stats.f.sf(statistic, n_contrasts, free))
