"""How much each of several arms loses against the best one, which nobody knows beforehand.

For true accuracies t the loss of arm r is L_r = max over s of t_s, minus t_r. No arm is named the
best because it came out best: the bound of arm r is the largest upper limit of t_s - t_r over all
other arms s. All bounds hold together if the comparisons of the truly best arm with each other arm
do; so for each arm in the part of the best, a critical value is taken from the largest of that many
correlated t statistics (multiple comparisons with the best: Hsu 1984, Annals of Statistics 12,
1136-1144). Limits are those of `comparison.Comparison`.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

from medres.statistics import comparison, critical, tails
from medres.statistics import groups as of_groups
from medres.statistics.comparison import Comparison
from medres.statistics.variation import Floats

PRIOR_GROUPS = 1.0
"""Weight, in groups that differ, of the assumption that all questions of a group are lost together.
A few groups that differ cannot tell how alike their questions are."""


@dataclass(frozen=True)
class Loss:
    """What one arm loses against the best of all arms, as fractions (0.02 = two points)."""

    observed: float
    """Best observed accuracy minus this arm's."""
    excluded: float
    """The smallest loss that is excluded: an upper bound, for all arms together. NaN if refused."""
    at_least: float
    """A lower bound, for all arms together; 0 if no loss is shown, or refused."""
    refusal: str
    """Why nothing may rest on the bounds; empty if something may."""


