"""Agreement of two readings, against its definition and statsmodels; means of scores."""

import math

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from medres.statistics.agreement import agreement, score_interval
from medres.statistics.comparison import accuracy_interval


def test_kappa_is_that_of_its_definition() -> None:
    # 20 both right, 5 first alone, 10 second alone, 15 both wrong: 0.7 agree, 0.5 by chance.
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = agreement(first, second, range(50))
    assert found.share.estimate == pytest.approx(0.7)
    assert found.kappa.estimate == pytest.approx(0.4)
    assert (found.n_first_only, found.n_second_only, found.n_replies) == (5, 10, 50)


def test_with_one_reply_a_group_the_interval_is_nearly_that_of_large_samples() -> None:
    rng = np.random.default_rng(3)
    first = rng.random(400) < 0.6
    second = np.where(rng.random(400) < 0.8, first, ~first)
    table = [[np.sum((first == a) & (second == b)) for b in (0, 1)] for a in (0, 1)]
    wanted = cohens_kappa(np.array(table))
    found = agreement(first, second, range(400)).kappa
    assert found.estimate == pytest.approx(wanted.kappa)
    assert found.lower == pytest.approx(wanted.kappa_low, abs=0.005)
    assert found.upper == pytest.approx(wanted.kappa_upp, abs=0.005)


def test_replies_that_repeat_each_other_count_as_one() -> None:
    rng = np.random.default_rng(4)
    first = rng.random(60) < 0.5
    second = np.where(rng.random(60) < 0.75, first, ~first)
    single = agreement(first, second, range(60))
    repeated = agreement(np.repeat(first, 5), np.repeat(second, 5), np.repeat(range(60), 5))
    assert repeated.kappa.lower == pytest.approx(single.kappa.lower)
    assert repeated.share.lower == pytest.approx(single.share.lower, abs=0.01)


def test_the_order_of_the_readings_does_not_matter() -> None:
    first, second = [1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]
    one, other = agreement(first, second, range(6)), agreement(second, first, range(6))
    assert one.kappa == other.kappa
    assert (one.n_first_only, one.n_second_only) == (other.n_second_only, other.n_first_only)


def test_readings_that_never_vary_have_no_kappa() -> None:
    found = agreement([1, 1, 1], [1, 1, 1], [0, 1, 2])
    assert math.isnan(found.kappa.estimate)
    assert found.share.estimate == 1


def test_one_group_has_no_limits() -> None:
    found = agreement([1, 0, 1], [1, 0, 0], ["a"] * 3)
    assert math.isnan(found.kappa.lower)
    assert math.isnan(found.share.lower)


@pytest.mark.parametrize(
    ("first", "second", "groups"),
    [([1, 0], [1], [0, 1]), ([1, 2], [1, 0], [0, 1]), ([], [], []), ([1, 0], [1, 0], [0, None])],
)
def test_what_cannot_be_compared_is_refused(first: list, second: list, groups: list) -> None:
    with pytest.raises(ValueError, match=r"must hold|no questions|missing"):
        agreement(first, second, groups)


def test_scores_of_zero_and_one_have_the_interval_of_an_accuracy() -> None:
    scores, groups = [1, 0, 1, 1, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3]
    assert score_interval(scores, groups) == accuracy_interval(scores, groups)


def test_scores_between_have_an_interval_around_their_mean() -> None:
    found = score_interval([0.5, 0.25, 1.0, 0.75, 0.0, 0.5], range(6))
    assert found.estimate == pytest.approx(0.5)
    assert 0 < found.lower < 0.5 < found.upper < 1


@pytest.mark.parametrize(
    ("scores", "groups", "said"),
    [
        ([0.5, 1.5], [0, 1], r"scores\[1\] is 1.5"),
        ([0.5, math.nan], [0, 1], r"scores\[1\] is nan"),
        ([0.5], [0, 1], "1 scores and 2 groups"),
        ([], [], "0 scores"),
        ([0.5, 0.5], [0, None], r"groups\[1\] is missing"),
    ],
)
def test_scores_out_of_place_are_refused(scores: list, groups: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        score_interval(scores, groups)
