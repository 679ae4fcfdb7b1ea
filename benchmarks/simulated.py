"""Answers of studies whose truth is known, and what `medres.statistics` makes of them.

Drawn from logistic models with shared difficulty by group and question (`GENERATORS`). The mean
accuracy of an arm, over trainings, questions and groups, is that of the setting exactly, by
integration. A draw is judged as `comparison.compare` judges it: in arrays over draws for speed,
and in `CHECKED` draws of every batch by the function itself, which must say the same.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from medres.statistics import comparison, groups

Floats = NDArray[np.float64]
Answers = NDArray[np.bool_]
CHECKED = 2
PER_BATCH = 3_000_000  # answers of an arm in memory at a time
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(81)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class Generator:
    """What answers vary by, as standard deviations in log-odds."""

    group: float = 1.0
    """Difficulty of a group, for both arms alike."""
    question: float = 1.0
    arm_by_group: float = 0.0
    """How much an arm suits some groups better than others."""
    training_by_group: float = 0.0
    """The same for a training."""
    repeated: float = 0.0
    """Share of the answers that all trainings of both arms give alike, but for their chance."""
    spread_in_both: bool = True
    """Whether the trainings of both arms differ, or of the second alone."""
    on_accuracy: bool = False
    """Whether trainings differ by a number of points for every question, cut off at 0 and 1,
    or in log-odds."""


GENERATORS = {
    "shared difficulty": Generator(),
    "arms suit groups": Generator(question=0.5, arm_by_group=0.8),
    "trainings suit groups": Generator(question=0.5, training_by_group=0.8),
    "trainings repeat": Generator(repeated=0.8),
    "spread in one arm": Generator(spread_in_both=False),
    "spread in points": Generator(on_accuracy=True),
    "independent": Generator(group=0.0, question=0.0),
}


@dataclass(frozen=True)
class Setting:
    """A study as it is drawn."""

    generator: str
    shape: str
    """Of the groups: even, half in one, skewed."""
    n_groups: int
    accuracy: float
    n_trainings: int
    spread: float
    """Standard deviation of accuracy between trainings, a fraction."""
    per_group: int = 8
    """Questions of a group, on average."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Questions of each group."""
        even = np.full(self.n_groups, self.per_group)
        if self.shape == "half in one":
            even[0] = even[1:].sum()
        if self.shape == "skewed":
            weights = np.arange(1, self.n_groups + 1) ** -0.8
            weights *= self.per_group * self.n_groups / weights.sum()
            even = np.maximum(1, np.rint(weights)).astype(int)
        return even


@functools.cache
def solved(accuracy: float, spread: float, generator: Generator) -> tuple[float, float] | None:
    """Return intercept and spread of log-odds that give the accuracy; None if none do."""
    of_chance = np.hypot(generator.arm_by_group, generator.training_by_group)
    deviation = float(np.sqrt(generator.group**2 + generator.question**2 + of_chance**2))

    def by_training(intercept: float, tau: float) -> Floats:
        shifts = np.zeros_like(NODES) if generator.on_accuracy else tau * NODES
        chance = special.expit(intercept + np.add.outer(shifts, deviation * NODES))
        if generator.on_accuracy:
            chance = np.clip(chance + tau * NODES[:, None], 0, 1)
        return np.asarray((WEIGHTS * chance).sum(axis=1))

    def intercept_at(tau: float) -> float:
        return float(optimize.brentq(lambda at: WEIGHTS @ by_training(at, tau) - accuracy, -99, 99))

    def excess(tau: float) -> float:
        of_trainings = by_training(intercept_at(tau), tau)
        return float(np.sqrt(WEIGHTS @ (of_trainings - accuracy) ** 2)) - spread

    if spread == 0 or generator.on_accuracy:
        is_possible = WEIGHTS @ by_training(60, spread) > accuracy
        return (intercept_at(spread), spread) if is_possible else None
    most = 1.0
    while excess(most) < 0:
        most *= 1.5
        if most > 20:
            return None
    tau = float(optimize.brentq(excess, 1e-6, most, xtol=1e-6))
    return intercept_at(tau), tau


