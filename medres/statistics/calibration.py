"""Calibration: whether the probability that a model gives its answer is how often it is right.

Confidence is the largest softmax probability over a question's options. Confidences and answers
come as one row per training and one column per question, as in `comparison`. With one training an
interval covers the choice of questions and groups, with several also that of trainings. Groups
that can decide nothing (`groups.shortage`) have no interval: its limits are NaN.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from medres.statistics import comparison, tails, variation
from medres.statistics import groups as of_groups
from medres.statistics.comparison import Interval
from medres.statistics.variation import Floats

MOST_BINS = 10
LEAST_PER_BIN = 20
N_DRAWS = 20_000
"""Of what chance adds to a reliability curve."""


@dataclass(frozen=True)
class Calibration:
    """How far the stated confidence of some answers is from their accuracy; all are fractions."""

    confidence: float
    """Mean of the stated confidence."""
    accuracy: float
    overconfidence: Interval
    """Mean confidence minus accuracy: above 0 the model is right less often than it says."""
    error: Interval
    """Expected calibration error, without what chance alone adds to it."""
    binned_error: float
    """The same as usually computed: never 0, and larger the fewer answers there are."""
    chance_error: float
    """What `binned_error` would be on average if confidence were right."""
    n_bins: int
    joint_error: Interval | None = None
    """The error with limits at `joint_level`, if that was asked for."""


def bins_of(confidence: ArrayLike, n_bins: int) -> NDArray[np.intp]:
    """Return the bin of each answer, from 0: as many answers in each, equal confidences together.

    Equal confidences share the bin of the first of them, so that there may be fewer bins than
    asked for.

    >>> bins_of([0.9, 0.5, 0.7, 0.6], 2)
    array([1, 0, 1, 0])
    >>> bins_of([0.5, 0.9, 0.9, 0.9], 2)
    array([0, 0, 0, 0])
    """
    values = np.asarray(confidence, dtype=float)
    ranks = stats.rankdata(values, method="min").astype(int) - 1
    bins: NDArray[np.intp] = np.unique(ranks * n_bins // len(values), return_inverse=True)[1]
    return bins


def n_bins_for(n_questions: int) -> int:
    """Return the number of bins: 20 answers in each, at most 10 bins."""
    return max(1, min(MOST_BINS, n_questions // LEAST_PER_BIN))


def measure(
    confidence: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    joint_level: float | None = None,
) -> Calibration:
    """Return how far the stated confidence is from the accuracy.

    Overconfidence has no bias. Its limits are combined from those of the mean confidence and of
    the accuracy, with their correlation (Zou and Donner 2008, Statistics in Medicine 27,
    1693-1702), so that they hold near 100 % too.

    The expected calibration error is that of Naeini, Cooper and Hauskrecht (2015, AAAI,
    2901-2907): the mean over bins of |mean confidence - accuracy|, weighted by their answers, with
    bins of equal count for each training; several trainings as their mean. Absolute values turn
    chance into error (Roelofs et al. 2022, AISTATS, PMLR 151, 4036-4054), so `error` is what the
    true error would have to be for the binned one to be as likely above as below what was seen,
    and its limits are where that leaves 2.5 % on one side. For this, curves of the observed shape
    and every height are drawn with the variation of the bins, which is estimated over groups, at
    least that of calibrated answers, and follows Student's t. Neither limit is below that of the
    overconfidence, since no calibration error is.

    Args:
        confidence: Of each answer, shape (n_trainings, n_questions) or (n_questions,), in [0, 1].
        correct: Right (1) or wrong (0), same shape.
        groups: Group each question belongs to, shape (n_questions,).
        rng: Source of randomness of the error's limits; the caller seeds it and owns it.
        level: Coverage of the intervals, in (0, 1).
        joint_level: Of further limits of the error, from the same draws.

    Raises:
        ValueError: If shapes differ, a value is out of range, or a group is missing.
    """
    sure, right, codes, sizes = _checked(confidence, correct, groups, level)
    bins = np.stack([bins_of(row, n_bins_for(len(codes))) for row in sure])
    curve = _Curve.of(sure, right, bins, codes, sizes)
    binned = float(np.abs(curve.gaps).sum())
    mean, accuracy = float(sure.mean()), float(right.mean())
    is_known = not of_groups.shortage(sizes)
    over = Interval(mean - accuracy, math.nan, math.nan)
    error, by_chance = Interval(math.nan, math.nan, math.nan), math.nan
    joint = None if joint_level is None else error
    if is_known:
        degrees = of_groups.effective(sizes) - 1
        noise = curve.noise(rng, degrees)
        errors_by_chance = np.abs(noise).sum(axis=0)
        by_chance = float(errors_by_chance.mean())

        def limits(level: float) -> tuple[Interval, Interval]:
            over = _overconfidence(sure, right, codes, sizes, level)
            error = _error(curve, noise, errors_by_chance, degrees, level)
            # No calibration error is below the overconfidence or underconfidence.
            lower = max(error.lower, over.lower, -over.upper)
            upper = min(1.0, max(error.upper, abs(over.lower), abs(over.upper)))
            return over, Interval(max(error.estimate, lower), lower, upper)

        over, error = limits(level)
        joint = None if joint_level is None else limits(joint_level)[1]
    return Calibration(mean, accuracy, over, error, binned, by_chance, int(bins.max()) + 1, joint)


def reliability(
    confidence: ArrayLike, correct: ArrayLike, groups: ArrayLike, *, level: float = 0.95
) -> pd.DataFrame:
    """Return the reliability curve of one training: accuracy in bins of equal count.

    Args:
        confidence: Of each answer, shape (n_questions,), in [0, 1].
        correct: Right (1) or wrong (0), same shape.
        groups: Group each question belongs to, same shape.
        level: Coverage of the intervals of accuracy, in (0, 1).

    Returns:
        One row per bin: n_questions, n_groups, confidence (mean), least_confidence,
        most_confidence, accuracy, lower, upper; limits are NaN for too few groups.
    """
    (sure,), (right,), codes, _ = _checked(confidence, correct, groups, level)
    bins = bins_of(sure, n_bins_for(len(sure)))
    rows = []
    for number in range(int(bins.max()) + 1):
        inside = bins == number
        interval = comparison.accuracy_interval(right[inside], codes[inside], level=level)
        sizes = np.unique(codes[inside], return_counts=True)[1]
        is_known = not of_groups.shortage(sizes)
        rows.append(
            {
                "n_questions": int(inside.sum()),
                "n_groups": len(sizes),
                "confidence": float(sure[inside].mean()),
                "least_confidence": float(sure[inside].min()),
                "most_confidence": float(sure[inside].max()),
                "accuracy": interval.estimate,
                "lower": interval.lower if is_known else math.nan,
                "upper": interval.upper if is_known else math.nan,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Curve:
    """Reliability curves of all trainings, one number per bin of each."""

    gaps: Floats
    """Confidence minus accuracy of each bin by its share of all answers; sums to the mean gap."""
    training: NDArray[np.intp]
    """Of each bin."""
    covariance: Floats
    """Of the gaps, over groups: linearised, shares of bins included."""
    n_trainings: int

    @classmethod
    def of(
        cls, sure: Floats, right: Floats, bins: NDArray[np.intp], codes: NDArray[np.intp],
        sizes: Floats,
    ) -> "_Curve":  # fmt: skip
        n_trainings, n_questions = sure.shape
        n_groups = len(sizes)
        gaps, influences, training, least = [], [], [], []
        for number, (row, answers, places) in enumerate(zip(sure, right, bins, strict=True)):
            n_bins = int(places.max()) + 1
            gap = (row - answers) / (n_questions * n_trainings)
            of_bin = np.bincount(places, weights=gap)
            of_groups_and_bins = np.bincount(
                codes * n_bins + places, weights=gap, minlength=n_groups * n_bins
            ).reshape(n_groups, n_bins)
            influences.append(of_groups_and_bins - sizes[:, None] / n_questions * of_bin)
            gaps.append(of_bin)
            training += [number] * n_bins
            chance = row * (1 - row) / (n_questions * n_trainings) ** 2
            least.append(np.bincount(places, weights=chance))
        influence = np.concatenate(influences, axis=1)
        covariance = influence.T @ influence * n_groups / max(1, n_groups - 1)
        # Bins whose answers happen to be all right are no certainty.
        missing = np.maximum(0, np.concatenate(least) - np.diag(covariance))
        return cls(
            np.concatenate(gaps), np.array(training), covariance + np.diag(missing), n_trainings
        )

    def noise(self, rng: np.random.Generator, degrees_of_freedom: float) -> Floats:
        """Return what chance adds to the gaps, shape (n_bins, N_DRAWS)."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        normal = root @ rng.standard_normal((N_DRAWS, len(self.gaps))).T
        chi_square = rng.chisquare(degrees_of_freedom, N_DRAWS)
        return np.asarray(normal * np.sqrt(degrees_of_freedom / chi_square))


