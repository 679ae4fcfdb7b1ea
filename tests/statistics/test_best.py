"""Bounds of losses against the best arm, and the chance that they decide."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from benchmarks import choice_simulation
from medres.statistics import best
from medres.statistics.best import Loss, chance_to_decide, choose, groups_to_decide, losses
from medres.statistics.comparison import compare


def ladder(rng, n_groups=60, n_arms=4, largest=5, n_trainings=1):
    """Arms that lose 0, 3, 6, ... % of the first one's answers, in groups of mixed sizes."""
    groups = np.repeat(np.arange(n_groups), rng.integers(1, largest + 1, n_groups))
    arms = np.zeros((n_trainings, n_arms, len(groups)), dtype=bool)
    difficulty = rng.beta(6, 2, n_groups)[groups]
    for training, arm in itertools.product(range(n_trainings), range(n_arms)):
        is_kept = rng.random(len(groups)) > 0.03 * arm
        arms[training, arm] = (rng.random(len(groups)) < difficulty) & is_kept
    return arms, groups


def bounds(found):
    return np.array([(loss.observed, loss.excluded, loss.at_least) for loss in found])


# losses


@pytest.mark.parametrize(("only_first", "only_second"), [(7, 3), (0, 4), (4, 0), (0, 0), (12, 12)])
def test_bounds_of_two_arms_are_the_one_sided_limits_of_their_comparison(only_first, only_second):
    """Each arm in the part of the best has one comparison: 5 % on one side."""
    first, second = np.zeros((2, 100))
    first[20:100] = second[20:100] = 1
    second[20 : 20 + only_first] = 0
    second[:only_second] = 1
    groups = np.arange(100)
    found = losses([[first, second]], groups)
    compared = compare(first, second, groups)
    one_sided, two_sided = compared.interval(0.90), compared.interval(0.95)
    assert found[0].excluded == pytest.approx(max(0, one_sided.upper), abs=1e-9)
    assert found[1].excluded == pytest.approx(max(0, -one_sided.lower), abs=1e-9)
    assert found[0].at_least == pytest.approx(max(0, two_sided.lower), abs=1e-9)
    assert found[1].at_least == pytest.approx(max(0, -two_sided.upper), abs=1e-9)
    assert found[1].observed == pytest.approx(max(0, only_first - only_second) / 100)


def test_a_bound_by_hand_where_no_pair_differs():
    """A share of q is missed by 100 questions with probability (1 - q)^100 = 0.05."""
    found = losses(np.ones((1, 2, 100)), np.arange(100))
    assert found == [Loss(0.0, pytest.approx(1 - 0.05**0.01), 0.0, "")] * 2


def test_a_bound_by_hand_where_one_arm_only_loses():
    """Tango's statistic at 4 lost of 100, none gained: (q - 0.04)^2 = t^2 (share - q^2) / n."""
    second = np.ones(100)
    second[:4] = 0
    limit = losses([[np.ones(100), second]], np.arange(100))[1].excluded
    # Without gains the likeliest share that differs is q itself: all differences are losses.
    n_effective = compare(np.ones(100), second, np.arange(100)).n_effective
    error = math.sqrt(limit * (1 - limit) / n_effective)
    assert (limit - 0.04) / error == pytest.approx(stats.t.ppf(0.95, 99), abs=1e-6)
    assert n_effective == pytest.approx(99)


def test_results_follow_the_order_of_arms():
    correct, groups = ladder(np.random.default_rng(1))
    order = [2, 0, 3, 1]
    as_given, permuted = losses(correct, groups), losses(correct[:, order], groups)
    # Quasi-random draws tell critical values to about 0.01.
    expected = bounds([as_given[arm] for arm in order])
    assert bounds(permuted) == pytest.approx(expected, abs=5e-4)


def test_order_of_questions_and_names_of_groups_do_not_matter():
    rng = np.random.default_rng(2)
    correct, groups = ladder(rng)
    order = rng.permutation(len(groups))
    names = np.array([f"patient {group}" for group in groups])
    assert bounds(losses(correct[..., order], names[order])) == pytest.approx(
        bounds(losses(correct, groups)), abs=1e-9
    )


