"""Compare arms: paired statistics clustered by group, as pure functions over arrays.

Answers come as one row per training and one column per question. What an interval or a p-value
covers depends on them: with one training the choice of questions and groups, for these weights;
with several also the choice of trainings (`variation`). All functions check their arguments first
and raise ValueError if shapes differ, or an answer or group is missing or an answer is not 0 or 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from medres.statistics import groups as of_groups
from medres.statistics import tails, variation
from medres.statistics.variation import Floats

LEAST_ROOM = 0.03
"""Nearer to 0 or 1 than this, the accuracies of trainings are too skewed for Student's t."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the limits of its interval, as fractions (0.02 = two points)."""

    estimate: float
    lower: float
    upper: float


def student_interval(estimate: float, error: float, degrees: float, level: float) -> Interval:
    """Return an estimate with Student's two-sided interval; NaN limits without an error."""
    half = tails.student_quantile((1 - level) / 2, degrees) * error
    return Interval(estimate, estimate - half, estimate + half)


def student_p_value(gap: float, error: float, degrees: float) -> float:
    """Return Student's two-sided p-value of an estimate that far off; 1 without an error."""
    return 2 * tails.student_tail(abs(gap) / error, degrees) if error > 0 else 1.0


@dataclass(frozen=True)
class Comparison:
    """Two arms that answered the same questions: the difference, and how sure it is.

    Interval and p-values come from one statistic, the score statistic of Tango (1998, Statistics
    in Medicine 17, 891-908) for the difference of paired proportions, at the effective number of
    questions and against Student's t, so that they never disagree. Near 0 and 1 and with few
    pairs that differ it keeps the level that the difference over its standard error loses.
    """

    difference: float
    """Accuracy of the second arm minus that of the first, a fraction, averaged over trainings."""
    first_only: float
    """Share of the pairs that only the first arm answers correctly, a fraction."""
    second_only: float
    n_questions: int
    n_groups: int
    n_effective_groups: float
    """(sum n)^2 / sum n^2 over groups of n questions: the number of equal groups that would
    tell as much."""
    largest_share: float
    """Share of the questions that the largest group holds."""
    too_few: str
    """Why the groups can decide nothing, as `groups.shortage`; empty if they can."""
    n_differing_groups: int
    """Groups in which the arms differ in at least one training."""
    room: float
    """What the farther arm's accuracy is away from 0 or 1, whichever limit is nearer to both."""
    by_training: tuple[float, ...]
    """Difference of each training."""
    n_effective: float
    """Number of independent questions whose difference would vary as much."""
    degrees_of_freedom: float

    def refusal(self, null: float = 0.0) -> str:
        """Return why no verdict may rest on this comparison; empty if one may.

        Too few groups, or arms that differ in too few of them: fewer than six can reach no
        p-value below 0.05 against 0, and against a margin they cannot tell how alike the
        questions of a group are. Or several trainings that are all but perfect: their mean hangs
        on the rare one that fails, which a few trainings need not show.
        """
        n_trainings = len(self.by_training)
        if not self.too_few and n_trainings > 1 and self.room < LEAST_ROOM:
            return near_limit(n_trainings)
        n_differing = self.n_differing_groups
        is_single = self.n_groups == self.n_questions
        if self.too_few or n_differing >= of_groups.LEAST_GROUPS or (null and is_single):
            return self.too_few
        return of_groups.few_differ(n_differing, self.n_groups)

    @property
    def standard_error(self) -> float:
        """Standard error of the difference, a fraction; NaN if no pair differs or for one group."""
        spread = self.first_only + self.second_only - self.difference**2
        return math.sqrt(spread / self.n_effective) if spread > 0 else math.nan

    @property
    def spread_of_trainings(self) -> float:
        """Standard deviation of the difference between trainings, NaN for one."""
        return float(np.std(self.by_training, ddof=1)) if len(self.by_training) > 1 else math.nan

    def interval(self, level: float = 0.95) -> Interval:
        """Return the difference with its two-sided interval: all values that are not rejected.

        If no pair differs, the limits are the share of differing groups that a sample of this size
        could have missed (the exact binomial limit for none seen). NaN for one group.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; it must be between 0 and 1")
        if self.n_groups < 2:
            return Interval(self.difference, math.nan, math.nan)
        tail = (1 - level) / 2
        if self.n_differing_groups == 0:
            limit = 1 - tail ** (1 / self.n_effective_groups)
            return Interval(self.difference, -limit, limit)
        quantile = tails.student_quantile(tail, self.degrees_of_freedom)

        def excess(value: float, sign: int) -> float:
            return sign * (self.difference - value) - quantile * self._error_at(value)

        # Just inside of the estimate: at 1 and -1 the error vanishes, which is no limit.
        lower, upper = (
            optimize.brentq(excess, -sign, self.difference - sign * 1e-9, args=(sign,), xtol=1e-12)
            if sign * self.difference > -1
            else self.difference
            for sign in (1, -1)
        )
        return Interval(self.difference, float(lower), float(upper))

    def p_value(self, null: float = 0.0) -> float:
        """Return the two-sided p-value of the hypothesis that the true difference is `null`.

        Half of it, on the side of the estimate, is the one-sided p-value: at -0.01, that the
        second arm is more than one point worse. It is 1 for one group.
        """
        if self.n_groups < 2:
            return 1.0
        if self.n_differing_groups == 0:
            return min(1.0, 2 * (1 - abs(null)) ** self.n_effective_groups) if null else 1.0
        gap = abs(self.difference - null)
        error = self._error_at(null)
        if gap == 0:
            return 1.0
        return 2 * tails.student_tail(gap / error, self.degrees_of_freedom) if error else 0.0

    def p_within(self, margin: float) -> float:
        """Return the p-value of equivalence: that the arms differ by less than `margin`.

        Two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680), the larger
        of their p-values.
        """
        sides = []
        for null in (-margin, margin):
            is_inside = (self.difference - null) * -null > 0
            half = self.p_value(null) / 2
            sides.append(half if is_inside else 1 - half)
        return max(sides)

    def _error_at(self, value: float) -> float:
        """Return the standard error if the true difference were `value`."""
        spread = _share_differing(self.first_only, self.second_only, value) - value**2
        return math.sqrt(max(0.0, spread) / self.n_effective)


def compare(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> Comparison:
    """Return the paired comparison of two arms on the same questions.

    Args:
        first: Right (1) or wrong (0), shape (n_trainings, n_questions), or (n_questions,) for
            one training. An arm of one training is compared with each training of the other.
        second: The same of the second arm; row k is the training that is paired with row k.
        groups: Group each question belongs to, shape (n_questions,).

    Raises:
        ValueError: If shapes differ, or an answer is not 0 or 1, or a group is missing.
    """
    arms = [np.atleast_2d(np.asarray(arm, dtype=float)) for arm in (first, second)]
    n_trainings = max(len(arm) for arm in arms)
    arms = [np.repeat(arm, n_trainings, axis=0) if len(arm) == 1 else arm for arm in arms]
    codes, sizes = _checked({"first": arms[0], "second": arms[1]}, groups)
    gains = arms[1] - arms[0]
    n_questions = gains.shape[1]
    by_training, found = variation.of_means(gains, codes, sizes)
    differs = np.zeros(len(sizes), dtype=bool)
    differs[np.unique(codes[(gains != 0).any(axis=0)])] = True
    difference = float(by_training.mean())
    first_only, second_only = float((gains < 0).mean()), float((gains > 0).mean())
    spread = first_only + second_only - difference**2
    n_effective = _effective_number(spread, found, gains.size, len(sizes))
    if math.isnan(n_effective) and len(sizes) > 1:
        n_effective = of_groups.effective(sizes)
    return Comparison(
        difference=difference,
        first_only=first_only,
        second_only=second_only,
        n_questions=n_questions,
        n_groups=len(sizes),
        n_effective_groups=of_groups.effective(sizes),
        largest_share=of_groups.largest_share(sizes),
        too_few=of_groups.shortage(sizes),
        n_differing_groups=int(differs.sum()),
        room=room_of([arm.mean() for arm in arms]),
        by_training=tuple(by_training.tolist()),
        n_effective=n_effective,
        degrees_of_freedom=found.degrees_of_freedom,
    )


def _effective_number(
    spread: float, found: variation.Variation, n_answers: int, n_groups: int
) -> float:
    """Return how many independent answers would vary as much; NaN if none vary.

    Bounded by the variation that independent answers would show in all but 5 % of samples: groups
    that happen to gain equally are no certainty.
    """
    if not spread > 0 or n_groups < 2:
        return math.nan
    degrees = found.degrees_of_freedom
    least = float(tails.chi_square_quantiles(0.05, degrees)) / degrees
    return float(spread / max(found.variance, least * spread / n_answers))


def near_limit(n_trainings: int) -> str:
    """Return the sentence for arms that are all but perfect, or never right."""
    return (
        f"all arms are within {100 * LEAST_ROOM:.0f} points of the limit of accuracy, where "
        f"{n_trainings} trainings do not show how much trainings vary"
    )


def room_of(accuracies: ArrayLike) -> float:
    """Return how far the arm that is furthest from a common limit of accuracy is from it.

    Small only if all arms are almost never right, or all almost always.
    """
    values = np.asarray(accuracies, dtype=float)
    return float(min(values.max(), 1 - values.min()))


def _share_differing(first_only: float, second_only: float, difference: float) -> float:
    """Return the most likely share of pairs that differ, if the true difference is given."""
    linear = -first_only - second_only + (2 - second_only + first_only) * difference
    constant = -first_only * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear**2 - 8 * constant))
    return (root - linear) / 2 + difference


def accuracy_interval(correct: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the accuracy with a cluster-robust interval that stays valid near 0 and 1.

    A Wilson interval at the effective number of answers of Korn and Graubard (1998, Survey
    Methodology 24, 193-201): n_eff = n / design effect x (t[n - 1] / t[df])^2 for n answers, at
    most n, with the variance and degrees of freedom of `variation`. If all answers are equal, n_eff
    is the effective number of groups. With one group the limits are NaN; and with several
    trainings whose mean is within 3 points of 0 or 1, where it hangs on the rare training that
    fails and intervals of a few trainings covered 61 to 90 %.

    Args:
        correct: Right (1) or wrong (0), shape (n_trainings, n_questions), or (n_questions,).
        groups: Group each question belongs to, shape (n_questions,).
        level: Coverage of the interval, in (0, 1).
    """
    scores = np.atleast_2d(np.asarray(correct, dtype=float))
    return interval_of(scores, *_checked({"correct": scores}, groups), level=level)