def _error(
    curve: _Curve, noise: Floats, by_chance: Floats, degrees_of_freedom: float, level: float
) -> Interval:
    """Return the calibration error without what chance adds, with its interval."""
    seen = float(np.abs(curve.gaps).sum())
    shape = curve.gaps / seen if seen else np.full(len(curve.gaps), 1 / len(curve.gaps))

    def height_at(share: float, limit: float) -> float:
        return _height_at(share, limit, shape, noise, by_chance)

    # What is nearer to 0 than calibrated answers would be is no certainty either.
    at_least = max(seen, float(np.median(by_chance)))
    estimate = height_at(0.5, seen)
    lower = height_at((1 + level) / 2, seen)
    upper = height_at((1 - level) / 2, at_least)
    if curve.n_trainings == 1:
        return Interval(estimate, lower, min(1.0, upper))
    of_each = curve.n_trainings * np.bincount(curve.training, weights=np.abs(curve.gaps))
    between = float(of_each.var(ddof=1)) / curve.n_trainings
    quantile = tails.student_quantile((1 - level) / 2, degrees_of_freedom)
    sides = []
    for half in (estimate - lower, upper - estimate):
        of_questions = (half / quantile) ** 2
        total = of_questions + between
        parts = [(of_questions, degrees_of_freedom), (between, curve.n_trainings - 1.0)]
        degrees = variation.degrees_of_sum(*parts)
        sides.append(tails.student_quantile((1 - level) / 2, degrees) * math.sqrt(total))
    return Interval(estimate, max(0.0, estimate - sides[0]), min(1.0, estimate + sides[1]))


