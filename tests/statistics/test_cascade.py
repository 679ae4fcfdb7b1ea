"""A cascade against its definition, against mixes drawn at random, and where it must gain nothing.

Four questions by hand: margins 1, 2, 3, 4; the cheap way is right on the last two, the dear one on
all but the third; a question costs 10 the cheap way and 40 the dear one.
"""

import numpy as np
import pytest

from medres.statistics import cascade
from medres.statistics.cascade import Steps

FOUR = Steps(
    margins=np.array([[1.0, 2.0, 3.0, 4.0]]),
    first=np.array([[0.0, 0.0, 1.0, 1.0]]),
    second=np.array([[1.0, 1.0, 0.0, 1.0]]),
    first_cost=np.full(4, 10.0),
    second_cost=np.full(4, 40.0),
)


def drawn(
    rng: np.random.Generator, *, n: int = 400, information: float = 0.0, first_cost: float = 0.0
) -> Steps:
    """Return steps of one training whose margins say as much about the first answer."""
    first = (rng.random(n) < 0.6).astype(float)
    second = (rng.random(n) < 0.8).astype(float)
    margins = rng.exponential(1.0, n) + information * first
    return Steps(margins[None], first[None], second[None], np.full(n, first_cost), np.full(n, 40.0))


def test_four_questions_by_hand() -> None:
    found = cascade.curve(FOUR)
    assert found.threshold.tolist() == [0.0, 1.5, 2.5, 3.5, np.inf]
    assert found.share.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found.cost.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert found.accuracy.tolist() == [0.5, 0.75, 1.0, 0.75, 0.75]
    # From 1/2 at 10 to 3/4 at 40: a third of the way costs 20. Beyond 40 there is no more to ask.
    assert found.mixed == pytest.approx([1 / 2, 7 / 12, 2 / 3, 3 / 4, 3 / 4])
    assert cascade.fitted_threshold(FOUR) == 2.5


def test_equal_margins_are_asked_again_together() -> None:
    tied = Steps(
        np.array([[2.0, 1.0, 1.0, 2.0]]), FOUR.first, FOUR.second, FOUR.first_cost, FOUR.second_cost
    )
    found = cascade.curve(tied)
    assert found.threshold.tolist() == [0.0, 1.5, np.inf]
    assert found.accuracy.tolist() == [0.5, 0.5, 0.75]
    same = Steps(np.zeros((1, 4)), FOUR.first, FOUR.second, FOUR.first_cost, FOUR.second_cost)
    assert cascade.curve(same).threshold.tolist() == [0.0, np.inf]


@pytest.mark.parametrize(
    ("threshold", "accuracy", "mixed", "cost"),
    [
        (0.0, 0.5, 0.5, 10),
        (1.5, 0.75, 7 / 12, 20),
        (2.5, 1.0, 2 / 3, 30),
        (2.0, 0.75, 7 / 12, 20),  # below, not at
        (np.inf, 0.75, 0.75, 50),
    ],
)
def test_a_threshold_is_judged_by_hand(threshold, accuracy, mixed, cost) -> None:
    found = cascade.judge(FOUR, [threshold])
    assert (found.accuracy, found.cost) == (accuracy, cost)
    assert found.mixed == pytest.approx(mixed)
    assert found.gains.mean() == pytest.approx(accuracy - mixed)
    assert found.over_first.mean() == pytest.approx(accuracy - 0.5)
    assert found.differs.tolist() == [[True, True, True, False]]


def test_the_mix_is_what_random_mixes_reach_on_average() -> None:
    rng = np.random.default_rng(5)
    n = 60
    steps = Steps(
        rng.exponential(1, (1, n)), rng.integers(0, 2, (1, n)) * 1.0,
        rng.integers(0, 2, (1, n)) * 1.0, rng.integers(1, 5, n) * 1.0,
        rng.integers(20, 40, n) * 1.0,
    )  # fmt: skip
    found = cascade.judge(steps, [0.5])
    share = (found.cost - steps.first_cost.mean()) / (steps.second_cost - steps.first_cost).mean()
    assert 0 < share < 1
    is_dear = rng.random((20_000, n)) < share
    reached = np.where(is_dear, steps.second, steps.first).mean()
    costs = np.where(is_dear, steps.second_cost, steps.first_cost).mean()
    assert found.mixed == pytest.approx(reached, abs=0.002)
    assert found.cost == pytest.approx(costs, rel=0.005)


def test_a_margin_that_says_nothing_gains_nothing() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(100), 4)
    gains, paid, expected = [], [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        gains.append(cascade.cross_fitted(drawn(rng), groups, rng=draw).gain.difference)
        costly = cascade.cross_fitted(drawn(rng, first_cost=10.0), groups, rng=draw)
        paid.append(costly.gain.difference)
        # The first step bought nothing: its 10 of 30 would have asked a third more the dear way.
        asked = np.array([half.share for half in costly.halves])
        expected.append(-0.2 * (np.minimum(1, asked * 40 / 30) - asked).mean())
    error = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains)) < 3 * error < 0.005
    assert np.mean(expected) < -0.005
    error = np.std(paid) / np.sqrt(len(paid))
    assert np.mean(paid) == pytest.approx(np.mean(expected), abs=3 * error)


