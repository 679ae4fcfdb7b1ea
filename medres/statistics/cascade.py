"""Asking twice where a model is unsure, against a random mix of both ways at the same cost.

A cascade asks every question the cheap way first, and once more the dear way where the first answer
came with too small a margin. Its answers are then the dear ones there, its cost that of both. What
it must beat is chance, asking a random share of the questions the dear way alone at equal cost; and
the cheap way alone, which is better than chance where the dear way is worse.
All functions take arrays of questions that both ways answered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics import contrast, temperature
from medres.statistics.contrast import Contrast
from medres.statistics.variation import Floats


@dataclass(frozen=True)
class Steps:
    """What both ways of asking gave on the same questions, for several trainings."""

    margins: Floats
    """By how much the first answer was preferred, at least 0, shape (n_trainings, n_questions)."""
    first: Floats
    """Right (1) or wrong (0) the cheap way, shape (n_trainings, n_questions)."""
    second: Floats
    """The same the dear way."""
    first_cost: Floats
    """Of asking each question the cheap way, shape (n_questions,)."""
    second_cost: Floats

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit, or ways that cost the wrong way round."""
        shape = self.margins.shape
        if len(shape) != 2 or not {self.first.shape, self.second.shape} == {shape}:
            raise ValueError(
                f"margins have shape {shape}, first {self.first.shape}, second "
                f"{self.second.shape}; give trainings x questions of each"
            )
        if not {self.first_cost.shape, self.second_cost.shape} == {shape[1:]}:
            raise ValueError(
                f"costs have shapes {self.first_cost.shape} and {self.second_cost.shape}; give one "
                f"for each of {shape[1]} questions"
            )
        if not (self.margins >= 0).all():
            raise ValueError("a margin is missing or negative; it is best minus second best")
        if not self.second_cost.mean() > self.first_cost.mean():
            raise ValueError(
                f"the second way costs {self.second_cost.mean():g} on average, the first "
                f"{self.first_cost.mean():g}; the second must be the dearer"
            )

    def of(self, is_taken: NDArray[np.bool_]) -> "Steps":
        """Return these steps for some of the questions, shape (n_questions,)."""
        return Steps(
            self.margins[:, is_taken],
            self.first[:, is_taken],
            self.second[:, is_taken],
            self.first_cost[is_taken],
            self.second_cost[is_taken],
        )


@dataclass(frozen=True)
class Curve:
    """A cascade of one training at every threshold that makes a difference, the lowest first."""

    threshold: Floats
    """Margins below it are asked again; 0 asks none, inf all. Shape (n_thresholds,)."""
    share: Floats
    """Share of the questions that are asked again."""
    cost: Floats
    """Mean cost of a question, of both steps."""
    accuracy: Floats
    mixed: Floats
    """Expected accuracy of the random mix at that cost; of the dear way alone beyond its cost."""


def curve(steps: Steps, training: int = 0) -> Curve:
    """Return the cascade of one training at every threshold.

    Thresholds lie halfway between neighbouring margins, so that questions of equal margin are
    treated alike.

    Args:
        steps: Of any trainings.
        training: Which of them, from 0.
    """
    margins = steps.margins[training]
    order = np.argsort(margins, kind="stable")
    ordered = margins[order]
    last = np.flatnonzero(np.append(ordered[1:] > ordered[:-1], True))
    above = np.append(ordered[last[:-1] + 1], np.inf)
    with np.errstate(invalid="ignore"):
        halfway = np.where(np.isinf(above), np.inf, (ordered[last] + above) / 2)

    def added(values: Floats) -> Floats:
        return np.append(0.0, np.cumsum(values[order])[last]) / len(margins)

    first, second = steps.first[training], steps.second[training]
    cost = steps.first_cost.mean() + added(steps.second_cost)
    share_dear = np.minimum(
        1.0, added(steps.second_cost) / (steps.second_cost - steps.first_cost).mean()
    )
    return Curve(
        threshold=np.append(0.0, halfway),
        share=added(np.ones(len(margins))),
        cost=cost,
        accuracy=first.mean() + added(second - first),
        mixed=first.mean() + share_dear * (second.mean() - first.mean()),
    )


def fitted_threshold(steps: Steps, training: int = 0) -> float:
    """Return the threshold at which the cascade is furthest above both the mix and the cheap way.

    The lowest of equally good ones; 0, which asks no question again, if none is above both.

    Args:
        steps: Those that fit; others should judge.
        training: Which of their trainings, from 0.
    """
    found = curve(steps, training)
    above = found.accuracy - np.maximum(found.mixed, found.accuracy[0])
    # Sums of many answers, equal up to rounding.
    best = int(np.flatnonzero(above >= above.max() - 1e-12)[0])
    return float(found.threshold[best])