def losses(correct: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> list[Loss]:
    """Return what each arm loses against the best one, with bounds that hold for all arms together.

    The upper bounds hold together with probability `level`, and so do the lower ones. Several
    trainings are compared as in `comparison.compare`. Where questions share groups, the variance
    of a pair of arms is a mean of the one observed, weighted by the groups in which they differ,
    and the one if all questions of a group were lost together, weighted by `PRIOR_GROUPS`.

    Args:
        correct: Right (1) or wrong (0), shape (n_trainings, n_arms, n_questions).
        groups: Group each question belongs to, shape (n_questions,).
        level: Probability that all bounds of a side hold, in (0.5, 1).

    Raises:
        ValueError: If shapes differ, or an answer is not 0 or 1, or a group is missing, or the
            level is out of its range.
    """
    if not 0.5 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0.5 and 1")
    scores = np.asarray(correct, dtype=float)
    if scores.ndim != 3 or 0 in scores.shape:
        raise ValueError(f"correct has shape {scores.shape}; give trainings x arms x questions")
    n_arms = scores.shape[1]
    pairs = {
        (first, second): _cautious(comparison.compare(scores[:, first], scores[:, second], groups))
        for first, second in itertools.combinations(range(n_arms), 2)
    }
    accuracies = scores.mean(axis=(0, 2))
    observed = accuracies.max() - accuracies
    if n_arms == 1:
        alone = comparison.compare(scores[:, 0], scores[:, 0], groups)
        return [Loss(0.0, math.nan if alone.too_few else 0.0, 0.0, alone.too_few)]
    refusals = ["" for _ in range(n_arms)]
    for pair, compared in pairs.items():
        for arm in pair:
            refusals[arm] = refusals[arm] or _refusal(compared)
    excluded, at_least = np.zeros(n_arms), np.zeros(n_arms)
    if not all(refusals):
        excluded, at_least = _bounds(pairs, _covariance(scores, groups), level)
    return [
        Loss(
            observed=float(observed[arm]),
            excluded=math.nan if refusals[arm] else float(excluded[arm]),
            at_least=0.0 if refusals[arm] else float(at_least[arm]),
            refusal=refusals[arm],
        )
        for arm in range(n_arms)
    ]


def choose(found: Sequence[Loss], costs: Sequence[float], margin: float) -> int | None:
    """Return the cheapest arm whose excluded loss is within the margin; None if there is none.

    Of equal costs the one with the smaller excluded loss, then the first.

    Args:
        found: The arms' losses, as `losses` returns them.
        costs: What an arm costs, in any unit, in the same order.
        margin: Loss that does not matter, a fraction.

    Raises:
        ValueError: If costs are missing, or the margin is not in (0, 1).
    """
    _checked_share("margin", margin)
    if len(costs) != len(found) or not all(math.isfinite(cost) for cost in costs):
        raise ValueError(f"costs are {list(costs)}; give one for each of {len(found)} arms")
    within = [arm for arm, loss in enumerate(found) if not loss.refusal and loss.excluded <= margin]
    return min(within, key=lambda arm: (costs[arm], found[arm].excluded, arm), default=None)


def open_arms(found: Sequence[Loss], costs: Sequence[float], margin: float) -> list[int]:
    """Return the arms cheaper than the chosen one that may still be within the margin.

    Neither is a loss beyond the margin excluded of them, nor shown. If no arm is chosen, all such
    arms, whatever they cost. While there are any, a study has not told which arm is the cheapest
    within the margin, even where it has told that the chosen one is within it.

    Args:
        found: The arms' losses, as `losses` returns them.
        costs: What an arm costs, in any unit, in the same order.
        margin: Loss that does not matter, a fraction.

    Raises:
        ValueError: If costs are missing, or the margin is not in (0, 1).
    """
    chosen = choose(found, costs, margin)
    limit = math.inf if chosen is None else costs[chosen]
    return [
        arm
        for arm, loss in enumerate(found)
        if costs[arm] < limit and not loss.excluded <= margin and loss.at_least <= margin
    ]


def _refusal(compared: Comparison) -> str:
    """Return why no bound may rest on a pair: too few groups, or trainings that are near perfect.

    Unlike a verdict on a difference, a bound may rest on arms that hardly ever differ.
    """
    n_trainings = len(compared.by_training)
    if not compared.too_few and n_trainings > 1 and compared.room < comparison.LEAST_ROOM:
        return comparison.near_limit(n_trainings)
    return compared.too_few


def _cautious(compared: Comparison) -> Comparison:
    """Return a comparison whose effective number does not trust a few groups that differ."""
    n_differing = compared.n_differing_groups
    if compared.n_groups == compared.n_questions or not n_differing:
        return compared
    believed = _believed(n_differing, compared.n_effective, compared.n_groups)
    return dataclasses.replace(compared, n_effective=min(compared.n_effective, float(believed)))


def _covariance(scores: Floats, groups: ArrayLike) -> Floats:
    """Return how the arms' estimated accuracies vary together, shape (n_arms, n_arms)."""
    codes, _ = pd.factorize(np.asarray(groups))
    sizes = np.bincount(codes).astype(float)
    n_trainings, _, n_questions = scores.shape
    sums = np.stack([np.bincount(codes, weights=row) for row in scores.mean(axis=0)])
    influence = (sums - sums.sum(axis=1, keepdims=True) * (sizes / n_questions)) / n_questions
    covariance = (influence / (1 - sizes / n_questions)) @ influence.T
    if n_trainings > 1:
        covariance = covariance + np.cov(scores.mean(axis=2).T) / n_trainings
    return np.asarray(covariance)


def _bounds(
    pairs: dict[tuple[int, int], Comparison], covariance: Floats, level: float
) -> tuple[Floats, Floats]:
    """Return upper and lower bounds of every arm's loss, each of shape (n_arms,)."""
    n_arms = len(covariance)
    degrees = min(compared.degrees_of_freedom for compared in pairs.values())
    excluded, at_least = np.zeros(n_arms), np.zeros(n_arms)
    for best in range(n_arms):
        others = [arm for arm in range(n_arms) if arm != best]
        correlation = critical.correlation_of_differences(
            covariance, [(arm, best) for arm in others]
        )
        tail = critical.tail_beyond(correlation, degrees, level)
        for arm in others:
            excluded[arm] = max(excluded[arm], _limits(pairs, arm, best, tail)[1])
    correlation = critical.correlation_of_differences(covariance, list(pairs))
    tail = critical.tail_beyond(correlation, degrees, level, is_two_sided=True)
    for first, second in pairs:
        lower, upper = _limits(pairs, first, second, tail)
        at_least[first] = max(at_least[first], lower)
        at_least[second] = max(at_least[second], -upper)
    return excluded, at_least


def _limits(
    pairs: dict[tuple[int, int], Comparison], first: int, second: int, tail: float
) -> tuple[float, float]:
    """Return limits of the true accuracy of `second` minus that of `first`, each with a tail."""
    if first < second:
        found = pairs[first, second].interval(1 - 2 * tail)
        return found.lower, found.upper
    found = pairs[second, first].interval(1 - 2 * tail)
    return -found.upper, -found.lower


def chance_to_decide(
    n_groups: int,
    questions_each: float,
    *,
    n_arms: int,
    margin: float,
    discordance: float,
    loss: float = 0.0,
    correlation: float = 0.1,
    level: float = 0.95,
) -> float:
    """Return the chance that a given cheap arm comes out within the margin.

    All other arms are taken to be equally good. The chance for one of them is exact for the score
    statistic at the effective number of questions, summed over the counts of questions that only
    one arm answers correctly; for several, as for equally correlated normal statistics.

    Args:
        n_groups: Groups of questions, of equal size; of others their effective number
            (`groups.effective`).
        questions_each: Questions per such group, at least 1; all questions over `n_groups`.
        n_arms: Arms of the ladder, the cheap one included, at least 2.
        margin: Loss that does not matter, a fraction.
        discordance: Share of questions that only one of two arms answers correctly.
        loss: True loss of the cheap arm, a fraction, at most the discordance.
        correlation: Correlation of the gains of two questions of a group.
        level: As of `losses`.

    Raises:
        ValueError: If a number is out of its range.
    """
    _checked_share("margin", margin)
    for name, value in (("discordance", discordance), ("correlation", correlation)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be between 0 and 1")
    if not 0 <= loss <= discordance:
        raise ValueError(f"loss is {loss}; it must be between 0 and the discordance {discordance}")
    if n_groups < 1 or questions_each < 1 or n_arms < 2:
        raise ValueError(
            f"{n_groups} groups of {questions_each} questions, {n_arms} arms: give at least 1 "
            "group, 1 question and 2 arms"
        )
    if n_groups < of_groups.LEAST_GROUPS:
        return 0.0
    tail = critical.tail_of_equal(n_arms - 1, n_groups - 1, level)
    design_effect = 1 + (questions_each - 1) * correlation
    n_effective = max(1, round(n_groups * questions_each / design_effect))
    n_trusted = n_groups if questions_each > 1 else n_effective
    one = _chance_within(n_effective, n_trusted, tail, n_groups - 1, margin, discordance, loss)
    if n_arms == 2 or not 0 < one < 1:
        return one
    # Differences from one arm correlate by a half: it is the half that they share.
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    each = special.ndtr((special.ndtri(one) + math.sqrt(0.5) * nodes) / math.sqrt(0.5))
    return float(weights @ each ** (n_arms - 1) / weights.sum())


def groups_to_decide(
    questions_each: float,
    *,
    n_arms: int,
    margin: float,
    discordance: float,
    loss: float = 0.0,
    correlation: float = 0.1,
    level: float = 0.95,
    power_wanted: float = 0.8,
    most: int = 20_000,
) -> int | None:
    """Return how many groups it takes for `chance_to_decide` to be as high as wanted.

    None if no number up to `most` does: above all if the loss reaches the margin.

    Raises:
        ValueError: If a number is out of its range.
    """
    if not 0 < power_wanted < 1:
        raise ValueError(f"power_wanted is {power_wanted}; it must be between 0 and 1")

    def is_enough(n_groups: int) -> bool:
        chance = chance_to_decide(
            n_groups,
            questions_each,
            n_arms=n_arms,
            margin=margin,
            discordance=discordance,
            loss=loss,
            correlation=correlation,
            level=level,
        )
        return chance >= power_wanted

    few, enough = of_groups.LEAST_GROUPS - 1, of_groups.LEAST_GROUPS
    while not is_enough(enough):
        if enough >= most or loss >= margin:
            return None
        few, enough = enough, min(most, 2 * enough)
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if is_enough(middle) else (middle, enough)
    return enough


def _chance_within(
    n_questions: int,
    n_trusted: int,
    tail: float,
    degrees: float,
    margin: float,
    discordance: float,
    loss: float,
) -> float:
    """Return the chance that the upper limit of one arm's loss is at most the margin.

    Args:
        n_questions: Independent questions that would tell as much.
        n_trusted: How many of them are believed in where no pair differs.
        tail: Probability beyond the critical value.
        degrees: Of freedom, of Student's t.
        margin: Loss that does not matter, a fraction.
        discordance: Share of questions that differ.
        loss: True loss, a fraction.
    """
    lost_share, gained_share = (discordance + loss) / 2, (discordance - loss) / 2
    lost, gained = (_likely(n_questions, share) for share in (lost_share, gained_share))
    first, second = np.meshgrid(gained, lost, indexing="ij")
    of_the_rest = gained_share / (1 - lost_share) if lost_share < 1 else 0.0
    probability = stats.binom.pmf(second, n_questions, lost_share) * stats.binom.pmf(
        first, n_questions - second, min(1.0, of_the_rest)
    )
    n_differing = n_trusted * -np.expm1(-(first + second) / n_trusted)
    n_believed = _believed(n_differing, n_questions, n_trusted)
    first, second = first / n_questions, second / n_questions
    linear = -first - second + (2 - second + first) * margin
    root = np.sqrt(np.maximum(0.0, linear**2 + 8 * first * margin * (1 - margin)))
    spread = np.maximum(0.0, (root - linear) / 2 + margin - margin**2)
    quantile = tails.student_quantile(tail, degrees)
    is_within = margin - (second - first) >= quantile * np.sqrt(spread / n_believed)
    is_within[first + second == 0] = 1 - tail ** (1 / n_trusted) <= margin
    return float(min(1.0, (probability * is_within).sum()))


def _believed(n_differing: ArrayLike, n_effective: float, n_groups: float) -> Floats:
    """Return the effective number of questions, drawn to that of groups where few differ."""
    weight = np.asarray(n_differing, dtype=float)
    return np.asarray((weight + PRIOR_GROUPS) / (weight / n_effective + PRIOR_GROUPS / n_groups))


def _likely(n_questions: int, share: float) -> Floats:
    """Return the counts out of so many questions that have any probability to speak of."""
    middle, spread = n_questions * share, math.sqrt(n_questions * share * (1 - share))
    lowest = max(0, math.floor(middle - 5 * spread - 5))
    return np.arange(lowest, min(n_questions, math.ceil(middle + 5 * spread + 5)) + 1.0)


def _checked_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1, such as 0.05")