def drawn(
    rng: np.random.Generator, setting: Setting, n_draws: int, *, gain: float = 0.0
) -> Iterator[tuple[Answers, Answers]]:
    """Yield batches of answers of both arms, shape (n_draws, n_trainings, n_questions).

    Args:
        rng: Source of randomness.
        setting: What to draw.
        n_draws: How many studies in all.
        gain: True difference of the arms, a fraction.
    """
    generator, sizes = GENERATORS[setting.generator], setting.sizes
    of_group = np.repeat(np.arange(len(sizes)), sizes)
    n_trainings, n_questions = setting.n_trainings, len(of_group)
    most = max(1, PER_BATCH // (n_trainings * n_questions))
    for start in range(0, n_draws, most):
        n = min(most, n_draws - start)
        normal = functools.partial(rng.standard_normal, dtype=np.float32)
        uniform = functools.partial(rng.random, dtype=np.float32)
        difficulty = generator.group * normal((n, len(sizes)))[:, of_group]
        difficulty += generator.question * normal((n, n_questions))
        own_luck = uniform((n, 1, n_questions))
        arms = []
        for arm in range(2):
            is_spread = arm == 1 or generator.spread_in_both
            found = solved(setting.accuracy + arm * gain, setting.spread * is_spread, generator)
            if found is None:
                return
            intercept, tau = map(np.float32, found)
            suits = generator.arm_by_group * normal((n, len(sizes)))[:, of_group]
            logit = (difficulty + suits + intercept)[:, None, :]
            if generator.training_by_group:
                groupwise = normal((n, n_trainings, len(sizes)))[:, :, of_group]
                logit = logit + generator.training_by_group * groupwise
            shift = tau * normal((n, n_trainings, 1))
            if generator.on_accuracy:
                chance = special.expit(logit) + shift
            else:
                chance = special.expit(logit + shift)
            luck = uniform((n, n_trainings, n_questions))
            if generator.repeated:
                alike = uniform((n, n_trainings, n_questions)) < generator.repeated
                luck = np.where(alike, own_luck, luck)
            arms.append(luck < chance)
        yield arms[0], arms[1]


@dataclass(frozen=True)
class Judged:
    """What `comparison.compare` says of each draw, arrays of shape (n_draws,)."""

    difference: Floats
    p_value: Floats
    is_refused: Answers
    standard_error: Floats
    degrees_of_freedom: Floats


def judged(first: Answers, second: Answers, sizes: NDArray[np.int64], null: float) -> Judged:
    """Return the comparison of two arms for every draw, checked beside the function itself."""
    n_trainings, n_questions = first.shape[1:]
    sums = by_group(second, sizes) - by_group(first, sizes)
    n_differing = (by_group(second != first, sizes).max(axis=1) > 0).sum(axis=1)
    variance, degrees = variation(sums, sizes)
    first_only, second_only = (
        (better & ~worse).mean(axis=(1, 2)) for better, worse in ((first, second), (second, first))
    )
    difference = second_only - first_only
    spread = first_only + second_only - difference**2
    least = stats.chi2.ppf(0.05, degrees) / degrees
    n_effective = groups.effective(sizes) * np.ones(len(first))
    np.divide(
        spread,
        np.maximum(variance, least * spread / (n_trainings * n_questions)),
        out=n_effective,
        where=spread > 0,
    )
    linear = -first_only - second_only + (2 - second_only + first_only) * null
    root = np.sqrt(np.maximum(0, linear**2 + 8 * first_only * null * (1 - null)))
    at_null = (root - linear) / 2 + null - null**2
    gap = np.abs(difference - null)
    error = np.sqrt(np.maximum(at_null, 1e-30) / n_effective)
    p_value = np.where(gap > 0, 2 * special.stdtr(degrees, -gap / error), 1.0)
    of_none = 2 * (1 - abs(null)) ** groups.effective(sizes) if null else 1.0
    p_value = np.where(n_differing == 0, min(1.0, of_none), p_value)
    means = [arm.mean(axis=(1, 2)) for arm in (first, second)]
    room = np.minimum(np.maximum(*means), 1 - np.minimum(*means))
    is_refused = np.full(len(first), bool(groups.shortage(sizes)))
    if n_trainings > 1:
        is_refused |= room < comparison.LEAST_ROOM
    if not (null and len(sizes) == n_questions):
        is_refused |= n_differing < groups.LEAST_GROUPS
    of_question = np.repeat(np.arange(len(sizes)), sizes)
    for draw in range(min(CHECKED, len(first))):
        found = comparison.compare(first[draw], second[draw], of_question)
        same = np.isclose(found.p_value(null), p_value[draw], rtol=1e-3, atol=1e-6)
        if not same or bool(found.refusal(null)) != is_refused[draw]:
            raise AssertionError(f"the benchmark judges otherwise than compare: {found}")
    errors = np.sqrt(np.maximum(spread, 0) / n_effective)
    return Judged(difference, p_value, is_refused, errors, degrees)


def by_group(values: Answers, sizes: NDArray[np.int64]) -> Floats:
    """Return sums over the questions of each group, shape (n_draws, n_trainings, n_groups)."""
    starts = np.append(0, np.cumsum(sizes)[:-1])
    return np.add.reduceat(values, starts, axis=-1, dtype=np.float32).astype(float)


def variation(sums: Floats, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return variance and degrees of freedom of means, as `medres.statistics.variation`."""
    n_draws, n_trainings, _ = sums.shape
    estimates = sums.sum(axis=2) / sizes.sum()
    influence = (sums - estimates[:, :, None] * sizes) / sizes.sum()
    scale, of_groups = 1 / (1 - sizes / sizes.sum()), groups.effective(sizes) - 1
    averaged = influence.mean(axis=1) ** 2 @ scale
    if n_trainings == 1:
        return averaged, np.full(n_draws, of_groups)
    between = estimates.var(axis=1, ddof=1) / n_trainings
    single = (influence**2 @ scale).mean(axis=1)
    questions = averaged - np.maximum(0, single - averaged) / (n_trainings - 1)
    questions = np.maximum(0, questions)
    variance = between + questions
    degrees = np.full(n_draws, n_trainings - 1.0)
    poorness = between / (n_trainings - 1) + questions / of_groups
    np.divide(variance, poorness, out=degrees, where=poorness > 0)
    return variance, degrees


def accuracy_limits(correct: Answers, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the limits of `comparison.accuracy_interval` for every draw, checked beside it."""
    sums = by_group(correct, sizes)
    n_answers = correct.shape[1] * correct.shape[2]
    accuracy = sums.sum(axis=(1, 2)) / n_answers
    variance, degrees = variation(sums, sizes)
    trust = (stats.t.isf(0.025, n_answers - 1) / special.stdtrit(degrees, 0.975)) ** 2
    answer = accuracy * (1 - accuracy)
    n_effective = groups.effective(sizes) * np.ones(len(correct))
    design_effect = np.divide(
        variance * (n_answers - 1), answer, out=np.ones(len(correct)), where=answer > 0
    )
    n_effective = np.where(
        answer > 0, n_answers * trust / np.maximum(trust, design_effect), n_effective
    )
    z = stats.norm.isf(0.025)
    middle = (accuracy + z**2 / 2 / n_effective) / (1 + z**2 / n_effective)
    half = z * np.sqrt(answer / n_effective + z**2 / 4 / n_effective**2) / (1 + z**2 / n_effective)
    is_near_limit = np.minimum(accuracy, 1 - accuracy) < comparison.LEAST_ROOM
    if correct.shape[1] > 1:  # several trainings
        half = np.where(is_near_limit, np.nan, half)
    of_question = np.repeat(np.arange(len(sizes)), sizes)
    for draw in range(min(CHECKED, len(correct))):
        found = comparison.accuracy_interval(correct[draw], of_question)
        limits = middle[draw] - half[draw], middle[draw] + half[draw]
        if not np.allclose((found.lower, found.upper), limits, atol=1e-6, equal_nan=True):
            raise AssertionError(f"the benchmark has other limits than accuracy_interval: {found}")
    return middle - half, middle + half


def losing(
    rng: np.random.Generator,
    n_draws: int,
    sizes: NDArray[np.int64],
    *,
    accuracy: float = 1.0,
    lost: float,
    gained: float = 0.0,
    likeness: float = 0.0,
) -> tuple[Answers, Answers]:
    """Return two arms of one training, of which the second loses and gains shares of answers.

    Args:
        rng: Source of randomness.
        n_draws: Studies.
        sizes: Questions of each group.
        accuracy: Of the first arm, before what the second gains.
        lost: Share of the questions that only the first arm answers correctly.
        gained: Share that only the second does.
        likeness: Correlation within a group of being right, and, if above 0, of being lost.
    """
    shape, of_group = (n_draws, len(sizes)), np.repeat(np.arange(len(sizes)), sizes)
    chance = np.full(shape, lost / accuracy)
    right = np.full(shape, accuracy)
    if likeness:
        weight = 1 / likeness - 1
        right = rng.beta(weight * accuracy, weight * (1 - accuracy), shape)
        chance = np.minimum(1, rng.gamma(0.5, 2 * chance, shape))
    first = rng.random((n_draws, len(of_group))) < right[:, of_group]
    luck = rng.random(first.shape)
    second = first & (luck >= chance[:, of_group])
    is_gained = second & (luck > 1 - gained)
    return (first & ~is_gained)[:, None, :], second[:, None, :]