def test_the_bound_is_the_worst_of_all_arms_in_the_part_of_the_best():
    """It never lies below that of a pair alone, and never above Bonferroni's for all pairs."""
    correct, groups = ladder(np.random.default_rng(3), largest=1)
    found = losses(correct, groups)
    for arm in range(4):
        pairs = [compare(correct[:, arm], correct[:, s], groups) for s in range(4) if s != arm]
        alone = max(0, *(pair.interval(1 - 2 * 0.05).upper for pair in pairs))
        bonferroni = max(0, *(pair.interval(1 - 2 * 0.05 / 3).upper for pair in pairs))
        assert alone < found[arm].excluded < bonferroni
        assert found[arm].at_least <= found[arm].observed <= found[arm].excluded


def test_a_duplicate_arm_costs_nothing_against_other_arms():
    """Equal statistics exceed a critical value together."""
    correct, groups = ladder(np.random.default_rng(4), n_arms=3)
    doubled = np.concatenate([correct, correct[:, 2:]], axis=1)
    found, again = losses(correct, groups), losses(doubled, groups)
    assert found[0].observed == 0
    assert again[2].excluded == pytest.approx(found[2].excluded, abs=5e-4)
    assert again[3] == again[2]
    # A further arm of its own costs something.
    rng = np.random.default_rng(5)
    other = np.where(rng.random(correct.shape[2]) < 0.4, ~correct[:, 2], correct[:, 2])[:, None]
    assert losses(np.concatenate([correct, other], axis=1), groups)[2].excluded > (
        found[2].excluded + 1e-3
    )


def test_equal_arms_that_never_differ_share_one_bound():
    found = losses(np.ones((1, 5, 200)), np.arange(200))
    assert len({loss.excluded for loss in found}) == 1
    # Four independent chances to miss something: 1 - 0.95^(1/4), up to the draws' error.
    limit = 1 - (1 - 0.95 ** (1 / 4)) ** (1 / 200)
    assert found[0].excluded == pytest.approx(limit, abs=5e-4)


def test_a_higher_level_excludes_less_and_shows_less():
    correct, groups = ladder(np.random.default_rng(6), n_groups=300)
    low, high = (bounds(losses(correct, groups, level=level)) for level in (0.8, 0.99))
    assert (low[:, 1] < high[:, 1]).all()
    assert (low[:, 2] >= high[:, 2]).all()
    assert low[3, 2] > high[3, 2]


def test_a_few_groups_that_differ_are_not_trusted_to_know_their_likeness():
    """Four losses in four of 60 groups of 5: as if fewer than 300 questions, more than 60."""
    first, second = np.ones((2, 300))
    second[[0, 50, 100, 150]] = 0
    groups = np.repeat(np.arange(60), 5)
    limit = losses([[first, second]], groups)[1].excluded
    trusted = -compare(first, second, groups).interval(0.9).lower
    single = -compare(first, second, np.arange(300)).interval(0.9).lower
    assert limit > trusted + 0.002
    assert limit > single
    # At the number of groups: Tango's limit for 4 / 300 of 60.
    error = math.sqrt(limit * (1 - limit) / 60)
    assert (limit - 4 / 300) / error < stats.t.ppf(0.95, 59)


def test_several_trainings_are_compared_as_pairs_are():
    correct, groups = ladder(np.random.default_rng(7), n_arms=2, n_trainings=3, largest=1)
    found = losses(correct, groups)
    compared = compare(correct[:, 0], correct[:, 1], groups)
    assert found[1].excluded == pytest.approx(max(0, -compared.interval(0.9).lower))
    assert losses(correct[:1], groups) != found


def test_a_ladder_of_one_rung_loses_nothing():
    assert losses(np.ones((1, 1, 20)), np.arange(20)) == [Loss(0.0, 0.0, 0.0, "")]


@pytest.mark.parametrize(
    ("groups", "n_trainings", "reason"),
    [
        (np.arange(5), 1, "5 groups"),
        (np.zeros(40, dtype=int), 1, "1 group"),
        (np.repeat([0, 1, 2], 20), 1, "3 groups"),
        (np.r_[np.zeros(200, dtype=int), np.arange(1, 41)], 1, "holds 83 %"),
        (np.arange(200), 3, "within 3 points"),
    ],
)
def test_what_can_decide_nothing_is_refused_with_its_reason(groups, n_trainings, reason):
    rng = np.random.default_rng(8)
    rate = 0.99 if n_trainings > 1 else 0.7
    found = losses(rng.random((n_trainings, 3, len(groups))) < rate, groups)
    for loss in found:
        assert reason in loss.refusal
        assert math.isnan(loss.excluded)
        assert loss.at_least == 0.0
    assert choose(found, [1, 2, 3], 0.9) is None


