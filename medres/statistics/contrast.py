"""A weighted sum of several arms' accuracies, such as a difference of two differences."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medres.statistics import comparison, tails, variation
from medres.statistics import groups as of_groups
from medres.statistics.comparison import Interval


@dataclass(frozen=True)
class Contrast:
    """A contrast of arms that answered the same questions, with Student's t for its certainty."""

    difference: float
    standard_error: float
    """NaN for one group, or if all questions have the same contrast: no certainty."""
    degrees_of_freedom: float
    n_questions: int
    n_groups: int
    n_effective_groups: float
    largest_share: float
    too_few: str
    n_differing_groups: int
    """Groups in which the contrast is not 0 in at least one training."""
    by_training: tuple[float, ...]
    room: float
    """As `comparison.Comparison.room`."""

    @property
    def spread_of_trainings(self) -> float:
        """Standard deviation of the contrast between trainings, NaN for one."""
        return float(np.std(self.by_training, ddof=1)) if len(self.by_training) > 1 else math.nan

    def interval(self, level: float = 0.95) -> Interval:
        """Return the contrast with its two-sided interval; NaN limits without a standard error."""
        return comparison.student_interval(
            self.difference, self.standard_error, self.degrees_of_freedom, level
        )

    def p_value(self, null: float = 0.0) -> float:
        """Return the two-sided p-value that the true contrast is `null`; 1 if it cannot be told."""
        gap = self.difference - null
        return comparison.student_p_value(gap, self.standard_error, self.degrees_of_freedom)

    def p_within(self, margin: float) -> float:
        """Return NaN: equivalence is defined for two arms."""
        return math.nan

    def refusal(self, null: float = 0.0) -> str:
        """Return why no verdict may rest on it, as `comparison.Comparison.refusal`."""
        n_trainings = len(self.by_training)
        if not self.too_few and n_trainings > 1 and self.room < comparison.LEAST_ROOM:
            return comparison.near_limit(n_trainings)
        if self.too_few or self.n_differing_groups >= of_groups.LEAST_GROUPS:
            return self.too_few
        return of_groups.few_differ(self.n_differing_groups, self.n_groups)


def contrast(correct: ArrayLike, weights: ArrayLike, groups: ArrayLike) -> Contrast:
    """Return the weighted sum of several arms' accuracies.

    Args:
        correct: Right (1) or wrong (0), shape (n_trainings, n_arms, n_questions).
        weights: Weight of each arm, shape (n_arms,), summing to 0.
        groups: Group each question belongs to, shape (n_questions,).

    Raises:
        ValueError: If the weights do not sum to 0.
    """
    scores, factors = np.asarray(correct, dtype=float), np.asarray(weights, dtype=float)
    if abs(factors.sum()) > 1e-9:
        raise ValueError(f"weights are {factors.tolist()}; they must sum to 0")
    gains = np.einsum("a,sag->sg", factors, scores)
    return of_gains(
        gains, groups, differs=np.abs(gains) > 1e-9, accuracies=scores.mean(axis=(0, 2))
    )


def of_gains(
    gains: ArrayLike, groups: ArrayLike, *, differs: ArrayLike, accuracies: ArrayLike
) -> Contrast:
    """Return the mean of what each question adds to a contrast.

    Args:
        gains: One for each training and question, shape (n_trainings, n_questions).
        groups: Group each question belongs to, shape (n_questions,).
        differs: Where the arms do not agree, in the shape of gains.
        accuracies: Of the arms, shape (n_arms,).
    """
    values = np.asarray(gains, dtype=float)
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(codes).astype(float)
    by_training, found = variation.of_means(values, codes, sizes)
    difference = float(by_training.mean())
    # As for two arms: groups that happen to gain equally are no certainty.
    least = float(tails.chi_square_quantiles(0.05, found.degrees_of_freedom))
    least /= found.degrees_of_freedom
    floor = least * ((values**2).mean() - difference**2) / values.size
    variance = float(np.maximum(found.variance, floor))
    return Contrast(
        difference=difference,
        standard_error=math.sqrt(variance) if variance > 1e-12 else math.nan,
        degrees_of_freedom=found.degrees_of_freedom,
        n_questions=values.shape[1],
        n_groups=len(sizes),
        n_effective_groups=of_groups.effective(sizes),
        largest_share=of_groups.largest_share(sizes),
        too_few=of_groups.shortage(sizes),
        n_differing_groups=len(np.unique(codes[np.asarray(differs).any(axis=0)])),
        by_training=tuple(by_training.tolist()),
        room=comparison.room_of(accuracies),
    )