def test_a_margin_that_knows_gains_most() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(100), 4)
    known = {
        information: cascade.cross_fitted(
            drawn(rng, information=information), groups, rng=np.random.default_rng(0)
        )
        for information in (0.0, 1.0, 100.0)
    }
    gains = [each.gain.difference for each in known.values()]
    assert gains == sorted(gains)
    perfect = known[100.0]
    # Just the wrong 40 % are asked again: all right but 20 % of these, where the mix has 68 %.
    assert perfect.share == pytest.approx(0.4, abs=0.05)
    assert perfect.accuracy == pytest.approx(0.92, abs=0.04)
    assert perfect.gain.difference == pytest.approx(0.92 - 0.68, abs=0.05)
    assert perfect.gain.interval().lower > 0


def test_the_interval_covers_what_a_margin_gains() -> None:
    """With thresholds that all halves agree on: information that leaves a wide gap of margins."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 2)
    covered = 0
    for seed in range(400):
        found = cascade.cross_fitted(
            drawn(rng, n=120, information=100.0), groups, rng=np.random.default_rng(seed)
        ).gain.interval()
        covered += found.lower <= 0.24 <= found.upper
    assert 0.92 <= covered / 400 <= 0.98


def test_where_the_dear_way_is_worse_none_is_asked_again_for_a_mix_that_pays_for_nothing() -> None:
    """A threshold was once fitted against the mix alone, and lost to the cheap way."""
    rng = np.random.default_rng(4)
    better = drawn(rng)
    worse = Steps(
        better.margins, better.second, better.first, better.first_cost + 1, better.second_cost
    )
    found = cascade.curve(worse)
    assert (found.accuracy - found.mixed).max() > 0.01, "it beats the mix"
    assert cascade.judge(worse, [cascade.fitted_threshold(worse)]).over_first.mean() >= 0


def test_no_question_is_judged_by_a_threshold_it_helped_to_fit() -> None:
    rng = np.random.default_rng(6)
    steps = drawn(rng, information=1.0)
    groups = np.repeat(np.arange(100), 4)
    found = cascade.cross_fitted(steps, groups, rng=np.random.default_rng(7))
    again = cascade.temperature.half_of_groups(groups, rng=np.random.default_rng(7))
    assert found.thresholds[:, 0].tolist() == [
        cascade.fitted_threshold(steps.of(again)), cascade.fitted_threshold(steps.of(~again)),
    ]  # fmt: skip
    assert found.halves[0].accuracy == cascade.judge(steps.of(~again), found.thresholds[0]).accuracy
    weights = (~again).mean(), again.mean()
    assert found.accuracy == pytest.approx(
        sum(w * each.accuracy for w, each in zip(weights, found.halves, strict=True))
    )
    assert found.gain.difference == pytest.approx(found.accuracy - found.mixed)
    assert found.over_first.difference == pytest.approx(found.accuracy - steps.first.mean())


def test_each_training_has_a_threshold_of_its_own() -> None:
    rng = np.random.default_rng(8)
    one, two = drawn(rng, information=100.0), drawn(rng, information=100.0)
    both = Steps(
        np.concatenate([one.margins, 50 + 10 * two.margins]),
        np.concatenate([one.first, two.first]),
        np.concatenate([one.second, two.second]),
        one.first_cost,
        one.second_cost,
    )
    groups = np.repeat(np.arange(100), 4)
    found = cascade.cross_fitted(both, groups, rng=np.random.default_rng(0))
    assert (found.thresholds[:, 1] > 50).all()
    assert (found.thresholds[:, 0] < 100).all()
    alone = [
        cascade.cross_fitted(each, groups, rng=np.random.default_rng(0)).gain.difference
        for each in (one, two)
    ]
    assert found.gain.by_training == pytest.approx(alone)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first": np.zeros((1, 3))}, "give trainings x questions of each"),
        ({"second_cost": np.full(3, 40.0)}, "give one for each of 4 questions"),
        ({"margins": np.array([[1.0, np.nan, 1, 1]])}, "a margin is missing or negative"),
        ({"margins": np.array([[1.0, -1, 1, 1]])}, "a margin is missing or negative"),
        ({"second_cost": np.full(4, 10.0)}, "the second must be the dearer"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message) -> None:
    given = {name: getattr(FOUR, name) for name in FOUR.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        Steps(**given | changed)


def test_one_group_or_a_lacking_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="there is one group"):
        cascade.cross_fitted(FOUR, ["a"] * 4, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="give one for each training"):
        cascade.judge(FOUR, [1.0, 2.0])