@pytest.mark.parametrize(
    ("correct", "groups", "level", "reason"),
    [
        (np.ones((2, 10)), np.arange(10), 0.95, "trainings x arms x questions"),
        (np.ones((1, 0, 10)), np.arange(10), 0.95, "trainings x arms x questions"),
        (np.ones((1, 2, 10)), np.arange(9), 0.95, "same questions"),
        (np.full((1, 2, 10), 0.5), np.arange(10), 0.95, "must be 0 or 1"),
        (np.full((1, 2, 10), np.nan), np.arange(10), 0.95, "must be 0 or 1"),
        (np.ones((1, 2, 10)), np.array([*range(9), None]), 0.95, "missing"),
        (np.ones((1, 2, 10)), np.arange(10), 95, "level is 95"),
        (np.ones((1, 2, 10)), np.arange(10), 0.3, "level is 0.3"),
    ],
)
def test_wrong_arguments_of_losses_raise(correct, groups, level, reason):
    with pytest.raises(ValueError, match=reason):
        losses(correct, groups, level=level)


# choose


@pytest.mark.parametrize(
    ("excluded", "costs", "chosen"),
    [
        ([0.04, 0.01, 0.0], [1, 2, 3], 0),
        ([0.06, 0.05, 0.0], [1, 2, 3], 1),
        ([0.06, 0.07, 0.051], [1, 2, 3], None),
        ([0.01, 0.02, 0.03], [9, 5, 7], 1),
        ([0.03, 0.02, 0.02], [4, 4, 4], 1),
        ([math.nan, 0.02], [1, 2], 1),
        ([], [], None),
    ],
)
def test_the_cheapest_arm_within_the_margin_is_chosen(excluded, costs, chosen):
    found = [Loss(0.0, value, 0.0, "few" if math.isnan(value) else "") for value in excluded]
    assert choose(found, costs, 0.05) == chosen


@pytest.mark.parametrize(
    ("costs", "margin", "reason"),
    [
        ([1], 0.05, "costs are"),
        ([1, math.nan], 0.05, "costs are"),
        ([1, 2], 5, "margin is 5"),
        ([1, 2], 0.0, "margin is 0"),
    ],
)
def test_wrong_arguments_of_choose_raise(costs, margin, reason):
    with pytest.raises(ValueError, match=reason):
        choose([Loss(0.0, 0.01, 0.0, "")] * 2, costs, margin)


# open_arms


@pytest.mark.parametrize(
    ("excluded", "at_least", "expected"),
    [
        ([0.04, 0.01], [0.0, 0.0], []),
        ([0.08, 0.01], [0.0, 0.0], [0]),
        ([0.12, 0.01], [0.06, 0.0], []),
        ([0.12, 0.09, 0.03, 0.09], [0.06, 0.01, 0.0, 0.0], [1]),
        ([0.12, 0.09, 0.07], [0.06, 0.01, 0.0], [1, 2]),
        ([math.nan, math.nan], [0.0, 0.0], [0, 1]),
    ],
)
def test_arms_stay_open_while_a_cheaper_one_may_be_within_the_margin(excluded, at_least, expected):
    found = [
        Loss(0.0, upper, lower, "few" if math.isnan(upper) else "")
        for upper, lower in zip(excluded, at_least, strict=True)
    ]
    assert best.open_arms(found, list(range(len(found))), 0.05) == expected


# chance_to_decide


@pytest.mark.parametrize(
    ("n_groups", "margin", "expected"),
    [
        (100, 0.05, 0.38),
        (200, 0.05, 0.74),
        (400, 0.05, 0.97),
        (800, 0.05, 1.00),
        (100, 0.02, 0.12),
        (200, 0.02, 0.17),
        (400, 0.02, 0.34),
        (800, 0.02, 0.61),
    ],
)
def test_the_chance_agrees_with_simulations_made_elsewhere(n_groups, margin, expected):
    """Equal arms, 6 % discordance, Tango's limits of 95 % on two sides."""
    found = chance_to_decide(n_groups, 1, n_arms=2, margin=margin, discordance=0.06, level=0.975)
    assert found == pytest.approx(expected, abs=0.05)


def test_the_chance_by_hand_where_only_no_difference_decides():
    """60 questions, margin 5: none may differ, as 1 - 0.05^(1/60) = 0.0487 and 1 lost is more."""
    found = chance_to_decide(60, 1, n_arms=2, margin=0.05, discordance=0.02, loss=0.02)
    assert found == pytest.approx(0.98**60, abs=1e-6)