def _height_at(
    share: float, limit: float, shape: Floats, noise: Floats, by_chance: Floats
) -> float:
    """Return the height of a curve of which a share of noisy draws have no more error than `limit`.

    By bisection, to 2e-6. The error of a draw, the sum over bins of |height * shape + noise|,
    changes by no more than the height does, since the absolute values of a shape sum to 1: once it
    is further from the limit than the height can still move, the draw is decided for good.

    Args:
        share: Of the draws, in (0, 1).
        limit: Largest error.
        shape: Shape (n_bins,).
        noise: Shape (n_bins, N_DRAWS).
        by_chance: Error of each draw at height 0, shape (N_DRAWS,).
    """
    if np.mean(by_chance <= limit) <= share:
        return 0.0
    low, high = 0.0, 2.0
    # At any height the error is at least that height less by_chance.
    most_height = limit + float(by_chance.max())
    n_decided, open_noise = 0, noise
    for _ in range(20):
        middle = (low + high) / 2
        n_below = 0
        if middle <= most_height:
            errors = np.zeros(open_noise.shape[1])
            for of_bin, added in zip(shape, open_noise, strict=True):  # faster than all at once
                errors += np.abs(middle * of_bin + added)
            n_below = n_decided + int(np.count_nonzero(errors <= limit))
        if n_below / len(by_chance) > share:
            low = middle
        else:
            high = middle
        if middle <= most_height:
            # With room for rounding.
            is_open = np.abs(errors - limit) <= (high - low) + 1e-9
            if 2 * np.count_nonzero(is_open) <= len(is_open):  # else copying takes longer
                n_decided += int(np.count_nonzero(~is_open & (errors <= limit)))
                open_noise = open_noise.take(np.flatnonzero(is_open), axis=1)
    return low


def _overconfidence(
    sure: Floats, right: Floats, codes: NDArray[np.intp], sizes: Floats, level: float
) -> Interval:
    """Return mean confidence minus accuracy, its limits combined from those of both."""
    of_sure, of_right, of_gap = (
        variation.of_means(values, codes, sizes)[1] for values in (sure, right, sure - right)
    )
    accuracy = comparison.accuracy_interval(right, codes, level=level)
    if math.isnan(accuracy.lower):  # several trainings near the limit of accuracy
        return Interval(float(sure.mean()) - accuracy.estimate, math.nan, math.nan)
    spread = math.sqrt(of_sure.variance * of_right.variance)
    covariance = (of_sure.variance + of_right.variance - of_gap.variance) / 2
    correlation = min(1.0, max(-1.0, covariance / spread)) if spread else 0.0
    quantile = tails.student_quantile((1 - level) / 2, of_sure.degrees_of_freedom)
    half = quantile * math.sqrt(of_sure.variance)
    estimate = float(sure.mean()) - accuracy.estimate
    above, below = accuracy.upper - accuracy.estimate, accuracy.estimate - accuracy.lower
    down, up = (
        math.sqrt(max(0.0, half**2 + side**2 - 2 * correlation * half * side))
        for side in (above, below)
    )
    return Interval(estimate, estimate - down, estimate + up)


def _checked(
    confidence: ArrayLike, correct: ArrayLike, groups: ArrayLike, level: float
) -> tuple[Floats, Floats, NDArray[np.intp], Floats]:
    """Return confidences and answers by training, each question's group, and the groups' sizes."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    sure, right = (np.atleast_2d(np.asarray(each, dtype=float)) for each in (confidence, correct))
    labels = np.asarray(groups)
    if sure.shape != right.shape or labels.shape != sure.shape[1:]:
        raise ValueError(
            "confidence and correct must have the same trainings and questions: shapes are "
            f"confidence {sure.shape}, correct {right.shape}, groups {labels.shape}"
        )
    if sure.size == 0:
        raise ValueError("there are no answers; give one or more")
    for name, values, is_valid, allowed in (
        ("confidence", sure, (sure >= 0) & (sure <= 1), "in [0, 1]"),
        ("correct", right, np.isin(right, (0, 1)), "0 or 1"),
    ):
        wrong = np.argwhere(~is_valid)
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise ValueError(f"{name}[{at[1]}] is {values[at]}; it must be {allowed}")
    codes, _ = pd.factorize(labels, sort=True)
    if (codes < 0).any():
        missing = np.flatnonzero(codes < 0)[0]
        raise ValueError(f"groups[{missing}] is missing; give every question a group")
    return sure, right, codes, np.bincount(codes).astype(float)