def interval_of(
    scores: Floats, codes: NDArray[np.intp], sizes: Floats, *, level: float
) -> Interval:
    """Return the interval of `accuracy_interval` for scores and groups that are checked."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    by_training, found = variation.of_means(scores, codes, sizes)
    accuracy = float(by_training.mean())
    is_near_limit = len(scores) > 1 and min(accuracy, 1 - accuracy) < LEAST_ROOM
    if len(sizes) < 2 or is_near_limit:
        return Interval(accuracy, math.nan, math.nan)
    n_effective = of_groups.effective(sizes)
    if 0 < accuracy < 1:
        design_effect = found.variance / (accuracy * (1 - accuracy) / (scores.size - 1))
        many, few = (
            tails.student_quantile((1 - level) / 2, degrees)
            for degrees in (scores.size - 1, found.degrees_of_freedom)
        )
        trust = (many / few) ** 2
        n_effective = scores.size * trust / max(trust, design_effect)
    return _wilson(accuracy, n_effective, level)


def _wilson(share: float, n_answers: float, level: float) -> Interval:
    """Return Wilson's interval (1927, J. Am. Stat. Assoc. 22, 209-212) of a share of n answers."""
    quantile = tails.normal_quantile((1 - level) / 2)
    scale = 1 + quantile**2 / n_answers
    middle = (share + quantile**2 / (2 * n_answers)) / scale
    spread = share * (1 - share) / n_answers + quantile**2 / (4 * n_answers**2)
    half = quantile * math.sqrt(spread) / scale
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> float:
    """Return McNemar's exact two-sided p-value (1.0 if no pair is discordant); ignores groups."""
    before, after = (np.atleast_2d(np.asarray(arm, dtype=float)) for arm in (first, second))
    _checked({"first": before, "second": after}, np.arange(before.shape[1]))
    only_first, only_second = int(np.sum(before > after)), int(np.sum(before < after))
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def paired_group_test(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> float:
    """Return the exact two-sided p-value of a sign-flip test over groups, for one training.

    It tests that the arms are exchangeable: that each group's net gain d_g (right answers of the
    second arm minus those of the first) is as likely to be -d_g, independently of other groups.
    That is more than equal accuracy: where one arm varies more from group to group than the
    other, it can reject arms of equal accuracy. The p-value is P(|sum of s_g d_g| >= |sum of
    d_g|) over all signs s_g: no sampling, no approximation. With one question per group it is
    McNemar's exact test; with one group it is 1.
    """
    arms = [np.atleast_2d(np.asarray(arm, dtype=float)) for arm in (first, second)]
    codes, _ = _checked({"first": arms[0], "second": arms[1]}, groups)
    gains = np.rint(np.bincount(codes, weights=(arms[1] - arms[0])[0])).astype(int)
    sizes, repeats = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    if gains.sum() == 0:
        return 1.0
    # K, the summed size of the groups whose sign is plus, is an integer, and the flipped sum is
    # 2 K - total. By symmetry p is twice the lower tail of K, so only K <= last is convolved.
    last = int(sizes @ repeats - abs(gains.sum())) // 2
    probability = np.ones(1)
    for size, repeat in zip(sizes.tolist(), repeats.tolist(), strict=True):
        spaced = np.zeros(min(size * repeat, last) + 1)
        spaced[::size] = stats.binom.pmf(np.arange((len(spaced) - 1) // size + 1), repeat, 0.5)
        probability = np.convolve(probability, spaced)[: last + 1]
    return min(1.0, 2 * float(probability.sum()))


def majority_correct(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return whether the majority answer, which uses no image, is right for each test row.

    Case and outer spaces are ignored, otherwise the baseline would be weaker than the scoring rule.
    Arguments and errors: as `majority_answers`.
    """
    answered = majority_answers(train, test)
    return np.asarray(answered == test["reference"].str.strip().str.casefold(), dtype=bool)


def majority_answers(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Return the majority answer to each test row, casefolded.

    It is that question text's most frequent training reference, or the most frequent one overall if
    the text is new; ties go to the alphabetically first. Both tables need the columns question and
    reference.

    Raises:
        ValueError: If there is no training question, or a text or reference is missing.
    """
    if train.empty:
        raise ValueError("train has no questions; the majority answer is undefined")
    columns = ["question", "reference"]
    for name, table in (("train", train), ("test", test)):
        if table[columns].isna().to_numpy().any():
            raise ValueError(f"{name} has a missing question or reference; drop or repair the row")
    known, asked = (t[columns].apply(lambda c: c.str.strip().str.casefold()) for t in (train, test))
    overall = known.reference.value_counts().sort_index().idxmax()
    ranked = known.value_counts().reset_index()
    ranked = ranked.sort_values(["count", "reference"], ascending=[False, True])
    majority = ranked.drop_duplicates("question").set_index("question").reference
    return np.asarray(asked.question.map(majority).fillna(overall), dtype=object)


def _checked(arms: Mapping[str, Floats], groups: ArrayLike) -> tuple[NDArray[np.intp], Floats]:
    """Return each question's group as an integer, and the number of questions of each group."""
    labels = np.asarray(groups)
    shapes = {name: values.shape for name, values in arms.items()} | {"groups": labels.shape}
    if len({shape[-1:] for shape in shapes.values()}) > 1 or labels.ndim != 1:
        raise ValueError(f"arms must answer the same questions: shapes are {shapes}")
    if len({values.shape for values in arms.values()}) > 1:
        raise ValueError(f"arms must have the same trainings: shapes are {shapes}")
    if labels.size == 0:
        raise ValueError("there are no questions; give one or more")
    for name, values in arms.items():
        if values.ndim != 2 or not len(values):
            raise ValueError(f"{name} has shape {values.shape}; give trainings x questions")
        wrong = np.argwhere(~np.isin(values, (0, 1)))
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise ValueError(f"{name}[{at[1]}] is {values[at]}; it must be 0 or 1")
    codes, _ = pd.factorize(labels, sort=True)
    if (codes < 0).any():
        raise ValueError(
            f"groups[{np.flatnonzero(codes < 0)[0]}] is missing; give every question a group"
        )
    return codes, np.bincount(codes).astype(float)
