"""The odds ratio of alignment over all answers: does matching resolutions help, and how surely?

The marginal model of a generalised estimating equation with working independence. It has as many
parameters as arms, so that its estimates are the arms' own log-odds and its cluster-robust error
has a closed form.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from medres.statistics import tails, variation

SIGNS = np.array([1, -1, -1, 1])
"""Of the arms low/low, low/native, native/low and native/native in the log odds ratio."""


@dataclass(frozen=True)
class LogOddsRatio:
    """A log odds ratio with its error; NaN, and the reason in `note`, if it is undefined."""

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    note: str = ""

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a ratio of 1, by Student's t."""
        size = abs(self.estimate) / self.standard_error
        return 2 * tails.student_tail(size, self.degrees_of_freedom)

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Return the limits of the confidence interval of the log odds ratio."""
        quantile = tails.student_quantile((1 - level) / 2, self.degrees_of_freedom)
        half = quantile * self.standard_error
        return self.estimate - half, self.estimate + half


def undefined(note: str) -> LogOddsRatio:
    """Return a ratio that cannot be estimated, with the reason."""
    return LogOddsRatio(math.nan, math.nan, math.nan, note)


def marginal(correct: ArrayLike, groups: ArrayLike) -> LogOddsRatio:
    """Return the log odds ratio of alignment over all answers, averaged over trainings.

    Args:
        correct: Right (1) or wrong (0), shape (n_trainings, 4, n_questions); arms as in `SIGNS`.
        groups: Group each question belongs to, shape (n_questions,).
    """
    scores = np.asarray(correct, dtype=float)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(codes).astype(float)
    shares = scores.mean(axis=2)
    if len(sizes) < 2:
        return undefined("one group")
    if ((shares == 0) | (shares == 1)).any():
        return undefined("an arm has no right or no wrong answer")
    sums = np.apply_along_axis(lambda each: np.bincount(codes, weights=each), 2, scores)
    residuals = (sums - shares[:, :, None] * sizes) / scores.shape[2]
    weights = SIGNS / (shares * (1 - shares))
    influence = (weights[:, :, None] * residuals).sum(axis=1)
    estimates = special.logit(shares) @ SIGNS
    found = variation.of_estimate(influence, estimates, sizes)
    error = math.sqrt(found.variance)
    if not error > 1e-6:  # zero up to rounding: not real certainty
        return LogOddsRatio(
            float(estimates.mean()), math.nan, math.nan, "no group distinguishes the arms"
        )
    return LogOddsRatio(float(estimates.mean()), error, found.degrees_of_freedom)