@pytest.mark.parametrize("questions_each", [1, 4])
@pytest.mark.parametrize("n_arms", [2, 6])
def test_the_chance_agrees_with_what_losses_decide(n_arms, questions_each):
    n_studies, n_groups = 300, 150
    rng = np.random.default_rng([n_arms, questions_each])
    share, n_decided = 1 - math.sqrt(1 - 3 * 0.08), 0
    groups = np.repeat(np.arange(n_groups), questions_each)
    for _ in range(n_studies):
        likely = rng.beta(6, 2, n_groups)[groups]
        first = rng.random(len(groups)) < likely
        is_new = rng.random((n_arms, len(groups))) < share
        arms = np.where(is_new, rng.random((n_arms, len(groups))) < likely, first)
        n_decided += losses(arms[None], groups)[0].excluded <= 0.05
    expected = chance_to_decide(
        n_groups, questions_each, n_arms=n_arms, margin=0.05, discordance=0.08, correlation=0.0
    )
    # 5 points, and the Monte Carlo error of 300 studies beside.
    assert n_decided / n_studies == pytest.approx(expected, abs=0.05 + 0.04)


def test_the_chance_falls_with_arms_loss_discordance_and_likeness():
    def chance(n_groups=200, questions_each=2, **changed):
        given = {"n_arms": 3, "margin": 0.05, "discordance": 0.08, **changed}
        return chance_to_decide(n_groups, questions_each, **given)

    base = chance()
    for worse in (
        {"n_arms": 6},
        {"loss": 0.02},
        {"discordance": 0.2},
        {"correlation": 0.9},
        {"margin": 0.02},
        {"n_groups": 100},
        {"level": 0.99},
    ):
        assert chance(**worse) < base - 0.02, worse
    assert chance(loss=0.05) <= 0.05
    assert chance(n_groups=5, questions_each=1000) == 0.0


def test_groups_to_decide_is_where_the_chance_is_reached():
    given = {"n_arms": 4, "margin": 0.05, "discordance": 0.1}
    needed = groups_to_decide(2, **given)
    assert chance_to_decide(needed, 2, **given) >= 0.8
    assert chance_to_decide(needed - 1, 2, **given) < 0.8
    assert groups_to_decide(2, loss=0.05, **given) is None
    assert groups_to_decide(2, loss=0.02, **given) > 2 * needed
    assert groups_to_decide(1, n_arms=2, margin=0.9, discordance=0.1) == 6


def test_groups_to_decide_agrees_with_the_formula_of_many_questions():
    """n = psi ((z95 + z80) / margin)^2, a little more for the error under the margin."""
    quantiles = NormalDist().inv_cdf(0.95) + NormalDist().inv_cdf(0.8)
    expected = 0.3 * (quantiles / 0.02) ** 2
    found = groups_to_decide(1, n_arms=2, margin=0.02, discordance=0.3)
    assert expected * 0.98 < found < expected * 1.05


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"margin": 5}, "margin is 5"),
        ({"discordance": 1.5}, "discordance is 1.5"),
        ({"loss": 0.2}, "loss is 0.2"),
        ({"loss": -0.01}, "loss is -0.01"),
        ({"correlation": -0.1}, "correlation is -0.1"),
        ({"n_arms": 1}, "1 arms"),
    ],
)
def test_wrong_arguments_of_the_chance_raise(changed, reason):
    with pytest.raises(ValueError, match=reason):
        chance_to_decide(50, 2, **{"n_arms": 2, "margin": 0.05, "discordance": 0.1, **changed})


def test_a_wanted_chance_of_one_raises():
    with pytest.raises(ValueError, match="power_wanted is 1"):
        groups_to_decide(1, n_arms=2, margin=0.05, discordance=0.1, power_wanted=1)


# simulated studies


@pytest.mark.parametrize(
    ("generator", "is_clustered", "n_arms"),
    [
        ("one-sided", False, 2),
        ("one-sided", True, 2),
        ("whole groups", True, 2),
        ("steps", True, 4),
    ],
)
def test_bounds_hold_in_simulated_studies(generator, is_clustered, n_arms):
    """400 studies: 95 % within three Monte Carlo errors of 1.1 points below, and not idle."""
    cell = choice_simulation.Cell(generator, 120, 0.10, is_clustered, n_arms)
    found = choice_simulation.simulated(cell, 400)
    assert 91.8 <= found["covers"] <= 99.5
    assert found["wrong_worst"] <= 8.2
    assert found["wrong_5"] == found["wrong_worst"] or found["wrong_5"] <= 1
    assert found["lower_covers"] >= 91.8
