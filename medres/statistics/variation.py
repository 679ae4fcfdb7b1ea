"""What an estimate varies by: the choice of questions, and the training.

Answers are crossed: every training answers the same questions. An estimate that is averaged over
trainings then varies by the questions (whole groups of them), by the trainings, and by what only
one training makes of one question. The three are estimated apart and added up once each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variation:
    """The variance of an estimate and what it covers."""

    variance: float
    """Square of the standard error; NaN for one group."""
    degrees_of_freedom: float
    of_trainings: float
    """Standard deviation of the estimate from one training to another; NaN for one training."""


def of_estimate(influence: Floats, estimates: Floats, sizes: Floats) -> Variation:
    """Return the variance of the mean of several trainings' estimates.

    With one training: the sum of squared influences of groups, each over 1 minus the group's share
    of the questions, as it draws the estimate to itself (CR2 of Bell and McCaffrey 2002, Survey
    Methodology 28, 169-181; G / (G - 1) times their sum for G equal groups); with G_eff - 1 degrees
    of freedom, where G_eff = (sum n)^2 / sum n^2 over groups of n questions. With several: the
    variance of their mean between trainings, which covers trainings and what one training makes of
    one question; plus that of the questions alone, which is the variance over groups of the
    averaged influences without the part that the first one holds already (at least 0). Degrees of
    freedom by `degrees_of_sum`.

    Args:
        influence: What each group adds to the error of each training's estimate, shape
            (n_trainings, n_groups); sums to about 0 over groups.
        estimates: Estimate of each training, shape (n_trainings,).
        sizes: Questions of each group, shape (n_groups,).
    """
    n_trainings, n_groups = influence.shape
    of_groups = max(float(sizes.sum()) ** 2 / float(sizes @ sizes) - 1, 1.0)
    if n_groups < 2:
        return Variation(np.nan, np.nan, np.nan)
    scale = 1 / (1 - sizes / sizes.sum())
    averaged = float(scale @ influence.mean(axis=0) ** 2)
    if n_trainings == 1:
        return Variation(averaged, of_groups, np.nan)
    between = float(estimates.var(ddof=1)) / n_trainings
    single = float((influence**2 @ scale).mean())
    shared = max(0.0, (single - averaged) / (n_trainings - 1))
    questions = max(0.0, averaged - shared)
    variance = between + questions
    degrees = degrees_of_sum((questions, of_groups), (between, n_trainings - 1))
    return Variation(variance, degrees, float(estimates.std(ddof=1)))


def of_means(values: Floats, codes: NDArray[np.intp], sizes: Floats) -> tuple[Floats, Variation]:
    """Return each training's mean, shape (n_trainings,), and the variation of their mean.

    Args:
        values: One per training and question, shape (n_trainings, n_questions).
        codes: Group of each question, from 0, shape (n_questions,).
        sizes: Questions of each group, shape (n_groups,).
    """
    sums = np.stack([np.bincount(codes, weights=row) for row in values])
    means = sums.sum(axis=1) / values.shape[1]
    influence = (sums - means[:, None] * sizes) / values.shape[1]
    return means, of_estimate(influence, means, sizes)


def degrees_of_sum(*parts: tuple[float, float]) -> float:
    """Return the degrees of freedom of a sum of variances, each given with its own.

    Their harmonic mean, weighted by the variances, as Cochran and Cox (1957, Experimental Designs,
    2nd ed.) weight quantiles of t. Satterthwaite's approximation rejects up to 8 % with three
    trainings: a part that happens to come out small counts as well known there.

    >>> degrees_of_sum((0.03, 60), (0.01, 2))
    7.272727272727273
    """
    total = sum(variance for variance, _ in parts)
    if not total > 0:
        return min(degrees for _, degrees in parts)
    return total / sum(variance / degrees for variance, degrees in parts)