@dataclass(frozen=True)
class Judged:
    """A cascade at given thresholds on questions that did not fit them, all trainings together."""

    share: float
    cost: float
    accuracy: float
    mixed: float
    """Expected accuracy of the random mix at the same cost."""
    gains: Floats
    """What each question adds to accuracy minus mixed, shape (n_trainings, n_questions): their mean
    is the gain, and their variation its own, with that of the cost at which the mix is taken."""
    differs: NDArray[np.bool_]
    """Where only one of both ways is right, in the shape of gains."""
    over_first: Floats
    """What each question adds to accuracy minus that of the cheap way, in the shape of gains."""


def judge(steps: Steps, thresholds: ArrayLike) -> Judged:
    """Return what a cascade reaches, beside a random mix that costs the same on these questions.

    The mix asks the share w of questions the dear way alone, drawn at random, the others the cheap
    way; its accuracy is the expectation over all draws, (1 - w) first + w second. Where the cascade
    costs more than asking all the dear way, w is 1, and the mix is the cheaper of the two.

    Args:
        steps: Of the questions that judge.
        thresholds: Margin below which a question is asked again, shape (n_trainings,).
    """
    limits = np.asarray(thresholds, dtype=float)
    if limits.shape != steps.margins.shape[:1]:
        raise ValueError(f"thresholds have shape {limits.shape}; give one for each training")
    is_again = steps.margins < limits[:, None]
    taken = np.where(is_again, steps.second, steps.first)
    more = steps.second_cost - steps.first_cost
    spent = is_again * steps.second_cost
    wanted = spent.mean(axis=1, keepdims=True) / more.mean()
    share = np.minimum(1.0, wanted)
    gap = steps.second - steps.first
    mixed = steps.first + share * gap
    # What a question's cost moves of the mix's share, and so of its accuracy, where that is free.
    slope = np.where(wanted < 1, gap.mean(axis=1, keepdims=True) / more.mean(), 0.0)
    return Judged(
        share=float(is_again.mean()),
        cost=float(steps.first_cost.mean() + spent.mean()),
        accuracy=float(taken.mean()),
        mixed=float(mixed.mean()),
        gains=taken - mixed - slope * (spent - share * more),
        differs=gap != 0,
        over_first=taken - steps.first,
    )


@dataclass(frozen=True)
class CrossFitted:
    """A cascade whose every question is judged by the threshold that the other half fitted."""

    thresholds: Floats
    """Of each half that judges and each training, shape (2, n_trainings)."""
    halves: tuple[Judged, Judged]
    gain: Contrast
    """Accuracy of the cascade minus that of the mix, over both halves."""
    over_first: Contrast
    """The same minus that of the cheap way."""
    share: float
    cost: float
    accuracy: float
    mixed: float


def cross_fitted(steps: Steps, groups: ArrayLike, *, rng: np.random.Generator) -> CrossFitted:
    """Return what a cascade gains over a random mix at equal cost, with how sure it is.

    Half of the groups, drawn, fit a threshold for each training, and the other half judges it; then
    the halves change places. The gain is over all questions, and its interval, clustered by
    group, takes both thresholds as given: it is that of a cascade fitted on half of as many groups.

    Args:
        steps: What both ways of asking gave.
        groups: Group each question belongs to, shape (n_questions,); two groups or more.
        rng: Source of randomness; the caller seeds it and owns it.

    Raises:
        ValueError: If there are fewer than two groups.
    """
    labels = np.asarray(groups)
    is_drawn = temperature.half_of_groups(labels, rng=rng)
    if is_drawn.all() or not is_drawn.any():
        raise ValueError("there is one group; a threshold needs others that judge it")
    n_trainings, n_questions = steps.margins.shape
    gains, over_first = np.empty((2, n_trainings, n_questions))
    differs = np.empty((n_trainings, n_questions), dtype=bool)
    thresholds, judged = [], []
    for judges in (~is_drawn, is_drawn):
        fits = steps.of(~judges)
        limits = [fitted_threshold(fits, training) for training in range(n_trainings)]
        found = judge(steps.of(judges), limits)
        gains[:, judges], over_first[:, judges] = found.gains, found.over_first
        differs[:, judges] = found.differs
        thresholds.append(limits)
        judged.append(found)
    weights = np.array([(~is_drawn).mean(), is_drawn.mean()])

    def over_both(name: str) -> float:
        return float(weights @ [getattr(each, name) for each in judged])

    accuracies = [steps.first.mean(), steps.second.mean()]
    return CrossFitted(
        thresholds=np.array(thresholds),
        halves=(judged[0], judged[1]),
        gain=contrast.of_gains(gains, labels, differs=differs, accuracies=accuracies),
        over_first=contrast.of_gains(
            over_first, labels, differs=over_first != 0, accuracies=accuracies
        ),
        share=over_both("share"),
        cost=over_both("cost"),
        accuracy=over_both("accuracy"),
        mixed=over_both("mixed"),
    )
